# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Keeps a scene graph equal to what a map knows, changing it only where the map has changed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from mtl_perception.core import LabelSpace
from mtl_perception.mapping.graph.agents import keyframe_nodes, robot_prefix, track_nodes, way_between
from mtl_perception.mapping.graph.ground_graph import GroundGraph
from mtl_perception.mapping.graph.ground_layers import (
    BUILDING_SYMBOL,
    PLACE_SYMBOL,
    ROOM_SYMBOL,
    area_nodes,
    edges_to_regions,
    region_nodes,
)
from mtl_perception.mapping.graph.kept_graph import KeptGraph
from mtl_perception.mapping.graph.kept_ground import GroundChanges
from mtl_perception.mapping.graph.map_object import MapObject
from mtl_perception.mapping.graph.object_places import NO_PLACE, ObjectPlaces
from mtl_perception.mapping.graph.place_layer import PlaceLayer, ends_of
from mtl_perception.mapping.graph.scene_graph import OBJECT_SYMBOL, SceneEdge, SceneNode, object_nodes, symbol
from mtl_perception.mapping.graph.track import Track
from mtl_perception.mapping.poses.other_robots import OtherWay
from mtl_perception.mapping.poses.trajectory import Trajectory


class GraphUpdate:
    """Brings a graph up to date with one map, whose parts only ever change as they say.

    After all of a map has moved, or another map has become a part of it, another one begins.

    Attributes:
        labels: the classes, whose colours tracks have.
    """

    def __init__(self, graph: KeptGraph, ground: GroundGraph, others: Sequence[OtherWay], labels: LabelSpace) -> None:
        """Empty a graph, which nobody else changes, for a map with this ground and the ways of these other robots."""
        self.labels = labels
        self._graph = graph
        self._ground = ground.kept()
        self._places = PlaceLayer(self._ground, labels)
        graph.clear(self._places)
        self._object_places = ObjectPlaces(self._ground)
        self._trajectory: Trajectory | None = None
        self._keyframes: list[SceneNode] = []  # the last one, if there is any
        self._keyframe_count = 0
        self._tracks: set[int] = set()  # ids of their nodes
        for robot, way in enumerate(others, 1):
            self._put_way(keyframe_nodes(robot, 0, way.stamps_ns, way.poses))

    def update(
        self,
        objects: Sequence[MapObject],
        gone_objects: Sequence[int],
        trajectory: Trajectory,
        tracks: Sequence[Track],
    ) -> None:
        """Bring the graph up to date.

        Args:
            objects: static things that are new or others than before.
            gone_objects: ids.
            trajectory: of the robot.
            tracks: of things that move, all that there are.
        """
        changes = self._ground.update()
        self._update_ground(changes)
        self._update_objects(objects, gone_objects, changes)
        self._update_keyframes(trajectory)
        self._update_tracks(tracks)
        self._graph.commit()

    def _update_ground(self, changes: GroundChanges) -> None:
        graph, regions = self._graph, self._ground.regions
        named = {region.id for region in (*changes.regions, *changes.gone_regions)}
        named.update(changes.moved_places[:, 1:].ravel().tolist())
        were = {number for number in named if number >= 0 and ROOM_SYMBOL + number in graph}
        new = [region for region in changes.regions if region.id not in were]
        graph.put(region_nodes(changes.regions))
        graph.put(area_nodes(changes.areas))
        beside = {number for region in changes.regions for number in (region.id, *region.neighbours)}
        for number in sorted(beside & regions.keys()):
            region = regions[number]
            others = [regions[other] for other in region.neighbours if other > number and other in regions]
            nodes = region_nodes([region, *others])
            graph.link(nodes[0].id, [way_between(nodes[0], node) for node in nodes[1:]])
        for area in changes.areas:
            graph.link(BUILDING_SYMBOL + area.id, edges_to_regions(area))
        graph.drop(BUILDING_SYMBOL + number for number in changes.gone_areas)
        graph.drop(ROOM_SYMBOL + region.id for region in changes.gone_regions)
        linked, parted = self._places.parents(changes, new, were)
        graph.note(
            (PLACE_SYMBOL + changes.places).tolist(),
            (PLACE_SYMBOL + changes.gone_places).tolist(),
            linked.union(ends_of(changes.ways)),
            parted.union(ends_of(changes.gone_ways)),
        )

    def _update_objects(self, objects: Sequence[MapObject], gone: Sequence[int], changes: GroundChanges) -> None:
        graph = self._graph
        graph.put(object_nodes(objects, self.labels))
        for number, place in self._object_places.update(objects, gone, changes.squares).items():
            node = OBJECT_SYMBOL + number
            graph.link(node, [] if place == NO_PLACE else [SceneEdge(PLACE_SYMBOL + place, node, 1.0)])
        graph.drop(OBJECT_SYMBOL + number for number in gone)

    def _update_keyframes(self, trajectory: Trajectory) -> None:
        if trajectory is not self._trajectory:  # the clock has jumped back, and a new way has begun
            start = symbol(robot_prefix(_THIS_ROBOT))
            self._graph.drop(start + number for number in range(self._keyframe_count))
            self._trajectory, self._keyframes, self._keyframe_count = trajectory, [], 0
        new = keyframe_nodes(_THIS_ROBOT, self._keyframe_count, *trajectory.keyframes(self._keyframe_count))
        nodes = self._keyframes + new
        self._put_way(nodes)
        self._keyframes, self._keyframe_count = nodes[-1:], len(trajectory)

    def _put_way(self, nodes: Sequence[SceneNode]) -> None:
        self._graph.put(nodes)
        for before, node in pairwise(nodes):
            self._graph.link(node.id, [way_between(before, node)])

    def _update_tracks(self, tracks: Sequence[Track]) -> None:
        nodes = track_nodes(tracks, self.labels)
        self._graph.put(nodes)
        now = {node.id for node in nodes}
        self._graph.drop(sorted(self._tracks - now))
        self._tracks = now


_THIS_ROBOT = 0
