# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The map: predictions go in, surfaces, a 2D grid and a scene graph come out. Plain Python; not thread-safe."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
from mtl_perception.mapping.fusion.instances import Instances
from mtl_perception.mapping.fusion.views import views_of
from mtl_perception.mapping.graph.objects import MapObject, ObjectRegistry
from mtl_perception.mapping.graph.scene_graph import SceneGraphView, spark_graph, view_of
from mtl_perception.mapping.ground.ground_grid import GridMap, GroundGrid
from mtl_perception.mapping.products.map_products import MapProducts
from mtl_perception.mapping.slices.esdf_slice import EsdfSlice, esdf_of
from mtl_perception.mapping.slices.free_air import FreeAir
from mtl_perception.mapping.slices.height_band import Area, Bounds, GroundHeights, band_grid, cell_edge
from mtl_perception.mapping.surface.meshing import MeshArrays, MeshBlock
from mtl_perception.mapping.window.active_window import ActiveWindow
from mtl_perception.mapping.window.archive import RegionArchive
from mtl_perception.mapping.window.map_blocks import MapBlocks
from mtl_perception.mapping.window.map_surface import MapSurface


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
    """Sizes of the map, in memory and on disk together.

    Attributes:
        blocks, vertices, objects, places, rooms: what it has.
        archived_blocks: of the blocks, those that are on disk only.
        frames: that were fused.
        evicted_blocks: that went to disk for want of room while they were near enough to stay, each time counted.
        refused_blocks: that a view wanted and did not get, because it needs more than `max_blocks` at once.
        dropped_blocks: that were lost because they could not be written, e.g. to a full disk.
        damaged_regions: parts of the map that were lost because their files could not be read.
    """

    blocks: int
    archived_blocks: int
    vertices: int
    objects: int
    places: int
    rooms: int
    frames: int
    evicted_blocks: int
    refused_blocks: int
    dropped_blocks: int
    damaged_regions: int


class Mapper:
    """Fuses predictions into a labelled surface map with a 2D grid and a scene graph.

    Memory is bounded by `max_blocks` (13 kB a block, and a few kB more for its mesh) and `max_grid_cells` (6 bytes a
    cell). Blocks that do not fit, or are far from the robot, are in files of a folder of the map's own, some 2 kB each
    and 50 bytes of memory; they come back when the robot does.
    """

    def __init__(
        self,
        config: MapperConfig,
        labels: LabelSpace,
        with_grid: bool = True,
        archive_folder: str | Path | None = None,
    ) -> None:
        """Make an empty map; without a grid, `occupancy_grid` stays empty, `occupancy_band` knows what is free near
        surfaces only, and frames are fused faster.

        The folder for what is not in memory is made in `archive_folder`, or else in $TMPDIR, or else in /var/tmp. It is
        removed by `close`, with this object, or at exit.

        Raises:
            ValueError: `config.ground_labels` names a class that `labels` does not have.
            OSError: the folder cannot be made.
        """
        depth_gate.prepare()
        self.config = config
        self.labels = labels
        self._with_grid = with_grid
        self._archive_folder = None if archive_folder is None else Path(archive_folder)
        self._begin(self._new_archive())

    def reset(self) -> None:
        """Forget everything.

        Raises:
            OSError: a new folder for what is not in memory cannot be made; nothing is forgotten.
        """
        archive = self._new_archive()
        self.close()
        self._begin(archive)

    def close(self) -> None:
        """Remove what is on disk. Only to be called when the map is not used any more."""
        self._blocks.archive.close()

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

        Only what leaves memory is meshed before; no `MapUpdate` tells of that.

        Raises:
            MappingError: a pose or a depth image is missing or makes no sense; the map is then unchanged.
        """
        self._fuse(prediction, {})
        self._take_news()

    @property
    def stats(self) -> MapStats:
        """Sizes of the map as it stands."""
        self._mesh_changes()
        return MapStats(
            blocks=len(self._blocks),
            archived_blocks=self._blocks.archive.blocks,
            vertices=self._blocks.vertices,
            objects=len(self.objects()),
            places=0,
            rooms=0,
            frames=self._frames,
            evicted_blocks=self._window.evicted_blocks,
            refused_blocks=self._window.refused_blocks,
            dropped_blocks=self._window.dropped_blocks,
            damaged_regions=self._blocks.archive.damaged_regions,
        )

    @property
    def instances(self) -> Instances:
        """What the numbers in `MeshArrays.instances` stand for."""
        return self._fusion.instances

    @property
    def position(self) -> NDArray[np.float64] | None:
        """Where the robot was last, (3,) in the world, metres; None before the first frame."""
        return self._window.centre

    @property
    def mesh_keys(self) -> tuple[Key, ...]:
        """The keys of all blocks that have a mesh, in order."""
        self._mesh_changes()
        return self._surface.keys()

    def mesh_block(self, key: Key) -> MeshBlock:
        """Return the mesh of one block, empty where there is no surface."""
        self._mesh_changes()
        return self._blocks.mesh_of(key)

    def mesh_blocks(self, keys: Iterable[Key]) -> dict[Key, MeshBlock]:
        """Return the meshes of blocks, empty where there is no surface; each file on disk is read once."""
        self._mesh_changes()
        return self._surface.blocks(keys)

    def mesh(self) -> MeshArrays:
        """Return the mesh of the whole map, vertices between blocks merged."""
        self._mesh_changes()
        return self._surface.joined()

    def meshed_anew(self) -> dict[Key, MeshBlock]:
        """Mesh all blocks from their voxels; equal, block by block, to what the updates have built up."""
        return self._surface.meshed_anew()

    def to_open3d(self) -> o3d.t.geometry.VoxelBlockGrid:
        """Return a copy of the voxels as Open3D's grid, for its own functions; it is in memory as a whole."""
        return self._blocks.to_open3d()

    def points(self) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.uint8]]:
        """Return the surface as points: positions (N, 3) in the world, RGB (N, 3), label ids (N,)."""
        mesh = self.mesh()
        return mesh.vertices, mesh.colours, mesh.labels

    def occupancy_grid(self) -> GridMap:
        """Return the 2D grid of obstacles and free ground."""
        return self._grid.map()

    def occupancy_band(self, low: float, high: float, bounds: Bounds | None = None) -> GridMap:
        """Return obstacles and free space between two heights above the ground, as the voxels know them.

        Unlike `occupancy_grid` it is made when it is asked for, of any band. Cells are whole voxels wide, about
        `config.grid_resolution`.

        Args:
            low, high: metres above the ground.
            bounds: the rectangle of the world that is asked for; None: all of the map, but a square around the robot
                where that has more than `config.max_grid_cells`. It costs as much as the blocks in it.

        Raises:
            ValueError: `low` is above `high`, or `bounds` has its ends in the wrong order or too many cells.
        """
        return self._band(low, high, bounds, 0)

    def esdf_slice(self, low: float, high: float, bounds: Bounds | None = None, max_distance: float = 5.0) -> EsdfSlice:
        """Return the distance to the nearest obstacle between two heights above the ground.

        Obstacles beyond the bounds count, up to `max_distance` metres, where distances end. See `occupancy_band`.
        """
        margin = 0 if bounds is None else math.ceil(max_distance / cell_edge(self.config)) + 1
        height = self._ground().usual + (low + high) / 2
        return esdf_of(self._band(low, high, bounds, margin), height, max_distance, margin)

    def objects(self) -> tuple[MapObject, ...]:
        """Return the static things in the map; an object keeps its id from call to call."""
        self._mesh_changes()
        return self._objects.current(self._blocks.measured, self._stamp_ns)

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
        products = self._products()
        regions = self._blocks.contents()
        return storage.save(self._state(), regions, products, Path(folder), self.config, self.labels)

    def load(self, folder: str | Path) -> None:
        """Replace the map by a saved one, which may be larger than memory.

        Raises:
            MapFormatError: the folder is no map, is damaged, or does not fit this configuration; the map is unchanged.
            OSError: a new folder for what is not in memory cannot be made; the map is unchanged.
        """
        archive = self._new_archive()
        objects = ObjectRegistry(self.config, self.labels)
        try:
            saved = storage.load(Path(folder), self.config, self.labels, archive.adopt)
            objects.restore(saved.objects)
        except BaseException:
            archive.close()
            raise
        self.close()
        self._begin(archive)
        if saved.centre is not None:
            self._window.open_at(saved.centre)
        self._continue_from(saved, objects)

    def copy(self) -> Mapper:
        """Return another map that equals this one, for example to be saved by another thread while this one goes on.

        It takes as long as copying what is in memory, a tenth of saving it, and as much memory again until it is
        closed. What is on disk is shared by links.

        Raises:
            OSError: a folder for what is not in memory cannot be made.
        """
        self._mesh_changes()
        saved = self._state()
        objects = ObjectRegistry(self.config, self.labels)
        objects.restore(saved.objects)
        other = Mapper(self.config, self.labels, self._with_grid, self._archive_folder)
        self._blocks.copy_to(other._blocks)
        other._window.centre = None if saved.centre is None else saved.centre.copy()
        other._continue_from(saved, objects)
        return other

    def _continue_from(self, saved: storage.SavedMap, objects: ObjectRegistry) -> None:
        """Take over all that is saved beside the regions."""
        self._objects = objects
        self._fusion.instances.restore(saved.instances)
        self._grid.restore(saved.grid)
        self._air.restore(saved.air)
        self._frames, self._stamp_ns = saved.frames, saved.stamp_ns

    def _new_archive(self) -> RegionArchive:
        return RegionArchive(self.config.voxel_size, self.config.max_depth, self._archive_folder)

    def _begin(self, archive: RegionArchive) -> None:
        """Begin with what is in an archive, and nothing else."""
        self._blocks = MapBlocks(self.config, archive)
        self._surface = MapSurface(self._blocks, self.config.min_weight)
        self._window = ActiveWindow(self.config, self._blocks, self._surface)
        self._fusion = Fusion(self.config, self._blocks.store, self.labels)
        self._grid = GroundGrid(self.config, self.labels)
        self._air = FreeAir(self.config)
        self._objects = ObjectRegistry(self.config, self.labels)
        self._frames = 0
        self._stamp_ns = 0

    def _fuse(self, prediction: Prediction, seconds: dict[str, float]) -> None:
        with _timed(seconds, "gate"):
            views = views_of(prediction, self.config, self.labels)
        assert prediction.world_from_base is not None  # views_of has checked it
        with _timed(seconds, "window"):
            reaches = self._window.move(views, prediction.world_from_base[:3, 3])
        with _timed(seconds, "fuse"):
            for view, reach in zip(views, reaches, strict=True):
                wanted = self._window.make_room(self._fusion.blocks_at_surfaces(view), reach)
                fused, changed = self._fusion.integrate(view, wanted)
                self._blocks.note(fused, changed, prediction.stamp_ns)
                self._surface.note(changed)
                self._objects.note_measured(changed)
        with _timed(seconds, "grid"):
            if self._with_grid:
                self._grid.integrate(views, prediction.world_from_base)
                for view, reach in zip(views, reaches, strict=True):
                    self._air.integrate(view, reach.low, reach.high)
        self._frames += 1
        self._stamp_ns = prediction.stamp_ns

    def _mesh_changes(self) -> tuple[dict[Key, MeshBlock], tuple[Key, ...]]:
        """Mesh again what depends on changed blocks; return the new meshes and the keys that have none any more."""
        self._surface.update()
        return self._take_news()

    def _take_news(self) -> tuple[dict[Key, MeshBlock], tuple[Key, ...]]:
        """Tell the objects what has been meshed, and return it."""
        changed, removed = self._surface.take_news()
        for instance, other in self.instances.take_joined():
            self._objects.join(instance, other)
        meant = {
            key: replace(mesh, instances=self.instances.meant(mesh.instances, mesh.labels))
            for key, mesh in changed.items()
        }
        self._objects.note(meant, removed)
        return changed, removed

    def _band(self, low: float, high: float, bounds: Bounds | None, margin: int) -> GridMap:
        centre = (0.0, 0.0) if self.position is None else (float(self.position[0]), float(self.position[1]))
        area = Area(bounds, margin, centre)
        return band_grid(self._blocks, self._air, self._ground(), self.config, (low, high), area)

    def _ground(self) -> GroundHeights:
        grid = self._grid.state()
        usual = float(grid["ground_height"])
        if math.isnan(usual):
            usual = 0.0 if self.position is None else float(self.position[2]) - self.config.base_height
        return GroundHeights(grid["corner"], self.config.grid_resolution, grid["ground"], usual)

    def _products(self) -> MapProducts:
        mesh = self.mesh()
        mesh = replace(mesh, instances=self.instances.meant(mesh.instances, mesh.labels))
        graph = spark_graph(self.objects(), self.labels, mesh)
        band = (self.config.obstacle_min_height, self.config.obstacle_max_height)
        return MapProducts(mesh, graph, self.occupancy_grid(), self.esdf_slice(*band), band)

    def _state(self) -> storage.SavedMap:
        return storage.SavedMap(
            frames=self._frames,
            stamp_ns=self._stamp_ns,
            centre=self._window.centre,
            instances=self._fusion.instances.state(),
            grid=self._grid.state(),
            air=self._air.state(),
            objects=self._objects.state(self._blocks.measured, self._stamp_ns),
        )


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start
