# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""All layers of the scene graph together, as plain data and as spark-dsg's graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import spark_dsg
from numpy.typing import NDArray

from mtl_perception.core import LabelSpace
from mtl_perception.mapping.graph.agents import RobotWay, add_agents, agent_view
from mtl_perception.mapping.graph.ground_graph import GroundView
from mtl_perception.mapping.graph.ground_layers import add_ground, with_ground
from mtl_perception.mapping.graph.objects import MapObject
from mtl_perception.mapping.graph.scene_graph import SceneGraphView, spark_graph, view_of
from mtl_perception.mapping.graph.track import Track
from mtl_perception.mapping.surface.meshing import MeshArrays


@dataclass(frozen=True, eq=False)
class Layers:
    """What a map knows besides its surface.

    Attributes:
        objects: static things.
        object_regions: int64 (N,), the region in which each of them is; -1 for none.
        ground: places, regions and areas.
        robots: the ways of this robot, and of those whose maps were merged into this one.
        tracks: of things that move.
        labels: their classes.
        object_gap: edge of the objects' cells, metres.
    """

    objects: tuple[MapObject, ...]
    object_regions: NDArray[np.int64]
    ground: GroundView
    robots: Sequence[RobotWay]
    tracks: Sequence[Track]
    labels: LabelSpace
    object_gap: float

    def view(self) -> SceneGraphView:
        """Return the graph as plain data."""
        static = view_of(self.objects, self.labels)
        static = with_ground(static, self.ground, self.objects, self.object_regions, self.labels)
        layer, nodes, edges = agent_view(self.robots, self.tracks, self.labels)
        return SceneGraphView((*static.layers, layer), static.nodes + nodes, static.edges + edges)

    def spark_graph(self, mesh: MeshArrays | None = None) -> spark_dsg.DynamicSceneGraph:
        """Return spark-dsg's graph, with the mesh if it is given; its instances are things, see `Instances.meant`."""
        graph = spark_graph(self.objects, self.labels, self.object_gap, mesh)
        add_ground(graph, self.ground, self.objects, self.object_regions, self.labels)
        add_agents(graph, self.robots, self.tracks, self.labels)
        return graph
