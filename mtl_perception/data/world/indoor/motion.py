# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Curves to walk along and smooth motion over time, from samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

STEP_S = 0.02
Array = NDArray[np.float64]


class Curve:
    """A line of continuous curvature (a cubic B-spline) by arc length, near evenly spaced points (N, 2)."""

    def __init__(self, points: Array) -> None:
        self._knots = np.concatenate([[2 * points[0] - points[1]], points, [2 * points[-1] - points[-2]]])
        self._parameter = np.linspace(0.0, len(points) - 1, (len(points) - 1) * 10 + 1)
        steps = np.linalg.norm(np.diff(self._at(self._parameter, 0), axis=0), axis=1)
        self._way = np.concatenate([[0.0], np.cumsum(steps)])

    @property
    def length(self) -> float:
        """Return the length in metres."""
        return float(self._way[-1])

    def points(self, way: Array) -> Array:
        """Return the points (N, 2) at arc lengths (N,)."""
        return self._at(np.interp(way, self._way, self._parameter), 0)

    def heading(self, way: Array) -> Array:
        """Return the direction in radians at arc lengths (N,), continuous along the curve."""
        x, y = self._at(np.interp(way, self._way, self._parameter), 1).T
        return np.unwrap(np.arctan2(y, x))

    def curvature(self, way: Array) -> Array:
        """Return the curvature in 1/m, left positive, at arc lengths (N,)."""
        at = np.interp(way, self._way, self._parameter)
        (dx, dy), (ax, ay) = self._at(at, 1).T, self._at(at, 2).T
        result: Array = (dx * ay - dy * ax) / np.maximum(np.hypot(dx, dy), 1e-6) ** 3
        return result

    def _at(self, parameter: Array, derivative: int) -> Array:
        piece = np.minimum(parameter.astype(int), len(self._knots) - 4)
        t = (parameter - piece)[:, None]
        a, b, c, d = (self._knots[piece + k] for k in range(4))
        if derivative == 0:
            value = a * (1 - t) ** 3 + b * (3 * t**3 - 6 * t**2 + 4) + c * (-3 * t**3 + 3 * t**2 + 3 * t + 1) + d * t**3
        elif derivative == 1:
            value = -3 * a * (1 - t) ** 2 + b * (9 * t**2 - 12 * t) + c * (-9 * t**2 + 6 * t + 3) + 3 * d * t**2
        else:
            value = 6 * a * (1 - t) + b * (18 * t - 12) + c * (-18 * t + 6) + 6 * d * t
        result: Array = value / 6
        return result


class Series:
    """Numbers over time, from samples every 0.02 s: continuous, with continuous rates; held outside the samples."""

    def __init__(self, since: float, values: Array) -> None:
        """`values` is (N, K), the first row at `since` seconds."""
        self._since, self.values = since, values
        slopes: Array = np.asarray(np.gradient(values, axis=0))
        slopes[[0, -1]] = 0.0
        self._rows: list[list[float]] = values.tolist()
        self._slopes: list[list[float]] = slopes.tolist()

    def __call__(self, seconds: float) -> list[float]:
        """Return the K numbers at a time."""
        at = min(max((seconds - self._since) / STEP_S, 0.0), len(self._rows) - 1.000001)
        index = int(at)
        t = at - index
        h = t * t * (3 - 2 * t)
        g0, g1 = t * (1 - t) ** 2, t * t * (t - 1)
        row, after, slope, next_slope = (
            self._rows[index],
            self._rows[index + 1],
            self._slopes[index],
            self._slopes[index + 1],
        )
        return [
            a + (b - a) * h + p * g0 + q * g1 for a, b, p, q in zip(row, after, slope, next_slope, strict=True)
        ]

    def at(self, seconds: Array) -> Array:
        """Return the numbers (T, K) at times (T,), interpolated linearly."""
        times = self._since + np.arange(len(self.values)) * STEP_S
        return np.stack([np.interp(seconds, times, column) for column in self.values.T], axis=1)


def smoothed(values: Array, seconds: float) -> Array:
    """Return samples (N,) every 0.02 s averaged over a window of so many seconds; the ends are held."""
    kernel = np.hanning(int(seconds / STEP_S) // 2 * 2 + 3)[1:-1]
    edge = len(kernel) // 2
    return np.convolve(np.pad(values, edge, mode="edge"), kernel / kernel.sum(), mode="valid")
