# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""At which place each object is, looked for again only where objects, places or regions have changed."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from mtl_perception.mapping.graph.kept_ground import KeptGround
from mtl_perception.mapping.graph.map_object import MapObject
from mtl_perception.mapping.graph.squares import RING, around, id_of

NO_PLACE = -1

_NEAR_PLACES = 16  # that an object looks at for one in its own region
_REACH = 5.0  # metres from an object to its place
_TOGETHER = 4  # cells along each side of which the objects are looked at together

Cell = tuple[int, int]


class ObjectPlaces:
    """Finds for each object the nearest place, one in its own region before all others: others may be behind a wall.

    Objects are in cells of ground, so large that what an object depends on is in its own cell or beside it.
    """

    def __init__(self, ground: KeptGround) -> None:
        """Begin without objects."""
        self._ground, self._squares, self._spacing = ground, ground.squares, ground.spacing
        self._edge = _REACH + 2.0 * ground.spacing
        self._cell_of: dict[int, Cell] = {}
        self._objects: dict[Cell, dict[int, NDArray[np.float64]]] = {}  # their centroids, by cell and id

    def update(self, changed: Iterable[MapObject], gone: Iterable[int], squares: NDArray[np.int64]) -> dict[int, int]:
        """Follow objects and the ground.

        Args:
            changed: objects that are new or others than before.
            gone: ids of objects that are gone.
            squares: (N, 2), x y, where places or regions are others than before.

        Returns:
            For each object whose place may be another, the id of its place; `NO_PLACE` where there is none near.
        """
        for number in gone:
            self._forget(number)
        wanted = dict[Cell, dict[int, NDArray[np.float64]]]()  # centroids by id, of those that are near each other
        for item in changed:
            self._forget(item.id)
            x, y, _ = np.floor(item.centroid / self._edge).astype(int).tolist()
            self._cell_of[item.id] = x, y
            self._objects.setdefault((x, y), {})[item.id] = item.centroid
            wanted.setdefault((x // _TOGETHER, y // _TOGETHER), {})[item.id] = item.centroid
        disturbed = np.unique(np.floor((squares + 0.5) * (self._spacing / self._edge)).astype(np.int64), axis=0)
        for x, y in around(disturbed, RING).tolist():
            if (x, y) in self._objects:
                wanted.setdefault((x // _TOGETHER, y // _TOGETHER), {}).update(self._objects[x, y])
        result: dict[int, int] = {}
        for there in wanted.values():
            result |= zip(there, self._nearest(np.stack(list(there.values()))).tolist(), strict=True)
        return result

    def _forget(self, number: int) -> None:
        cell = self._cell_of.pop(number, None)
        if cell is not None:
            del self._objects[cell][number]
            if not self._objects[cell]:
                del self._objects[cell]

    def _nearest(self, positions: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the ids (N,) of the places at positions (N, 3) that are near each other; of equals the least."""
        nodes = self._places_around(positions)
        if not len(nodes):
            return np.full(len(positions), NO_PLACE, dtype=np.int64)
        ids = id_of(self._squares.of(nodes))
        order = np.argsort(ids)
        nodes, ids = nodes[order], ids[order]
        apart = np.linalg.norm(self._ground.positions(nodes)[:, :2] - positions[:, None, :2], axis=2)
        nearest = np.argsort(apart, axis=1, kind="stable")[:, :_NEAR_PLACES]
        near = np.take_along_axis(apart, nearest, axis=1) < _REACH
        region = self._regions_at(positions)[:, None]
        own = near & (self._ground.records["place_region"][nodes][nearest] == region) & (region >= 0)
        best = np.where(own.any(axis=1), own.argmax(axis=1), 0)
        rows = np.arange(len(positions))
        return np.where(near[:, 0], ids[nearest[rows, best]], NO_PLACE)

    def _places_around(self, positions: NDArray[np.float64]) -> NDArray[np.int64]:
        low, high = positions[:, :2].min(axis=0) - _REACH, positions[:, :2].max(axis=0) + _REACH
        first, last = (np.floor(corner / self._spacing).astype(np.int64) for corner in (low, high))
        x, y = (np.arange(start, end + 1) for start, end in zip(first, last, strict=True))
        nodes = self._squares.nodes(np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2))
        nodes = nodes[nodes >= 0]
        return nodes[self._ground.records["place"][nodes]]

    def _regions_at(self, positions: NDArray[np.float64]) -> NDArray[np.int64]:
        nodes = self._squares.nodes(np.floor(positions[:, :2] / self._spacing).astype(np.int64))
        return np.where(nodes >= 0, self._ground.records["region"][nodes], -1)
