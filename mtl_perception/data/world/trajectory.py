# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Paths through a world: where along a line somebody is at a time, and where that is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.transforms import Transform

Numbers = float | Sequence[float] | NDArray[np.float64]
STEP_M = 0.5
STEP_S = 0.02


class Centreline:
    """A smooth line on the ground, by arc length s from `start` to `end` metres; d is metres to its left."""

    def __init__(self, start: float, end: float, curvature: Numbers) -> None:
        """`curvature` (1/m) holds values at equal distances from start to end; between them it is interpolated."""
        self.s = np.arange(start, end + STEP_M, STEP_M)
        values = np.asarray(curvature, dtype=np.float64)
        bends = np.interp(self.s, np.linspace(start, end, len(values)), values)
        heading = np.concatenate([[0.0], np.cumsum((bends[1:] + bends[:-1]) / 2 * STEP_M)])
        heading -= np.interp(0.0, self.s, heading)
        middle = (heading[1:] + heading[:-1]) / 2
        x = np.concatenate([[0.0], np.cumsum(np.cos(middle) * STEP_M)])
        y = np.concatenate([[0.0], np.cumsum(np.sin(middle) * STEP_M)])
        self._heading = heading
        self._x, self._y = x - np.interp(0.0, self.s, x), y - np.interp(0.0, self.s, y)

    def heading(self, s: Numbers) -> NDArray[np.float64]:
        """Return the direction of the line at s, radians."""
        return np.interp(s, self.s, self._heading)

    def points(self, s: Numbers, d: Numbers, z: float = 0.0) -> NDArray[np.float64]:
        """Return the points (..., 3) at arc length s, d to the left, z up."""
        heading = self.heading(s)
        x = np.interp(s, self.s, self._x) - np.sin(heading) * d
        y = np.interp(s, self.s, self._y) + np.cos(heading) * d
        return np.stack([x, y, np.broadcast_to(z, np.shape(x))], axis=-1)


class Progress:
    """How far somebody has come at a time: the integral of a speed, which is smooth."""

    def __init__(self, times: Numbers, speeds: Numbers, until: float, since: float) -> None:
        """Speeds (m/s) at times (s), made smooth; valid from `since` to `until` seconds; the way is 0 at time 0."""
        self._time = np.arange(since, until + STEP_S, STEP_S)
        speed = np.interp(self._time, times, speeds)
        kernel = np.hanning(int(1.0 / STEP_S) + 2)[1:-1]
        edge = len(kernel) // 2
        speed = np.convolve(np.pad(speed, edge, mode="edge"), kernel / kernel.sum(), mode="valid")[: len(self._time)]
        way = np.concatenate([[0.0], np.cumsum((speed[1:] + speed[:-1]) / 2 * STEP_S)])
        self._way = way - np.interp(0.0, self._time, way)

    def __call__(self, seconds: Numbers) -> NDArray[np.float64]:
        """Return the way in metres at a time."""
        return np.interp(seconds, self._time, self._way)


def upright(
    position: Sequence[float] | NDArray[np.float64], yaw: float, pitch: float = 0.0, roll: float = 0.0
) -> Transform:
    """Return world_from_body (x forward, z up): yaw about z, then pitch (nose down) about y, then roll about x."""
    (cy, cp, cr), (sy, sp, sr) = ([f(angle) for angle in (yaw, pitch, roll)] for f in (math.cos, math.sin))
    x, y, z = position
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr, x],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr, y],
            [-sp, cp * sr, cp * cr, z],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )
