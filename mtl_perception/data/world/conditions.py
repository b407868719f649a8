# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What makes seeing hard: night, fog, and what a camera does to its image."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Conditions:
    """How hard a world is to see; the default is a fair day and good cameras. None of it changes the ground truth.

    Attributes:
        night: street lamps and headlights (outdoors), or lamps that are off here and there (indoors).
        fog_visibility_m: metres after which fog hides 63 %; None: no fog.
        noise: factor on the noise of the world's cameras.
        exposure_changes: standard deviation of the logarithm of the exposure over time, as of an automatic exposure
            that hunts; 0: constant.
        motion_blur_s: for how long the shutter is open, seconds; 0: no blur.
        lens_dirt: share of the lens that drops and dust cover, 0..1.

    Raises:
        ValueError: a value is out of its range.
    """

    night: bool = False
    fog_visibility_m: float | None = None
    noise: float = 1.0
    exposure_changes: float = 0.0
    motion_blur_s: float = 0.0
    lens_dirt: float = 0.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.fog_visibility_m is not None and not self.fog_visibility_m > 0:
            raise ValueError(f"fog_visibility_m is {self.fog_visibility_m}, it must be positive")
        for name in ("noise", "exposure_changes", "motion_blur_s"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}, it must not be negative")
        if not 0 <= self.lens_dirt <= 1:
            raise ValueError(f"lens_dirt is {self.lens_dirt}, it must be from 0 to 1")
