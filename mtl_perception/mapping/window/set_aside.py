# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Blocks that newer ones have replaced, kept on disk until the robot's trajectory is corrected."""

from __future__ import annotations

import io
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtl_perception.mapping.archives import opened
from mtl_perception.mapping.fusion.blocks import ATTRIBUTES
from mtl_perception.mapping.window.private_folder import PrivateFolder
from mtl_perception.mapping.window.region_file import Region, RegionError, check_usable, encode, read
from mtl_perception.mapping.window.regions import region_ids

_MOST_WAITING = 512  # blocks, 14 kB each, that wait in memory to be written together
_KEPT = 16  # parts that were read last stay in memory


@dataclass(frozen=True, eq=False)
class Part:
    """Blocks of one region that were set aside together.

    Attributes:
        number: of the part.
        keys: int32 (N, 3).
        seen_ns: int64 (N, 2), when each was first and last measured.
    """

    number: int
    keys: NDArray[np.int32]
    seen_ns: NDArray[np.int64]


class SetAside:
    """Older blocks, of which several may have the same place. In memory, each takes 28 bytes.

    Attributes:
        parts: of which the set consists, those that still wait to be written not among them.
    """

    def __init__(self, parent: Path | None = None) -> None:
        """Make an empty set; when it is first written to, its folder is made in `parent`, see `PrivateFolder`."""
        self._parent = parent
        self._folder: PrivateFolder | None = None
        self.parts: list[Part] = []
        self._waiting: list[tuple[NDArray[np.int32], NDArray[np.int64], dict[str, NDArray]]] = []
        self._kept: OrderedDict[int, Region] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of blocks."""
        return sum(len(part.keys) for part in self.parts) + self._waiting_blocks

    def put(self, keys: NDArray[np.int32], seen_ns: NDArray[np.int64], voxels: dict[str, NDArray]) -> None:
        """Add blocks (N, 3), when they were first and last measured (N, 2), and their voxels (N, VOXELS, ...).

        Raises:
            OSError: they cannot be written; they wait in memory.
        """
        self._waiting.append((keys, seen_ns, voxels))
        if self._waiting_blocks >= _MOST_WAITING:
            self.flush()

    def flush(self) -> None:
        """Write what waits.

        Raises:
            OSError: it cannot be written; it goes on waiting.
        """
        for _, content in list(self._encoded()):
            self.adopt(content, "a part that was set aside")
        self._waiting = []

    def adopt(self, content: bytes, name: str) -> None:
        """Add a part as `contents` gave it, checked; `name` tells where it comes from.

        Raises:
            RegionError: it is damaged.
            OSError: it cannot be written.
        """
        region = read(io.BytesIO(content), name)
        check_usable(region, name)
        number = len(self.parts)
        self._path(number).write_bytes(content)
        self.parts.append(Part(number, region.keys, region.seen_ns))

    def copy_to(self, other: SetAside) -> None:
        """Make an empty set equal to this one.

        Raises:
            OSError: files cannot be read or written.
        """
        for number, (_, content) in enumerate(self.contents()):
            other.adopt(content, f"part {number} of what was set aside")

    def contents(self) -> Iterator[tuple[int, bytes]]:
        """Give all parts: how many blocks each has, and its bytes.

        Raises:
            OSError: a part cannot be read.
        """
        self.flush()
        for part in self.parts:
            yield len(part.keys), self._path(part.number).read_bytes()

    def voxels(self, number: int) -> dict[str, NDArray]:
        """Return the voxels (N, VOXELS, ...) of a part.

        Raises:
            RegionError: its file is damaged.
            OSError: it cannot be read.
        """
        if number not in self._kept:
            path = self._path(number)
            with path.open("rb") as file:
                self._kept[number] = read(file, str(path))
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(number)
        return dict(self._kept[number].voxels)

    def close(self) -> None:
        """Remove all files."""
        if self._folder is not None:
            self._folder.close()

    @property
    def _waiting_blocks(self) -> int:
        return sum(len(keys) for keys, _, _ in self._waiting)

    def _encoded(self) -> Iterator[tuple[int, bytes]]:
        """Give what waits as parts: of one region each, and no place twice."""
        left = self._waiting
        while left:
            keys = np.concatenate([keys for keys, _, _ in left])
            seen_ns = np.concatenate([seen for _, seen, _ in left])
            voxels = {name: np.concatenate([part[name] for _, _, part in left]) for name in ATTRIBUTES}
            _, once = np.unique(keys, axis=0, return_index=True)
            again = np.setdiff1d(np.arange(len(keys)), once)
            regions = region_ids(keys)
            for region in np.unique(regions[once]).tolist():
                rows = once[regions[once] == region]
                part = Region(region, keys[rows], seen_ns[rows], {}, {name: voxels[name][rows] for name in voxels})
                yield len(rows), encode(part)
            left = [(keys[again], seen_ns[again], {name: voxels[name][again] for name in voxels})] if len(again) else []

    def _path(self, number: int) -> Path:
        if self._folder is None:
            self._folder = PrivateFolder(self._parent)
        return self._folder.path / f"{number}.region"


def write_parts(path: Path, aside: SetAside) -> int:
    """Write all parts into an archive; return how many blocks they have.

    Raises:
        OSError: a part cannot be read, or the archive not be written.
    """
    blocks = 0
    with zipfile.ZipFile(path, "w") as archive:  # not compressed: parts are
        for number, (count, content) in enumerate(aside.contents()):
            archive.writestr(zipfile.ZipInfo(f"{number}.region"), content)
            blocks += count
    return blocks


def read_parts(path: Path, aside: SetAside) -> None:
    """Add the parts of an archive.

    Raises:
        RegionError: a part is damaged.
        OSError: they cannot be read or written.
    """
    with opened(path) as archive:
        for number in range(len(archive.namelist())):
            entry = f"{number}.region"
            if entry not in archive.namelist():
                raise RegionError(f"{path} has no {entry}")
            aside.adopt(archive.read(entry), f"{path}/{entry}")
