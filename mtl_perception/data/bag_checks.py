# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What would hang or exhaust memory when a bag is opened is refused before."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from backports import zstd
from rosbags.interfaces import Qos
from rosbags.rosbag2 import ReaderError, metadata, reader, storage_mcap, storage_sqlite3
from rosbags.rosbag2.storage_mcap import McapReader

from mtl_perception.core.outside_files import parse_yaml, read_bytes

MOST_BYTES = 2**30  # of a message, and of a chunk of messages
_MOST_METADATA_BYTES = 8 * 2**20
_MOST_OF_FREE = 0.75  # of the disk that packed bags are unpacked to
_PACKED = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")  # how Zstandard's frames begin
_MOST_BRACKETS = 40  # within each other
_BRACKET = re.compile(rb"[\[\]{}]")
_ANCHOR = re.compile(rb"(?:^|[\s,:\[{-])&[^\s,\]}]")


def check_files(path: Path) -> None:
    """Refuse what would hang or exhaust memory already when it is opened; a ValueError says what."""
    if not path.is_dir():
        if path.exists() and not path.is_file():
            raise ValueError("it is not a regular file")
        return
    odd = [each.name for each in sorted(path.iterdir()) if not (each.is_file() or each.is_dir())]
    if odd:
        raise ValueError(f"{odd[0]} is not a regular file")
    about = path / "metadata.yaml"
    if not about.exists():
        return
    content = read_bytes(about, _MOST_METADATA_BYTES)
    if _ANCHOR.search(content):
        raise ValueError("metadata.yaml has anchors, which no recorder writes")
    depth = 0
    for bracket in _BRACKET.findall(content):
        depth += 1 if bracket in b"[{" else -1
        if depth > _MOST_BRACKETS:  # the parser looks at each open one again with every token
            raise ValueError("metadata.yaml has brackets nested too deeply")


def check_unpacked(path: Path) -> None:
    """Refuse a bag whose packed files, which are unpacked before they are read, would fill the disk.

    Raises:
        ReaderError: they are too much.
        OSError, EOFError, zstd.ZstdError: a file cannot be read, or is damaged.
    """
    room = _MOST_OF_FREE * shutil.disk_usage(tempfile.gettempdir()).free
    unpacked = 0
    for file in sorted(path.iterdir()) if path.is_dir() else []:
        if not (file.is_file() and _is_packed(file)):
            continue
        with zstd.open(file, "rb") as content:
            while piece := content.read(1 << 20):
                unpacked += len(piece)
                if unpacked > room:
                    raise ReaderError(
                        f"{file.name} would be unpacked to more than {room:.3g} bytes, "
                        f"{_MOST_OF_FREE:.0%} of what is free in {tempfile.gettempdir()}"
                    )


def _is_packed(file: Path) -> bool:
    with file.open("rb") as content:
        return _PACKED.match(content.read(4)) is not None


def check_chunks(storages: list[Any]) -> None:
    """Refuse chunks of an .mcap file that are impossibly large; a ReaderError names the first."""
    for storage in storages:
        if not isinstance(storage, McapReader):
            continue
        size = storage.path.stat().st_size
        for chunk in storage.chunks:
            if chunk.uncompressed_size > MOST_BYTES or chunk.chunk_start_offset + chunk.compressed_size > size:
                raise ReaderError(
                    f"the chunk at {chunk.chunk_start_offset} says to have {chunk.uncompressed_size} bytes, "
                    f"{chunk.compressed_size} compressed, in a file of {size}"
                )


_parse_qos_items = metadata.parse_qos


def _parse_qos(profiles: Any) -> list[Qos]:
    """Do what rosbags does with the QoS profiles of a topic; as a text they are parsed within bounds."""
    if isinstance(profiles, str):
        try:
            profiles = parse_yaml(profiles.encode())
        except ValueError as error:
            raise ReaderError(f"a topic's offered_qos_profiles are no usable YAML: {error}") from error
    return _parse_qos_items(profiles or [])


# rosbags' own YAML reader takes minutes for deep brackets, and has no bound for what anchors unfold to.
for _module in (metadata, reader, storage_mcap, storage_sqlite3):
    _module.parse_qos = _parse_qos  # type: ignore[attr-defined]
