# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Road segments: the places of streets, parted at junctions and about every 20 metres between them.

A place on a road is of a junction where three or more arms of road leave its surroundings, and around that; the wider
the road is there, the larger are these. The road between junctions has anchors, 20 metres apart along the road: a
segment is what is nearest to one anchor, so it reaches across the road. Anchors stay, and with them the ids of their
segments; so where segments end depends on the order in which a road was seen. Places beside a road go with the nearest
place on it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import LabelSpace
from mtl_perception.mapping.config import MapperConfig
from mtl_perception.mapping.graph import road_walks
from mtl_perception.mapping.graph.paged_columns import Field
from mtl_perception.mapping.graph.regions import RegionIds
from mtl_perception.mapping.graph.road_walks import EDGE, FAR, NARROW, count_arms, openness_of, parts_of, spread
from mtl_perception.mapping.graph.square_moves import SquareMoves
from mtl_perception.mapping.graph.square_ways import ends_of_ways
from mtl_perception.mapping.graph.squares import RING, STEPS, Squares, around
from mtl_perception.mapping.ground.ground_grid import GroundGrid

_NONE, _STRETCH, _JUNCTION, _BESIDE = range(4)

FIELDS: dict[str, Field] = {
    "road_kind": ("uint8", (), _NONE),  # whether a place is of a stretch of road, of a junction, or beside a road
    "is_crossing": ("bool", (), False),  # whether arms of road lead away from a place on three or more sides
    "arm_reach": ("uint8", (), 0),  # squares around a place that decide about that
    "segment": ("int64", (), -1),  # id of the segment or junction of a place on a road; -1 none
    "is_anchor": ("bool", (), False),
    "anchor": ("int64", (), -1),  # node of the nearest anchor along a stretch; -1 none
    "anchor_distance": ("int32", (), float(FAR)),  # how far that is
    "road_place": ("int64", (), -1),  # node of the place on a road that a place goes with; -1 none
    "road_distance": ("int32", (), float(FAR)),  # how far that is
}
"""What is found of a square."""

_SPACING = 20.0  # metres between anchors
_LEAST_SPACING = 10.0  # metres; of two anchors that turn out to be nearer, along the road, the younger goes
_MARGIN = 6.0  # metres; arms of road that lead that far out of the open road around a place are counted
_LARGEST_REACH = 21.0  # metres around a place within which that is
_LEAST_PLACES = 8  # of a piece of road that gets its first anchor
_CORNER = 4.5  # metres by which a junction of narrow roads is larger than the places from where its arms are seen
_LEAST_JUNCTION = 4  # places of a junction
_ROADSIDE = 12.0  # metres from the road; what is farther is of no segment


class RoadSegments:
    """Finds the segments of roads among squares, looking again only around places that have changed."""

    def __init__(
        self, config: MapperConfig, labels: LabelSpace, grid: GroundGrid, squares: Squares, ids: RegionIds
    ) -> None:
        """Start without segments; `squares` has the `FIELDS` of places and of segments.

        Raises:
            ValueError: `config.road_labels` names a class that is not one of `config.ground_labels`, or is one of
                `config.room_labels`.
        """
        road_walks.prepare()
        for name in config.road_labels:
            if name not in config.ground_labels or name in config.room_labels:
                raise ValueError(f"road_labels names '{name}', which is none of ground_labels, or one of room_labels")
        kinds = dict.fromkeys(config.ground_labels, _BESIDE)
        kinds |= dict.fromkeys(config.road_labels, _STRETCH) | dict.fromkeys(config.room_labels, _NONE)
        self._kind_of_class = np.full(len(grid.class_labels), _NONE, dtype=np.uint8)
        for name, kind in kinds.items():
            self._kind_of_class[grid.class_labels == labels.id_of(name)] = kind
        self._squares, self._ids = squares, ids
        self._far, self._nowhere = np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int64)
        self._metre = EDGE / config.place_spacing
        self._margin = max(2, round(_MARGIN / config.place_spacing))
        self._largest_reach = self._margin + max(NARROW, round((_LARGEST_REACH - _MARGIN) / config.place_spacing))

    def update(self, changed: NDArray[np.int64]) -> None:
        """Follow the squares; `changed` (N,) are the nodes of which the place or its ways have changed."""
        near = self._find_kinds(changed)
        if len(near):
            self._find_segments(near)

    def follow_move(self, moves: SquareMoves) -> None:
        """Find all segments anew after all squares have moved, from the anchors and with the ids of before."""
        squares, old = self._squares, moves.old
        near = self._find_kinds(np.arange(len(squares)))
        if not len(near):
            return
        # what has become another kind of road has no id: two regions could keep the same one
        named = np.isin(old["road_kind"], (_STRETCH, _JUNCTION)) & (old["segment"] >= 0)
        nodes, names = moves.most(np.where(named, old["segment"] << 2 | old["road_kind"], -1))
        same = squares["road_kind"][nodes] == names & 3
        self._ids.assign(squares, "segment", nodes[same], names[same] >> 2)
        anchors, nodes = moves.targets(np.flatnonzero(old["is_anchor"]))
        on_stretch = squares["road_kind"][nodes] == _STRETCH
        anchors, nodes = anchors[on_stretch], nodes[on_stretch]
        nodes, first = np.unique(nodes, return_index=True)
        squares["is_anchor"][nodes] = True
        self._ids.assign(squares, "segment", nodes, old["segment"][anchors[first]])
        self._find_segments(near)

    def _find_kinds(self, changed: NDArray[np.int64]) -> NDArray[np.int64]:
        """Find what is road, beside it and of junctions; return the nodes (N,) around which that may be new."""
        squares = self._squares
        near = self._around(changed, RING)  # with both ends of every way
        kinds = np.where(squares["is_place"][near], self._kind_of_class[squares["place_class"][near]], _NONE)
        of_street = (kinds != _NONE) | (squares["road_kind"][near] != _NONE)
        near, kinds = near[of_street], kinds[of_street]
        if not len(near):
            return near
        kinds[(kinds == _STRETCH) & (squares["road_kind"][near] == _JUNCTION)] = _JUNCTION
        self._become(near, kinds)
        return np.union1d(near, self._around(self._part_junctions(near), RING))

    def _find_segments(self, near: NDArray[np.int64]) -> None:
        """Find junctions, stretches and what is beside them around `near`."""
        self._find_junctions(near)
        self._find_stretches(near)
        self._find_roadside(near)

    def of(self, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the id of the segment or junction with which the place of each node (N,) goes, -1 for none."""
        road = self._squares["road_place"][nodes]
        return np.where(road >= 0, self._squares["segment"][road], -1)

    def are_junctions(self, nodes: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return whether the place of each node (N,) is one of a junction."""
        return self._squares["road_kind"][nodes] == _JUNCTION

    def links(self) -> NDArray[np.int64]:
        """Return the nodes (L, 2) of places of streets between which there are ways."""
        nodes = np.flatnonzero(self._squares["road_kind"] != _NONE)
        ends = ends_of_ways(nodes, STEPS, self._squares.neighbours, self._squares["ways"])
        return ends[(self._squares["road_kind"][ends] != _NONE).all(axis=1)]

    def _part_junctions(self, near: NDArray[np.int64]) -> NDArray[np.int64]:
        """Find around `near` what is of junctions and what of stretches; return the nodes (N,) where that is new."""
        squares, road = self._squares, _mask(_STRETCH, _JUNCTION)
        tested = self._on_road(self._seen_from(near))
        squares["is_crossing"][near], squares["arm_reach"][near] = False, 0
        squares["is_crossing"][tested] = (
            count_arms(tested, road, *self._ways(), self._margin, self._largest_reach, squares["arm_reach"]) > 2
        )
        limit = self._corner(self._largest_reach)
        inner = self._on_road(self._walk(np.union1d(near, tested), road, limit)[0])
        outer = self._walk(inner, road, limit)[0]
        crossing = outer[squares["is_crossing"][outer]]
        reaches = squares["arm_reach"][crossing]
        of_junctions = np.zeros(len(inner), dtype=bool)
        for reach in np.unique(reaches).tolist():
            of_junctions |= np.isin(inner, self._walk(crossing[reaches == reach], road, self._corner(reach))[0])
        return self._become(inner, np.where(of_junctions, _JUNCTION, _STRETCH))

    def _corner(self, reach: int) -> int:
        """Return how far a junction goes, in `EDGE`s, from a crossing whose surroundings reach so many squares."""
        return int(_CORNER * self._metre) + openness_of(reach, self._margin) * EDGE

    def _become(self, nodes: NDArray[np.int64], kinds: NDArray) -> NDArray[np.int64]:
        """Let the places of nodes (N,) be of other kinds (N,); return those that were of another before."""
        squares = self._squares
        new = squares["road_kind"][nodes] != kinds
        nodes, kinds = nodes[new], kinds[new]
        squares["road_kind"][nodes] = kinds
        self._ids.assign(squares, "segment", nodes, -1)
        squares["anchor"][nodes] = -1
        squares["is_anchor"][nodes] = False
        squares["anchor_distance"][nodes] = FAR
        on_road = np.isin(kinds, (_STRETCH, _JUNCTION))
        squares["road_place"][nodes] = np.where(on_road, nodes, -1)
        squares["road_distance"][nodes] = np.where(on_road, 0, FAR)
        squares.touch(nodes)
        return nodes

    def _find_junctions(self, near: NDArray[np.int64]) -> None:
        """Find the junctions of which a place is among `near`."""
        squares = self._squares
        nodes = self._in_order(self._walk(near, _mask(_JUNCTION), int(FAR))[0])
        part = self._parts(nodes)
        deserves = np.bincount(part) >= _LEAST_JUNCTION
        ids = self._ids.renamed(squares["segment"][nodes], part, deserves)
        self._ids.assign(squares, "segment", nodes, ids[part])

    def _find_stretches(self, near: NDArray[np.int64]) -> None:
        """Find to which anchors the places around `near` are nearest; drop and set anchors where that has to be."""
        squares = self._squares
        limit = int(_SPACING * self._metre)
        # What changes concerns places as far as an anchor reaches, and as far again if a new one is set there. These
        # depend on anchors as far again.
        nodes, apart = self._walk(near, _mask(_STRETCH), 3 * limit)
        inner, outer = nodes[apart <= 2 * limit], nodes[apart > 2 * limit]
        anchor, distance = squares["anchor"], squares["anchor_distance"]
        kept = anchor[outer], distance[outer]
        anchor[nodes], distance[nodes] = -1, FAR
        anchors = nodes[squares["is_anchor"][nodes]]
        anchors = anchors[np.argsort(squares["segment"][anchors])]  # the oldest first
        inside = np.isin(anchors, inner)
        for node, may_go in zip(anchors.tolist(), inside.tolist(), strict=True):
            if may_go and distance[node] < _LEAST_SPACING * self._metre:
                squares["is_anchor"][node] = False
            else:
                self._spread(node, limit)
        new = self._new_anchors(self._in_order(inner), limit)
        self._name(inner, anchors[squares["is_anchor"][anchors]], new)
        anchor[outer], distance[outer] = kept

    def _new_anchors(self, nodes: NDArray[np.int64], limit: int) -> list[int]:
        """Set anchors until all of `nodes` have one within `limit`, save small pieces without any; return them."""
        squares = self._squares
        distance, new = squares["anchor_distance"], list[int]()
        small = np.zeros(0, dtype=np.int64)
        while True:
            left = nodes[distance[nodes] > limit]
            left = left[~np.isin(left, small)]
            if not len(left):
                return new
            if (distance[left] < FAR).any():  # the road goes on: the next anchor is just beyond the reach of the last
                node = left[distance[left].argmin()]
            else:
                piece = self._walk(left[:1], _mask(_STRETCH), 2 * limit)[0]
                piece = piece[np.isin(piece, left)]
                if len(piece) < _LEAST_PLACES:
                    small = np.concatenate([small, piece])
                    continue
                piece = self._in_order(piece)
                at = squares.of(piece)
                node = piece[((at - at.mean(axis=0)) ** 2).sum(axis=1).argmin()]
            squares["is_anchor"][node] = True
            new.append(int(node))
            self._spread(new[-1], limit)

    def _name(self, nodes: NDArray[np.int64], old: NDArray[np.int64], new: list[int]) -> None:
        """Give nodes (N,) the ids of their anchors, which are old or new; a new one may take over a free id."""
        squares = self._squares
        anchor, segment = squares["anchor"], squares["segment"]
        id_of = dict(zip(old.tolist(), segment[old].tolist(), strict=True))
        if new:
            number = {node: index for index, node in enumerate(new)}
            theirs = nodes[np.isin(anchor[nodes], new)]
            before = segment[theirs].copy()
            before[np.isin(before, list(id_of.values()))] = -1
            part = np.array([number[node] for node in anchor[theirs].tolist()])
            names = self._ids.renamed(before, part, np.ones(len(new), dtype=bool))
            id_of |= dict(zip(new, names.tolist(), strict=True))
        ids = np.array([id_of.get(node, -1) for node in anchor[nodes].tolist()], dtype=np.int64)
        self._ids.assign(squares, "segment", nodes, ids)

    def _find_roadside(self, near: NDArray[np.int64]) -> None:
        """Find with which places on roads those beside them go, around `near`."""
        squares = self._squares
        limit = int(_ROADSIDE * self._metre)
        nodes, apart = self._walk(near, _mask(_BESIDE), 2 * limit)
        outer = nodes[apart > limit]
        place, distance = squares["road_place"], squares["road_distance"]
        before, kept = place[nodes], (place[outer], distance[outer])
        place[nodes], distance[nodes] = -1, FAR
        rim = self._on_road(self._around(nodes, RING))
        distance[rim] = FAR
        spread(self._in_order(rim), limit, _mask(_STRETCH, _JUNCTION, _BESIDE), *self._ways(), distance, place)
        place[outer], distance[outer] = kept
        squares.touch(nodes[place[nodes] != before])

    def _spread(self, node: int, limit: int) -> None:
        """Let an anchor take what it is nearest to, up to `limit` and a little on, where the next may have to be."""
        squares = self._squares
        source = np.array([node], dtype=np.int64)
        fields = squares["anchor_distance"], squares["anchor"]
        spread(source, limit + 2 * EDGE, _mask(_STRETCH), *self._ways(), *fields)

    def _walk(self, starts: NDArray[np.int64], mask: int, limit: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Return the nodes (N,) on which one can go from `starts`, the nearest first, and how far they are (N,)."""
        distance, source = self._scratch()
        nodes = spread(starts, limit, mask, *self._ways(), distance, source)
        apart = distance[nodes]
        distance[nodes], source[nodes] = FAR, -2
        return nodes, apart

    def _parts(self, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of the part (N,) of which each node (N,) is, parts being what hangs together."""
        _, part = self._scratch()
        part[nodes] = -1
        parts_of(nodes, *self._ways()[:3], part)
        numbers = part[nodes]
        part[nodes] = -2
        return numbers

    def _scratch(self) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Return arrays per node that are `FAR` and -2: to be left like that, so that none has to be filled again."""
        if len(self._far) < len(self._squares):
            self._far = np.full(2 * len(self._squares), FAR, dtype=np.int32)
            self._nowhere = np.full(2 * len(self._squares), -2, dtype=np.int64)
        return self._far, self._nowhere

    def _ways(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8], NDArray[np.uint8]]:
        squares = self._squares
        return STEPS, squares.neighbours, squares["ways"], squares["road_kind"]

    def _around(self, nodes: NDArray[np.int64], steps: NDArray[np.int64]) -> NDArray[np.int64]:
        found = self._squares.nodes(around(self._squares.of(nodes), steps))
        return found[found >= 0]

    def _seen_from(self, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the nodes (N,) of which the surroundings, as they were counted in, have some of `nodes` in them."""
        least = self._margin + NARROW
        close = self._around(nodes, _window(least))
        wide = self._around(nodes, _window(self._largest_reach))
        return np.union1d(close, wide[self._squares["arm_reach"][wide] > least])

    def _on_road(self, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        return nodes[np.isin(self._squares["road_kind"][nodes], (_STRETCH, _JUNCTION))]

    def _in_order(self, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return nodes (N,) in the order of their squares, whatever the order in which they were found."""
        x, y = self._squares.of(nodes).T
        return nodes[np.lexsort((x, y))]


def _window(reach: int) -> NDArray[np.int64]:
    span = np.arange(-reach, reach + 1)
    return np.stack(np.meshgrid(span, span), axis=-1).reshape(-1, 2)


def _mask(*kinds: int) -> int:
    return sum(1 << kind for kind in kinds)
