# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The scene graph as spark-dsg's, changed in place as ours changes, and with the mesh for the files of a map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import spark_dsg
from numpy.typing import NDArray

from mtl_perception.core import LabelSpace
from mtl_perception.mapping.fusion.blocks import pack
from mtl_perception.mapping.graph.agents import (
    TRACK_PREFIX,
    KeyframeNode,
    TrackNode,
    fill_keyframe,
    fill_track,
    robot_prefix,
)
from mtl_perception.mapping.graph.ground_layers import PlaceNode, RegionNode, fill_area, fill_place, fill_region
from mtl_perception.mapping.graph.kept_graph import SceneGraphFollower
from mtl_perception.mapping.graph.map_object import MapObject
from mtl_perception.mapping.graph.scene_graph import (
    AGENT_LAYER,
    BUILDING_LAYER,
    LAYER_IDS,
    OBJECT_LAYER,
    OBJECT_SYMBOL,
    PLACE_LAYER,
    SceneEdge,
    SceneNode,
)
from mtl_perception.mapping.surface.meshing import MeshArrays


class SparkGraph:
    """Keeps a `spark_dsg.DynamicSceneGraph`, whose layers have Hydra's ids and names.

    What it serialises to depends on what is in it alone, not on how it got there: spark-dsg has nodes and edges in
    order. A node takes about 1 kB, an edge 200 bytes.

    Attributes:
        graph: not to be changed.
    """

    def __init__(self, labels: LabelSpace, object_gap: float, follower: SceneGraphFollower) -> None:
        """Make an empty graph.

        Args:
            labels: the classes.
            object_gap: the edge of the objects' cells, metres.
            follower: of the graph that this one shall be.
        """
        self._labelspace = spark_dsg.Labelspace({label.id: label.name for label in labels.labels})
        self._object_gap, self._follower = object_gap, follower
        self._begin()

    def update(self) -> None:
        """Take over what has changed; it costs as much as that is."""
        changes = self._follower.changes()
        if changes.starts_anew:
            self._begin()
        for source, target in changes.removed_edges:
            self.graph.remove_edge(source, target)
        for number in changes.removed_nodes:
            self.graph.remove_node(number)
            self._nodes.pop(number, None)
        for node in changes.nodes:
            self._put(node)
        for edge in changes.edges:
            self._link(edge)
        for prefix in sorted(self._partitions):  # there is none before its first node, and none after its last
            layer = LAYER_IDS[AGENT_LAYER], spark_dsg.PartitionId(prefix)
            if not self.graph.get_layer(*layer).num_nodes():
                self.graph.remove_layer(*layer)
                self._partitions.discard(prefix)

    def with_mesh(self, mesh: MeshArrays, objects: tuple[MapObject, ...]) -> spark_dsg.DynamicSceneGraph:
        """Return a copy with a mesh, whose vertices the objects list.

        Args:
            mesh: its instances are things, as `Instances.meant` has them.
            objects: all that the graph has.
        """
        graph = self.graph.clone()
        for item, vertices in zip(objects, _vertices_of(objects, mesh, self._object_gap), strict=True):
            graph.get_node(OBJECT_SYMBOL + item.id).attributes.mesh_connections = vertices
        graph.mesh = _spark_mesh(mesh)
        return graph

    def _begin(self) -> None:
        self.graph = spark_dsg.DynamicSceneGraph()
        for layer in (OBJECT_LAYER, PLACE_LAYER):
            self.graph.set_labelspace(self._labelspace, LAYER_IDS[layer], 0)
        self._nodes: dict[int, SceneNode] = {}
        self._partitions: set[str] = set()  # of the layer of agents, by their prefixes

    def _put(self, node: SceneNode) -> None:
        before = self._nodes.get(node.id)
        if before is not None:
            _fill(self.graph.get_node(node.id).attributes, node, before)
        else:
            attributes = _KINDS.get(type(node), _other_kind(node))()
            _fill(attributes, node, None)
            prefix = _partition_of(node)
            if prefix is None:
                self.graph.add_node(node.layer, node.id, attributes)
            else:
                self.graph.add_node(LAYER_IDS[node.layer], node.id, attributes, spark_dsg.PartitionId(prefix))
                self._partitions.add(prefix)
        self._nodes[node.id] = node

    def _link(self, edge: SceneEdge) -> None:
        attributes = spark_dsg.EdgeAttributes()
        attributes.weighted, attributes.weight = True, edge.weight
        self.graph.remove_edge(edge.source, edge.target)  # what there is cannot be changed from Python
        self.graph.insert_edge(edge.source, edge.target, attributes)


def _fill(attributes: Any, node: SceneNode, before: SceneNode | None) -> None:
    """Set spark-dsg's attributes of a node; those of `before` are known to be set."""
    if isinstance(node, PlaceNode):
        fill_place(attributes, node, before)
    elif isinstance(node, RegionNode):
        fill_region(attributes, node)
    elif isinstance(node, KeyframeNode):
        fill_keyframe(attributes, node)
    elif isinstance(node, TrackNode):
        fill_track(attributes, node)
    elif node.layer == BUILDING_LAYER:
        fill_area(attributes, node)
    else:
        _fill_object(attributes, node)


_KINDS: dict[type[SceneNode], Callable[[], Any]] = {
    PlaceNode: spark_dsg.PlaceNodeAttributes,
    RegionNode: spark_dsg.RoomNodeAttributes,
    KeyframeNode: spark_dsg.AgentNodeAttributes,
    TrackNode: spark_dsg.ObjectNodeAttributes,
}


def _partition_of(node: SceneNode) -> str | None:
    if isinstance(node, KeyframeNode):
        return robot_prefix(node.robot)
    return TRACK_PREFIX if isinstance(node, TrackNode) else None


def _other_kind(node: SceneNode) -> Callable[[], Any]:
    is_area = node.layer == BUILDING_LAYER
    return spark_dsg.SemanticNodeAttributes if is_area else spark_dsg.ObjectNodeAttributes


def _fill_object(attributes: spark_dsg.ObjectNodeAttributes, node: SceneNode) -> None:
    attributes.name = f"{node.label_name} {node.id - OBJECT_SYMBOL}"
    attributes.position = node.centroid
    attributes.semantic_label = node.label
    attributes.color = np.array(node.colour, dtype=np.uint8)
    attributes.bounding_box = spark_dsg.BoundingBox(node.size.astype(np.float32), node.position.astype(np.float32))
    attributes.last_update_time_ns = node.last_seen_ns
    attributes.is_active = True
    attributes.metadata.set(
        {"confidence": node.confidence, "first_seen_ns": node.first_seen_ns, "last_seen_ns": node.last_seen_ns}
    )


def _vertices_of(objects: tuple[MapObject, ...], mesh: MeshArrays, object_gap: float) -> list[list[int]]:
    """Return, per object, the numbers of its vertices: those of its class and thing that lie in its cells."""
    cell = pack(np.floor(mesh.vertices.astype(np.float64) / object_gap).astype(np.int64))
    kind = mesh.instances.astype(np.int64) * 256 + mesh.labels
    order = np.lexsort((cell, kind))
    cell, kind = cell[order], kind[order]
    found = []
    for item in objects:
        first, last = np.searchsorted(kind, item.instance * 256 + item.label + np.array([0, 1]))
        there = cell[first:last]
        starts, ends = np.searchsorted(there, item.cells), np.searchsorted(there, item.cells, side="right")
        rows = [np.arange(start, end) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        found.append(_sorted(order[first + np.concatenate([np.zeros(0, np.int64), *rows])]))
    return found


def _sorted(numbers: NDArray[np.int64]) -> list[int]:
    result: list[int] = np.sort(numbers).tolist()
    return result


def _spark_mesh(mesh: MeshArrays) -> spark_dsg.Mesh:
    result = spark_dsg.Mesh(has_timestamps=False, has_first_seen_stamps=False)
    result.resize_vertices(len(mesh.vertices))
    result.set_vertices(np.concatenate([mesh.vertices.T.astype(np.float64), mesh.colours.T / 255.0]))
    result.set_faces(mesh.triangles.T.astype(np.int32))
    for index, label in enumerate(mesh.labels.tolist()):  # spark-dsg has no call for all labels at once
        result.set_label(index, label)
    return result
