# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where one can walk: how far each place is from walls and furniture, and smooth ways between two places."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import distance_transform_edt

from mtl_perception.data.world.indoor.footprint import Footprint

CELL_M = 0.05
ROUTE_STRIDE = 3  # cells along a side of the blocks on which routes are searched
COMFORT_M = 0.6  # more room than this is no better
_STEPS = [(dx, dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1) if dx or dy]
Corners = tuple[tuple[float, float], tuple[float, float]]


class FreeSpace:
    """The clearance of every place on a floor, on a grid that is never too optimistic."""

    def __init__(self, floors: Sequence[Corners], obstacles: Sequence[Footprint]) -> None:
        """`floors` are upright rectangles (low, high corner) that one may be on, less the obstacles."""
        corners = np.array(floors)
        self.low = corners[:, 0].min(axis=0) - 2 * CELL_M
        count = np.ceil((corners[:, 1].max(axis=0) + 2 * CELL_M - self.low) / CELL_M).astype(int)
        x, y = (self.low[axis] + (np.arange(count[axis]) + 0.5) * CELL_M for axis in (0, 1))
        free = np.zeros((count[1], count[0]), np.uint8)
        for (x0, y0), (x1, y1) in floors:
            free[np.ix_((y >= y0) & (y <= y1), (x >= x0) & (x <= x1))] = 1
        for footprint in obstacles:
            reach = footprint.corners(CELL_M)
            rows = slice(*np.searchsorted(y, (reach[:, 1].min(), reach[:, 1].max())))
            columns = slice(*np.searchsorted(x, (reach[:, 0].min(), reach[:, 0].max())))
            covered = footprint.covers(x[None, columns], y[rows, None], CELL_M / 2)
            free[rows, columns] &= ~covered
        # Not OpenCV's: its last bits differ from call to call (opencv/opencv issue 24082), and a seed is one world.
        distance = distance_transform_edt(free) * CELL_M
        self.grid = np.maximum(distance - CELL_M / 2, 0.0)
        """(rows along y, columns along x): metres to the nearest wall or piece of furniture."""

    def clearance(self, points: ArrayLike) -> NDArray[np.float64]:
        """Return metres to the nearest wall or piece of furniture from points (N, 2); 0 off the floor."""
        at = (np.asarray(points, dtype=np.float64) - self.low) / CELL_M - 0.5
        limit = np.array(self.grid.shape)[::-1] - 1
        at = np.clip(at, 0, limit - 1e-6)
        column, row = np.floor(at).astype(int).T
        fx, fy = (at - np.floor(at)).T
        grid = self.grid
        lower = grid[row, column] * (1 - fx) + grid[row, column + 1] * fx
        upper = grid[row + 1, column] * (1 - fx) + grid[row + 1, column + 1] * fx
        result: NDArray[np.float64] = lower * (1 - fy) + upper * fy
        return result

    def components(self, clearance: float) -> NDArray[np.int32]:
        """Return per cell which connected piece of ground with at least this clearance it is in, 0 for none."""
        _, labels = cv2.connectedComponents((self.grid >= clearance).astype(np.uint8), connectivity=4)
        return np.asarray(labels, np.int32)

    def cell(self, point: ArrayLike) -> tuple[int, int]:
        """Return row and column of the cell that holds a point."""
        column, row = np.floor((np.asarray(point, dtype=np.float64) - self.low) / CELL_M).astype(int)
        height, width = self.grid.shape
        return int(np.clip(row, 0, height - 1)), int(np.clip(column, 0, width - 1))

    def route(self, start: ArrayLike, goal: ArrayLike, least: float) -> NDArray[np.float64] | None:
        """Return a smooth way (N, 2), a point every 0.1 m, that keeps a clearance of `least`; None if there is none.

        A* over the grid that prefers room to both sides, then an elastic band that rounds the corners.
        """
        rough = self._search(start, goal, least + 0.02)
        if rough is None:
            return None
        for stiffness in (1.0, 0.5, 0.2):
            smooth = self._band(rough, least, stiffness)
            if (self.clearance(smooth) >= least).all():
                return smooth
        return None

    @cached_property
    def _uphill(self) -> NDArray[np.float64]:
        """Return per cell the unit direction (rows, columns, 2) in which the clearance grows, 0 where it does not."""
        slope = np.stack(np.gradient(cv2.blur(self.grid, (3, 3)))[::-1], axis=-1)
        size = np.linalg.norm(slope, axis=-1, keepdims=True)
        return np.where(size > 1e-6, slope / np.maximum(size, 1e-6), 0.0)

    def _search(self, start: ArrayLike, goal: ArrayLike, least: float) -> NDArray[np.float64] | None:
        # The most open cell of a block stands for it; what is too tight is found out after smoothing.
        grid = _block_maxima(self.grid)
        cost = np.where(grid >= least, 1.0 + 3.0 * np.clip(COMFORT_M - grid, 0, None) ** 2 / COMFORT_M**2, np.inf)
        costs = cost.tolist()
        (r0, c0), (r1, c1) = (tuple(v // ROUTE_STRIDE for v in self.cell(p)) for p in (start, goal))
        best = {(r0, c0): 0.0}
        came: dict[tuple[int, int], tuple[int, int]] = {}
        queue = [(0.0, r0, c0)]
        closed: set[tuple[int, int]] = set()
        rows, columns = grid.shape
        while queue:
            _, r, c = heapq.heappop(queue)
            if (r, c) == (r1, c1):
                break
            if (r, c) in closed:
                continue
            closed.add((r, c))
            here = best[r, c]
            for dr, dc in _STEPS:
                nr, nc = r + dr, c + dc
                if not (0 <= nr < rows and 0 <= nc < columns) or costs[nr][nc] == np.inf:
                    continue
                value = here + costs[nr][nc] * (1.41421356 if dr and dc else 1.0)
                if value < best.get((nr, nc), np.inf):
                    best[nr, nc] = value
                    came[nr, nc] = (r, c)
                    ahead_r, ahead_c = abs(nr - r1), abs(nc - c1)
                    heapq.heappush(queue, (value + max(ahead_r, ahead_c) + 0.41 * min(ahead_r, ahead_c), nr, nc))
        else:
            return None
        cells = [(r1, c1)]
        while cells[-1] != (r0, c0):
            cells.append(came[cells[-1]])
        inner = (np.array(cells[::-1], dtype=np.float64)[:, ::-1] + 0.5) * ROUTE_STRIDE * CELL_M + self.low
        return np.concatenate([[np.asarray(start)], inner[1:-1], [np.asarray(goal)]])

    def _band(self, line: NDArray[np.float64], least: float, stiffness: float) -> NDArray[np.float64]:
        """Return the line pulled straight like a rubber band that walls push away."""
        points = evenly(line, 0.1)
        wanted = least + 0.12
        for _ in range(120):
            pull = np.zeros_like(points)
            pull[1:-1] = (points[:-2] + points[2:]) / 2 - points[1:-1]
            # Bending is resisted over a longer stretch than one step, so that curves get wide.
            pull[3:-3] += (points[:-6] + points[6:]) / 2 - points[3:-3]
            row, column = self._nearest(points)
            short = np.clip(wanted - self.grid[row, column], 0, None)[:, None]
            push = np.minimum(0.4 * short, 0.05) * self._uphill[row, column]
            push[[0, -1]] = 0
            points = points + 0.35 * stiffness * pull + push
        points = evenly(points, 0.1)
        if len(points) >= 9:
            kernel = np.hanning(7)[1:-1]
            kernel /= kernel.sum()
            padded = np.concatenate([2 * points[0] - points[2:0:-1], points, 2 * points[-1] - points[-2:-4:-1]])
            points = np.stack([np.convolve(padded[:, axis], kernel, mode="valid") for axis in (0, 1)], axis=1)
        return points

    def _nearest(self, points: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return rows and columns of the cells that hold points (N, 2)."""
        column, row = np.floor((points - self.low) / CELL_M).astype(int).T
        height, width = self.grid.shape
        return np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)


def _block_maxima(grid: NDArray[np.float64]) -> NDArray[np.float64]:
    rows, columns = (-(-size // ROUTE_STRIDE) for size in grid.shape)
    padded = np.zeros((rows * ROUTE_STRIDE, columns * ROUTE_STRIDE))
    padded[: grid.shape[0], : grid.shape[1]] = grid
    result: NDArray[np.float64] = padded.reshape(rows, ROUTE_STRIDE, columns, ROUTE_STRIDE).max(axis=(1, 3))
    return result


def evenly(line: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Return points (N, 2) along a line (M, 2) about `step` metres apart, its ends kept."""
    way = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    count = max(2, round(way[-1] / step) + 1)
    at = np.linspace(0.0, way[-1], count)
    return np.stack([np.interp(at, way, line[:, axis]) for axis in (0, 1)], axis=1)
