# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The summaries of the blocks' vertices; those that have not been asked for lately are on disk."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mtl_perception.mapping.graph.object_cells import SUMMARY
from mtl_perception.mapping.window.private_folder import PrivateFolder

NOTHING = b""
"""The summaries of a block that has no countable vertices."""

_MOST_BLOCKS = 4096  # in memory, some 1 kB each
_REGION = ~(3 << 42 | 3 << 21 | 3)  # clears what tells the 4x4x4 blocks of a region apart, see `blocks.pack`
_HEAD = np.dtype([("block", np.int64), ("entries", np.int64)])
_LOG = logging.getLogger(__name__)


class SummaryStore:
    """`SUMMARY` entries as bytes, per packed key of a block that has any. Neighbouring blocks are kept together.

    In memory are those of the blocks that were last asked for, with their neighbours, and 100 bytes for each region of
    4x4x4 blocks that is on disk.
    """

    def __init__(self, parent: Path | None = None, most_blocks: int = _MOST_BLOCKS) -> None:
        """Make an empty store; when it is first written to, its folder is made in `parent`, see `PrivateFolder`.

        Args:
            parent: of the folder.
            most_blocks: so many are in memory at most.
        """
        self._parent, self._most_blocks = parent, most_blocks
        self._folder: PrivateFolder | None = None
        self._near: OrderedDict[int, dict[int, bytes]] = OrderedDict()  # per region, the latest used last
        self._blocks = 0  # that are in memory
        self._on_disk: set[int] = set()  # regions, whose file is as in memory or the only one

    def __contains__(self, block: int) -> bool:
        """Return whether a block has entries."""
        return block in self._region(block & _REGION)

    def get(self, block: int) -> bytes:
        """Return the entries of a block, `NOTHING` if there are none."""
        return self._region(block & _REGION).get(block, NOTHING)

    def put(self, block: int, entries: bytes) -> None:
        """Set the entries of a block; `NOTHING` removes them."""
        number = block & _REGION
        region = self._region(number)
        before = region.pop(block, NOTHING)
        if entries:
            region[block] = entries
        self._blocks += bool(entries) - bool(before)
        self._near[number] = region
        self._near.move_to_end(number)
        self._on_disk.discard(number)
        if not region:
            del self._near[number]
        self._make_room()

    def items(self) -> Iterator[tuple[int, bytes]]:
        """Give all blocks with their entries, in order."""
        regions = {number: self._read(number) for number in self._on_disk - self._near.keys()} | self._near
        yield from sorted(item for region in regions.values() for item in region.items())

    def close(self) -> None:
        """Remove all files."""
        if self._folder is not None:
            self._folder.close()

    def _region(self, number: int) -> dict[int, bytes]:
        """Return a region, that counts as used now."""
        region = self._near.get(number)
        if region is None:
            if number not in self._on_disk:
                return {}
            region = self._near[number] = self._read(number)
            self._blocks += len(region)
            self._make_room()
        self._near.move_to_end(number)
        return region

    def _make_room(self) -> None:
        while self._blocks > self._most_blocks and len(self._near) > 1:
            number = next(iter(self._near))
            try:
                if number not in self._on_disk:
                    self._write(number)
            except OSError as error:  # e.g. a full disk: it stays in memory, and is tried again when all others were
                _LOG.error("summaries of objects cannot be written: %s", error)
                self._near.move_to_end(number)
                return
            self._blocks -= len(self._near.pop(number))

    def _write(self, number: int) -> None:
        region = self._near[number]
        if self._folder is None:
            self._folder = PrivateFolder(self._parent)
        head = np.array([(block, len(entries) // SUMMARY.itemsize) for block, entries in region.items()], _HEAD)
        content = np.int64(len(head)).tobytes() + head.tobytes() + b"".join(region.values())
        path = self._path(number)
        temporary = path.with_suffix(".new")
        temporary.write_bytes(content)
        temporary.replace(path)
        self._on_disk.add(number)

    def _read(self, number: int) -> dict[int, bytes]:
        try:
            return _decoded(self._path(number).read_bytes())
        except (OSError, ValueError) as error:
            _LOG.error("summaries of objects are lost until their surfaces are seen again: %s", error)
            self._on_disk.discard(number)
            return {}

    def _path(self, number: int) -> Path:
        assert self._folder is not None
        return self._folder.path / f"{number}.summaries"


def _decoded(content: bytes) -> dict[int, bytes]:
    """Return what was written.

    Raises:
        ValueError: it is not whole.
    """
    count = int(np.frombuffer(content, np.int64, 1)[0])
    head = np.frombuffer(content, _HEAD, count, offset=8)
    ends = 8 + head.nbytes + np.cumsum(head["entries"]) * SUMMARY.itemsize
    if len(content) != ends[-1]:
        raise ValueError(f"{len(content)} bytes where {ends[-1]} were written")
    starts = ends - head["entries"] * SUMMARY.itemsize
    return {
        block: content[start:end]
        for block, start, end in zip(head["block"].tolist(), starts.tolist(), ends.tolist(), strict=True)
    }
