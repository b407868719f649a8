# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Rooms: ground that walls and doors part from other ground; furniture does not.

Each square of the ground is as open as its cell that is farthest from walls, and two neighbouring squares are joined by
a neck as wide as one can stay away from walls between them. Squares join to rooms in the order of their necks, the
widest first:

* never through necks as narrow as a door;
* through wider ones unless both sides are known to be much wider: a passage between two living rooms parts them, the
  same width of a corridor does not part the corridor;
* squares less open than a door, in corners and on thresholds, go with the room to which their neck is widest.

Hydra (Hughes et al., 2022, section IV-B) takes the connected places under one dilation of all obstacles, the one whose
number of components lasts longest. Here obstacles are walls alone, and what is narrow is judged by what is beside it:
no one dilation is right for a flat with a corridor of 1.2 m and a passage of 1.6 m.
"""

from __future__ import annotations

import numpy as np
from numba import float32, float64, int64
from numpy.typing import NDArray

from mtl_perception.core.compiled import compiled
from mtl_perception.mapping.config import MapperConfig
from mtl_perception.mapping.graph.paged_columns import Field
from mtl_perception.mapping.graph.regions import RegionIds
from mtl_perception.mapping.graph.square_moves import SquareMoves
from mtl_perception.mapping.graph.square_ways import neighbour
from mtl_perception.mapping.graph.squares import RING, STEPS, Squares, around

FIELDS: dict[str, Field] = {
    "root": ("int64", (), -1),  # node of the open square whose room a square is in: itself if it is open; -1 none
    "room": ("int64", (), -1),  # id of an open square's room; -1 none
}
"""What is found of a square."""

_WIDEST_NECK = 1.3  # metres from walls: what is wider parts nothing
_NECK_SHARE = 0.75  # of how open the less open side is known to be; wider necks part nothing
_SADDLE = 0.02  # metres by which a neck may be narrower than what is behind it, if that is to go with what is before it
_LEAST_AREA = 2.0  # square metres of open squares; less is not yet a room


class Rooms:
    """Finds the rooms among squares, looking again only at rooms of which a square has changed."""

    def __init__(self, config: MapperConfig, squares: Squares, ids: RegionIds) -> None:
        """Start without rooms; `squares` has the `FIELDS` of places and of rooms."""
        prepare()
        self._door = np.float32(config.door_width / 2)
        self._cell_area = config.grid_resolution**2
        self._squares, self._ids = squares, ids

    def update(self, changed: NDArray[np.int64]) -> None:
        """Follow the squares; `changed` (N,) are the nodes of which something has changed that rooms are found by."""
        squares = self._squares
        near = squares.nodes(around(squares.of(changed), RING))  # with both ends of every way
        near = near[near >= 0]
        openness = squares["open_distance"][near]
        is_open = openness >= self._door
        squares["root"][near] = np.where(is_open, near, -1)
        squares.touch(near)
        self._ids.assign(squares, "room", near[~is_open], -1)
        self._find_rooms(near[is_open])
        self._join_corners(near[openness < self._door])

    def follow_move(self, moves: SquareMoves, old_room: NDArray[np.int64]) -> None:
        """Find all rooms anew after all squares have moved; they keep the ids (N,) that `of` gave for the old nodes."""
        nodes, names = moves.most(old_room)
        self._ids.assign(self._squares, "room", nodes, names)
        self.update(np.arange(len(self._squares)))

    def of(self, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the id of the room in which each node (N,) is, -1 for none and for no node (-1)."""
        root = np.where(nodes >= 0, self._squares["root"][nodes], -1)
        return np.where(root >= 0, self._squares["room"][root], -1)

    def links(self) -> NDArray[np.int64]:
        """Return the nodes (L, 2) of squares between which there is no wall, in rooms or not."""
        squares = self._squares
        nodes = np.arange(len(squares))
        first, second, _, _ = links_between(nodes, STEPS, squares.neighbours, squares["necks"], np.float32(0.0))
        return np.stack([first, second], axis=1)

    def _find_rooms(self, starts: NDArray[np.int64]) -> None:
        """Find the rooms of all open squares that are joined to `starts` by necks wider than a door."""
        squares = self._squares
        nodes = self._joined(starts, self._door, np.float32(np.inf))
        keys, first, second, necks = self._links(nodes, self._door)
        known = squares["known_distance"][nodes].astype(np.float64)
        root = unite_open(keys, first, second, necks, known, _WIDEST_NECK, _NECK_SHARE)
        part = np.unique(keys[root], return_inverse=True)[1].reshape(-1)
        area = np.bincount(part, weights=squares["open_cells"][nodes]) * self._cell_area
        floor = np.bincount(part, weights=squares["ground_cells"][nodes])  # behind windows none is seen
        ids = self._ids.renamed(squares["room"][nodes], part, (area >= _LEAST_AREA) & (floor > 0))
        self._ids.assign(squares, "room", nodes, ids[part])

    def _join_corners(self, starts: NDArray[np.int64]) -> None:
        """Find for each square that is not open, and hangs together with `starts`, to which open square it belongs."""
        squares = self._squares
        nodes = self._joined(starts, np.float32(0.0), self._door)
        keys, first, second, necks = self._links(nodes, np.float32(0.0))
        openness = squares["open_distance"][nodes].astype(np.float64)
        root = unite_corners(keys, first, second, necks, openness, self._door, _SADDLE)
        root = np.where(root >= 0, nodes[root], -1)
        squares.touch(nodes[squares["root"][nodes] != root])
        squares["root"][nodes] = root

    def _joined(self, starts: NDArray[np.int64], least_neck: np.float32, below: np.float32) -> NDArray[np.int64]:
        """Return, in order, the nodes that are joined to `starts` by necks of at least `least_neck`.

        It goes on only from squares that are less open than `below`, but others that it meets are returned too.
        """
        squares = self._squares
        fields = squares["open_distance"], squares["necks"]
        return np.sort(joined(starts, STEPS, squares.neighbours, *fields, least_neck, below))

    def _links(
        self, nodes: NDArray[np.int64], least_neck: np.float32
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Return the necks between nodes (N,), the widest first; of equals those to open squares, the shortest first.

        Returns:
            For each node a key (N,) by which equals are put in order, whatever the order in which they were found; for
            each neck that is at least `least_neck` the indices of the nodes that it joins, and how wide it is.
        """
        squares = self._squares
        x, y = squares.of(nodes).T
        keys = (y << 32) + x
        first, second, ways, necks = links_between(nodes, STEPS, squares.neighbours, squares["necks"], least_neck)
        cells, is_open = squares["open_cell"][nodes].astype(np.int64), squares["open_distance"][nodes] >= self._door
        lengths = ((cells[first] - cells[second]) ** 2).sum(axis=1)
        order = np.lexsort((ways, keys[first], lengths, ~(is_open[first] | is_open[second]), -necks))
        return keys, first[order], second[order], necks[order]


def prepare() -> None:
    """Compile the functions of this module unless that has been done: so that no frame waits for it."""
    nodes, necks = int64[::1], float32[::1]
    squares = (int64[:, ::1], int64[:, :, ::1])
    joined.compile((nodes, *squares, float32[::1], float32[:, ::1], float32, float32))
    links_between.compile((nodes, *squares, float32[:, ::1], float32))
    unite_open.compile((nodes, nodes, nodes, necks, float64[::1], float64, float64))
    unite_corners.compile((nodes, nodes, nodes, necks, float64[::1], float32, float64))


@compiled
def joined(starts, steps, neighbours, open_distance, necks, least_neck, below):  # type: ignore[no-untyped-def]
    """Return the nodes (N,) that can be reached, see `Rooms._joined`."""
    found = np.zeros(len(open_distance), dtype=np.bool_)
    reached = [np.int64(0)]
    reached.pop()
    for node in starts:
        if not found[node]:
            found[node] = True
            reached.append(node)
    done = 0
    while done < len(reached):
        node = reached[done]
        done += 1
        if not open_distance[node] < below:
            continue
        for way in range(len(steps)):
            for sign in (1, -1):
                other = neighbour(node, sign * steps[way, 0], sign * steps[way, 1], neighbours)
                if other < 0 or found[other]:
                    continue
                neck = necks[node if sign > 0 else other, way]
                if neck > 0.0 and neck >= least_neck:
                    found[other] = True
                    reached.append(other)
    return np.array(reached, dtype=np.int64)


@compiled
def links_between(nodes, steps, neighbours, necks, least_neck):  # type: ignore[no-untyped-def]
    """Return the links between nodes (N,), rising: indices of both ends, which way of the first it is, and its neck."""
    room = len(nodes) * len(steps)
    first, second = np.empty(room, dtype=np.int64), np.empty(room, dtype=np.int64)
    ways, wide = np.empty(room, dtype=np.int64), np.empty(room, dtype=np.float32)
    count = 0
    for index in range(len(nodes)):
        for way in range(len(steps)):
            neck = necks[nodes[index], way]
            if not (neck > 0.0 and neck >= least_neck):
                continue
            other = neighbour(nodes[index], steps[way, 0], steps[way, 1], neighbours)
            place = np.searchsorted(nodes, other)
            if place < len(nodes) and nodes[place] == other:
                first[count], second[count], ways[count], wide[count] = index, place, way, neck
                count += 1
    return first[:count], second[:count], ways[:count], wide[:count]


@compiled
def unite_open(keys, first, second, necks, known, widest_neck, share):  # type: ignore[no-untyped-def]
    """Join open squares to rooms.

    Args:
        keys: (N,) of the squares.
        first, second, necks: (L,) the links between them, the widest first.
        known: (N,) how far from walls and what is unknown one can be in each; changed.
        widest_neck: what is wider parts nothing, metres.
        share: of how open the less open side is; wider necks part nothing.

    Returns:
        For each square the index (N,) of one of its room, that with the least key.
    """
    parent = np.arange(len(keys))
    for link in range(len(first)):
        one, other = _root(parent, first[link]), _root(parent, second[link])
        if one == other:
            continue
        neck = np.float64(necks[link])
        if neck >= widest_neck or neck >= share * min(known[one], known[other]):
            if keys[other] < keys[one]:
                one, other = other, one
            parent[other] = one
            known[one] = max(known[one], known[other])
    for index in range(len(parent)):
        parent[index] = _root(parent, index)
    return parent


@compiled
def unite_corners(keys, first, second, necks, openness, door, saddle):  # type: ignore[no-untyped-def]
    """Join squares that are not open to those that are (a watershed), never two of these to each other.

    Args:
        keys: (N,) of the squares.
        first, second, necks: (L,) the links between them, the widest first.
        openness: (N,) how far from walls one can be in each, metres; changed.
        door: squares are open from here, metres.
        saddle: what is more open than its widest neck by more than this stays apart, metres.

    Returns:
        For each square the index (N,) of the open one that it belongs to, itself if it is open; -1 if there is none.
    """
    parent = np.arange(len(keys))
    for link in range(len(first)):
        one, other = _root(parent, first[link]), _root(parent, second[link])
        if one == other or (openness[one] >= door and openness[other] >= door):
            continue
        if openness[other] > openness[one] or (openness[other] == openness[one] and keys[other] < keys[one]):
            one, other = other, one
        if necks[link] >= openness[other] - saddle:
            parent[other] = one
    result = np.empty(len(keys), dtype=np.int64)
    for index in range(len(keys)):
        root = _root(parent, index)
        result[index] = root if openness[root] >= door else -1
    return result


@compiled
def _root(parent, index):  # type: ignore[no-untyped-def]
    while parent[index] != index:
        parent[index] = parent[parent[index]]
        index = parent[index]
    return index
