# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What would hang or exhaust memory when a bag is opened is refused before."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from rosbags.rosbag2 import ReaderError
from rosbags.rosbag2.storage_mcap import McapReader

from mtl_perception.core.outside_files import read_bytes

MOST_BYTES = 2**30  # of a message, and of a chunk of messages
_MOST_METADATA_BYTES = 8 * 2**20
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
    metadata = path / "metadata.yaml"
    if not metadata.exists():
        return
    content = read_bytes(metadata, _MOST_METADATA_BYTES)
    if _ANCHOR.search(content):
        raise ValueError("metadata.yaml has anchors, which no recorder writes")
    depth = 0
    for bracket in _BRACKET.findall(content):
        depth += 1 if bracket in b"[{" else -1
        if depth > _MOST_BRACKETS:  # the parser looks at each open one again with every token
            raise ValueError("metadata.yaml has brackets nested too deeply")


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
