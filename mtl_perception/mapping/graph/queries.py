# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Answers from the scene graph: things near a place or near other things, rooms, and ways over places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from mtl_perception.core import LabelSpace
from mtl_perception.mapping.graph.ground_graph import GroundGraph
from mtl_perception.mapping.graph.objects import MapObject
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
        self._objects, self._ground, self._labels = objects, ground, labels

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
        return _nearest_first(self._of(label), _Boxes(position[None], position[None]), radius)

    def objects_near_objects(self, near_label: str, radius: float, label: str = "") -> list[tuple[MapObject, float]]:
        """Return the same around objects of a class, which are not near themselves.

        Raises:
            QueryError: there is no such class.
        """
        places = self._of(near_label)
        chosen = [item for item in self._of(label) if label or item not in places]
        return _nearest_first(chosen, _boxes_of(places), radius, {item.id: at for at, item in enumerate(places)})

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

    def _of(self, label: str) -> list[MapObject]:
        if not label:
            return list(self._objects)
        if label not in self._labels.names:
            raise QueryError(f"there is no class '{label}', there are {', '.join(self._labels.names)}")
        number = self._labels.id_of(label)
        return [item for item in self._objects if item.label == number]


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


class _Boxes(NamedTuple):
    """Axis-aligned boxes: their least and greatest corners (N, 3), metres."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]


def _boxes_of(objects: Sequence[MapObject]) -> _Boxes:
    low = np.array([item.minimum for item in objects]).reshape(-1, 3)
    return _Boxes(low, np.array([item.maximum for item in objects]).reshape(-1, 3))


def _nearest_first(
    objects: Sequence[MapObject], places: _Boxes, radius: float, own: Mapping[int, int] | None = None
) -> list[tuple[MapObject, float]]:
    """Return objects within `radius` of any of the places, with how far; `own` are the places that are objects' own."""
    if not objects or not len(places.low):
        return []
    boxes = _boxes_of(objects)
    away = np.full(len(objects), np.inf)
    for number, (low, high) in enumerate(zip(places.low, places.high, strict=True)):
        gap = np.maximum(np.maximum(low - boxes.high, boxes.low - high), 0.0)
        apart = np.linalg.norm(gap, axis=1)
        if own is not None:
            apart[[own.get(item.id) == number for item in objects]] = np.inf
        away = np.minimum(away, apart)
    order = np.lexsort((np.array([item.id for item in objects]), away))
    return [(objects[number], float(away[number])) for number in order.tolist() if away[number] <= radius]
