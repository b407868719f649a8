# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The map: predictions go in, surfaces, a 2D grid and a scene graph come out. Plain Python; not thread-safe."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open3d as o3d
from numpy.typing import NDArray

from mtl_perception.core import LabelSpace, Prediction
from mtl_perception.mapping import storage
from mtl_perception.mapping.config import MapperConfig
from mtl_perception.mapping.fusion import depth_gate
from mtl_perception.mapping.fusion.blocks import Key
from mtl_perception.mapping.fusion.fusion import Fusion
from mtl_perception.mapping.fusion.measured import MeasuredBlocks
from mtl_perception.mapping.fusion.views import views_of
from mtl_perception.mapping.graph.objects import MapObject, ObjectRegistry
from mtl_perception.mapping.graph.scene_graph import SceneGraphView, spark_graph, view_of
from mtl_perception.mapping.ground.ground_grid import GridMap, GroundGrid
from mtl_perception.mapping.surface.meshing import (
    EMPTY_MESH,
    MeshArrays,
    MeshBlock,
    blocks_to_mesh,
    joined,
    mesh_blocks,
)


@dataclass(frozen=True, eq=False)
class MapUpdate:
    """What a frame changed.

    Attributes:
        changed_blocks: per block key, its new mesh (never empty).
        removed_blocks: keys of blocks that had a mesh and have none any more.
        seconds: per stage, the time it took.
    """

    changed_blocks: dict[Key, MeshBlock]
    removed_blocks: tuple[Key, ...]
    seconds: dict[str, float]


@dataclass(frozen=True)
class MapStats:
    """Sizes of the map. `dropped_blocks` and `refused_blocks` count what did not fit within `max_blocks`."""

    blocks: int
    vertices: int
    objects: int
    places: int
    rooms: int
    frames: int
    dropped_blocks: int
    refused_blocks: int


class Mapper:
    """Fuses predictions into a labelled surface map with a 2D grid and a scene graph.

    Memory is bounded by `max_blocks` (13 kB a block, and a few kB more for its mesh) and `max_grid_cells` (6 bytes a
    cell).
    """

    def __init__(self, config: MapperConfig, labels: LabelSpace, with_grid: bool = True) -> None:
        """Make an empty map; without a grid, `occupancy_grid` stays empty and frames are fused faster.

        Raises:
            ValueError: `config.ground_labels` names a class that `labels` does not have.
        """
        depth_gate.prepare()
        self.config = config
        self.labels = labels
        self._with_grid = with_grid
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._fusion = Fusion(self.config)
        self._grid = GroundGrid(self.config, self.labels)
        self._objects = ObjectRegistry(self.config, self.labels)
        self._meshes: dict[Key, MeshBlock] = {}
        self._measured = MeasuredBlocks()
        self._unmeshed: list[NDArray[np.int32]] = []  # keys of blocks that have changed since they were meshed
        self._frames = 0
        self._stamp_ns = 0

    def integrate(self, prediction: Prediction) -> MapUpdate:
        """Fuse all cameras of a frame and mesh what has changed since the map was last meshed.

        Raises:
            MappingError: a pose or a depth image is missing or makes no sense; the map is then unchanged.
        """
        seconds: dict[str, float] = {}
        self._fuse(prediction, seconds)
        with _timed(seconds, "mesh"):
            changed, removed = self._mesh_changes()
        return MapUpdate(changed, removed, seconds)

    def fuse(self, prediction: Prediction) -> None:
        """Fuse all cameras of a frame, and leave the mesh until it is asked for: for when nobody looks between frames.

        Raises:
            MappingError: a pose or a depth image is missing or makes no sense; the map is then unchanged.
        """
        self._fuse(prediction, {})

    @property
    def stats(self) -> MapStats:
        """Sizes of the map as it stands."""
        self._mesh_changes()
        return MapStats(
            blocks=len(self._fusion.store),
            vertices=sum(len(block.vertices) for block in self._meshes.values()),
            objects=len(self.objects()),
            places=0,
            rooms=0,
            frames=self._frames,
            dropped_blocks=self._fusion.dropped_blocks,
            refused_blocks=self._fusion.refused_blocks,
        )

    @property
    def mesh_keys(self) -> tuple[Key, ...]:
        """The keys of all blocks that have a mesh, in order."""
        self._mesh_changes()
        return tuple(sorted(self._meshes))

    def mesh_block(self, key: Key) -> MeshBlock:
        """Return the mesh of one block, empty where there is no surface."""
        self._mesh_changes()
        return self._meshes.get(key, EMPTY_MESH)

    def mesh(self) -> MeshArrays:
        """Return the mesh of the whole map, vertices between blocks merged."""
        self._mesh_changes()
        return joined(self._meshes)

    def meshed_anew(self) -> dict[Key, MeshBlock]:
        """Mesh all blocks from their voxels; equal, block by block, to what the updates have built up."""
        store = self._fusion.store
        return mesh_blocks(store, store.keys(), self.config.min_weight)

    def to_open3d(self) -> o3d.t.geometry.VoxelBlockGrid:
        """Return a copy of the voxels as Open3D's grid, for its own functions."""
        return self._fusion.store.to_open3d()

    def points(self) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.uint8]]:
        """Return the surface as points: positions (N, 3) in the world, RGB (N, 3), label ids (N,)."""
        mesh = self.mesh()
        return mesh.vertices, mesh.colours, mesh.labels

    def occupancy_grid(self) -> GridMap:
        """Return the 2D grid of obstacles and free ground."""
        return self._grid.map()

    def objects(self) -> tuple[MapObject, ...]:
        """Return the static things in the map; an object keeps its id from call to call."""
        self._mesh_changes()
        return self._objects.current(self._measured, self._stamp_ns)

    def scene_graph(self) -> SceneGraphView:
        """Return the scene graph as plain data."""
        return view_of(self.objects(), self.labels)

    def scene_graph_bytes(self, include_mesh: bool = False) -> bytes:
        """Return the scene graph as spark-dsg's `DynamicSceneGraph.from_binary` reads it."""
        mesh = self.mesh() if include_mesh else None
        return bytes(spark_graph(self.objects(), self.labels, mesh).to_binary(include_mesh))

    def save(self, folder: str | Path) -> Path:
        """Write the map to a folder, replacing a map that is there; return the folder.

        Raises:
            MapFormatError: there is something else than a map at that place.
            OSError: the files cannot be written; a map that was there is still there.
        """
        mesh = self.mesh()
        products = storage.MapProducts(mesh, spark_graph(self.objects(), self.labels, mesh))
        return storage.save(self._state(), products, Path(folder), self.config, self.labels)

    def load(self, folder: str | Path) -> None:
        """Replace the map by a saved one.

        Raises:
            MapFormatError: the folder is no map, is damaged, or does not fit this configuration; the map is unchanged.
        """
        saved = storage.load(Path(folder), self.config, self.labels)
        objects = ObjectRegistry(self.config, self.labels)
        objects.restore(saved.objects)
        self.reset()
        self._objects = objects
        self._fusion.store.fill(saved.keys, saved.voxels)
        self._grid.restore(saved.grid)
        self._meshes = mesh_blocks(self._fusion.store, saved.keys, self.config.min_weight)
        self._measured.restore(saved.keys, saved.seen_ns)
        self._frames, self._stamp_ns = saved.frames, saved.stamp_ns

    def _fuse(self, prediction: Prediction, seconds: dict[str, float]) -> None:
        with _timed(seconds, "gate"):
            views = views_of(prediction, self.config, self.labels)
        assert prediction.world_from_base is not None  # views_of has checked it
        with _timed(seconds, "fuse"):
            robot = prediction.world_from_base[:3, 3]
            results = [self._fusion.integrate(view, robot) for view in views]
            measured = np.concatenate([keys for keys, _ in results])
            dropped = np.concatenate([keys for _, keys in results])
            self._measured.note(measured, prediction.stamp_ns)
            self._objects.note_measured(measured)
            # another camera may have brought a dropped block back
            self._measured.forget(dropped[self._fusion.store.find(dropped) < 0])
            self._unmeshed += [measured, dropped]
        with _timed(seconds, "grid"):
            if self._with_grid:
                self._grid.integrate(views, prediction.world_from_base)
        self._frames += 1
        self._stamp_ns = prediction.stamp_ns

    def _mesh_changes(self) -> tuple[dict[Key, MeshBlock], tuple[Key, ...]]:
        """Mesh again what depends on changed blocks; return the new meshes and the keys that have none any more."""
        if not self._unmeshed:
            return {}, ()
        keys = blocks_to_mesh(np.concatenate(self._unmeshed))
        self._unmeshed = []
        changed = mesh_blocks(self._fusion.store, keys, self.config.min_weight)
        removed = tuple(key for key in map(_as_key, keys.tolist()) if key in self._meshes and key not in changed)
        for key in removed:
            del self._meshes[key]
        self._meshes.update(changed)
        self._objects.note(changed, removed)
        return changed, removed

    def _state(self) -> storage.SavedMap:
        keys, voxels = self._fusion.store.contents()
        return storage.SavedMap(
            frames=self._frames,
            stamp_ns=self._stamp_ns,
            keys=keys,
            voxels=voxels,
            # a block at the edge of a surface's band may never have been measured
            seen_ns=self._measured.of(keys, self._stamp_ns),
            grid=self._grid.state(),
            objects=self._objects.state(self._measured, self._stamp_ns),
        )


def _as_key(key: list[int]) -> Key:
    x, y, z = key
    return x, y, z


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start
