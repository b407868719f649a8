# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""All blocks of a map, wherever they are: voxels, stamps and meshes, in memory or in the archive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import open3d as o3d
from numpy.typing import NDArray

from mtl_perception.mapping.config import MapperConfig
from mtl_perception.mapping.fusion.blocks import BLOCK, BlockStore, Key, unpack
from mtl_perception.mapping.fusion.measured import NEVER_NS, MeasuredBlocks
from mtl_perception.mapping.surface.meshing import EMPTY_MESH, MeshBlock
from mtl_perception.mapping.window.archive import RegionArchive
from mtl_perception.mapping.window.region_file import Region, encode
from mtl_perception.mapping.window.regions import REGION, block_keys, distances, distinct_regions, region_ids

_PART = 512  # blocks that are copied at once, 2 MB


class MapBlocks:
    """The blocks of a map. A region is in memory, or in the archive, or nowhere: never in both.

    Attributes:
        store: the voxels in memory.
        measured: the stamps of all blocks.
        meshes: of blocks in memory. Change them by `set_mesh`.
        archive: the regions that are not in memory.
        resident: int64 (N,), the regions in memory, in order.
    """

    def __init__(self, config: MapperConfig, archive: RegionArchive) -> None:
        """Begin with nothing in memory.

        Raises:
            MemoryError: the system does not promise memory for `config.max_blocks`.
        """
        self.store = BlockStore(config.voxel_size, config.max_blocks)
        self.archive = archive
        self.measured = MeasuredBlocks(archive.stamps)
        self.meshes: dict[Key, MeshBlock] = {}
        self.resident = np.zeros(0, np.int64)
        self._vertices = 0

    def __len__(self) -> int:
        """Return the number of blocks in memory and in the archive."""
        return len(self.store) + self.archive.blocks

    @property
    def vertices(self) -> int:
        """How many vertices all meshes have."""
        return self._vertices + self.archive.vertices

    def regions(self) -> list[int]:
        """Return all regions, in order."""
        return sorted([*self.resident.tolist(), *self.archive.regions()])

    def regions_near(self, centre: NDArray[np.float64], radius: float) -> NDArray[np.int64]:
        """Return the regions (N,), in order, of which anything is within `radius` of a place (3,), metres."""
        regions = np.union1d(self.resident, self.archive.near(centre - radius, centre + radius))
        return regions[distances(regions, centre, REGION * BLOCK * self.store.voxel_size) <= radius]

    def note(self, fused: NDArray[np.int32], changed: NDArray[np.int32], stamp_ns: int) -> None:
        """Learn that blocks (N, 3) in memory were fused into now, and that of these (M, 3) have changed."""
        regions = distinct_regions(fused)
        self.resident = np.union1d(self.resident, regions)
        self.archive.changed(regions.tolist())
        self.measured.note(changed, stamp_ns)

    def keys_in(self, region: int) -> NDArray[np.int32]:
        """Return the keys (N, 3), in order, of the blocks of a region."""
        if region in self.archive:
            return self.archive.keys(region)
        keys = block_keys(region)
        return keys[self.store.find(keys) >= 0]

    def meshes_in(self, region: int) -> Mapping[Key, MeshBlock]:
        """Return the meshes of the blocks of a region."""
        if region in self.archive:
            content = self.archive.read(region, with_voxels=False)
            return {} if content is None else content.meshes
        keys = [(x, y, z) for x, y, z in block_keys(region).tolist()]
        return {key: self.meshes[key] for key in keys if key in self.meshes}

    def mesh_of(self, key: Key) -> MeshBlock:
        """Return the mesh of a block, empty where there is no surface."""
        mesh = self.meshes.get(key)
        if mesh is None and self.archive.has_mesh(key):
            mesh = self.meshes_in(int(region_ids(np.array(key)))).get(key)
        return EMPTY_MESH if mesh is None else mesh

    def has_mesh(self, key: Key) -> bool:
        """Return whether a block has a mesh."""
        return key in self.meshes or self.archive.has_mesh(key)

    def set_mesh(self, key: Key, mesh: MeshBlock | None) -> None:
        """Set the mesh of a block in memory; None: it has none."""
        old = self.meshes.pop(key, EMPTY_MESH)
        if mesh is not None:
            self.meshes[key] = mesh
        self._vertices += len((mesh or EMPTY_MESH).vertices) - len(old.vertices)

    def with_neighbours(self, region: int) -> BlockStore:
        """Return a store of its own with the blocks of a region, and with those above it that its meshes depend on."""
        low = unpack(np.array(region)) * np.int32(REGION)
        wanted = low + np.stack(np.unravel_index(np.arange((REGION + 1) ** 3), (REGION + 1,) * 3), axis=1).astype("i4")
        store = BlockStore(self.store.voxel_size, len(wanted))
        here = wanted[self.store.find(wanted) >= 0]
        store.fill(here, self.store.read(here))
        for neighbour in self.archive.among(region_ids(wanted)).tolist():
            content = self.archive.read(neighbour)
            if content is not None:
                needed = ((content.keys >= low) & (content.keys <= low + REGION)).all(axis=1)
                store.fill(content.keys[needed], {name: array[needed] for name, array in content.voxels.items()})
        return store

    def send_away(self, region: int) -> None:
        """Move a region from memory to the archive; its meshes must be those of its voxels.

        Raises:
            OSError: it cannot be written; it stays where it is.
        """
        if not self.archive.put_back(region):
            self.archive.put(self._content(region))
        self._forget(region)

    def bring_back(self, region: int) -> None:
        """Move a region from the archive to memory; a damaged one is gone then.

        Raises:
            MemoryError: the store has no room for it; it stays where it is.
        """
        if len(self.store) + self.archive.block_count(region) > len(self.store.voxels["tsdf"]):
            raise MemoryError(f"a region of {self.archive.block_count(region)} blocks does not fit")
        content = self.archive.take(region)
        if content is not None:
            self.store.fill(content.keys, content.voxels)
            self.measured.add(content.keys, content.seen_ns)
            for key, mesh in content.meshes.items():
                self.set_mesh(key, mesh)
            self.resident = np.union1d(self.resident, region)

    def remove(self, keys: NDArray[np.int32]) -> None:
        """Remove blocks (N, 3) in memory from the map, but not their meshes."""
        self.store.erase(keys)
        self.measured.forget(keys)
        self.archive.changed(distinct_regions(keys).tolist())

    def drop(self, region: int) -> NDArray[np.int32]:
        """Remove a region in memory from the map, but not its meshes; return the keys (N, 3) that its blocks had."""
        keys = self.keys_in(region)
        meshes = self.meshes_in(region)
        self._forget(region)
        for key, mesh in meshes.items():
            self.set_mesh(key, mesh)
        return keys

    def contents(self) -> Iterator[tuple[int, int, bytes]]:
        """Give all regions, in order: which it is, how many blocks it has, and what `encode` makes of it.

        One at a time is in memory. The meshes must be those of the voxels.
        """
        for region in self.regions():
            count = len(self.keys_in(region))
            content = self.archive.content(region) if region in self.archive else encode(self._content(region))
            if content is not None:
                yield region, count, content

    def content_of(self, region: int, with_voxels: bool) -> Region | None:
        """Return a region wherever it is, at will without voxels and meshes; None when its file is damaged."""
        if region in self.archive:
            return self.archive.read(region, with_voxels)
        keys = self.keys_in(region)
        voxels = self.store.read(keys) if with_voxels else {}
        return Region(region, keys, self.measured.of(keys, NEVER_NS), {}, voxels)

    def whole(self, region: int) -> Region | None:
        """Return a region wherever it is, with voxels and meshes, which must be those of the voxels.

        None when there is no block, or the file is damaged.
        """
        if region in self.archive:
            return self.archive.read(region)
        return self._content(region) if np.isin(region, self.resident) else None

    def write_to(self, archive: RegionArchive) -> None:
        """Write all regions into an empty archive, those on disk by links; the meshes must be those of the voxels.

        Raises:
            OSError: they cannot be written.
        """
        self.archive.copy_to(archive)
        for region in self.resident.tolist():
            archive.put(self._content(region))

    def copy_to(self, other: MapBlocks) -> None:
        """Make an empty map of blocks equal to this one; meshes, which never change, are shared.

        Raises:
            OSError: the archive's files can be neither linked nor copied.
        """
        self.archive.copy_to(other.archive)
        keys = self.store.keys()
        for start in range(0, len(keys), _PART):
            part = keys[start : start + _PART]
            other.store.fill(part, self.store.read(part))
        other.measured.add(keys, self.measured.of(keys, NEVER_NS))
        other.meshes, other._vertices = dict(self.meshes), self._vertices
        other.resident = self.resident.copy()

    def have(self, keys: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Return for blocks (N, 3) whether they are in memory or in the archive."""
        return (self.store.find(keys) >= 0) | self.archive.has_blocks(keys)

    def within(
        self, first: NDArray[np.int64], last: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.int32], dict[str, NDArray]]]:
        """Give all blocks between two keys (3,), which belong to them: keys (N, 3), and tsdf and weight (N, VOXELS).

        They come in parts, in no particular order. One part at a time is in memory beside the map.
        """
        resident = self.store.keys()
        resident = resident[((resident >= first) & (resident <= last)).all(axis=1)]
        for start in range(0, len(resident), _PART):
            keys = resident[start : start + _PART]
            rows = self.store.find(keys)
            yield keys, {name: self.store.voxels[name][rows] for name in ("tsdf", "weight")}
        edge = np.float64(BLOCK * self.store.voxel_size)
        near = self.archive.near(first * edge, (last + 1) * edge)
        inside = ((unpack(near) >= first // REGION) & (unpack(near) <= last // REGION)).all(axis=1)
        for region in near[inside].tolist():
            content = self.archive.read(region)
            if content is not None:
                inside = ((content.keys >= first) & (content.keys <= last)).all(axis=1)
                yield content.keys[inside], {name: content.voxels[name][inside] for name in ("tsdf", "weight")}

    def to_open3d(self) -> o3d.t.geometry.VoxelBlockGrid:
        """Return a copy of all voxels as Open3D's grid (tsdf, weight, color), which is in memory as a whole."""
        names = ("tsdf", "weight", "color")
        channels = tuple(o3d.core.SizeVector([3 if name == "color" else 1]) for name in names)
        kinds = (o3d.core.float32,) * len(names)
        grid = o3d.t.geometry.VoxelBlockGrid(names, kinds, channels, self.store.voxel_size, BLOCK, max(len(self), 1))
        for region in self.regions():
            content = self.archive.read(region) if region in self.archive else self._content(region)
            if content is not None:
                rows, _ = grid.hashmap().activate(o3d.core.Tensor.from_numpy(np.ascontiguousarray(content.keys)))
                for name in names:
                    array = grid.attribute(name).numpy()
                    array[rows.numpy()] = content.voxels[name].reshape(len(content.keys), *array.shape[1:])
        return grid

    def _content(self, region: int) -> Region:
        keys = self.keys_in(region)
        stamps = self.measured.of(keys, NEVER_NS)
        return Region(region, keys, stamps, self.meshes_in(region), self.store.read(keys))

    def _forget(self, region: int) -> None:
        keys = block_keys(region)
        for x, y, z in keys.tolist():
            self.set_mesh((x, y, z), None)
        keys = keys[self.store.find(keys) >= 0]
        self.store.erase(keys)
        self.measured.forget(keys)
        self.resident = np.delete(self.resident, np.searchsorted(self.resident, region))
