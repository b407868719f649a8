# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The map: predictions go in, surfaces, a 2D grid and a scene graph come out. Plain Python; not thread-safe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import open3d as o3d
import spark_dsg
from numpy.typing import NDArray

from mtl_perception.core import LabelSpace, Prediction
from mtl_perception.core.transforms import Transform
from mtl_perception.mapping import storage
from mtl_perception.mapping.config import MapperConfig
from mtl_perception.mapping.fusion import depth_gate
from mtl_perception.mapping.fusion.blocks import Key
from mtl_perception.mapping.fusion.instances import Instances
from mtl_perception.mapping.fusion.views import views_of
from mtl_perception.mapping.graph.ground_graph import GroundView
from mtl_perception.mapping.graph.kept_graph import KeptGraph, SceneGraphFollower
from mtl_perception.mapping.graph.map_object import MapObject
from mtl_perception.mapping.graph.queries import Queries
from mtl_perception.mapping.graph.scene_graph import SceneGraphChanges, SceneGraphView
from mtl_perception.mapping.graph.spark_graph import SparkGraph
from mtl_perception.mapping.graph.track import Track
from mtl_perception.mapping.ground.distance_field import FieldMap
from mtl_perception.mapping.ground.ground_grid import GridMap
from mtl_perception.mapping.ground.occupancy_follower import OccupancyChanges, OccupancyFollower
from mtl_perception.mapping.merging.merge import ThisMap, merge
from mtl_perception.mapping.poses.trajectory import Correction, Trajectory
from mtl_perception.mapping.reading import ReadMap, products_of, read_map, state_of, taken_over
from mtl_perception.mapping.reports import MapStats, MapUpdate, MergeReport, stats_of, timed
from mtl_perception.mapping.scene import Scene
from mtl_perception.mapping.slices.esdf_slice import EsdfSlice
from mtl_perception.mapping.slices.height_band import Bounds
from mtl_perception.mapping.surface.meshing import MeshArrays, MeshBlock
from mtl_perception.mapping.volume import Volume


class Mapper:
    """Fuses predictions into a labelled surface map with a 2D grid and a scene graph.

    Memory is bounded by `max_blocks` (14 kB a block, and a few kB more for its mesh) and `max_grid_cells` (16 bytes a
    cell). Blocks that do not fit, or are far from the robot, are in files of a folder of the map's own, some 2 kB each;
    they come back when the robot does. So it is with most of what the scene graph is made of.
    """

    def __init__(
        self,
        config: MapperConfig,
        labels: LabelSpace,
        with_grid: bool = True,
        archive_folder: str | Path | None = None,
    ) -> None:
        """Make an empty map; without a grid, nothing is known of the ground and of free air, and fusing is faster.

        What is not in memory is in folders in `archive_folder`, see `PrivateFolder`; `close` removes them.

        Raises:
            ValueError: `config` names a class that `labels` does not have, or that is not possible there.
            OSError: the folder cannot be made.
        """
        depth_gate.prepare()
        self.config, self.labels, self._with_grid = config, labels, with_grid
        self._archive_folder = None if archive_folder is None else Path(archive_folder)
        self._graph = KeptGraph()
        self._spark = SparkGraph(labels, config.object_gap, self._graph.follow())
        self._begin(Volume(self.config, self.labels, self._archive_folder))

    def adjust(self, config: MapperConfig, labels: LabelSpace) -> None:
        """Go on with other `Live` settings and other colours of the classes, which tracks have.

        Raises:
            ValueError: another setting, or a class, is not the same; nothing is changed.
        """
        self._scene.adjust(config, labels)
        self.config, self.labels = config, labels

    def reset(self) -> None:
        """Forget everything.

        Raises:
            OSError: a new folder for what is not in memory cannot be made; nothing is forgotten.
        """
        volume = Volume(self.config, self.labels, self._archive_folder)
        self.close()
        self._begin(volume)

    def close(self) -> None:
        """Remove what is on disk. Only to be called when the map is not used any more."""
        self._volume.close()
        self._scene.close()

    def integrate(self, prediction: Prediction) -> MapUpdate:
        """Fuse all cameras of a frame and mesh what has changed since the map was last meshed.

        Raises:
            MappingError: a pose or a depth image is missing or makes no sense, or the pose has jumped; the map is then
                unchanged.
        """
        seconds: dict[str, float] = {}
        moved = self._fuse(prediction, seconds)
        with timed(seconds, "mesh"):
            changed, removed = self._mesh_changes()
        return MapUpdate(changed, removed, moved, seconds)

    def fuse(self, prediction: Prediction) -> None:
        """Fuse all cameras of a frame, and leave the mesh until it is asked for: for when nobody looks between frames.

        Only what leaves memory is meshed before; no `MapUpdate` tells of that.

        Raises:
            MappingError: a pose or a depth image is missing or makes no sense, or the pose has jumped; the map is then
                unchanged.
        """
        self._fuse(prediction, {})
        self._take_news()

    def correct(self, poses: Sequence[tuple[int, Transform]]) -> None:
        """Move the map, its objects, tracks and ground to where a corrected trajectory has them.

        Each block of the map moves with the robot's pose at the time when it was measured. All blocks are resampled,
        those that were set aside with them, and meshed anew. The 2D grid moves with the keyframes nearest to its cells;
        places and rooms are found anew in it, and rooms keep their ids.

        Args:
            poses: stamps in increasing order, and world_from_base at them; see `Correction` for what is between them.

        Raises:
            ValueError: the poses make no sense, or none is within the trajectory; the map is unchanged.
            OSError: a part of the map cannot be read or written; the map is unchanged.
        """
        self._correct(self._scene.path.trajectory.correction(poses))

    @property
    def stats(self) -> MapStats:
        """Sizes of the map as it stands."""
        self._mesh_changes()
        return stats_of(self._volume, self._scene, self._frames, len(self.objects()))

    @property
    def instances(self) -> Instances:
        """What the numbers in `MeshArrays.instances` stand for."""
        return self._volume.instances

    @property
    def position(self) -> NDArray[np.float64] | None:
        """Where the robot was last, (3,) in the world, metres; None before the first frame."""
        return self._volume.window.centre

    @property
    def stamp_ns(self) -> int:
        """The stamp of the newest frame."""
        return self._stamp_ns

    @property
    def mesh_keys(self) -> tuple[Key, ...]:
        """The keys of all blocks that have a mesh, in order."""
        self._mesh_changes()
        return self._volume.surface.keys()

    def mesh_blocks(self, keys: Iterable[Key]) -> dict[Key, MeshBlock]:
        """Return the meshes of blocks, empty where there is no surface; each file on disk is read once."""
        self._mesh_changes()
        return self._volume.surface.blocks(keys)

    def mesh(self) -> MeshArrays:
        """Return the mesh of the whole map, vertices between blocks merged."""
        self._mesh_changes()
        return self._volume.surface.joined()

    def meshed_anew(self) -> dict[Key, MeshBlock]:
        """Mesh all blocks from their voxels; equal, block by block, to what the updates have built up."""
        return self._volume.surface.meshed_anew()

    def to_open3d(self) -> o3d.t.geometry.VoxelBlockGrid:
        """Return a copy of the voxels as Open3D's grid, for its own functions; it is in memory as a whole."""
        return self._volume.blocks.to_open3d()

    def points(self, radius: float | None = None) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.uint8]]:
        """Return the surface as points: positions (N, 3) in the world, RGB (N, 3), label ids (N,).

        With a radius, those within so many metres of the robot; files are read beyond `config.active_radius` only.
        """
        self._mesh_changes()
        return self._volume.points(radius)

    def occupancy_grid(self) -> GridMap:
        """Return the 2D grid of obstacles and free ground."""
        return self._scene.ground.occupancy()

    def occupancy_grid_changes(self, follower: OccupancyFollower, again: bool = False) -> OccupancyChanges:
        """Return what a copy of the 2D grid lacks; costs as much as has changed. See `OccupancyFollower.changes`."""
        return follower.changes(self._scene.ground.grid, again)

    def clearance(self) -> FieldMap:
        """Return the distance to the nearest obstacle in the 2D grid (an ESDF), at most 3 metres."""
        return self._scene.ground.clearance()

    def ground(self) -> GroundView:
        """Return places, rooms, road segments, buildings and streets; all keep their ids from call to call."""
        return self._scene.ground.view()

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
        return self._volume.band(self._scene.ground.grid, (low, high), bounds)

    def esdf_slice(self, low: float, high: float, bounds: Bounds | None = None, max_distance: float = 5.0) -> EsdfSlice:
        """Return the distance to the nearest obstacle between two heights above the ground.

        Obstacles beyond the bounds count, up to `max_distance` metres, where distances end. See `occupancy_band`.
        """
        return self._volume.esdf(self._scene.ground.grid, (low, high), bounds, max_distance)

    def objects(self) -> tuple[MapObject, ...]:
        """Return the static things in the map; an object keeps its id from call to call."""
        self._mesh_changes()
        return self._scene.objects.current(self._volume.blocks.measured, self._stamp_ns)

    def tracks(self) -> tuple[Track, ...]:
        """Return the things that move, as of the newest frame with boxes."""
        return self._scene.tracks.tracks

    def trajectory(self) -> Trajectory:
        """Return the robot's way since the clock last jumped back; not to be changed."""
        return self._scene.path.trajectory

    def queries(self) -> Queries:
        """Return what answers questions about the map as it stands."""
        return self._scene.queries(self.objects())

    def scene_graph(self) -> SceneGraphView:
        """Return the scene graph as plain data. It is kept: only what has changed is made anew."""
        self._update_graph()
        return self._graph.view()

    def follow_scene_graph(self) -> SceneGraphFollower:
        """Return a new follower of the scene graph, for `scene_graph_changes`."""
        return self._graph.follow()

    def scene_graph_changes(self, follower: SceneGraphFollower) -> SceneGraphChanges:
        """Return how the scene graph has changed since a follower was told before; it costs as much as has changed.

        All of it the first time, and after a reset, a load or a correction of the trajectory.
        """
        self._update_graph()
        return follower.changes()

    def scene_graph_bytes(self, include_mesh: bool = False) -> bytes:
        """Return the scene graph as spark-dsg's `DynamicSceneGraph.from_binary` reads it."""
        self._mesh_changes()
        mesh = self._volume.mesh_of_things() if include_mesh else None
        return bytes(self._spark_graph(mesh).to_binary(include_mesh))

    def save(self, folder: str | Path) -> Path:
        """Write the map to a folder, replacing a map that is there; return the folder.

        Raises:
            MapFormatError: there is something else than a map at that place.
            OSError: the files cannot be written; a map that was there is still there.
        """
        self._mesh_changes()
        volume, scene, mesh = self._volume, self._scene, self._volume.mesh_of_things()
        products = products_of(volume, scene, self.config, mesh, self._spark_graph(mesh))
        state, regions = state_of(volume, scene, self._frames, self._stamp_ns), volume.blocks.contents()
        return storage.save(state, regions, volume.aside, products, Path(folder), self.config, self.labels)

    def load(self, folder: str | Path) -> None:
        """Replace the map by a saved one, which may be larger than memory.

        Raises:
            MapFormatError: the folder is no map, is damaged, or does not fit this configuration; the map is unchanged.
            OSError: a new folder for what is not in memory cannot be made; the map is unchanged.
        """
        read = read_map(Path(folder), self.config, self.labels, self._archive_folder)
        self.close()
        self._go_on(read)

    def merge(self, folder: str | Path, self_from_other: Transform | None = None) -> MergeReport:
        """Make the saved map of another robot a part of this one; see `mapping.merging.merge`.

        Objects, rooms and road segments of this map keep their ids. To merge maps of two namespaces, save both.

        Args:
            folder: of the other map, made with the same voxels, grid and classes.
            self_from_other: where its world lies in this one; None: it is found from what both maps show.

        Raises:
            MappingError: the maps do not fit, or where the other one lies cannot be found; the map is unchanged.
            MapFormatError: the folder is no map, or is damaged; the map is unchanged.
            OSError: a part of a map cannot be read or written; the map is unchanged.
        """
        self._mesh_changes()
        ours = ThisMap(self._volume, self._scene, self.config, self.labels, self._stamp_ns, self._with_grid,
                       self._archive_folder, self._mesh_changes)  # fmt: skip
        report = merge(ours, Path(folder), self_from_other)
        self._frames += report.frames
        return report

    def copy(self) -> Mapper:
        """Return another map that equals this one, for example to be saved by another thread while this one goes on.

        It takes a tenth of saving it, and as much memory again until it is closed. What is on disk is shared by links.

        Raises:
            OSError: a folder for what is not in memory cannot be made.
        """
        self._mesh_changes()
        saved = state_of(self._volume, self._scene, self._frames, self._stamp_ns)
        other = Mapper(self.config, self.labels, self._with_grid, self._archive_folder)
        self._volume.copy_to(other._volume)
        other._go_on(taken_over(other._volume, other._scene, saved))
        return other

    def _go_on(self, read: ReadMap) -> None:
        """Go on from a map."""
        self._volume, self._scene = read.volume, read.scene
        self._frames, self._stamp_ns = read.saved.frames, read.saved.stamp_ns

    def _begin(self, volume: Volume) -> None:
        """Begin with a volume, and nothing else."""
        self._volume, self._scene = volume, Scene(self.config, self.labels, self._archive_folder)
        self._volume.others = self._scene.others
        self._frames = self._stamp_ns = 0

    def _fuse(self, prediction: Prediction, seconds: dict[str, float]) -> bool:
        """Fuse a frame; return whether the map has moved before."""
        with timed(seconds, "gate"):
            views = views_of(prediction, self.config, self.labels)
        assert prediction.world_from_base is not None  # views_of has checked it
        stamp_ns, world_from_base = prediction.stamp_ns, prediction.world_from_base
        if self._frames and stamp_ns < self._stamp_ns:  # the clock has jumped back
            self._scene.begin_again()
        correction = self._scene.path.admit(stamp_ns, world_from_base)
        if correction is not None:
            self._correct(correction)
        with timed(seconds, "window"):
            reaches = self._volume.approach(views, world_from_base[:3, 3])
        with timed(seconds, "fuse"):
            before_ns = self._scene.path.revisits_before_ns
            for view, reach in zip(views, reaches, strict=True):
                self._scene.objects.note_measured(self._volume.fuse(view, reach, stamp_ns, before_ns))
        with timed(seconds, "grid"):
            if self._with_grid:
                self._scene.ground.integrate(views, world_from_base, stamp_ns)
                self._volume.note_free(views, reaches)
        with timed(seconds, "track"):
            self._scene.follow(stamp_ns, world_from_base, prediction.detections)
        self._frames, self._stamp_ns = self._frames + 1, stamp_ns
        return correction is not None

    def _correct(self, correction: Correction) -> None:
        """Move with a corrected trajectory."""
        self._mesh_changes()
        correction = replace(correction, others=self._scene.others.ways)
        objects = self._scene.moved_objects(correction, self._volume.anchors)
        self._volume.move(correction, self._stamp_ns)
        self._scene.move(correction, objects)
        self._mesh_changes()

    def _mesh_changes(self) -> tuple[dict[Key, MeshBlock], tuple[Key, ...]]:
        """Mesh again what depends on changed blocks; return the new meshes and the keys that have none any more."""
        self._volume.surface.update()
        return self._take_news()

    def _take_news(self) -> tuple[dict[Key, MeshBlock], tuple[Key, ...]]:
        """Tell the objects what has been meshed, and return it."""
        changed, removed = self._volume.surface.take_news()
        for instance, other in self.instances.take_joined():
            self._scene.objects.join(instance, other)
        self._scene.objects.note(self._volume.meant(changed), removed)
        return changed, removed

    def _update_graph(self) -> None:
        self._mesh_changes()
        self._scene.update_graph(self._graph, self._volume.blocks.measured, self._stamp_ns)

    def _spark_graph(self, mesh: MeshArrays | None) -> spark_dsg.DynamicSceneGraph:
        self._update_graph()
        self._spark.update()
        return self._spark.graph if mesh is None else self._spark.with_mesh(mesh, self.objects())
