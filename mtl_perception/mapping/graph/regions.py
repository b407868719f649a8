# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Regions: what rooms and road segments have in common."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ROOM, ROAD_SEGMENT, JUNCTION = "room", "road segment", "junction"
"""The kinds of regions."""


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
        first_seen_ns, last_seen_ns: stamps of its first place, and of when any was last seen.
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


class RegionIds:
    """Gives numbers that were never given before."""

    def __init__(self) -> None:
        """Begin with 0."""
        self.next = 0

    def take(self) -> int:
        """Return the next number."""
        self.next += 1
        return self.next - 1


def renamed(old: NDArray[np.int64], part: NDArray[np.int64], deserves: NDArray[np.bool_], ids: RegionIds) -> NDArray[np.int64]:
    """Return the ids (P,) of parts, so that they keep those of before as far as possible.

    Each old id goes to one part, to that which has most of its nodes; a part of several gets the one of which it has
    most.

    Args:
        old: (N,) ids that nodes had, -1 none.
        part: (N,) 0 to P - 1, the part that they are of now.
        deserves: (P,) whether a part gets an id if it has none.
        ids: gives new ones.
    """
    known = old >= 0
    pairs, counts = np.unique(np.stack([part[known], old[known]]), axis=1, return_counts=True)
    result = np.full(len(deserves), -1, dtype=np.int64)
    taken: set[int] = set()
    for index in np.lexsort((pairs[0], pairs[1], -counts)).tolist():
        number, name = int(pairs[0, index]), int(pairs[1, index])
        if result[number] < 0 and name not in taken:
            result[number] = name
            taken.add(name)
    for number in np.flatnonzero(deserves & (result < 0)).tolist():
        result[number] = ids.take()
    return result
