# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a map knows beside its voxels: things, places, what moves, and where the robot has been."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import Detection, LabelSpace
from mtl_perception.core.transforms import Transform
from mtl_perception.mapping.config import MapperConfig
from mtl_perception.mapping.fusion.measured import MeasuredBlocks
from mtl_perception.mapping.graph.graph_update import GraphUpdate
from mtl_perception.mapping.graph.ground_graph import GroundGraph
from mtl_perception.mapping.graph.kept_graph import KeptGraph
from mtl_perception.mapping.graph.map_object import MapObject
from mtl_perception.mapping.graph.objects import ObjectRegistry
from mtl_perception.mapping.graph.queries import Queries
from mtl_perception.mapping.graph.tracks import TrackRegistry
from mtl_perception.mapping.poses.other_robots import OtherRobots
from mtl_perception.mapping.poses.robot_path import RobotPath
from mtl_perception.mapping.poses.trajectory import Correction
from mtl_perception.mapping.storage import SavedMap

Anchors = Callable[[NDArray[np.float64], int], NDArray[np.int64]]
"""Returns the stamps (N,) of the poses on which points (N, 3) hang; the second argument is for those without a pose."""


class Scene:
    """The parts of which the scene graph is made.

    Attributes:
        objects: static things.
        ground: the 2D grid, places, regions and areas.
        tracks: of things that move.
        path: of the robot.
        others: the robots whose maps were merged into this one.
    """

    def __init__(self, config: MapperConfig, labels: LabelSpace, archive_folder: Path | None = None) -> None:
        """Know nothing; files for what is not in memory are made in `archive_folder`, see `PrivateFolder`.

        Raises:
            ValueError: `config` names a class that `labels` does not have, or that is not possible there.
        """
        self._config, self._labels = config, labels
        self.objects = ObjectRegistry(config, labels, archive_folder)
        self.ground = GroundGraph(config, labels, archive_folder)
        self.tracks = TrackRegistry(config, labels)
        self.path = RobotPath(config)
        self.others = OtherRobots()
        self._queries: Queries | None = None
        self._update: GraphUpdate | None = None

    def close(self) -> None:
        """Remove what is on disk; it cannot be used any more."""
        self.objects.close()

    def adjust(self, config: MapperConfig, labels: LabelSpace) -> None:
        """Go on with other `Live` settings and other colours of the same classes.

        Raises:
            ValueError: another setting, or a class, is not the same; nothing is changed.
        """
        self._config.check_live(config)
        if labels.names != self._labels.names:
            raise ValueError(f"the classes {list(self._labels.names)} of a map cannot become {list(labels.names)}")
        self._config, self._labels = config, labels
        self.tracks.adjust(config)
        self.path.adjust(config)
        if self._update is not None:
            self._update.labels = labels

    def restore(self, saved: SavedMap) -> None:
        """Continue, from knowing nothing, with what was saved.

        Raises:
            MapFormatError: something in it makes no sense.
        """
        self.objects.restore(saved.objects)
        self.ground.restore(saved.ground)
        self.tracks.restore(saved.tracks)
        self.path.trajectory.restore(saved.trajectory)
        self.others.restore(saved.others)

    def begin_again(self) -> None:
        """Begin new tracks and a new way, for stamps that begin at an earlier time."""
        self.path.begin_again()
        self.tracks.begin_again()

    def follow(self, stamp_ns: int, world_from_base: Transform, detections: Sequence[Detection] | None) -> None:
        """Learn where the robot is and which boxes it sees; None where nothing has looked for boxes."""
        if self.path.add(stamp_ns, world_from_base) and detections is not None:
            self.tracks.update(detections, world_from_base, stamp_ns)

    def moved_objects(self, correction: Correction, anchors: Anchors) -> ObjectRegistry:
        """Return the objects where they come to with the world, waiting for the mesh that is there then."""

        def move(points: NDArray[np.float64], first_seen_ns: int) -> NDArray[np.float64]:
            stamps_ns, which = np.unique(anchors(points, first_seen_ns), return_inverse=True)
            transforms = correction.at(stamps_ns)[which]
            return np.einsum("nij,nj->ni", transforms[:, :3, :3], points) + transforms[:, :3, 3]

        return self.objects.moved(move)

    def move(self, correction: Correction, objects: ObjectRegistry) -> None:
        """Move with the world; `objects` is what `moved_objects` gave before the voxels moved."""
        self.objects = objects
        self.ground.move(correction)
        self.tracks.move(correction.at)
        self.path.correct(correction)
        self.others.move(correction.at)
        self.start_graph_anew()

    def start_graph_anew(self) -> None:
        """Let `update_graph` make all of the graph anew, because more has changed than the parts tell."""
        self._update = None

    def queries(self, objects: tuple[MapObject, ...]) -> Queries:
        """Return what answers questions; `objects` are those of now."""
        if self._queries is None or self._queries.objects is not objects:
            self._queries = Queries(objects, self.ground, self._labels)
        return self._queries

    def update_graph(self, graph: KeptGraph, measured: MeasuredBlocks, now_ns: int) -> None:
        """Bring the scene graph of this map up to date; `measured` tells when the blocks of the mesh were seen.

        It costs as much as what has changed since the last call; the first time, and after all has moved, all of it.
        """
        self.objects.current(measured, now_ns)
        if self._update is None:
            self._update = GraphUpdate(graph, self.ground, self.others.ways, self._labels)
            self.objects.start_anew()
        self._update.update(*self.objects.take_changes(), self.path.trajectory, self.tracks.tracks)
