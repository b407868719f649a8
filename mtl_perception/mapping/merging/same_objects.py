# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which things of another map are things of this one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.transforms import Transform, transform_points
from mtl_perception.mapping.fusion.blocks import pack
from mtl_perception.mapping.graph.map_object import MapObject, ObjectsState

_SHARED = 0.3  # of the surface of either of two that are one
_NEAR = 2.0  # cells between the centroids of two that are one, if their boxes overlap


def same_objects(
    ours: Sequence[MapObject], theirs: ObjectsState, self_from_other: Transform, edge: float
) -> dict[int, int]:
    """Return which of their objects are which of ours, by their places in both sequences.

    One of theirs is the one of ours of its class with which it shares most surface, if that is three tenths of its own
    surface or of the other's (several of theirs may be one of ours: then this map has not told them apart). Of those
    that are left over on both sides, two are one if their centroids are nearer than two cells and their boxes overlap
    or are less than a cell apart: robots that looked at a thing from two sides share little of its surface.

    Args:
        ours: objects of this map.
        theirs: of the other map.
        self_from_other: where the other map lies in this one.
        edge: of the objects' cells, metres.
    """
    known, surfaces = _Boxes(ours, edge), _surfaces(theirs, self_from_other, edge)
    found: dict[int, int] = {}
    for at, surface in enumerate(surfaces):
        shares = [(surface.share(ours[number].cells), -number) for number in known.touched(surface)]
        if shares and max(shares)[0] >= _SHARED:
            found[at] = -max(shares)[1]
    taken = set(found.values())
    pairs = []
    for at, surface in enumerate(surfaces):
        if at not in found:
            near = [number for number in known.touched(surface) if number not in taken]
            away = [float(np.linalg.norm(ours[number].centroid - surface.centroid)) for number in near]
            pairs += [(far, at, number) for far, number in zip(away, near, strict=True) if far < _NEAR * edge]
    for _, at, number in sorted(pairs):
        if at not in found and number not in taken:
            found[at] = number
            taken.add(number)
    return found


class _Surface:
    """The surface of one of their objects in this map: of its vertices in each cell of theirs the mean position."""

    def __init__(
        self,
        label: int,
        centroid: NDArray[np.float64],
        points: NDArray[np.float64],
        cells: NDArray[np.int64],
        vertices: NDArray[np.int64],
    ) -> None:
        self.label, self.centroid = label, centroid
        self.low, self.high = points.min(axis=0), points.max(axis=0)
        self._cells, self._vertices = cells, vertices

    def share(self, cells: NDArray[np.int64]) -> float:
        """Return how much of it is in sorted cells, or how many of these have some of it: the greater share."""
        place = np.minimum(np.searchsorted(cells, self._cells), len(cells) - 1)
        inside = cells[place] == self._cells
        of_it = self._vertices[inside].sum() / self._vertices.sum()
        return float(max(of_it, len(np.unique(self._cells[inside])) / len(cells)))


class _Boxes:
    """The boxes of our objects, larger by a margin on each side, metres."""

    def __init__(self, objects: Sequence[MapObject], margin: float) -> None:
        self._labels = np.array([item.label for item in objects], np.int64)
        self._low = np.array([item.minimum for item in objects]).reshape(-1, 3) - margin
        self._high = np.array([item.maximum for item in objects]).reshape(-1, 3) + margin

    def touched(self, surface: _Surface) -> list[int]:
        """Return which objects of its class have boxes that overlap that of a surface."""
        overlap = ((self._low <= surface.high) & (self._high >= surface.low)).all(axis=1)
        return [int(number) for number in np.flatnonzero(overlap & (self._labels == surface.label))]


def _surfaces(theirs: ObjectsState, self_from_other: Transform, edge: float) -> list[_Surface]:
    entries = theirs.entries
    vertices = entries["vertices"].astype(np.int64)
    points = transform_points(self_from_other, entries["position"] / vertices[:, None])
    cells = pack(np.floor(points / edge).astype(np.int64))
    order = np.argsort(entries["kind"], kind="stable")
    kinds, old_cells = entries["kind"][order], entries["cell"][order]
    found = []
    for item in theirs.objects:
        first, last = np.searchsorted(kinds, item.instance * 256 + item.label + np.array([0, 1]))
        rows = order[first:last][np.isin(old_cells[first:last], item.cells)]
        centroid = transform_points(self_from_other, item.centroid)
        found.append(_Surface(item.label, centroid, points[rows], cells[rows], vertices[rows]))
    return found
