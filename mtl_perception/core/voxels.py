# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Regular voxel grids in the base frame, and semantic occupancy on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UNLABELLED = 253
"""Label of a voxel that is occupied by something whose class is not known."""
FREE = 254
"""Label of a voxel that a camera sees to be empty."""
UNOBSERVED = 255
"""Label of a voxel that no camera sees."""


@dataclass(frozen=True)
class VoxelGrid:
    """A box of cubic voxels: `origin` (metres) is the outer corner of voxel (0, 0, 0), `shape` the count in x, y, z."""

    origin: tuple[float, float, float]
    voxel_size: float
    shape: tuple[int, int, int]

    def __post_init__(self) -> None:
        """Check the sizes.

        Raises:
            ValueError: a size is not positive, or a value not finite.
        """
        if not 0 < self.voxel_size < np.inf or min(self.shape) <= 0:
            raise ValueError(f"voxel grid: size {self.voxel_size} m and shape {self.shape} must be positive")
        if not np.isfinite(self.origin).all():
            raise ValueError(f"voxel grid: origin {self.origin} must be finite")

    def centres(self) -> NDArray[np.float64]:
        """Return the voxel centres (X, Y, Z, 3) in metres."""
        axes = [o + (np.arange(n) + 0.5) * self.voxel_size for o, n in zip(self.origin, self.shape, strict=True)]
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)

    def indices(self, points: NDArray) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the voxel indices (N, 3) of points (N, 3), and which of the points are inside the grid (N,)."""
        scaled = np.floor((np.asarray(points, dtype=np.float64) - self.origin) / self.voxel_size)
        inside = np.all((scaled >= 0) & (scaled < self.shape), axis=-1)  # NaN compares false: outside
        return np.where(inside[..., None], scaled, 0).astype(np.int64), inside


@dataclass(frozen=True, eq=False)
class Occupancy:
    """Semantic occupancy in the base frame.

    Attributes:
        grid: where the voxels are.
        labels: uint8 (X, Y, Z): a label id or `UNLABELLED` where occupied, else `FREE` or `UNOBSERVED`.
        probability: float32 (X, Y, Z): probability of being occupied.
    """

    grid: VoxelGrid
    labels: NDArray[np.uint8]
    probability: NDArray[np.float32]

    @property
    def occupied(self) -> NDArray[np.bool_]:
        """Which voxels (X, Y, Z) are occupied."""
        return self.labels < FREE

    @property
    def observed(self) -> NDArray[np.bool_]:
        """Which voxels (X, Y, Z) a camera says something about: the visibility mask."""
        return self.labels != UNOBSERVED
