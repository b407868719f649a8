# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Regions of a map in files, one a region."""

from __future__ import annotations

import io
import logging
import os
import shutil
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtl_perception.mapping.fusion.blocks import BLOCK, Key, unpack
from mtl_perception.mapping.fusion.measured import NEVER_NS
from mtl_perception.mapping.surface.meshing import MeshBlock
from mtl_perception.mapping.window.private_folder import PrivateFolder
from mtl_perception.mapping.window.region_file import Region, RegionError, check_usable, encode, read
from mtl_perception.mapping.window.regions import (
    REGION,
    RegionIndex,
    block_keys,
    mask_of,
    places_in,
    places_of,
    region_ids,
)

_KEPT = 16  # regions that were read last stay in memory, at most 1 MB each
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Entry:
    """What is known of a region without reading it: masks of its blocks and of those with a mesh."""

    blocks: int
    meshed: int
    vertices: int


class RegionArchive:
    """The regions that are not in memory. Each takes about 700 bytes of it, and at most 16 that were read are kept.

    A file that cannot be read, or is damaged, is counted and logged with its name; its region is then as if it had
    never been seen. No file stays open.

    Attributes:
        blocks: in all regions of the archive.
        vertices: of their meshes.
        damaged_regions: that were lost because their files could not be read.
    """

    def __init__(self, voxel_size: float, reach: float, parent: Path | None = None) -> None:
        """Make an empty archive.

        Args:
            voxel_size: metres.
            reach: metres, about the size of the boxes that `near` is asked for.
            parent: where the archive's folder is made; see `PrivateFolder`.

        Raises:
            OSError: its folder cannot be made.
        """
        self._folder = PrivateFolder(parent)
        self._voxel_size, self._reach = voxel_size, reach
        self._entries: dict[int, _Entry] = {}
        self._index = RegionIndex(REGION * BLOCK * voxel_size, reach)
        self._copies: dict[int, _Entry] = {}  # regions that are in memory, unchanged since they were read
        self._kept: OrderedDict[tuple[int, bool], Region] = OrderedDict()  # by region, and whether it has voxels
        self._lost: list[tuple[int, _Entry]] = []
        self.blocks = self.vertices = self.damaged_regions = 0

    def __len__(self) -> int:
        """Return the number of regions."""
        return len(self._entries)

    def __contains__(self, region: int) -> bool:
        """Return whether a region is in the archive."""
        return region in self._entries

    @property
    def folder(self) -> Path:
        """Where the files are."""
        return self._folder.path

    def regions(self) -> list[int]:
        """Return all regions, in order."""
        return sorted(self._entries)

    def among(self, regions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return, in order and once each, those of regions (...) that are in the archive."""
        if not self._entries:
            return np.zeros(0, np.int64)
        return np.array([region for region in np.unique(regions).tolist() if region in self._entries], dtype=np.int64)

    def near(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return, in order, at least all regions that touch the box between two points (3,), metres."""
        return self._index.near(low, high) if self._entries else np.zeros(0, np.int64)

    def block_count(self, region: int) -> int:
        """Return how many blocks a region of the archive has."""
        return self._entries[region].blocks.bit_count()

    def keys(self, region: int) -> NDArray[np.int32]:
        """Return the keys (N, 3), in order, of the blocks of a region of the archive."""
        return block_keys(region)[places_in(self._entries[region].blocks)]

    def meshed_keys(self, region: int) -> NDArray[np.int32]:
        """Return the keys (N, 3), in order, of those blocks of a region of the archive that have a mesh."""
        return block_keys(region)[places_in(self._entries[region].meshed)]

    def has_blocks(self, keys: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Return for blocks (N, 3) whether the archive has them."""
        regions, has = region_ids(keys), np.zeros(len(keys), dtype=bool)
        for region in self.among(regions).tolist():
            of_region = np.flatnonzero(regions == region)
            has[of_region] = np.isin(places_of(keys[of_region]), places_in(self._entries[region].blocks))
        return has

    def has_mesh(self, key: Key) -> bool:
        """Return whether the archive has a mesh of a block."""
        entry = self._entries.get(int(region_ids(np.array(key))))
        return entry is not None and bool(entry.meshed >> int(places_of(np.array(key))) & 1)

    def put(self, content: Region) -> None:
        """Add a region, or replace it.

        Raises:
            OSError: it cannot be written; the archive is as before.
        """
        self._write(content.region, encode(content))
        self._enter(content.region, _entry_of(content))

    def adopt(self, content: bytes, name: str) -> int:
        """Add a region as `encode` gave it, checked; return how many blocks it has. `name` tells where it comes from.

        Raises:
            RegionError: it is damaged, or there is one already.
            OSError: it cannot be written.
        """
        region = read(io.BytesIO(content), name)
        check_usable(region, name)
        if region.region in self._entries:
            raise RegionError(f"{name} is a region that the map already has")
        self._write(region.region, content)
        self._enter(region.region, _entry_of(region))
        return len(region.keys)

    def put_back(self, region: int) -> bool:
        """Add a region that was taken, if it has not changed and its file is still there; return whether."""
        entry = self._copies.pop(region, None)
        if entry is None or not self._path(region).is_file():
            return False
        self._enter(region, entry)
        return True

    def take(self, region: int) -> Region | None:
        """Read and remove a region of the archive; None when its file is damaged."""
        content = self.read(region)
        if content is not None:
            self._copies[region] = self._leave(region)
        return content

    def changed(self, regions: Iterable[int]) -> None:
        """Learn that regions in memory are not what their files hold any more."""
        for region in regions:
            self._copies.pop(region, None)

    def read(self, region: int, with_voxels: bool = True) -> Region | None:
        """Return a region of the archive, at will without voxels; None when its file is damaged."""
        for kept in ((region, with_voxels), (region, True)):
            if kept in self._kept:
                self._kept.move_to_end(kept)
                return self._kept[kept]
        path = self._path(region)
        try:
            with path.open("rb") as file:
                content = read(file, str(path), with_voxels)
            if content.region != region:
                raise RegionError(f"{path} is damaged: it holds another region")
        except (OSError, RegionError) as error:
            self._lose(region, error)
            return None
        self._kept[region, with_voxels] = content
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return content

    def content(self, region: int) -> bytes | None:
        """Return a region of the archive as `encode` gave it, checked; None when its file is damaged."""
        path = self._path(region)
        try:
            content = path.read_bytes()
            if read(io.BytesIO(content), str(path)).region != region:
                raise RegionError(f"{path} is damaged: it holds another region")
        except (OSError, RegionError) as error:
            self._lose(region, error)
            return None
        return content

    def remesh(self, region: int, meshes: dict[Key, MeshBlock | None]) -> None:
        """Replace meshes of blocks of a region of the archive; None: the block has no mesh any more.

        Raises:
            OSError: they cannot be written; the old ones are still there.
        """
        content = self.read(region)
        if content is not None:
            merged = {**content.meshes, **meshes}
            self.put(replace(content, meshes={key: mesh for key, mesh in merged.items() if mesh is not None}))

    def copy_to(self, other: RegionArchive) -> None:
        """Make an empty archive equal to this one. Files are replaced, never changed, so they can be shared by links.

        Raises:
            OSError: a file can be neither linked nor copied.
        """
        for region, entry in sorted(self._entries.items()):
            try:
                os.link(self._path(region), other._path(region))
            except FileNotFoundError as error:
                self._lose(region, error)
                continue
            except OSError:  # e.g. a file system without links
                shutil.copyfile(self._path(region), other._path(region))
            other._enter(region, entry)

    def stamps(self, keys: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return when blocks (N, 3) were first and last measured (N, 2); NEVER_NS for those that are not here."""
        stamps = np.full((len(keys), 2), NEVER_NS, np.int64)
        wanted = region_ids(keys)
        for region in self.among(wanted).tolist():
            content = self.read(region, with_voxels=False)
            if content is not None:
                of_region = np.flatnonzero(wanted == region)
                rows = np.full(REGION**3, -1)
                rows[places_of(content.keys)] = np.arange(len(content.keys))
                row = rows[places_of(keys[of_region])]
                stamps[of_region[row >= 0]] = content.seen_ns[row[row >= 0]]
        return stamps

    def take_lost(self) -> tuple[NDArray[np.int32], list[Key]]:
        """Return the keys (N, 3) of blocks that were lost since the last call, and those of them that had a mesh."""
        lost, self._lost = self._lost, []
        keys = [block_keys(region)[places_in(entry.blocks)] for region, entry in lost]
        meshed = [block_keys(region)[places_in(entry.meshed)] for region, entry in lost]
        return (
            np.concatenate([np.zeros((0, 3), np.int32), *keys]),
            [(x, y, z) for part in meshed for x, y, z in part.tolist()],
        )

    def close(self) -> None:
        """Remove all files."""
        self._folder.close()

    def _write(self, region: int, content: bytes) -> None:
        path = self._path(region)
        temporary = path.with_suffix(".new")
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise

    def _path(self, region: int) -> Path:
        x, y, z = unpack(np.array(region)).tolist()
        return self._folder.path / f"{x}_{y}_{z}.region"

    def _enter(self, region: int, entry: _Entry) -> None:
        if region in self._entries:
            self._leave(region)
        self._entries[region] = entry
        self._index.add(region)
        self.blocks += entry.blocks.bit_count()
        self.vertices += entry.vertices

    def _leave(self, region: int) -> _Entry:
        entry = self._entries.pop(region)
        self._index.remove(region)
        self.blocks -= entry.blocks.bit_count()
        self.vertices -= entry.vertices
        for with_voxels in (False, True):
            self._kept.pop((region, with_voxels), None)
        return entry

    def _lose(self, region: int, error: Exception) -> None:
        _LOG.error("a part of the map is lost: %s", error)
        self.damaged_regions += 1
        self._lost.append((region, self._leave(region)))


def _entry_of(content: Region) -> _Entry:
    meshed = np.array(sorted(content.meshes), np.int32).reshape(-1, 3)
    vertices = sum(len(mesh.vertices) for mesh in content.meshes.values())
    return _Entry(mask_of(places_of(content.keys)), mask_of(places_of(meshed)), vertices)
