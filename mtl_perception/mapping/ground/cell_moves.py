# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The cells of a 2D grid moved along with a corrected trajectory.

Patches of 4x4 cells move rigidly, each as the keyframe nearest to it. A new cell takes over what the old cell holds in
whose moved square its centre lies: so a rotation leaves no holes and makes no wall thicker. Where patches that move
differently come to lie over each other, obstacles and walls win over what is free. Where they part, each reaches one
cell into the gap. Thin walls that a rotation would leave hanging together by corners alone are closed there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import types
from numpy.typing import NDArray

from mtl_perception.core.compiled import compiled

Corrections = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Returns new_world_from_old_world (N, 4, 4) around places (N, 3) in the old world."""

_PATCH = 4  # cells along the edge of a patch
_STILL = 1e-6  # metres; what moves by less is rounding
_SIDES = ((-1, 0), (1, 0), (0, -1), (0, 1))  # x y

_Bytes, _Flags = types.Array(types.int8, 2, "C"), types.Array(types.boolean, 2, "C")
_Floats, _Votes = types.Array(types.float32, 2, "C"), types.Array(types.uint8, 2, "C")
_CELLS = (_Bytes, _Bytes, _Flags, _Floats, _Votes)
_Corner = types.Array(types.int64, 1, "C")
_CLAIM = (
    *(*_CELLS, _Corner, types.float64, types.Array(types.float64, 4, "C"), types.Array(types.float64, 2, "C")),
    *(types.Array(types.boolean, 3, "C"), types.boolean, _Corner, *_CELLS, types.Array(types.int32, 2, "C"), _Votes),
    types.Array(types.float32, 3, "C"),
)
_CLOSE = (_Bytes, types.Array(types.int32, 2, "C"), _Bytes, _Bytes, _Flags)


def prepare() -> None:
    """Compile the functions of this module unless that has been done: so that no frame waits for it."""
    claim_cells.compile(_CLAIM)
    close_corners.compile(_CLOSE)


@dataclass(frozen=True, eq=False)
class CellMoves:
    """From where the cells of a grid have come.

    Attributes:
        source: int32 (H, W), the index in the old grid, row by row, of the cell that each comes from; -1 where nothing
            is known.
        corner: (2,), x y, index of cell [0, 0].
        old_corner: (2,), the same of the old grid.
        old_width: columns of the old grid.
    """

    source: NDArray[np.int32]
    corner: NDArray[np.int64]
    old_corner: NDArray[np.int64]
    old_width: int

    def pairs(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the new cells (N, 2), x y, of which something is known, and the old ones (N, 2)."""
        row, column = np.nonzero(self.source >= 0)
        old_row, old_column = np.divmod(self.source[row, column].astype(np.int64), self.old_width)
        return (
            np.stack([column, row], axis=1) + self.corner,
            np.stack([old_column, old_row], axis=1) + self.old_corner,
        )


class Patches:
    """How the patches of a grid move.

    Attributes:
        stay: whether nothing moves.
        low, high: (2,) x y, cells between which all of them come to lie; `low` belongs to them, `high` does not. They
            are equal where there is nothing to move.
    """

    def __init__(
        self,
        cells: dict[str, NDArray],
        corner: NDArray[np.int64],
        resolution: float,
        usual_height: float,
        corrections: Corrections,
    ) -> None:
        """Find how cells, the layers (H, W) of a grid from cell `corner` on, move.

        The edges of the grid are multiples of a patch; `usual_height` is that of ground which was not seen, metres.
        """
        self._cells, self._corner, self._resolution = cells, corner.copy(), resolution
        known = cells["seen"] | (cells["evidence"] != 0) | (cells["walls"] != 0)
        known |= (cells["ground_vote"] != 0) | ~np.isnan(cells["ground"])
        there = _by_patch(known).any(axis=(1, 3))
        row, column = np.nonzero(there)
        self._heights = self._mean_heights(usual_height)
        points = np.empty((len(row), 3))
        points[:, :2] = ((np.stack([column, row], axis=1) + 0.5) * _PATCH + corner) * resolution
        points[:, 2] = self._heights[row, column]
        transforms = corrections(points)[:, :3] if len(points) else np.zeros((0, 3, 4))
        self._transforms = np.full((*there.shape, 3, 4), np.nan)  # NaN where there is nothing to move
        self._transforms[row, column] = transforms
        corners = points[:, None] + np.array([(x, y, 0.0) for x in (-0.5, 0.5) for y in (-0.5, 0.5)]) * (
            _PATCH * resolution
        )
        moved = np.einsum("nij,nkj->nki", transforms[:, :, :3], corners) + transforms[:, None, :, 3]
        self.stay = bool((np.abs(moved - corners) < _STILL).all())
        self.low = self.high = np.zeros(2, np.int64)
        if len(points):
            margin = 2
            self.low = np.floor(moved[..., :2].min(axis=(0, 1)) / resolution).astype(np.int64) - margin
            self.high = np.floor(moved[..., :2].max(axis=(0, 1)) / resolution).astype(np.int64) + margin + 1

    def move(self, into: dict[str, NDArray], corner: NDArray[np.int64]) -> CellMoves:
        """Write what comes to lie there into the empty layers (H, W) of a grid from cell `corner` on."""
        shape = into["seen"].shape
        source, claimed = np.full(shape, -1, np.int32), np.zeros(shape, np.uint8)
        apart = np.full((3, *shape), np.inf, np.float32)
        seams = self._seams()
        names = ("evidence", "walls", "seen", "ground", "ground_vote")
        for over_seams in (False, True) if seams.any() else (False,):
            claim_cells(
                *(np.ascontiguousarray(self._cells[name]) for name in names), self._corner, self._resolution,
                self._transforms, self._heights, seams, over_seams, corner, *(into[name] for name in names),
                source, claimed, apart,
            )  # fmt: skip
        for name in ("evidence", "walls"):
            old = np.ascontiguousarray(self._cells[name])
            close_corners(old, source, into[name], into["evidence"], into["seen"])
        return CellMoves(source, corner.copy(), self._corner, self._cells["seen"].shape[1])

    def _mean_heights(self, usual: float) -> NDArray[np.float64]:
        """Return the mean height of the ground in each patch."""
        ground = _by_patch(self._cells["ground"])
        known = ~np.isnan(ground)
        count = known.sum(axis=(1, 3))
        total = np.where(known, ground, 0.0).sum(axis=(1, 3), dtype=np.float64)
        return np.where(count > 0, total / np.maximum(count, 1), usual)

    def _seams(self) -> NDArray[np.bool_]:
        """Return for each patch (h, w, 4) on which of the `_SIDES` it has a neighbour that moves differently."""
        rows, columns = self._heights.shape
        seams = np.zeros((rows, columns, len(_SIDES)), dtype=bool)
        for side, (dx, dy) in enumerate(_SIDES):
            here = np.s_[max(-dy, 0) : rows - max(dy, 0), max(-dx, 0) : columns - max(dx, 0)]
            there = np.s_[max(dy, 0) : rows + min(dy, 0), max(dx, 0) : columns + min(dx, 0)]
            row, column = np.mgrid[here]
            edge = np.empty((*row.shape, 3))  # the middle of the edge between both
            edge[..., 0] = (column + 0.5 + dx / 2) * _PATCH + self._corner[0]
            edge[..., 1] = (row + 0.5 + dy / 2) * _PATCH + self._corner[1]
            edge[..., :2] *= self._resolution
            edge[..., 2] = self._heights[here]
            differ = self._transforms[here] - self._transforms[there]
            gap = np.einsum("rcij,rcj->rci", differ[..., :3], edge) + differ[..., 3]
            seams[(*here, side)] = (np.abs(gap[..., :2]) > _STILL).any(axis=-1)  # NaN, where one is missing, is no gap
        return seams


def _by_patch(layer: NDArray) -> NDArray:
    """Return a view (rows, _PATCH, columns, _PATCH) of a layer (H, W)."""
    rows, columns = np.array(layer.shape) // _PATCH
    return layer.reshape(rows, _PATCH, columns, _PATCH)


def moved(
    array: NDArray, corner: NDArray[np.int64], low: NDArray[np.int64], high: NDArray[np.int64], fill: float
) -> NDArray:
    """Return what `array`, which begins at cell `corner`, holds in cells `low` to `high`; `fill` elsewhere."""
    width, height = (high - low).tolist()
    result = np.full((height, width), fill, dtype=array.dtype)
    end = corner + np.array(array.shape[::-1])
    start, stop = np.maximum(low, corner), np.minimum(high, end)
    if (start < stop).all():
        (x0, y0), (x1, y1) = start - low, stop - low
        (u0, v0), (u1, v1) = start - corner, stop - corner
        result[y0:y1, x0:x1] = array[v0:v1, u0:u1]
    return result


@compiled
def claim_cells(  # type: ignore[no-untyped-def]
    evidence,
    walls,
    seen,
    ground,
    vote,
    corner,
    resolution,
    transforms,
    heights,
    seams,
    over_seams,
    to_corner,
    to_evidence,
    to_walls,
    to_seen,
    to_ground,
    to_vote,
    source,
    claimed,
    apart,
):
    """Let old cells claim the new cells whose centres lie in their moved squares.

    Args:
        evidence, walls, seen, ground, vote: layers (H, W) of the old grid.
        corner: (2,), x y, index of its first cell.
        resolution: edge of a cell, metres.
        transforms: (h, w, 3, 4), new world from old world per patch; NaN where there is nothing.
        heights: (h, w), of the ground in each patch, metres.
        seams: (h, w, 4), on which sides a neighbour moves differently.
        over_seams: whether cells at these sides reach one cell farther; then they get only what nobody has claimed.
        to_corner: (2,), x y, index of the new grid's first cell.
        to_evidence, to_walls, to_seen, to_ground, to_vote: its layers, changed.
        source: (h', w') index of the old cell, changed: of several, the one whose middle comes nearest.
        claimed: (h', w') 1 where a cell was claimed, 2 where only over a seam; changed.
        apart: (3, h', w'), how far from the middle the old cell is that has given source, ground and vote; changed.
    """
    height, width = evidence.shape
    to_height, to_width = to_evidence.shape
    for row in range(height):
        for column in range(width):
            has_ground = ground[row, column] == ground[row, column]  # NaN does not equal itself
            has_more = seen[row, column] or evidence[row, column] != 0 or walls[row, column] != 0
            if not (has_ground or has_more or vote[row, column] != 0):
                continue
            patch_row, patch_column = row // _PATCH, column // _PATCH
            left, right, below, above = -0.5, 0.5, -0.5, 0.5
            reach = 1
            if over_seams:
                sides = seams[patch_row, patch_column]
                left -= 1.0 if sides[0] and column % _PATCH == 0 else 0.0
                right += 1.0 if sides[1] and column % _PATCH == _PATCH - 1 else 0.0
                below -= 1.0 if sides[2] and row % _PATCH == 0 else 0.0
                above += 1.0 if sides[3] and row % _PATCH == _PATCH - 1 else 0.0
                if right - left + above - below < 2.5:
                    continue
                reach = 3
            move = transforms[patch_row, patch_column]
            x, y = (column + corner[0] + 0.5) * resolution, (row + corner[1] + 0.5) * resolution
            z = heights[patch_row, patch_column]
            u = (move[0, 0] * x + move[0, 1] * y + move[0, 2] * z + move[0, 3]) / resolution
            v = (move[1, 0] * x + move[1, 1] * y + move[1, 2] * z + move[1, 3]) / resolution
            cos, sin = move[0, 0] + move[1, 1], move[1, 0] - move[0, 1]
            norm = np.hypot(cos, sin)
            if norm < 1e-9:  # upside down
                continue
            cos, sin = cos / norm, sin / norm
            first_column, first_row = np.int64(np.floor(u)) - to_corner[0], np.int64(np.floor(v)) - to_corner[1]
            for to_row in range(max(first_row - reach, 0), min(first_row + reach + 1, to_height)):
                for to_column in range(max(first_column - reach, 0), min(first_column + reach + 1, to_width)):
                    if over_seams and claimed[to_row, to_column] == 1:
                        continue
                    across, along = to_column + to_corner[0] + 0.5 - u, to_row + to_corner[1] + 0.5 - v
                    ahead = cos * across + sin * along + 1e-6  # a middle on an edge goes to one side, whatever rounding
                    aside = cos * along - sin * across + 1e-6
                    if not (left <= ahead < right and below <= aside < above):
                        continue
                    claimed[to_row, to_column] = 2 if over_seams else 1
                    away = np.float32(ahead * ahead + aside * aside)
                    to_seen[to_row, to_column] |= seen[row, column]
                    for value, to in ((evidence[row, column], to_evidence), (walls[row, column], to_walls)):
                        old = to[to_row, to_column]
                        if old > 0 or value > 0:
                            to[to_row, to_column] = max(old, value)
                        else:
                            to[to_row, to_column] = min(old, value)
                    if away < apart[0, to_row, to_column]:
                        apart[0, to_row, to_column] = away
                        source[to_row, to_column] = row * width + column
                    if has_ground and away < apart[1, to_row, to_column]:
                        apart[1, to_row, to_column] = away
                        z = np.float64(ground[row, column])
                        to_ground[to_row, to_column] = move[2, 0] * x + move[2, 1] * y + move[2, 2] * z + move[2, 3]
                    if vote[row, column] != 0 and away < apart[2, to_row, to_column]:
                        apart[2, to_row, to_column] = away
                        to_vote[to_row, to_column] = vote[row, column]


@compiled
def close_corners(old, source, to, evidence, seen):  # type: ignore[no-untyped-def]
    """Close walls where two cells that hung together touch only at a corner: over an edge, nothing gets through.

    Args:
        old: (H, W), the old evidence of obstacles or walls.
        source: (h, w), see `claim_cells`.
        to: (h, w) the new evidence, changed.
        evidence, seen: (h, w) of the new grid, changed; of two cells one that is an obstacle is taken, or was not seen.
    """
    for row in range(to.shape[0] - 1):
        for column in range(to.shape[1] - 1):
            for left in (0, 1):
                low, high = to[row, column + left], to[row + 1, column + 1 - left]
                if low <= 0 or high <= 0 or to[row, column + 1 - left] > 0 or to[row + 1, column + left] > 0:
                    continue
                one, other = source[row, column + left], source[row + 1, column + 1 - left]
                if one < 0 or other < 0 or not _hang_together(old, one, other):
                    continue
                best, best_row, best_column = -1, 0, 0
                for r, c in ((row, column + 1 - left), (row + 1, column + left)):
                    score = 2 if evidence[r, c] > 0 else (0 if seen[r, c] else 1)
                    if score > best:
                        best, best_row, best_column = score, r, c
                to[best_row, best_column] = min(low, high)
                seen[best_row, best_column] |= evidence[best_row, best_column] > 0


@compiled
def _hang_together(old, one, other):  # type: ignore[no-untyped-def]
    """Return whether two cells, given by their indices, are obstacles beside each other or beside a third one."""
    row, column = one // old.shape[1], one % old.shape[1]
    down, right = other // old.shape[1] - row, other % old.shape[1] - column
    if old[row, column] <= 0 or old[row + down, column + right] <= 0:
        return False
    if abs(down) + abs(right) == 1:
        return True
    if abs(down) == 1 and abs(right) == 1:
        return old[row, column + right] > 0 or old[row + down, column] > 0
    return abs(down) + abs(right) == 2 and old[row + down // 2, column + right // 2] > 0
