# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Follows the 2D grid of a map for somebody who keeps a copy of it elsewhere, and is told only what has changed.

This is how maps that grow are sent in the field (Nav2's costmaps, rtabmap): a whole grid now and then, and parts of it
between.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_perception.mapping.ground.grid_layers import TILE, Rectangle
from mtl_perception.mapping.ground.ground_grid import GridMap, GroundGrid

_NOTHING: Rectangle = (0, 0, 0, 0)
_LEAST_ROOM = 8 * TILE  # cells to each side; a multiple of TILE, so that whole tiles are sent


@dataclass(frozen=True, eq=False)
class GridPart:
    """A rectangle of cells in a grid.

    Attributes:
        column, row: of its first cell in the grid.
        data: int8 (H, W), as in `GridMap`.
    """

    column: int
    row: int
    data: NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class OccupancyChanges:
    """What a copy of the 2D grid needs to be as the grid is.

    Attributes:
        whole: a grid that replaces the copy; None where it is only to be changed.
        parts: of the last whole grid, what has changed; they may overlap.
    """

    whole: GridMap | None
    parts: tuple[GridPart, ...]


@dataclass
class _Collected:
    """Cells that have changed; apart, because all together are often far from what has, and around all of the grid."""

    changed: Rectangle = _NOTHING
    columns_gone: Rectangle = _NOTHING
    rows_gone: Rectangle = _NOTHING

    @property
    def rectangles(self) -> tuple[Rectangle, Rectangle, Rectangle]:
        return self.changed, self.columns_gone, self.rows_gone

    @property
    def is_empty(self) -> bool:
        return all(map(_is_empty, self.rectangles))

    def add(self, other: _Collected) -> None:
        self.changed, self.columns_gone, self.rows_gone = map(_union, self.rectangles, other.rectangles)


class OccupancyFollower:
    """Collects what changes in the 2D grid of a map, until it is told; see `Mapper.occupancy_grid_changes`.

    A whole grid is told first, and whenever the map was replaced or has moved. It reaches beyond what the map has, with
    unknown cells, so that another one is needed only when the map has outgrown it. Where it did, half of its extent is
    added: all whole grids of a drive together are thus a constant number of bytes a metre, however long it is, as the
    parts are. It has at most four times the cells of the map's grid, mostly less than two times, and 128 cells more to
    each side.

    What has changed is collected as rectangles, so it takes no memory to speak of.
    """

    def __init__(self) -> None:
        """Know nothing."""
        self._grid: weakref.ref[GroundGrid] | None = None
        self._whole = _NOTHING
        self._starts_anew = True
        self._new, self._later = _Collected(), _Collected()

    @property
    def starts_anew(self) -> bool:
        """Whether a whole grid is told next."""
        return self._starts_anew

    @property
    def tells_again(self) -> bool:
        """Whether something that was told is told once more."""
        return not self._later.is_empty

    def start_anew(self) -> None:
        """Tell the whole grid next time."""
        self._starts_anew = True

    def changes(self, grid: GroundGrid, again: bool = False) -> OccupancyChanges:
        """Return how the grid has changed since the last call.

        With `again`, the parts that are told now are told once more, with what they hold then, by the first call
        without: for a receiver to whom they may have come before the whole grid that they belong to.
        """
        if self._grid is None or self._grid() is not grid:
            self._grid, self._whole = weakref.ref(grid), _NOTHING
            grid.news.add(self)
            self.start_anew()
        if self._starts_anew:
            self._whole = _with_room(grid.window, self._whole)
            self._starts_anew = False
            self._new, self._later = _Collected(), _Collected()
            return OccupancyChanges(grid.map(self._whole), ())
        told, self._new = self._new, _Collected()
        if again:
            self._later.add(told)
        else:
            told.add(self._later)
            self._later = _Collected()
        cells = (_intersection(each, self._whole) for each in told.rectangles)
        return OccupancyChanges(None, tuple(self._part(grid, each) for each in cells if not _is_empty(each)))

    def note_changed(self, cells: Rectangle) -> None:
        """Learn that some of these cells have changed."""
        self._new.add(_Collected(cells))

    def note_window(self, old: Rectangle, new: Rectangle) -> None:
        """Learn that the grid has let cells go, and has got others of which nothing is known yet."""
        self._starts_anew |= _intersection(new, self._whole) != new
        x0, y0, x1, y1 = old
        for gone in ((x0, y0, min(new[0], x1), y1), (max(new[2], x0), y0, x1, y1)):
            self._new.add(_Collected(columns_gone=gone))
        for gone in ((x0, y0, x1, min(new[1], y1)), (x0, max(new[3], y0), x1, y1)):
            self._new.add(_Collected(rows_gone=gone))

    def _part(self, grid: GroundGrid, cells: Rectangle) -> GridPart:
        return GridPart(cells[0] - self._whole[0], cells[1] - self._whole[1], grid.map(cells).data)


def _with_room(window: Rectangle, before: Rectangle) -> Rectangle:
    """Return the cells of a whole grid that has those of a window; `before` are those of the last one."""
    if _is_empty(window):
        return window
    low, high = [0, 0], [0, 0]
    for axis in (0, 1):
        first, end = window[axis], window[axis + 2]
        if _is_empty(before):
            low[axis], high[axis] = first - _LEAST_ROOM, end + _LEAST_ROOM
            continue
        room = max(_LEAST_ROOM, (end - first) // 2 // TILE * TILE)
        old_first, old_end = before[axis], before[axis + 2]
        low[axis] = max(old_first, first - room) if old_first <= first else first - room
        high[axis] = min(old_end, end + room) if end <= old_end else end + room
    return low[0], low[1], high[0], high[1]


def _is_empty(cells: Rectangle) -> bool:
    return cells[0] >= cells[2] or cells[1] >= cells[3]


def _intersection(one: Rectangle, other: Rectangle) -> Rectangle:
    return max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])


def _union(one: Rectangle, other: Rectangle) -> Rectangle:
    """Return a rectangle that has both; what is empty has nothing."""
    if _is_empty(one) or _is_empty(other):
        return one if _is_empty(other) else other
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])
