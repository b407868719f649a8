# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Lines on the ground by arc length, and poses of what stands upright."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.transforms import Transform

Numbers = float | Sequence[float] | NDArray[np.float64]
STEP_M = 0.5


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

    def moved(self, x: float, y: float, heading: float) -> Centreline:
        """Return the same line with s = 0 at another place, where it has another heading (radians)."""
        result = copy(self)
        c, s = math.cos(heading), math.sin(heading)
        result._x, result._y = x + c * self._x - s * self._y, y + s * self._x + c * self._y
        result._heading = self._heading + heading
        return result

    def heading(self, s: Numbers) -> NDArray[np.float64]:
        """Return the direction of the line at s, radians."""
        return np.interp(s, self.s, self._heading)

    def points(self, s: Numbers, d: Numbers, z: float = 0.0) -> NDArray[np.float64]:
        """Return the points (..., 3) at arc length s, d to the left, z up."""
        heading = self.heading(s)
        x = np.interp(s, self.s, self._x) - np.sin(heading) * d
        y = np.interp(s, self.s, self._y) + np.cos(heading) * d
        return np.stack([x, y, np.broadcast_to(z, np.shape(x))], axis=-1)


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
