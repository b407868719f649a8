# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The surface of the whole map, kept up to date block by block; what is not in memory is read when it is needed."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from mtl_perception.mapping.fusion.blocks import BLOCK, Key, pack, unpack
from mtl_perception.mapping.surface.joining import joined
from mtl_perception.mapping.surface.meshing import UPPER, MeshArrays, MeshBlock, blocks_to_mesh, mesh_blocks
from mtl_perception.mapping.window.map_blocks import MapBlocks
from mtl_perception.mapping.window.regions import REGION, region_ids

_MOST_PENDING = 1 << 17  # keys; beyond, those that are there twice are dropped
_LOG = logging.getLogger(__name__)


class MapSurface:
    """Meshes what has changed. Before a region leaves memory, `update` must have been called."""

    def __init__(self, blocks: MapBlocks, min_weight: float) -> None:
        """Take over blocks whose meshes are those of their voxels; voxels below `min_weight` are not used."""
        self._blocks = blocks
        self._min_weight = min_weight
        self._pending: list[NDArray[np.int32]] = []
        self._most_pending = _MOST_PENDING
        self._unwritten: list[NDArray[np.int32]] = []
        self._news: dict[Key, tuple[bool, MeshBlock | None]] = {}  # whether there was a mesh at first, and the newest

    def note(self, changed: NDArray[np.int32]) -> None:
        """Learn that voxels of blocks (N, 3) have changed, or that the blocks are gone."""
        self._pending.append(changed)
        if sum(map(len, self._pending)) > self._most_pending:
            self._pending = [unpack(np.unique(pack(np.concatenate(self._pending))))]
            self._most_pending = max(_MOST_PENDING, 2 * len(self._pending[0]))

    def update(self) -> None:
        """Mesh again what depends on changed blocks."""
        self._pending += self._unwritten
        self._unwritten = []
        self._note_lost()
        while any(map(len, self._pending)):
            keys = blocks_to_mesh(np.concatenate(self._pending))
            self._pending = []
            self._take_over(keys, self._meshed(keys))
            self._note_lost()

    def take_news(self) -> tuple[dict[Key, MeshBlock], tuple[Key, ...]]:
        """Return the new meshes since the last call, and the blocks that had a mesh then and have none now."""
        news, self._news = self._news, {}
        changed = {key: mesh for key, (_, mesh) in sorted(news.items()) if mesh is not None}
        return changed, tuple(key for key, (before, mesh) in sorted(news.items()) if before and mesh is None)

    def keys(self) -> tuple[Key, ...]:
        """Return the keys of all blocks that have a mesh, in order; reads no file."""
        archive = self._blocks.archive
        keys = [archive.meshed_keys(region) for region in archive.regions()]
        away = [(x, y, z) for part in keys for x, y, z in part.tolist()]
        return tuple(sorted([*self._blocks.meshes, *away]))

    def blocks(self, keys: Iterable[Key]) -> dict[Key, MeshBlock]:
        """Return the meshes of blocks, in order, empty where there is no surface; each file is read once."""
        ordered = np.array(sorted(keys), np.int32).reshape(-1, 3)
        ordered = ordered[np.argsort(region_ids(ordered), kind="stable")]
        return {(x, y, z): self._blocks.mesh_of((x, y, z)) for x, y, z in ordered.tolist()}

    def parts(self) -> Iterator[Mapping[Key, MeshBlock]]:
        """Give the meshes of all blocks, region by region, in order."""
        for region in self._blocks.regions():
            yield self._blocks.meshes_in(region)

    def joined(self) -> MeshArrays:
        """Return the mesh of the whole map."""
        return joined(self.parts(), self._blocks.store.voxel_size, REGION * BLOCK)

    def joined_near(self, centre: NDArray[np.float64], radius: float) -> MeshArrays:
        """Return the mesh of the regions of which anything is within `radius` of a place (3,), metres."""
        regions = self._blocks.regions_near(centre, radius)
        parts = (self._blocks.meshes_in(region) for region in regions.tolist())
        return joined(parts, self._blocks.store.voxel_size, REGION * BLOCK)

    def meshed_anew(self) -> dict[Key, MeshBlock]:
        """Mesh all blocks from their voxels."""
        keys = [self._blocks.keys_in(region) for region in self._blocks.regions()]
        return self._meshed(np.concatenate([np.zeros((0, 3), np.int32), *keys]))

    def _meshed(self, keys: NDArray[np.int32]) -> dict[Key, MeshBlock]:
        """Mesh blocks (N, 3), as far as they exist, wherever they and their neighbours are."""
        away = self._depend_on_archive(keys)
        meshes = mesh_blocks(self._blocks.store, keys[~away], self._min_weight)
        far, regions = keys[away], region_ids(keys[away])
        for region in np.unique(regions).tolist():
            store = self._blocks.with_neighbours(region)
            meshes |= mesh_blocks(store, far[regions == region], self._min_weight)
        return meshes

    def _depend_on_archive(self, keys: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Return for blocks (N, 3) whether they, or neighbours that their meshes depend on, may be in the archive."""
        depends = np.zeros(len(keys), dtype=bool)
        if not len(self._blocks.archive):
            return depends
        regions, place = np.unique(region_ids(keys), return_inverse=True)
        around = pack(unpack(regions)[:, None] + UPPER)
        away = self._blocks.archive.among(around)
        near = np.flatnonzero(np.asarray(np.isin(around, away).any(axis=1))[place])
        depends[near] = np.isin(region_ids(keys[near][:, None] + UPPER), away).any(axis=1)
        return depends

    def _note_lost(self) -> None:
        lost, had_mesh = self._blocks.archive.take_lost()
        self._pending.append(lost)
        for key in had_mesh:
            self._tell(key, True, None)

    def _take_over(self, keys: NDArray[np.int32], meshes: dict[Key, MeshBlock]) -> None:
        """Set the meshes of blocks (N, 3): those in `meshes`, and none of the others."""
        regions = region_ids(keys)
        is_away = np.isin(regions, self._blocks.archive.among(regions))
        away: dict[int, dict[Key, MeshBlock | None]] = {}
        changed = set()
        for (x, y, z), region, in_archive in zip(keys.tolist(), regions.tolist(), is_away.tolist(), strict=True):
            key, mesh = (x, y, z), meshes.get((x, y, z))
            had = self._blocks.archive.has_mesh(key) if in_archive else key in self._blocks.meshes
            if mesh is None and not had:
                continue
            self._tell(key, had, mesh)
            if in_archive:
                away.setdefault(region, {})[key] = mesh
            else:
                self._blocks.set_mesh(key, mesh)
                changed.add(region)
        self._blocks.archive.changed(changed)
        for region, of_region in away.items():
            try:
                self._blocks.archive.remesh(region, of_region)
            except OSError as error:  # e.g. a full disk: tried again
                _LOG.error("the mesh of a part of the map cannot be written: %s", error)
                self._unwritten.append(np.array(list(of_region), np.int32))

    def _tell(self, key: Key, had: bool, mesh: MeshBlock | None) -> None:
        self._news[key] = (self._news.get(key, (had, None))[0], mesh)
