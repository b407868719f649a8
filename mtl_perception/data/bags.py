# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reading and writing rosbag2 recordings (mcap and sqlite3) without rosbag2.

A bag of this suite has the topics of a robot: `/<camera>/image`, `/<camera>/camera_info`, `/odom`, `/tf`, `/tf_static`,
and what the source knows to be true on `/ground_truth/...`.
"""

from __future__ import annotations

import re
import shutil
import struct
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from rclpy.serialization import serialize_message
from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, ReaderError, StoragePlugin, Writer
from rosbags.rosbag2.storage_mcap import McapReader
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from mtl_perception.core.validation_text import error_text
from mtl_perception.data.bag_checks import MOST_BYTES, check_chunks, check_files, check_unpacked
from mtl_perception.data.errors import BagError
from mtl_perception.data.mcap_chunks import McapChunks, decompressed
from mtl_perception.data.message_types import register_installed, types_of

STORAGES = ("mcap", "sqlite3")

# The newest that every rosbag2 reads: Humble and Iron want a topic's QoS profiles as one text, version 9 has a list.
_METADATA_VERSION: Literal[8] = 8

LATCHED = ("/tf_static", "/ground_truth/dataset")
"""Topics on which something is told once: late subscriptions get it, too."""

# MCAP's message index record: opcode, length, channel, length of the entries (stamp and offset, 8 bytes each).
_MESSAGE_INDEX = struct.Struct("<BQHI")
_TYPE = re.compile(r"[A-Za-z]\w*(/[A-Za-z]\w*)?/[A-Za-z]\w*")


@dataclass(frozen=True)
class TopicInfo:
    """One topic of a bag: its type (`package/msg/Name`), how many messages it has, and the QoS offered by its
    publishers."""

    name: str
    type: str
    count: int
    qos: tuple[Qos, ...]


class BagWriter:
    """Writes a bag. Use it as a context manager: the bag appears under its name only when all of it has been written.

    Messages are rclpy's. Whatever package they come from, their definition is stored in the bag.
    """

    def __init__(self, path: str | Path, storage: str = "mcap") -> None:
        """Prepare to write the folder `path`.

        Raises:
            BagError: `path` exists already, or the storage is neither mcap nor sqlite3.
        """
        self._path = Path(path)
        if storage not in STORAGES:
            raise BagError(f"bag {self._path}: storage '{storage}' is not one of {', '.join(STORAGES)}")
        if self._path.exists():
            raise BagError(f"bag {self._path} exists already")
        self._plugin = StoragePlugin[storage.upper()]
        self._types = get_typestore(Stores.ROS2_KILTED)
        self._topics: dict[str, Connection] = {}

    def __enter__(self) -> BagWriter:
        """Start to write, to a temporary folder beside the bag."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # The bag's file is named after its folder, so the temporary folder holds a folder of the final name.
        self._temporary = Path(tempfile.mkdtemp(prefix=f".{self._path.name}.", dir=self._path.parent))
        self._writer = Writer(self._temporary / self._path.name, version=_METADATA_VERSION, storage_plugin=self._plugin)
        if self._plugin is StoragePlugin.MCAP:
            self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        # rosbag2's own reader wants a map here; without an entry rosbags would write null.
        self._writer.set_custom_data("writer", "mtl_perception")
        self._writer.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the bag and give it its name; after an error nothing is left behind."""
        try:
            self._writer.__exit__(kind, error, trace)
            if kind is None:
                self.folder.rename(self._path)
        finally:
            shutil.rmtree(self._temporary, ignore_errors=True)

    @property
    def folder(self) -> Path:
        """Where the bag grows: files put here are beside the recording when the bag gets its name."""
        return self._temporary / self._path.name

    def write(self, topic: str, message: Any, stamp_ns: int) -> None:
        """Write one rclpy message.

        Raises:
            BagError: the topic has been written with another type.
        """
        self.write_raw(topic, type_name(message), serialize_message(message), stamp_ns)

    def write_raw(self, topic: str, message_type: str, data: bytes, stamp_ns: int) -> None:
        """Write one serialised (CDR) message of the type `package/msg/Name`.

        Raises:
            BagError: the topic has been written with another type, or the type's definition is not installed.
        """
        if topic not in self._topics:
            self._topics[topic] = self._add(topic, message_type)
        if self._topics[topic].msgtype != message_type:
            raise BagError(f"topic {topic} is {self._topics[topic].msgtype}, not {message_type}")
        self._writer.write(self._topics[topic], stamp_ns, data)

    def _add(self, topic: str, message_type: str) -> Connection:
        register_installed(self._types, message_type)
        qos = _offered_qos(latched=topic.endswith(LATCHED))
        return self._writer.add_connection(topic, message_type, typestore=self._types, offered_qos_profiles=[qos])


class BagReader:
    """Reads a bag: a folder with metadata.yaml, or a single .mcap or .db3 file. Use it as a context manager.

    Messages of any type can be read, installed or not, when the bag holds its definition, as mcap and newer sqlite3
    bags do.
    """

    def __init__(self, path: str | Path) -> None:
        """Prepare to read.

        Raises:
            BagError: there is no bag at `path`.
        """
        self.path = Path(path)
        try:
            check_files(self.path)
            self._reader = Reader(self.path)
        except FileNotFoundError as error:
            raise BagError(f"bag {self.path}: {error}") from error
        except (ReaderError, ValueError) as error:
            raise BagError(f"bag {self.path} is not a rosbag2 recording: {error}") from error

    def __enter__(self) -> BagReader:
        """Open the files.

        Raises:
            BagError: the bag is damaged or of an unknown kind.
        """
        with self._damages_told():
            check_unpacked(self.path)
            self._reader.open()
        self._types: Typestore | None = None
        try:
            with self._damages_told():
                self._topics = self._read_topics()
                storages = self._storages()
                check_chunks(storages)
                self._is_compressed = self._reader.compression_mode == "message"
                if self._is_compressed:  # what rosbags would do without a bound, `raw_messages` does
                    self._reader.storage.metadata = self._reader.storage.metadata._replace(compression_mode=None)
        except BagError:
            self._reader.close()
            raise
        whole = not self._is_compressed and len(storages) == 1
        self._chunks = McapChunks(storages[0]) if whole and McapChunks.indexed(storages[0]) else None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the files."""
        self._reader.close()

    @property
    def topics(self) -> dict[str, TopicInfo]:
        """What is recorded, by topic name."""
        return self._topics

    def _read_topics(self) -> dict[str, TopicInfo]:
        topics: dict[str, TopicInfo] = {}
        for connection in self._reader.connections:
            if not _TYPE.fullmatch(connection.msgtype):
                raise ReaderError(
                    f"topic {connection.topic!r:.80} has the type {connection.msgtype!r:.80}, which is none"
                )
            known = topics.get(connection.topic)
            count = connection.msgcount + (known.count if known else 0)
            topics[connection.topic] = TopicInfo(connection.topic, connection.msgtype, count, tuple(_qos(connection)))
        return dict(sorted(topics.items()))

    @property
    def start_ns(self) -> int:
        """When the first message was recorded."""
        return int(self._reader.start_time)

    @property
    def end_ns(self) -> int:
        """When the last message was recorded."""
        return int(self._reader.end_time) - 1

    @property
    def message_count(self) -> int:
        """How many messages the bag has."""
        return int(self._reader.message_count)

    @property
    def cameras(self) -> list[str]:
        """The cameras: topics `<camera>/image` (or `<camera>/image/compressed`) with a `<camera>/camera_info`.

        In the order of names, but `front` first where there is one: the first is the reference camera.
        """
        names = []
        for topic in self.topics:
            camera = topic.removesuffix("/compressed").removesuffix("/image")
            if topic != camera and f"{camera}/camera_info" in self.topics and not camera.startswith("/ground_truth/"):
                names.append(camera.lstrip("/"))
        return sorted(set(names), key=lambda name: (name != "front", name))

    def stamps_ns(self, topic: str) -> list[int]:
        """Return when each message of a topic was recorded, in order; from the index of the files where they have one.

        Raises:
            BagError: the topic is not in the bag, or the file is damaged.
        """
        self._select([topic])
        storages = self._storages()
        if all(isinstance(storage, McapReader) and storage.chunks for storage in storages):
            with self._damages_told():
                return sorted(stamp for storage in storages for stamp in _indexed_stamps(storage, topic))
        return [stamp_ns for _, _, stamp_ns, _ in self.raw_messages([topic])]

    def raw_messages(
        self, topics: Collection[str] | None = None, start_ns: int | None = None, stop_ns: int | None = None
    ) -> Iterator[tuple[str, str, int, bytes]]:
        """Yield topic, type, stamp and serialised bytes in the order of recording, from `start_ns` to before `stop_ns`.

        Raises:
            BagError: a topic is not in the bag, or the file is damaged.
        """
        connections = self._select(topics)
        if not connections:
            return
        with self._damages_told():
            if start_ns is not None and stop_ns is not None and self._chunks is not None:
                yield from self._span(self._chunks, connections, start_ns, stop_ns)
                return
            for connection, stamp_ns, data in self._reader.messages(connections, start=start_ns, stop=stop_ns):
                if len(data) > MOST_BYTES:
                    raise BagError(f"bag {self.path}: {connection.topic}: a message has {len(data)} bytes")
                content = decompressed(data, MOST_BYTES) if self._is_compressed else data
                yield connection.topic, connection.msgtype, int(stamp_ns), content

    def messages(
        self, topics: Collection[str] | None = None, start_ns: int | None = None, stop_ns: int | None = None
    ) -> Iterator[tuple[str, int, Any]]:
        """Yield topic, stamp and message (an object of rosbags, which `mtl_perception.messages` reads).

        See `raw_messages` for the arguments.

        Raises:
            BagError: a topic is not in the bag, its type's definition is nowhere to be found, or the file is damaged.
        """
        if self._types is None:
            with self._damages_told():
                self._types = types_of(self._reader.connections)
        for topic, message_type, stamp_ns, data in self.raw_messages(topics, start_ns, stop_ns):
            if message_type not in self._types.fielddefs:
                register_installed(self._types, message_type)
            try:
                message = self._types.deserialize_cdr(data, message_type)
            except Exception as error:  # rosbags makes the code that reads a type from the bag's own definition of it
                no_message = f"{topic}: the message of {stamp_ns} is no {message_type}"
                raise BagError(f"bag {self.path}: {no_message}: {error_text(error)}") from error
            yield topic, stamp_ns, message

    def _span(
        self, chunks: McapChunks, connections: Collection[Connection], start_ns: int, stop_ns: int
    ) -> Iterator[tuple[str, str, int, bytes]]:
        topics = {connection.topic for connection in connections}
        by_channel = {c.id: c for c in self._storages()[0].connections if c.topic in topics}
        for channel, stamp_ns, data in chunks.messages(by_channel, start_ns, stop_ns):
            yield by_channel[channel].topic, by_channel[channel].msgtype, stamp_ns, data

    @contextmanager
    def _damages_told(self) -> Iterator[None]:
        """Make a BagError of what rosbags, and what it reads with, raise on files that are not as they must be."""
        try:
            yield
        except BagError:
            raise
        except Exception as error:  # there is no end of kinds: of sqlite, of yaml, of decompressors, of numbers too big
            damage = "" if isinstance(error, (ReaderError, OSError)) else f"it is damaged: {type(error).__name__}: "
            raise BagError(f"bag {self.path}: {damage}{error_text(error)}") from error

    def _storages(self) -> list[Any]:
        return list(getattr(self._reader.storage, "storages", [self._reader.storage]))

    def _select(self, topics: Collection[str] | None) -> list[Connection]:
        if topics is None:
            return list(self._reader.connections)
        missing = sorted(set(topics) - self.topics.keys())
        if missing:
            raise BagError(f"bag {self.path} has no topic {missing[0]}, it has {', '.join(self.topics)}")
        return [connection for connection in self._reader.connections if connection.topic in topics]


def _indexed_stamps(storage: McapReader, topic: str) -> Iterator[int]:
    """Read the stamps of a topic from the index record that follows each chunk; no chunk is decompressed."""
    assert storage.bio is not None  # the reader is open
    ids = [connection.id for connection in storage.connections if connection.topic == topic]
    for chunk in storage.chunks:
        for offset in (chunk.message_index_offsets[id_] for id_ in ids if id_ in chunk.message_index_offsets):
            storage.bio.seek(offset)
            _, _, _, length = _MESSAGE_INDEX.unpack(storage.bio.read(_MESSAGE_INDEX.size))
            yield from (stamp for stamp, _ in struct.iter_unpack("<QQ", storage.bio.read(length)))


def bag_cameras(path: str | Path) -> list[str]:
    """Return the names of a bag's cameras, the reference camera first.

    Raises:
        BagError: there is no bag at `path`, or it is damaged.
    """
    with BagReader(path) as bag:
        return bag.cameras


def bag_cabin(path: str | Path) -> tuple[tuple[str, ...], bool]:
    """Return the names of the cameras in the cabin that a bag has images of, and whether it has the driver's joints.

    Raises:
        BagError: there is no bag at `path`, or it is damaged.
    """
    with BagReader(path) as bag:
        names = [topic.split("/") for topic in bag.topics]
    cameras = tuple(parts[2] for parts in names if len(parts) == 4 and parts[1] == "cabin" and parts[3] == "image")
    return cameras, ["", "cabin", "joints"] in names


def type_name(message: Any) -> str:
    """Return the name `package/msg/Name` of an rclpy message's type."""
    kind = type(message)
    return f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"


def _qos(connection: Connection) -> list[Qos]:
    assert isinstance(connection.ext, ConnectionExtRosbag2)  # rosbag2's reader makes no other
    return connection.ext.offered_qos_profiles


def _offered_qos(*, latched: bool) -> Qos:
    forever = QosTime(9223372036, 854775807)  # rmw's "infinite"
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=1 if latched else 10,
        reliability=QosReliability.RELIABLE,
        durability=QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        deadline=forever,
        lifespan=forever,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=forever,
        avoid_ros_namespace_conventions=False,
    )
