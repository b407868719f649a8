# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A 2D grid of obstacles and free ground, in the world frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import LabelSpace
from mtl_perception.core.transforms import Transform
from mtl_perception.mapping.config import MapperConfig
from mtl_perception.mapping.fusion.views import DepthView

OCCUPIED, FREE, UNSEEN = 100, 0, -1

_STRIDE = 2  # pixels that are looked at for obstacles, along each axis
_RAY_STRIDE = 4  # pixels whose rays are walked for free space
_RAY_SAMPLES = 48
_TILE = 64  # cells by which the grid grows
_HIT, _MISS = 3, -1  # evidence of a frame: one hit outweighs three looks through (as OctoMap's 0.7 and 0.4 nearly do)
_MOST, _LEAST = 15, -6
_GROUND_REACH = 8.0  # metres around the robot whose ground tells the robot's height
_GROUND_PIXELS = 50
_GROUND_SHARE = np.float32(0.3)  # of a new ground height in a cell's old one


@dataclass(frozen=True, eq=False)
class GridMap:
    """A 2D grid in the world frame.

    Attributes:
        origin: (x, y) of the outer corner of cell [0, 0], metres.
        resolution: edge of a cell, metres.
        data: int8 (H, W), row = y, column = x: 100 occupied, 0 free, -1 not seen.
    """

    origin: tuple[float, float]
    resolution: float
    data: NDArray[np.int8]


class GroundGrid:
    """Collects evidence of obstacles and free ground from camera views; grows as the robot moves, up to a bound."""

    def __init__(self, config: MapperConfig, labels: LabelSpace) -> None:
        """Make an empty grid.

        Raises:
            ValueError: `config.ground_labels` names a class that `labels` does not have.
        """
        self._config = config
        self._is_ground = np.zeros(256, dtype=bool)
        for name in config.ground_labels:
            if name not in labels.names:
                raise ValueError(f"ground_labels names '{name}', which label space '{labels.name}' does not have")
            self._is_ground[labels.id_of(name)] = True
        self._corner = np.zeros(2, dtype=np.int64)  # cell index of evidence[0, 0], x y
        self._evidence = np.zeros((0, 0), dtype=np.int8)
        self._seen = np.zeros((0, 0), dtype=bool)
        self._ground = np.zeros((0, 0), dtype=np.float32)  # height of the ground in the world; NaN where not seen
        self._ground_height = np.nan
        self._ground_span = (np.inf, -np.inf)  # all heights of `_ground` lie between

    def integrate(self, views: list[DepthView], world_from_base: Transform) -> None:
        """Add what the views of one frame see: each cell counts once, as hit if any view hits it."""
        robot = world_from_base[:3, 3]
        points, labels = _surface_points(views)
        on_ground = self._is_ground[labels]
        ground, others = points[:, on_ground], points[:, ~on_ground]
        before = _points_before_surfaces(views, self._config)
        self._learn_height(ground, robot)
        self._cover([points, before], robot[:2])
        self._learn_ground(ground)

        free = np.concatenate([self._in_band(before), self._cells(ground)[0]])
        hits, misses = _distinct(self._in_band(others), free)  # a cell counts once a frame
        evidence = self._evidence.reshape(-1)
        evidence[hits] = np.minimum(evidence[hits] + _HIT, _MOST)
        evidence[misses] = np.maximum(evidence[misses] + _MISS, _LEAST)
        self._seen.reshape(-1)[np.concatenate([hits, misses])] = True

    def map(self) -> GridMap:
        """Return the grid as it stands."""
        data = np.where(self._evidence > 0, OCCUPIED, FREE).astype(np.int8)
        data[~self._seen] = UNSEEN
        resolution = self._config.grid_resolution
        return GridMap((float(self._corner[0]) * resolution, float(self._corner[1]) * resolution), resolution, data)

    def state(self) -> dict[str, NDArray]:
        """Return all that the grid has collected."""
        return {
            "corner": self._corner,
            "ground_height": np.array(self._ground_height),
            "evidence": self._evidence,
            "seen": self._seen,
            "ground": self._ground,
        }

    def restore(self, state: dict[str, NDArray]) -> None:
        """Set the grid to what `state` gave."""
        self._corner, self._ground_height = state["corner"].copy(), float(state["ground_height"])
        self._evidence, self._seen, self._ground = (state[name].copy() for name in ("evidence", "seen", "ground"))
        self._span(self._ground)

    def _learn_height(self, ground: NDArray[np.float32], robot: NDArray[np.float64]) -> None:
        near = np.hypot(ground[0] - robot[0], ground[1] - robot[1]) < _GROUND_REACH
        if np.count_nonzero(near) >= _GROUND_PIXELS:
            self._ground_height = float(np.median(ground[2, near]))
        elif np.isnan(self._ground_height):
            self._ground_height = float(robot[2]) - self._config.base_height

    def _learn_ground(self, points: NDArray[np.float32]) -> None:
        cells, inside = self._cells(points)
        if not len(cells):
            return
        lowest = cells.min()
        counts = np.bincount(cells - lowest)
        at = np.flatnonzero(counts)
        mean = (np.bincount(cells - lowest, weights=points[2, inside])[at] / counts[at]).astype(np.float32)
        at += lowest
        ground = self._ground.reshape(-1)
        old = ground[at]
        ground[at] = np.where(np.isnan(old), mean, old + _GROUND_SHARE * (mean - old))
        self._span(ground[at])

    def _span(self, heights: NDArray[np.float32]) -> None:
        lowest, highest = self._ground_span
        lowest = float(np.fmin.reduce(heights, axis=None, initial=lowest))
        self._ground_span = lowest, float(np.fmax.reduce(heights, axis=None, initial=highest))

    def _in_band(self, points: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the flat cells of those points (3, N) that are within the obstacle heights over the ground."""
        least, most = self._config.obstacle_min_height, self._config.obstacle_max_height
        usual = np.float32(self._ground_height)
        lowest, highest = np.minimum(usual, self._ground_span[0]), np.maximum(usual, self._ground_span[1])
        possible = (points[2] - np.float32(lowest) >= least) & (points[2] - np.float32(highest) <= most)
        points = points[:, possible]  # most points are too high or too low wherever they are
        cells, inside = self._cells(points)
        ground = self._ground.reshape(-1)[cells]
        above = points[2, inside] - np.where(np.isnan(ground), usual, ground)
        return cells[(above >= least) & (above <= most)]

    def _cells(self, points: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the flat cells of those points (3, N) that are inside the grid, and which points those are."""
        height, width = self._evidence.shape
        column, row = (
            np.floor(points[axis] / np.float32(self._config.grid_resolution)).astype(np.int64) - self._corner[axis]
            for axis in (0, 1)
        )
        inside = np.flatnonzero((column >= 0) & (column < width) & (row >= 0) & (row < height))
        return row.take(inside) * width + column.take(inside), inside

    def _cover(self, clouds: list[NDArray[np.float32]], robot: NDArray[np.float64]) -> None:
        """Grow the grid so that it holds the points (3, N), or as much around the robot as the bound allows."""
        clouds = [cloud for cloud in clouds if cloud.shape[1]]
        if not clouds:
            return
        lowest = np.min([cloud[:2].min(axis=1) for cloud in clouds], axis=0)
        highest = np.max([cloud[:2].max(axis=1) for cloud in clouds], axis=0)
        low = np.floor(lowest / self._config.grid_resolution).astype(np.int64) // _TILE * _TILE
        high = (np.floor(highest / self._config.grid_resolution).astype(np.int64) // _TILE + 1) * _TILE
        shape = np.array(self._evidence.shape[::-1])
        if shape.all():
            low, high = np.minimum(low, self._corner), np.maximum(high, self._corner + shape)
        if np.prod(high - low) > self._config.max_grid_cells:
            half = int(np.sqrt(self._config.max_grid_cells)) // 2
            centre = np.floor(robot / self._config.grid_resolution).astype(np.int64) // _TILE * _TILE
            low = np.maximum(low, centre - half)
            high = np.maximum(low, np.minimum(high, centre + half))
        if (low != self._corner).any() or (high - low != shape).any():
            self._evidence = _moved(self._evidence, self._corner, low, high, 0)
            self._seen = _moved(self._seen, self._corner, low, high, False)
            self._ground = _moved(self._ground, self._corner, low, high, np.nan)
            self._corner = low


def _distinct(first: NDArray[np.int64], second: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the distinct cells of `first`, and those of `second` that are not in it; faster than by sorting."""
    if not len(first) + len(second):
        return first, second
    lowest = min(cells.min() for cells in (first, second) if len(cells))
    highest = max(cells.max() for cells in (first, second) if len(cells))
    kind = np.zeros(highest - lowest + 1, dtype=np.uint8)
    kind[second - lowest] = 2
    kind[first - lowest] = 1
    return np.flatnonzero(kind == 1) + lowest, np.flatnonzero(kind == 2) + lowest


def _surface_points(views: list[DepthView]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return the measured points (3, N) in the world and their labels (N,)."""
    points, labels = [], []
    for view in views:
        depth = view.depth[::_STRIDE, ::_STRIDE]
        solid = np.isfinite(depth)
        rays = view.rays[::_STRIDE, ::_STRIDE][solid]
        points.append(_along(view.world_from_camera, rays, depth[solid][:, None]))
        labels.append(view.label[::_STRIDE, ::_STRIDE][solid])
    return np.concatenate(points, axis=1), np.concatenate(labels)


def _points_before_surfaces(views: list[DepthView], config: MapperConfig) -> NDArray[np.float32]:
    """Return points (3, N) in the world along the rays, in front of what they hit by more than a cell."""
    shares = ((np.arange(_RAY_SAMPLES) + 0.5) / _RAY_SAMPLES).astype(np.float32)
    points = []
    for view in views:
        depth = view.depth[::_RAY_STRIDE, ::_RAY_STRIDE]
        valid = ~np.isnan(depth)
        reach = np.minimum(depth[valid], np.float32(config.max_depth)) - np.float32(1.5 * config.grid_resolution)
        rays = view.rays[::_RAY_STRIDE, ::_RAY_STRIDE][valid]
        rays, reach = rays[reach > 0], reach[reach > 0]
        points.append(_along(view.world_from_camera, rays, reach[:, None] * shares))
    return np.concatenate(points, axis=1)


def _along(world_from_camera: Transform, rays: NDArray[np.float32], depths: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the points (3, N * S) in the world at depths (N, S) along rays (N, 3) of the optical frame."""
    directions = (rays @ world_from_camera[:3, :3].T.astype(np.float32)).T
    origin = world_from_camera[:3, 3].astype(np.float32)
    return (directions[:, :, None] * depths + origin[:, None, None]).reshape(3, -1)


def _moved(
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
