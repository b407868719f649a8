# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Who is where at what time on a street, so that nobody gets into anybody's way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STEP_S = 0.25
SEEN_M = 130.0


@dataclass(frozen=True, eq=False)
class _Taken:
    discs: NDArray[np.float64]
    radius: float
    reach: float


class Clearance:
    """The ground that everybody covers over time, as rows of discs along their length.

    The first who takes its place is the robot: farther than `SEEN_M` from it nobody sees who runs through whom.
    """

    def __init__(self, since: float, until: float) -> None:
        """Look at times from `since` to `until` seconds."""
        self.times = np.arange(since, until + STEP_S, STEP_S)
        self._taken: list[_Taken] = []
        self._middles = np.zeros((0, len(self.times), 2))

    def take(
        self, x: NDArray[np.float64], y: NDArray[np.float64], yaw: NDArray[np.float64], length: float, width: float
    ) -> bool:
        """Take the place of somebody over time, if it is free and ever seen; return whether it was.

        Args:
            x, y, yaw: (T,) of the middle at `times`, metres and radians.
            length, width: metres of ground that it needs.
        """
        count = max(1, int(np.ceil(length / width)))
        along = (np.arange(count) - (count - 1) / 2) * (max(length - width, 0.0) / max(count - 1, 1))
        middle, ahead = np.stack([x, y], axis=-1), np.stack([np.cos(yaw), np.sin(yaw)], axis=-1)
        discs = middle[:, None] + along[:, None] * ahead[:, None]
        radius, reach = 0.55 * width, float(np.hypot(length, width)) / 2
        if self._taken:
            seen = np.linalg.norm(self._middles[0] - middle, axis=1) < SEEN_M
            if not seen.any():
                return False
            nearest = np.sqrt(((self._middles[:, seen] - middle[seen]) ** 2).sum(axis=2).min(axis=1))
            for index in np.flatnonzero(nearest < reach + np.array([taken.reach for taken in self._taken])):
                taken = self._taken[index]
                gap = np.linalg.norm(discs[seen, :, None] - taken.discs[seen, None], axis=3).min()
                if gap < radius + taken.radius:
                    return False
        self._taken.append(_Taken(discs, radius, reach))
        self._middles = np.concatenate([self._middles, middle[None]])
        return True
