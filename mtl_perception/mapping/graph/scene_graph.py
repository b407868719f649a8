# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The 3D scene graph: our own view of it, and spark-dsg's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import spark_dsg
from numpy.typing import NDArray

from mtl_perception.core import LabelSpace
from mtl_perception.mapping.fusion.blocks import pack
from mtl_perception.mapping.graph.objects import MapObject
from mtl_perception.mapping.surface.meshing import MeshArrays

OBJECT_LAYER = spark_dsg.DsgLayers.OBJECTS
_OBJECT_LAYER_ID = 2  # Hydra's


@dataclass(frozen=True, eq=False)
class SceneNode:
    """A node of the graph, in the world frame.

    Attributes:
        id: spark-dsg's node symbol as an integer (a letter in the top byte, a number below).
        layer: the layer's name.
        name: e.g. `O(3)`.
        label, label_name: the class; -1 and "" where there is none.
        confidence: 0..1.
        position: (3,) centre of its box, metres; centroid: (3,) mean of its surface.
        size: (3,) of its box, metres; zero where it has no extent.
        colour: mean RGB 0..255.
        first_seen_ns, last_seen_ns: stamps.
        yaw: by which its box is turned about z, radians.
    """

    id: int
    layer: str
    name: str
    label: int
    label_name: str
    confidence: float
    position: NDArray[np.float64]
    centroid: NDArray[np.float64]
    size: NDArray[np.float64]
    colour: tuple[int, int, int]
    first_seen_ns: int
    last_seen_ns: int
    yaw: float = 0.0


@dataclass(frozen=True)
class SceneEdge:
    """A link between two nodes, by id; `weight` in metres between their positions."""

    source: int
    target: int
    weight: float


@dataclass(frozen=True)
class SceneLayer:
    """A layer with Hydra's name and id, and how many nodes it has."""

    name: str
    id: int
    nodes: int


@dataclass(frozen=True, eq=False)
class SceneGraphView:
    """The scene graph as plain data."""

    layers: tuple[SceneLayer, ...]
    nodes: tuple[SceneNode, ...]
    edges: tuple[SceneEdge, ...]


def object_node(number: int) -> int:
    """Return the node of an object, as `SceneNode.id` has it."""
    return int(spark_dsg.NodeSymbol("O", number).value)


def view_of(objects: tuple[MapObject, ...], labels: LabelSpace) -> SceneGraphView:
    """Return the graph of the objects as plain data."""
    nodes = tuple(_node(item, labels) for item in objects)
    return SceneGraphView((SceneLayer(OBJECT_LAYER, _OBJECT_LAYER_ID, len(nodes)),), nodes, ())


def spark_graph(
    objects: tuple[MapObject, ...], labels: LabelSpace, object_gap: float, mesh: MeshArrays | None = None
) -> spark_dsg.DynamicSceneGraph:
    """Return spark-dsg's graph with Hydra's layers: the objects, and the mesh if given (they then list vertices).

    `object_gap` is the edge of the objects' cells, metres; instances of the mesh are things, as `Instances.meant` has
    them.
    """
    graph = spark_dsg.DynamicSceneGraph()
    names = {label.id: label.name for label in labels.labels}
    graph.set_labelspace(spark_dsg.Labelspace(names), _OBJECT_LAYER_ID, 0)
    vertices = _vertices_of(objects, mesh, object_gap) if mesh is not None else [[]] * len(objects)
    for item, connections in zip(objects, vertices, strict=True):
        symbol = spark_dsg.NodeSymbol("O", item.id)
        graph.add_node(OBJECT_LAYER, symbol, _attributes(item, labels, connections))
    if mesh is not None:
        graph.mesh = _spark_mesh(mesh)
    return graph


def _node(item: MapObject, labels: LabelSpace) -> SceneNode:
    symbol = spark_dsg.NodeSymbol("O", item.id)
    return SceneNode(
        id=int(symbol.value),
        layer=OBJECT_LAYER,
        name=str(symbol),
        label=item.label,
        label_name=labels.names[item.label],
        confidence=item.confidence,
        position=(item.minimum + item.maximum) / 2,
        centroid=item.centroid,
        size=item.maximum - item.minimum,
        colour=item.colour,
        first_seen_ns=item.first_seen_ns,
        last_seen_ns=item.last_seen_ns,
    )


def _attributes(item: MapObject, labels: LabelSpace, vertices: list[int]) -> spark_dsg.ObjectNodeAttributes:
    attributes = spark_dsg.ObjectNodeAttributes()
    attributes.name = f"{labels.names[item.label]} {item.id}"
    attributes.position = item.centroid
    attributes.semantic_label = item.label
    attributes.color = np.array(item.colour, dtype=np.uint8)
    attributes.bounding_box = spark_dsg.BoundingBox(
        (item.maximum - item.minimum).astype(np.float32), ((item.maximum + item.minimum) / 2).astype(np.float32)
    )
    attributes.last_update_time_ns = item.last_seen_ns
    attributes.is_active = True
    attributes.metadata.set(
        {"confidence": item.confidence, "first_seen_ns": item.first_seen_ns, "last_seen_ns": item.last_seen_ns}
    )
    attributes.mesh_connections = vertices
    return attributes


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
        found.append(np.sort(order[first + np.concatenate([np.zeros(0, np.int64), *rows])]).tolist())
    return found


def _spark_mesh(mesh: MeshArrays) -> spark_dsg.Mesh:
    result = spark_dsg.Mesh(has_timestamps=False, has_first_seen_stamps=False)
    result.resize_vertices(len(mesh.vertices))
    result.set_vertices(np.concatenate([mesh.vertices.T.astype(np.float64), mesh.colours.T / 255.0]))
    result.set_faces(mesh.triangles.T.astype(np.int32))
    for index, label in enumerate(mesh.labels.tolist()):  # spark-dsg has no call for all labels at once
        result.set_label(index, label)
    return result
