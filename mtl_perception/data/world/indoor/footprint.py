# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The ground that something takes: a turned rectangle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.transforms import Transform
from mtl_perception.data.world.paths import upright


@dataclass(frozen=True)
class Footprint:
    """A rectangle on the floor, in metres and radians.

    Attributes:
        x, y: its middle.
        yaw: where its front faces.
        depth: from back to front.
        width: from its left to its right.
    """

    x: float
    y: float
    yaw: float
    depth: float
    width: float

    def pose(self) -> Transform:
        """Return world_from_object: x to the front, z up, origin on the floor in the middle."""
        return upright((self.x, self.y, 0.0), self.yaw)

    def corners(self, margin: float = 0.0) -> NDArray[np.float64]:
        """Return the corners (4, 2), anticlockwise, of the rectangle grown by a margin on every side."""
        a, b = self.depth / 2 + margin, self.width / 2 + margin
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        local = np.array([(-a, -b), (a, -b), (a, b), (-a, b)])
        return local @ np.array([(c, s), (-s, c)]) + (self.x, self.y)

    def covers(self, x: NDArray[np.float64], y: NDArray[np.float64], margin: float = 0.0) -> NDArray[np.bool_]:
        """Return which points lie in the rectangle grown by a margin; x and y broadcast."""
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        ahead = (x - self.x) * c + (y - self.y) * s
        left = (y - self.y) * c - (x - self.x) * s
        inside: NDArray[np.bool_] = (np.abs(ahead) <= self.depth / 2 + margin) & (
            np.abs(left) <= self.width / 2 + margin
        )
        return inside

    def overlaps(self, other: Footprint, gap: float = 0.0) -> bool:
        """Whether two rectangles come nearer than `gap`, by separating axes (rounded corners are taken as square)."""
        mine, theirs = self.corners(gap), other.corners()
        for yaw in (self.yaw, other.yaw):
            axes = np.array([(np.cos(yaw), -np.sin(yaw)), (np.sin(yaw), np.cos(yaw))])
            a, b = mine @ axes, theirs @ axes
            if (a.max(axis=0) <= b.min(axis=0)).any() or (b.max(axis=0) <= a.min(axis=0)).any():
                return False
        return True

    def inside(self, low: tuple[float, float], high: tuple[float, float]) -> bool:
        """Whether the rectangle lies between two corners of an upright one."""
        corners = self.corners()
        return bool((corners >= np.array(low) - 1e-6).all() and (corners <= np.array(high) + 1e-6).all())
