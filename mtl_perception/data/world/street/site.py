# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which ground of a street world is taken, so that nothing stands in something else or in the robot's way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.transforms import Transform
from mtl_perception.data.world.scene import pose
from mtl_perception.data.world.street.roads import Road, StreetPlan

CELL_M = 1.0
CLEARANCE_M = 1.3
"""Nothing that stands still comes nearer to the way of the robot's middle."""

AROUND_M = 110.0


@dataclass(frozen=True)
class Frontage:
    """A straight line beside a road that buildings face across.

    Attributes:
        x, y, yaw: the frame of what stands there: +y runs along the line from its beginning, +x faces the road.
        length: of the line, metres.
    """

    x: float
    y: float
    yaw: float
    length: float

    def world_from_front(self, z: float) -> Transform:
        """Return the frame as a transform 4x4."""
        return pose(self.x, self.y, z, self.yaw)

    def points(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return points (N, 2) in the world of points in the frame."""
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        return np.stack([self.x + c * x - s * y, self.y + s * x + c * y], axis=-1)

    def rectangle(self, low: float, high: float) -> NDArray[np.float64]:
        """Return points (N, 2) that fill the rectangle along the whole line, x from `low` to `high`."""
        x = np.linspace(low, high, max(2, int((high - low) / 0.9) + 2))
        y = np.linspace(0.0, self.length, max(2, int(self.length / 0.9) + 2))
        return self.points(*(a.ravel() for a in np.meshgrid(x, y)))


def frontage(road: Road, side: int, s: float, length: float, d: float) -> Frontage:
    """Return the line from s to s + length beside a road, d metres from its middle on a side (+1 left, -1 right)."""
    first, last = road.line.points([s, s + length], side * d)[:, :2]
    if side < 0:  # +y runs along the road on its left, against it on its right
        first, last = last, first
    along = last - first
    yaw = float(np.arctan2(along[1], along[0])) - np.pi / 2
    return Frontage(float(first[0]), float(first[1]), yaw, float(np.hypot(*along)))


def thinned(path: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return points (M, 2) of a way (N, 2), about a metre apart: one of each cell that it runs through."""
    _, first = np.unique(np.round(path).astype(int), axis=0, return_index=True)
    return path[np.sort(first)].astype(np.float32)


class Site:
    """The ground of a world: cells taken by roads and buildings, and circles taken by things on the pavements."""

    def __init__(self, plan: StreetPlan, path: NDArray[np.float64]) -> None:
        """`path` (N, 2) are points of the robot's way, in their order."""
        bands = [self._road_points(road) for road in plan.roads]
        everything = np.concatenate(bands)
        self._low = everything.min(axis=0) - AROUND_M
        self._taken = np.zeros(np.ceil((everything.max(axis=0) + AROUND_M - self._low) / CELL_M).astype(int), bool)
        self._path = thinned(path)
        self._circles = np.empty((0, 3))
        for points in [*bands, *self._corner_points(plan)]:
            self.take(points)

    def is_free(self, points: NDArray[np.float64]) -> bool:
        """Whether no cell of points (N, 2) is taken; what lies outside the world is."""
        cells = np.floor((points - self._low) / CELL_M).astype(int)
        if (cells < 0).any() or (cells >= self._taken.shape).any():
            return False
        return not self._taken[cells[:, 0], cells[:, 1]].any()

    def take(self, points: NDArray[np.float64]) -> None:
        """Mark the cells of points (N, 2) that lie in the world as taken."""
        cells = np.floor((points - self._low) / CELL_M).astype(int)
        inside = ((cells >= 0) & (cells < self._taken.shape)).all(axis=1)
        self._taken[cells[inside, 0], cells[inside, 1]] = True

    def stand(self, x: float, y: float, radius: float) -> bool:
        """Take a circle on a pavement if it is free and out of the robot's way; say whether it was."""
        if self.way_to_drive(np.array([[x, y]]))[0] < CLEARANCE_M + radius:
            return False
        gaps = np.hypot(self._circles[:, 0] - x, self._circles[:, 1] - y) - self._circles[:, 2]
        if (gaps < radius).any():
            return False
        self._circles = np.vstack([self._circles, (x, y, radius)])
        return True

    def way_to_drive(self, points: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return how far points (N, 2) are from the robot's way, metres."""
        gaps = np.asarray(points, np.float32)[:, None] - self._path
        return np.sqrt(np.einsum("ijk,ijk->ij", gaps, gaps).min(axis=1))

    @property
    def bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The lowest and highest x and y of the world."""
        return self._low, self._low + np.array(self._taken.shape) * CELL_M

    @staticmethod
    def _corner_points(plan: StreetPlan) -> Iterator[NDArray[np.float64]]:
        """Yield points in the corners of junctions, out to the pavements' rounded outer edge."""
        main = plan.roads[0]
        for junction in plan.junctions:
            other = plan.roads[junction.other]
            pavement = np.array([other.pavement, main.pavement])
            size = np.maximum(junction.corner, pavement)
            local = np.stack(np.meshgrid(*(np.arange(0.0, length, 0.6) for length in size)), axis=-1).reshape(-1, 2)
            rounding = np.maximum(size - pavement, 1e-6)
            local = local[(((size - local) / rounding) ** 2).sum(axis=1) > 1.0] + [other.half, main.half]
            for arm in junction.arms:
                for direction in (1, -1):
                    yield main.line.points(junction.s + direction * local[:, 0], arm * local[:, 1])[:, :2]

    @staticmethod
    def _road_points(road: Road) -> NDArray[np.float64]:
        s = np.arange(road.start, road.end + 4.0, 0.7)
        d = np.linspace(-road.reach, road.reach, int(2 * road.reach / 0.7) + 2)
        return np.concatenate([road.line.points(s, offset)[:, :2] for offset in d])
