# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The 3D scene graph as plain data: what nodes and edges say, the graph as a whole, and what changes in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import spark_dsg
from numpy.typing import NDArray

from mtl_perception.core import LabelSpace
from mtl_perception.mapping.graph.map_object import MapObject

OBJECT_LAYER, PLACE_LAYER, ROOM_LAYER, BUILDING_LAYER, AGENT_LAYER = (
    spark_dsg.DsgLayers.OBJECTS,
    spark_dsg.DsgLayers.PLACES,
    spark_dsg.DsgLayers.ROOMS,
    spark_dsg.DsgLayers.BUILDINGS,
    spark_dsg.DsgLayers.AGENTS,
)
LAYER_IDS = {OBJECT_LAYER: 2, PLACE_LAYER: 3, ROOM_LAYER: 4, BUILDING_LAYER: 5, AGENT_LAYER: 2}
"""Hydra's ids of the layers, from the lowest to the highest; what moves is in partitions of the objects' layer."""


@dataclass(frozen=True, eq=False, slots=True)
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


@dataclass(frozen=True, slots=True)
class SceneEdge:
    """A link between two nodes, by id.

    Attributes:
        source, target: the parent and the child where it joins two layers.
        weight: within a layer the metres between the centroids; 1 between layers, as in Hydra.
    """

    source: int
    target: int
    weight: float

    @property
    def ends(self) -> tuple[int, int]:
        """Both ends, by which the graph knows it."""
        return self.source, self.target


@dataclass(frozen=True)
class SceneLayer:
    """A layer with Hydra's name and id, and how many nodes it has."""

    name: str
    id: int
    nodes: int


@dataclass(frozen=True, eq=False)
class SceneGraphView:
    """The scene graph as plain data.

    Attributes:
        layers: from the lowest to the highest.
        nodes: layer by layer, in the order of their ids.
        edges: in the order of their ends.
        sequence: the number of the graph as it is here, see `SceneGraphChanges`.
    """

    layers: tuple[SceneLayer, ...]
    nodes: tuple[SceneNode, ...]
    edges: tuple[SceneEdge, ...]
    sequence: int = 0


@dataclass(frozen=True, eq=False)
class SceneGraphChanges:
    """How to get from one state of the graph to a later one; everything is in the order of ids.

    A copy of the graph follows when it is emptied if `starts_anew`, removed edges and nodes are dropped, and then nodes
    and edges put, each in place of what has the same id or the same ends.

    Attributes:
        sequence: the number of the later state; it only rises, over resets and loads too.
        previous: the number of the state that they start from.
        starts_anew: whether they are the whole graph, from nothing.
        nodes: that are new or have changed.
        removed_nodes: ids of those that are gone, and of some that came and went in between.
        edges: that are new or have another weight.
        removed_edges: the ends of those that are gone, with those that went with a node; likewise.
        layers: all of them as they are then.
    """

    sequence: int
    previous: int
    starts_anew: bool
    nodes: tuple[SceneNode, ...]
    removed_nodes: tuple[int, ...]
    edges: tuple[SceneEdge, ...]
    removed_edges: tuple[tuple[int, int], ...]
    layers: tuple[SceneLayer, ...]

    def __len__(self) -> int:
        """Return how many nodes and edges there are in them."""
        return len(self.nodes) + len(self.removed_nodes) + len(self.edges) + len(self.removed_edges)


def object_nodes(objects: Sequence[MapObject], labels: LabelSpace) -> list[SceneNode]:
    """Return the nodes of objects."""
    names = labels.names
    return [
        SceneNode(
            id=OBJECT_SYMBOL + item.id,
            layer=OBJECT_LAYER,
            name=f"O({item.id})",
            label=item.label,
            label_name=names[item.label],
            confidence=item.confidence,
            position=(item.minimum + item.maximum) / 2,
            centroid=item.centroid,
            size=item.maximum - item.minimum,
            colour=item.colour,
            first_seen_ns=item.first_seen_ns,
            last_seen_ns=item.last_seen_ns,
        )
        for item in objects
    ]


def are_same(one: SceneNode, other: SceneNode, but: str = "") -> bool:
    """Return whether two nodes say the same, apart from the attribute `but`."""
    if type(one) is not type(other):
        return False
    for name in _names(type(one)):
        if name == but:
            continue
        this, that = getattr(one, name), getattr(other, name)
        if this is not that and (
            this.tobytes() != that.tobytes() if isinstance(this, np.ndarray) else bool(this != that)
        ):
            return False
    return True


def symbol(letter: str) -> int:
    """Return what spark-dsg's symbols of a letter begin with: the id of number 0."""
    return int(spark_dsg.NodeSymbol(letter, 0).value)


def symbol_of(node: int) -> int:
    """Return the id of number 0 of the letter that the id of a node has."""
    return node >> _LETTER_BITS << _LETTER_BITS


OBJECT_SYMBOL = symbol("O")
_LETTER_BITS = 56  # below the letter of a symbol


_NAMES: dict[type[SceneNode], tuple[str, ...]] = {}


def _names(kind: type[SceneNode]) -> tuple[str, ...]:
    """Return the names of the attributes of a kind of nodes, those that change most often first."""
    if kind not in _NAMES:
        names = [field.name for field in fields(kind)]
        _NAMES[kind] = tuple(sorted(names, key=lambda name: name != "last_seen_ns"))
    return _NAMES[kind]
