# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The scene graph as serialised messages: all of it (SceneGraph), and what has changed (SceneGraphChanges).

Nodes and edges begin with a number of 8 bytes, so their bytes are the same wherever in a message they are: of the whole
graph, those of each node and edge are kept, and only what has changed is written anew.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

from mtl_perception.messages.cdr import CdrWriter
from mtl_perception.messages.stamps import seconds_of

if TYPE_CHECKING:
    from mtl_perception.mapping import SceneEdge, SceneGraphChanges, SceneLayer, SceneNode

_EDGE = struct.Struct("<QQf4x")
_EDGE_SIZE = 20  # without what it is padded with


class SceneGraphMessages:
    """Keeps the graph in its serialised form, some 300 bytes a node or edge."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._nodes: dict[int, bytes] = {}
        self._edges: dict[tuple[int, int], bytes] = {}
        self._layers: tuple[SceneLayer, ...] = ()
        self._sequence = 0

    def follow(self, changes: SceneGraphChanges) -> None:
        """Take over changes."""
        if changes.starts_anew:
            self._nodes.clear()
            self._edges.clear()
        for ends in changes.removed_edges:
            self._edges.pop(ends, None)
        for number in changes.removed_nodes:
            self._nodes.pop(number, None)
        self._nodes.update((node.id, _node(node)) for node in changes.nodes)
        self._edges.update((edge.ends, _edge(edge)) for edge in changes.edges)
        self._layers, self._sequence = changes.layers, changes.sequence

    def whole(self, spark_dsg: bytes, stamp_ns: int, frame_id: str) -> bytes:
        """Return the SceneGraph with spark-dsg's own bytes.

        Raises:
            ValueError: the stamp does not fit into the message.
        """
        writer = CdrWriter()
        writer.header(stamp_ns, frame_id)
        writer.pack("Q", self._sequence)
        _write_layers(writer, self._layers)
        writer.records((self._nodes[number] for number in sorted(self._nodes)), len(self._nodes))
        writer.records(self._edges.values(), len(self._edges), _EDGE_SIZE)
        writer.pack("I", len(spark_dsg))
        writer.data += spark_dsg
        return bytes(writer.data)


def changes_message(changes: SceneGraphChanges, stamp_ns: int, frame_id: str) -> bytes:
    """Return the SceneGraphChanges.

    Raises:
        ValueError: a stamp does not fit into the message.
    """
    writer = CdrWriter()
    writer.header(stamp_ns, frame_id)
    writer.pack("QQ", changes.sequence, changes.previous)
    writer.pack("?", changes.starts_anew)
    _write_layers(writer, changes.layers)
    writer.records(map(_node, changes.nodes), len(changes.nodes))
    removed = changes.removed_nodes
    writer.records([struct.pack(f"<{len(removed)}Q", *removed)], len(removed))
    writer.records(map(_edge, changes.edges), len(changes.edges), _EDGE_SIZE)
    gone = (_EDGE.pack(source, target, 0.0) for source, target in changes.removed_edges)
    writer.records(gone, len(changes.removed_edges), _EDGE_SIZE)
    return bytes(writer.data)


def _write_layers(writer: CdrWriter, layers: Iterable[SceneLayer]) -> None:
    layers = tuple(layers)
    writer.pack("I", len(layers))
    for layer in layers:
        writer.string(layer.name)
        writer.pack("iI", layer.id, layer.nodes)


def _node(node: SceneNode) -> bytes:
    """Return a SceneGraphNode."""
    texts = [text.encode() + b"\x00" for text in (node.layer, node.name, node.label_name)]
    layer, name, label_name = texts
    red, green, blue = node.colour
    return _node_form(len(layer), len(name), len(label_name)).pack(
        node.id,
        len(layer),
        layer,
        len(name),
        name,
        node.label,
        len(label_name),
        label_name,
        node.confidence,
        *node.position.tolist(),
        *(0.0, 0.0, math.sin(node.yaw / 2), math.cos(node.yaw / 2)),
        *node.size.tolist(),
        *(red / 255.0, green / 255.0, blue / 255.0, 1.0),
        *seconds_of(node.first_seen_ns),
        *seconds_of(node.last_seen_ns),
    )


def _edge(edge: SceneEdge) -> bytes:
    return _EDGE.pack(edge.source, edge.target, edge.weight)


@cache
def _node_form(*lengths: int) -> struct.Struct:
    """Return the form of a SceneGraphNode whose three texts are so long; it ends at a multiple of 8 bytes."""
    layer, name, label_name = (f"I{length}s" for length in lengths)
    parts = ["Q", layer, name, "i", label_name, "f", "7d", "3d", "4f", "iI", "iI"]
    form, size = "<", 0
    for part in parts:
        padding = -size % (8 if part[-1] in "Qd" else 4)
        form += f"{padding}x" * bool(padding) + part
        size = struct.calcsize(form)
    return struct.Struct(form)
