# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How far it is to the nearest obstacle: a Euclidean signed distance field (ESDF) over the cells of a 2D grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import types
from numpy.typing import NDArray

from mtl_perception.core.compiled import compiled
from mtl_perception.mapping.ground.cell_moves import moved
from mtl_perception.mapping.ground.grid_layers import TILE

_Evidence = types.Array(types.int8, 2, "C")
_Flags = types.Array(types.boolean, 2, "C")
_Field = types.Array(types.float32, 2, "C")
_SIGNATURE = (_Evidence, _Flags, _Flags, types.int64, types.int64, types.float64, types.float64, _Field, _Flags)


@dataclass(frozen=True, eq=False)
class FieldMap:
    """A distance field in the world frame.

    Attributes:
        origin: (x, y) of the outer corner of cell [0, 0], metres.
        resolution: edge of a cell, metres.
        data: float32 (H, W), row = y, column = x: metres to the nearest obstacle, negative inside; NaN where unknown.
    """

    origin: tuple[float, float]
    resolution: float
    data: NDArray[np.float32]


class DistanceField:
    """Distances over a grid, computed again only around what has changed.

    A cell outside of obstacles has the distance from its centre to the centre of the nearest obstacle cell, less half a
    cell; one inside has the distance to the nearest other cell, less half a cell, as a negative number: it is 0 on the
    line between them. Nearest cells are exact (two passes, along columns and then along rows, as in Felzenszwalb and
    Huttenlocher, "Distance Transforms of Sampled Functions", 2012). What is unknown or outside of the grid is no
    obstacle; what is unknown has no distance. Where the bounded grid has dropped cells, distances to them stay.

    A cell takes 4 bytes.
    """

    def __init__(self, resolution: float, max_distance: float) -> None:
        """Make an empty field; distances end at `max_distance` metres."""
        fill_tiles.compile(_SIGNATURE)
        self._resolution = resolution
        self._max_distance = max_distance
        self._reach = int(np.ceil(max_distance / resolution + 0.5))  # cells; farther obstacles do not matter
        self._corner = np.zeros(2, dtype=np.int64)
        self._data = np.zeros((0, 0), dtype=np.float32)

    @property
    def data(self) -> NDArray[np.float32]:
        """The distances (H, W) in the grid's cells, as of the last update; not a copy."""
        return self._data

    def update(
        self,
        corner: NDArray[np.int64],
        evidence: NDArray[np.int8],
        known: NDArray[np.bool_],
        tiles: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """Follow a grid.

        Args:
            corner: index (2,), x y, of its first cell, a multiple of `TILE`.
            evidence: (H, W); where it is above 0, there is an obstacle.
            known: (H, W).
            tiles: (N, 2), x y: those in which a cell has changed since the last update.

        Returns:
            The tiles (M, 2), x y, in order, in which a distance has changed.
        """
        end = corner + np.array(evidence.shape[::-1])
        if (corner != self._corner).any() or self._data.shape != evidence.shape:
            self._data = moved(self._data, self._corner, corner, end, np.nan)
            self._corner = corner.copy()
        first, count = corner // TILE, -(-(end - corner) // TILE)
        tiles = tiles - first
        tiles = tiles[((tiles >= 0) & (tiles < count)).all(axis=1)]
        if not len(tiles):
            return np.zeros((0, 2), dtype=np.int64)
        margin = -(-self._reach // TILE)
        low = np.maximum(tiles.min(axis=0) - margin, 0)
        high = np.minimum(tiles.max(axis=0) + margin + 1, count)
        chosen = np.zeros((high - low)[::-1], dtype=bool)
        for x, y in (tiles - low).tolist():
            chosen[max(y - margin, 0) : y + margin + 1, max(x - margin, 0) : x + margin + 1] = True
        changed = np.zeros(chosen.shape, dtype=bool)
        column, row = (low * TILE).tolist()
        fill_tiles(evidence, known, chosen, row, column, self._resolution, self._max_distance, self._data, changed)
        x, y = np.nonzero(changed.T)
        return np.stack([x, y], axis=1) + low + first

    def map(self) -> FieldMap:
        """Return the field as it stands."""
        x, y = (self._corner * self._resolution).tolist()
        return FieldMap((x, y), self._resolution, self._data.copy())

    def state(self) -> dict[str, NDArray]:
        """Return all that the field holds."""
        return {"corner": self._corner, "data": self._data}

    def restore(self, state: dict[str, NDArray]) -> None:
        """Set the field to what `state` gave."""
        self._corner, self._data = state["corner"].copy(), state["data"].copy()


@compiled
def fill_tiles(  # type: ignore[no-untyped-def]
    evidence, known, chosen, first_row, first_column, resolution, max_distance, data, changed
):
    """Compute the distances of all cells in some tiles.

    Args:
        evidence, known: (H, W), see `DistanceField.update`.
        chosen: (h, w), which tiles.
        first_row, first_column: cell at which tile [0, 0] begins.
        resolution: edge of a cell, metres.
        max_distance: metres.
        data: (H, W), changed.
        changed: (h, w), set where a tile has got other distances.
    """
    height, width = data.shape
    reach = np.int64(np.ceil(max_distance / resolution + 0.5))
    far = reach + 1
    for tile_row in range(chosen.shape[0]):
        top = first_row + tile_row * TILE
        bottom = min(top + TILE, height)
        begin = 0
        while begin < chosen.shape[1]:
            if not chosen[tile_row, begin]:
                begin += 1
                continue
            end = begin
            while end < chosen.shape[1] and chosen[tile_row, end]:
                end += 1
            left, right = first_column + begin * TILE, min(first_column + end * TILE, width)
            start, stop = max(left - reach, 0), min(right + reach, width)
            along = _along_columns(evidence, top, bottom, start, stop, reach)
            for row in range(top, bottom):
                for column in range(left, right):
                    inside = evidence[row, column] > 0
                    if not inside and not known[row, column]:
                        value = np.float32(np.nan)
                    else:
                        best = far * far
                        for apart in range(far):
                            if apart * apart >= best:
                                break
                            for other in (column - apart, column + apart):
                                if start <= other < stop:
                                    up = along[np.int64(inside), row - top, other - start]
                                    best = min(best, apart * apart + up * up)
                                elif inside:
                                    best = min(best, np.int64(apart * apart))
                        distance = min((np.sqrt(np.float64(best)) - 0.5) * resolution, max_distance)
                        value = np.float32(-distance if inside else distance)
                    old = data[row, column]
                    if value != old and (value == value or old == old):  # NaN does not equal itself
                        changed[tile_row, begin + (column - left) // TILE] = True
                        data[row, column] = value
            begin = end


@compiled
def _along_columns(evidence, top, bottom, start, stop, reach):  # type: ignore[no-untyped-def]
    """Return (2, rows, columns): cells along the column to the nearest obstacle, and to the nearest other cell.

    Outside of the grid there are no obstacles.
    """
    height = evidence.shape[0]
    result = np.full((2, bottom - top, stop - start), reach + 1, dtype=np.int64)
    nearest = np.full((2, stop - start), top - reach - 2, dtype=np.int64)
    if top <= reach:
        nearest[1] = -1
    for row in range(max(top - reach, 0), bottom):
        for column in range(start, stop):
            nearest[np.int64(evidence[row, column] <= 0), column - start] = row
            if row >= top:
                for kind in range(2):
                    apart = row - nearest[kind, column - start]
                    result[kind, row - top, column - start] = min(apart, reach + 1)
    nearest[:] = bottom + reach + 2
    if bottom + reach >= height:
        nearest[1] = height
    for row in range(min(bottom + reach, height) - 1, top - 1, -1):
        for column in range(start, stop):
            nearest[np.int64(evidence[row, column] <= 0), column - start] = row
            if row < bottom:
                for kind in range(2):
                    apart = nearest[kind, column - start] - row
                    if apart < result[kind, row - top, column - start]:
                        result[kind, row - top, column - start] = apart
    return result
