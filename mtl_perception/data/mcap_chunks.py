# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Messages of short spans of time out of an .mcap file, fast when spans follow each other.

rosbags reads a span by decompressing every chunk that touches it, and parsing it from start to end. Frames that follow
each other share chunks, and mostly want a few topics. So chunks are kept for a while, their own index tells where the
messages are, and no chunk is decompressed further than the last one that was asked for.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from backports import zstd
from lz4.frame import LZ4FrameDecompressor  # type: ignore[import-untyped]
from rosbags.rosbag2 import ReaderError
from rosbags.rosbag2.storage_mcap import DECOMPRESSORS, ChunkInfo, McapReader, decompress

DecompressionError = zstd.ZstdError
"""What reading a damaged chunk may raise, by rosbags as well."""

_KEPT_BYTES = 64 * 2**20
_INDEX_HEAD = struct.Struct("<BQHI")  # opcode, length, channel, length of the entries (stamp and offset)
_ENTRY = struct.Struct("<QQ")
_CHUNK_HEAD = 9 + 24  # opcode and length; first and last stamp, uncompressed size
_MESSAGE_HEAD = struct.Struct("<BQHIQQ")  # opcode, length, channel, sequence, recorded, published
_MESSAGE = 0x05


@dataclass
class _Chunk:
    """What is known of a chunk: its messages by channel as (stamp, offset), where the one at an offset ends at the
    latest, and its bytes as far as they are decompressed."""

    info: ChunkInfo
    index: Mapping[int, Sequence[tuple[int, int]]]
    ends: Mapping[int, int]
    data: bytes = b""
    stream: Any = None
    compressed: bytes = b""


def decompressed(data: bytes, most: int) -> bytes:
    """Return what Zstandard frames hold; a ReaderError says that this is more than `most` bytes, which are never made.

    Raises:
        ReaderError, EOFError, DecompressionError: it is too much, or damaged.
    """
    content = b""
    while data:
        stream = zstd.ZstdDecompressor()
        content += stream.decompress(data, max_length=most + 1 - len(content))
        if len(content) > most:
            raise ReaderError(f"compressed data become more than the {most} bytes that they may be")
        if not stream.eof:
            raise EOFError("compressed data end too early")
        data = stream.unused_data
    return content


def _lz4(data: bytes, most: int) -> bytes:
    stream = LZ4FrameDecompressor()
    content = bytes(stream.decompress(data, max_length=most + 1))
    if len(content) > most:
        raise ReaderError(f"compressed data become more than the {most} bytes that they may be")
    return content


# rosbags decompresses chunks without a bound, and compares with the size that they should have afterwards.
DECOMPRESSORS.update(zstd=decompressed, lz4=_lz4)


class McapChunks:
    """The chunks of one open file. Some 64 MiB of decompressed data are kept."""

    def __init__(self, storage: McapReader) -> None:
        """Read from an open file."""
        assert storage.bio is not None
        self._file: BinaryIO = storage.bio
        self._infos = storage.chunks
        self._starts = np.array([info.message_start_time for info in storage.chunks], dtype=np.uint64)
        self._ends = np.array([info.message_end_time for info in storage.chunks], dtype=np.uint64)
        self._kept: OrderedDict[int, _Chunk] = OrderedDict()
        self._bytes = 0

    @staticmethod
    def indexed(storage: Any) -> bool:
        """Return whether a storage is an .mcap file all of whose chunks have an index."""
        return (
            isinstance(storage, McapReader)
            and bool(storage.chunks)
            and all(chunk.message_index_offsets for chunk in storage.chunks)
        )

    def messages(self, channels: Collection[int], start_ns: int, stop_ns: int) -> Iterator[tuple[int, int, bytes]]:
        """Yield channel, stamp and bytes of the messages from `start_ns` to before `stop_ns`, as rosbags orders them.

        Raises:
            ReaderError, OSError, struct.error: the file is damaged.
        """
        found = []
        needed: dict[int, int] = {}
        for position in np.flatnonzero((self._starts < stop_ns) & (self._ends >= start_ns)):
            info = self._infos[position]
            wanted = [channel for channel in channels if channel in info.message_index_offsets]
            if wanted:
                chunk = self._chunk(info)
                entries = [
                    (stamp, info.chunk_start_offset, offset, channel, chunk)
                    for channel in wanted
                    for stamp, offset in chunk.index.get(channel, ())
                    if start_ns <= stamp < stop_ns
                ]
                needed[info.chunk_start_offset] = max((chunk.ends[entry[2]] for entry in entries), default=0)
                found += entries
        found.sort(key=lambda entry: entry[:3])
        for stamp, start, offset, channel, chunk in found:
            self._decompress(chunk, needed[start])
            yield channel, stamp, self._message(chunk, channel, offset)

    def _chunk(self, info: ChunkInfo) -> _Chunk:
        chunk = self._kept.pop(info.chunk_start_offset, None) or self._indexed(info)
        self._kept[info.chunk_start_offset] = chunk  # the latest is at the end
        while self._bytes > _KEPT_BYTES and len(self._kept) > 1:
            self._bytes -= len(self._kept.popitem(last=False)[1].data)
        return chunk

    def _indexed(self, info: ChunkInfo) -> _Chunk:
        """Return a chunk with its index, the records that follow it in the file."""
        self._file.seek(min(info.message_index_offsets.values()))
        records = self._file.read(info.message_index_length)
        index, position = {}, 0
        while position < len(records):
            _, length, channel, size = _INDEX_HEAD.unpack_from(records, position)
            first = position + _INDEX_HEAD.size
            index[channel] = list(_ENTRY.iter_unpack(records[first : first + size]))
            position += 9 + length
        offsets = sorted(offset for entries in index.values() for _, offset in entries)
        return _Chunk(info, index, dict(zip(offsets, [*offsets[1:], info.uncompressed_size], strict=True)))

    def _message(self, chunk: _Chunk, channel: int, offset: int) -> bytes:
        opcode, length, written, _, _, _ = _MESSAGE_HEAD.unpack_from(chunk.data, offset)
        end = offset + 9 + length
        if opcode != _MESSAGE or written != channel or end > chunk.ends[offset]:
            raise ReaderError(f"the index of the chunk at {chunk.info.chunk_start_offset} does not fit its messages.")
        return chunk.data[offset + _MESSAGE_HEAD.size : end]

    def _decompress(self, chunk: _Chunk, end: int) -> None:
        """Have the chunk's bytes up to `end`."""
        before = len(chunk.data)
        if end > before:
            self._read_on(chunk, end)
            if self._kept.get(chunk.info.chunk_start_offset) is chunk:
                self._bytes += len(chunk.data) - before

    def _read_on(self, chunk: _Chunk, end: int) -> None:
        info = chunk.info
        if chunk.stream is None:
            self._file.seek(info.chunk_start_offset + _CHUNK_HEAD)
            (checksum,) = struct.unpack("<I", self._file.read(4))
            self._file.seek(info.chunk_start_offset + _CHUNK_HEAD + 16 + len(info.compression))
            chunk.compressed = self._file.read(info.compressed_size)
            if checksum or info.compression != "zstd":  # a checksum is that of all
                whole = decompress(chunk.compressed, info.compression, info.uncompressed_size, checksum)
                chunk.data, chunk.compressed = whole, b""
                chunk.stream = whole
                return
            chunk.stream = zstd.ZstdDecompressor()
        try:
            while len(chunk.data) < end:
                more = chunk.stream.decompress(chunk.compressed, max_length=end - len(chunk.data))
                chunk.compressed = b""
                if not more:
                    raise ReaderError(f"the chunk at {info.chunk_start_offset} ends too early.")
                chunk.data += more
        except (DecompressionError, EOFError) as error:
            raise ReaderError(f"the chunk at {info.chunk_start_offset} cannot be decompressed: {error}.") from error
