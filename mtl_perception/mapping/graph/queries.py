# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Answers from the scene graph: things near a place or near other things, rooms, and ways over places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree

from mtl_perception.core import LabelSpace
from mtl_perception.mapping.graph.ground_graph import GroundGraph
from mtl_perception.mapping.graph.map_object import MapObject
from mtl_perception.mapping.graph.places import Places
from mtl_perception.mapping.graph.regions import Area, Region


class QueryError(ValueError):
    """The graph has no answer; the text says why."""


@dataclass(frozen=True, eq=False)
class Way:
    """A way over places.

    Attributes:
        positions: float64 (N, 3), metres in the world: the start, places, and the goal.
        places: int64 (N - 2,), the ids of the places.
        length: metres.
        clearance: metres, the least of the places'.
    """

    positions: NDArray[np.float64]
    places: NDArray[np.int64]
    length: float
    clearance: float


class Queries:
    """Answers from a map as it stands."""

    def __init__(self, objects: Sequence[MapObject], ground: GroundGraph, labels: LabelSpace) -> None:
        """Answer from these parts of a scene graph."""
        self.objects, self._ground, self._labels = objects, ground, labels
        self._classes = np.array([item.label for item in objects], np.int64)
        # Thousands of small arrays: joining them is many times faster than np.array of their list.
        corners = [np.zeros(0)] + [corner for item in objects for corner in (item.minimum, item.maximum)]
        self._low, self._high = np.moveaxis(np.concatenate(corners).reshape(-1, 2, 3), 1, 0)

    def objects_near(
        self, position: NDArray[np.float64], radius: float, label: str = ""
    ) -> list[tuple[MapObject, float]]:
        """Return the objects of a class, or of all, whose boxes are within `radius` of a position, the nearest first.

        Args:
            position: (3,) in the world, metres.
            radius: metres.
            label: name of the class; "": all classes.

        Returns:
            Objects with the distances from the position to their boxes, metres; 0 inside of a box.

        Raises:
            QueryError: there is no such class.
        """
        chosen = self._of(label)
        gap = np.maximum(np.maximum(position - self._high[chosen], self._low[chosen] - position), 0.0)
        return self._nearest_first(chosen, np.linalg.norm(gap, axis=1), radius)

    def objects_near_objects(self, near_label: str, radius: float, label: str = "") -> list[tuple[MapObject, float]]:
        """Return the same around objects of a class, which are not near themselves.

        Raises:
            QueryError: there is no such class.
        """
        near, chosen = self._of(near_label), self._of(label)
        if not label:
            chosen = np.setdiff1d(chosen, near)
        pairs = self._pairs(chosen, near, radius)
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        gap = np.maximum(self._low[pairs] - self._high[pairs[:, ::-1]], 0.0).max(axis=1)
        away = np.full(len(self.objects), np.inf)
        np.minimum.at(away, pairs[:, 0], np.linalg.norm(gap, axis=1))
        return self._nearest_first(chosen, away[chosen], radius)

    def region_at(self, position: NDArray[np.float64]) -> tuple[Region, Area]:
        """Return the room, road segment or junction at a position (3,) in the world, and the area it is part of.

        Raises:
            QueryError: there is none.
        """
        found = self._ground.region(int(self._ground.regions_at(position[None])[0]))
        if found is None:
            raise QueryError(f"no room or road segment is at {position.round(2).tolist()}")
        return found

    def way(
        self, start: NDArray[np.float64], goal: NDArray[np.float64], least_clearance: float = 0.0, reach: float = 2.0
    ) -> Way:
        """Return the shortest way over places; see `way_over`.

        Raises:
            QueryError: there is no place near the start or the goal, or no way from the one to the other.
        """
        return way_over(self._ground.places(), start, goal, reach, least_clearance)

    def _of(self, label: str) -> NDArray[np.int64]:
        """Return which objects are of a class; "": all."""
        if not label:
            return np.arange(len(self.objects))
        if label not in self._labels.names:
            raise QueryError(f"there is no class '{label}', there are {', '.join(self._labels.names)}")
        return np.flatnonzero(self._classes == self._labels.id_of(label))

    def _pairs(self, some: NDArray[np.int64], others: NDArray[np.int64], radius: float) -> NDArray[np.int64]:
        """Return pairs (N, 2), one of each, among which are all whose boxes are within `radius`."""
        if not len(some) or not len(others):
            return np.zeros((0, 2), np.int64)
        centres = (self._low + self._high) / 2
        half = [np.linalg.norm(self._high[each] - self._low[each], axis=1).max() / 2 for each in (some, others)]
        trees = [cKDTree(centres[each], balanced_tree=False) for each in (some, others)]
        found = trees[0].sparse_distance_matrix(trees[1], radius + sum(half), output_type="ndarray")
        return np.stack([some[found["i"]], others[found["j"]]], axis=1)

    def _nearest_first(
        self, chosen: NDArray[np.int64], away: NDArray[np.float64], radius: float
    ) -> list[tuple[MapObject, float]]:
        order = np.argsort(away, kind="stable")  # objects are in the order of their ids
        order = order[away[order] <= radius]
        return [(self.objects[at], far) for at, far in zip(chosen[order].tolist(), away[order].tolist(), strict=True)]


def way_over(
    places: Places, start: NDArray[np.float64], goal: NDArray[np.float64], reach: float, least_clearance: float = 0.0
) -> Way:
    """Return the shortest way over places (Dijkstra, 1959).

    Args:
        places: of the map.
        start, goal: (3,) in the world, metres; the nearest places are where the way begins and ends.
        reach: metres; as far may these be from them.
        least_clearance: metres; places nearer to an obstacle are avoided.

    Raises:
        QueryError: there is no place near the start or the goal, or no way from the one to the other.
    """
    usable = places.clearance >= least_clearance
    first, last = (_nearest(places, usable, point, reach, name) for point, name in ((start, "start"), (goal, "goal")))
    edges = places.edges[usable[places.edges].all(axis=1)]
    lengths = places.lengths[usable[places.edges].all(axis=1)]
    count = len(places)
    graph = csr_array((lengths, (edges[:, 0], edges[:, 1])), shape=(count, count))
    far, before = dijkstra(graph, directed=False, indices=last, return_predecessors=True)
    if not np.isfinite(far[first]):
        raise QueryError(f"no way over places leads from place {places.ids[first]} to place {places.ids[last]}")
    nodes = [first]
    while nodes[-1] != last:
        nodes.append(int(before[nodes[-1]]))
    positions = np.concatenate([start[None], places.positions[nodes], goal[None]])
    length = float(np.linalg.norm(np.diff(positions, axis=0), axis=1).sum())
    return Way(positions, places.ids[nodes], length, float(places.clearance[nodes].min()))


def _nearest(places: Places, usable: NDArray[np.bool_], point: NDArray[np.float64], reach: float, name: str) -> int:
    away = np.linalg.norm(places.positions - point, axis=1)
    away[~usable] = np.inf
    if not len(away) or away.min() > reach:
        raise QueryError(f"no place is within {reach:g} m of the {name} {point.round(2).tolist()}")
    return int(away.argmin())
