# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Regions: what rooms and road segments have in common, and the areas that they are parts of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mtl_perception.mapping.graph.squares import Squares

ROOM, ROAD_SEGMENT, JUNCTION = KINDS = ("room", "road segment", "junction")
"""The kinds of regions."""
BUILDING, STREET = "building", "street"
"""The kinds of areas."""


@dataclass(frozen=True, eq=False)
class Region:
    """A part of the ground that belongs together, in the world frame.

    Attributes:
        id: stable over updates, never used again; rooms and road segments share their numbers.
        kind: "room", "road segment" or "junction".
        places: int64 (N,), ids of its places, rising.
        centroid: (3,) of its ground, metres.
        area: square metres of it that were seen, under furniture too.
        minimum, maximum: (3,) corners of the axis-aligned box around its ground, metres.
        neighbours: ids of the regions to which a free way leads from here, rising.
        first_seen_ns, last_seen_ns: stamps of when something of it was first and last seen.
    """

    id: int
    kind: str
    places: NDArray[np.int64]
    centroid: NDArray[np.float64]
    area: float
    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]
    neighbours: tuple[int, ...]
    first_seen_ns: int
    last_seen_ns: int


@dataclass(frozen=True, eq=False)
class Area:
    """Rooms that no walls part, or road segments and junctions with ways between them: a building or a street.

    In the world frame.

    Attributes:
        id: that of its oldest region; of areas that turn out to be one, the older id stays.
        kind: "building" or "street".
        regions: ids of its regions, rising.
        centroid: (3,) of its ground, metres.
        minimum, maximum: (3,) corners of the axis-aligned box around its ground, metres.
        first_seen_ns, last_seen_ns: stamps of when something of it was first and last seen.
    """

    id: int
    kind: str
    regions: tuple[int, ...]
    centroid: NDArray[np.float64]
    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]
    first_seen_ns: int
    last_seen_ns: int


@dataclass(frozen=True, eq=False)
class RegionSquares:
    """The squares of ground that regions have.

    Attributes:
        region: int64 (N,), the id of each one's region.
        kind: int64 (N,), index into `KINDS`; a region is of the highest that a square of it has.
        corner: float64 (N, 2), x y, where it begins, metres.
        edge: metres.
        height: float64 (N,), of its ground, metres; NaN where that is not known.
        area: float64 (N,), square metres of it that were seen.
        first_seen_ns, last_seen_ns: int64 (N,).
    """

    region: NDArray[np.int64]
    kind: NDArray[np.int64]
    corner: NDArray[np.float64]
    edge: float
    height: NDArray[np.float64]
    area: NDArray[np.float64]
    first_seen_ns: NDArray[np.int64]
    last_seen_ns: NDArray[np.int64]


class RegionIds:
    """Gives regions numbers that were never given before, and counts the regions that there are.

    Attributes:
        next: the number that is given next.
    """

    def __init__(self) -> None:
        """Begin with 0."""
        self.next = 0
        self._squares: dict[int, int] = {}  # per region, how many squares have its id

    def __len__(self) -> int:
        """Return the number of regions."""
        return len(self._squares)

    def take(self) -> int:
        """Return the next number."""
        self.next += 1
        return self.next - 1

    def assign(self, squares: Squares, name: str, nodes: NDArray[np.int64], ids: NDArray[np.int64] | int) -> None:
        """Set a field of nodes (N,), none twice, to ids of regions (N,), -1 for none."""
        old, new = squares[name][nodes], np.broadcast_to(ids, len(nodes))
        differ = old != new
        for values, sign in ((old[differ], -1), (new[differ], 1)):
            numbers, counts = np.unique(values[values >= 0], return_counts=True)
            for number, count in zip(numbers.tolist(), (sign * counts).tolist(), strict=True):
                self._squares[number] = self._squares.get(number, 0) + count
                if not self._squares[number]:
                    del self._squares[number]
        squares[name][nodes] = new
        squares.touch(nodes[differ])

    def restore(self, following: int, fields: list[NDArray[np.int64]]) -> None:
        """Continue with the number `following`; `fields` are all that ids were assigned in."""
        self.next = following
        ids = np.concatenate(fields)
        numbers, counts = np.unique(ids[ids >= 0], return_counts=True)
        self._squares = dict(zip(numbers.tolist(), counts.tolist(), strict=True))

    def renamed(
        self, old: NDArray[np.int64], part: NDArray[np.int64], deserves: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """Return the ids (P,) of parts, so that they keep those of before as far as possible.

        Each old id goes to one part, to that which has most of its nodes; a part of several gets the one of which it
        has most.

        Args:
            old: (N,) ids that nodes had, -1 none.
            part: (N,) 0 to P - 1, the part that they are of now.
            deserves: (P,) whether a part gets a new id if it keeps none.
        """
        known = old >= 0
        pairs, counts = np.unique((old[known] << 32) + part[known], return_counts=True)
        result = np.full(len(deserves), -1, dtype=np.int64)
        taken = set[int]()
        for index in np.lexsort((pairs, -counts)).tolist():
            name, number = divmod(int(pairs[index]), 1 << 32)
            if result[number] < 0 and name not in taken:
                result[number] = name
                taken.add(name)
        for number in np.flatnonzero(deserves & (result < 0)).tolist():
            result[number] = self.take()
        return result


def regions_of(
    squares: RegionSquares, places: NDArray[np.int64], place_region: NDArray[np.int64], edges: NDArray[np.int64]
) -> tuple[Region, ...]:
    """Return all regions, in the order of their ids.

    Args:
        squares: of all regions.
        places: (P,) ids, rising.
        place_region: (P,) id of the region of each, -1 for none.
        edges: (E, 2) indices of places between which there is a way.
    """
    order = np.argsort(squares.region, kind="stable")
    ids, starts = np.unique(squares.region[order], return_index=True)
    if not len(ids):
        return ()
    corner = squares.corner[order]
    weight = np.maximum(squares.area[order], 1e-6)
    mean = np.add.reduceat((corner + squares.edge / 2) * weight[:, None], starts)
    mean /= np.add.reduceat(weight, starts)[:, None]
    height = squares.height[order]
    # Where nothing tells a region's height it is 0: what other regions have may not matter, for they change without it.
    lowest, highest = np.fmin.reduceat(height, starts), np.fmax.reduceat(height, starts)
    lowest, highest = (np.where(np.isnan(bound), 0.0, bound) for bound in (lowest, highest))
    known = np.isfinite(height)
    total = np.add.reduceat(np.where(known, height * weight, 0.0), starts)
    share = np.add.reduceat(np.where(known, weight, 0.0), starts)
    level = np.where(share > 0.0, total / np.maximum(share, 1e-9), 0.0)

    one, other = place_region[edges].T if len(edges) else np.zeros((2, 0), dtype=np.int64)
    apart = (one != other) & (one >= 0) & (other >= 0)
    between = np.stack([np.r_[one[apart], other[apart]], np.r_[other[apart], one[apart]]])
    pairs = np.unique((between[0] << 32) + between[1])
    neighbours = (pairs & 0xFFFFFFFF).tolist()
    pair_spans = np.stack([np.searchsorted(pairs >> 32, ids + more) for more in (0, 1)], axis=1).tolist()
    of_places = np.argsort(place_region, kind="stable")
    places_in_order, sorted_places = places[of_places], place_region[of_places]
    spans = np.stack([np.searchsorted(sorted_places, ids + more) for more in (0, 1)], axis=1).tolist()
    centroids = np.concatenate([mean, level[:, None]], axis=1)
    area = np.add.reduceat(squares.area[order], starts)
    kind = np.maximum.reduceat(squares.kind[order], starts)
    low, high = np.minimum.reduceat(corner, starts), np.maximum.reduceat(corner, starts) + squares.edge
    first, last = (
        np.minimum.reduceat(squares.first_seen_ns[order], starts),
        np.maximum.reduceat(squares.last_seen_ns[order], starts),
    )
    minima, maxima = (
        np.concatenate([corner, height[:, None]], axis=1) for corner, height in ((low, lowest), (high, highest))
    )
    return tuple(
        Region(
            id=number,
            kind=KINDS[kind[index]],
            places=places_in_order[slice(*spans[index])],
            centroid=centroids[index],
            area=float(area[index]),
            minimum=minima[index],
            maximum=maxima[index],
            neighbours=tuple(neighbours[slice(*pair_spans[index])]),
            first_seen_ns=int(first[index]),
            last_seen_ns=int(last[index]),
        )
        for index, number in enumerate(ids.tolist())
    )


def areas_of(
    regions: tuple[Region, ...], square_region: NDArray[np.int64], links: NDArray[np.int64]
) -> tuple[Area, ...]:
    """Return the areas that regions are parts of, in the order of their ids.

    Args:
        regions: in the order of their ids.
        square_region: (N,) id of the region that each square is of, -1 for none.
        links: (L, 2) squares that are of one area, in a region or not.
    """
    if not regions:
        return ()
    ids = np.array([region.id for region in regions])
    squares = np.flatnonzero(square_region >= 0)
    one = np.concatenate([links[:, 0], squares])
    other = np.concatenate([links[:, 1], len(square_region) + np.searchsorted(ids, square_region[squares])])
    size = len(square_region) + len(ids)
    joined = coo_array((np.ones(len(one), dtype=bool), (one, other)), shape=(size, size))
    part = connected_components(joined, directed=False)[1][len(square_region) :]
    groups: dict[int, list[Region]] = {}
    for region, which in zip(regions, part.tolist(), strict=True):  # in the order of ids, so the first is the oldest
        groups.setdefault(which, []).append(region)
    return tuple(area_of(members) for members in groups.values())


def area_of(members: list[Region]) -> Area:
    """Return the area that regions, in the order of their ids, are."""
    # joining many small arrays is several times faster than np.array of their list
    centroids, minima, maxima = (
        np.concatenate([getattr(region, name) for region in members]).reshape(-1, 3)
        for name in ("centroid", "minimum", "maximum")
    )
    weights = np.maximum([region.area for region in members], 1e-6)
    return Area(
        id=members[0].id,
        kind=BUILDING if members[0].kind == ROOM else STREET,
        regions=tuple(region.id for region in members),
        centroid=np.average(centroids, axis=0, weights=weights),
        minimum=minima.min(axis=0),
        maximum=maxima.max(axis=0),
        first_seen_ns=min(region.first_seen_ns for region in members),
        last_seen_ns=max(region.last_seen_ns for region in members),
    )
