# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The scene graph as visualization_msgs/MarkerArray, of which only what looks different is sent again.

Nodes that have an extent are boxes with their names. Places are balls and edges are lines, as many together in one
marker as lie in one tile of the ground: for there are thousands of them. The robot's keyframes have no extent, and are
shown by the lines between them. Namespaces are the layers with what is shown of them; edges are of the layer in which
they begin.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from visualization_msgs.msg import Marker

from mtl_perception.messages.cdr import MarkerArrayWriter

if TYPE_CHECKING:
    from mtl_perception.mapping import SceneGraphChanges, SceneNode

TILE = 5.0
"""Edge of a tile, metres."""

_TEXT_HEIGHT = 0.2  # metres
_BALL = 0.15  # metres, of a place
_LINE = 0.02  # metres
_PLACE_LAYER = "PLACES"
_GREY, _WHITE = (0.8, 0.8, 0.8, 1.0), (1.0, 1.0, 1.0, 1.0)

_Tile = tuple[str, int, int]
"""Its layer, and x y."""
_Ends = tuple[int, int]
_Key = tuple[str, _Tile]
"""What is shown, and where."""


class SceneGraphMarkers:
    """Turns changes of a scene graph into serialised MarkerArrays; remembers what it shows."""

    def __init__(self) -> None:
        """Show nothing."""
        self._next_id = 0
        self._begin()

    def update(self, changes: SceneGraphChanges, stamp_ns: int, frame_id: str) -> bytes | None:
        """Return the MarkerArray that brings what is shown up to date; None where nothing looks different.

        If the changes start anew, whatever was shown is deleted first.

        Raises:
            ValueError: the stamp does not fit into the message.
        """
        self._writer = MarkerArrayWriter(stamp_ns, frame_id)
        if changes.starts_anew:
            self._begin()
            self._writer.delete_all()
        tiles: set[_Key] = set()
        for ends in changes.removed_edges:
            self._drop_line(ends, tiles)
        for number in changes.removed_nodes:
            self._drop(number, tiles)
        for node in changes.nodes:
            self._put(node, tiles)
        for edge in changes.edges:
            if edge.ends not in self._line_tile:
                self._put_line(edge.ends, tiles)
        for key in sorted(tiles):
            self._write_tile(*key)
        return self._writer.data if len(self._writer) else None

    def _begin(self) -> None:
        self._ids: dict[Hashable, int] = {}
        self._nodes: dict[int, SceneNode] = {}
        self._tiles: dict[_Key, dict[Hashable, None]] = {}  # the places or edges in each
        self._line_tile: dict[_Ends, _Tile] = {}
        self._lines_of: dict[int, set[_Ends]] = {}  # per node

    def _put(self, node: SceneNode, tiles: set[_Key]) -> None:
        before = self._nodes.get(node.id)
        self._nodes[node.id] = node
        if before is not None and _looks(before) == _looks(node):
            return
        if node.layer == _PLACE_LAYER:
            if before is not None and _tile(before) != _tile(node):
                self._take("balls", _tile(before), node.id, tiles)
            self._tiles.setdefault(("balls", _tile(node)), {})[node.id] = None
            tiles.add(("balls", _tile(node)))
        elif node.size.any():
            self._write_box(node)
        if before is not None and not np.array_equal(before.position, node.position):
            for ends in sorted(self._lines_of.get(node.id, ())):
                self._drop_line(ends, tiles)
                self._put_line(ends, tiles)

    def _drop(self, number: int, tiles: set[_Key]) -> None:
        node = self._nodes.pop(number, None)
        if node is None:
            return
        if node.layer == _PLACE_LAYER:
            self._take("balls", _tile(node), number, tiles)
        elif number in self._ids:
            marker = self._ids.pop(number)
            self._writer.delete(f"{node.layer} boxes", marker)
            self._writer.delete(f"{node.layer} names", marker)

    def _put_line(self, ends: _Ends, tiles: set[_Key]) -> None:
        tile = self._line_tile[ends] = _tile(self._nodes[ends[0]])
        self._tiles.setdefault(("edges", tile), {})[ends] = None
        tiles.add(("edges", tile))
        for end in ends:
            self._lines_of.setdefault(end, set()).add(ends)

    def _drop_line(self, ends: _Ends, tiles: set[_Key]) -> None:
        tile = self._line_tile.pop(ends, None)
        if tile is None:
            return
        self._take("edges", tile, ends, tiles)
        for end in ends:
            self._lines_of[end].discard(ends)
            if not self._lines_of[end]:
                del self._lines_of[end]

    def _take(self, what: str, tile: _Tile, item: Hashable, tiles: set[_Key]) -> None:
        """Take a place or an edge out of its tile."""
        there = self._tiles[what, tile]
        del there[item]
        if not there:
            del self._tiles[what, tile]
        tiles.add((what, tile))

    def _write_box(self, node: SceneNode) -> None:
        number = self._number(node.id)
        x, y, z = node.position.tolist()
        length, width, height = node.size.tolist()
        red, green, blue = node.colour
        self._writer.add(
            f"{node.layer} boxes",
            number,
            Marker.CUBE,
            pose=(x, y, z, 0.0, 0.0, math.sin(node.yaw / 2), math.cos(node.yaw / 2)),
            scale=(max(length, 0.01), max(width, 0.01), max(height, 0.01)),
            colour=(red / 255.0, green / 255.0, blue / 255.0, 0.4),
        )
        self._writer.add(
            f"{node.layer} names",
            number,
            Marker.TEXT_VIEW_FACING,
            pose=(x, y, z + height / 2 + _TEXT_HEIGHT, 0.0, 0.0, 0.0, 1.0),
            scale=(1.0, 1.0, _TEXT_HEIGHT),
            colour=_WHITE,
            text=f"{node.label_name} {node.name}",
        )

    def _write_tile(self, what: str, tile: _Tile) -> None:
        there, namespace = self._tiles.get((what, tile)), f"{tile[0]} {what}"
        if there is None:
            if (what, tile) in self._ids:
                self._writer.delete(namespace, self._ids.pop((what, tile)))
            return
        number = self._number((what, tile))
        nodes = self._nodes
        if what == "balls":
            places = [nodes[place] for place in there if isinstance(place, int)]
            colours = np.ones((len(places), 4), dtype=np.float32)
            colours[:, :3] = np.array([place.colour for place in places]) / 255.0
            points = _positions(places)
            scale = (_BALL, _BALL, _BALL)
            self._writer.add(namespace, number, Marker.SPHERE_LIST, scale=scale, points=points, colours=colours)
        else:
            ends = [nodes[end] for pair in there if isinstance(pair, tuple) for end in pair]
            scale = (_LINE, 1.0, 1.0)
            self._writer.add(namespace, number, Marker.LINE_LIST, scale=scale, colour=_GREY, points=_positions(ends))

    def _number(self, key: Hashable) -> int:
        """Return the number of a marker, which no other ever had."""
        if key not in self._ids:
            self._ids[key] = self._next_id
            self._next_id += 1
        return self._ids[key]


def _tile(node: SceneNode) -> _Tile:
    x, y, _ = node.position.tolist()
    return node.layer, math.floor(x / TILE), math.floor(y / TILE)


def _looks(node: SceneNode) -> tuple[object, ...]:
    """Return all that can be seen of a node."""
    return node.position.tobytes(), node.size.tobytes(), node.yaw, node.colour, node.label_name, node.name


def _positions(nodes: list[SceneNode]) -> NDArray[np.float64]:
    return np.concatenate([node.position for node in nodes]).reshape(-1, 3)
