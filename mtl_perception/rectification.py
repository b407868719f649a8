# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Bringing camera images to rectified pinhole images of the network's input size."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import Camera


@dataclass(frozen=True, eq=False)
class Rectification:
    """Prepared maps from one camera's images to rectified ones of another size; build once, apply to every image.

    Attributes:
        source: the camera as calibrated.
        target: the rectified pinhole camera of the output size (no distortion).
        valid: bool (H, W) of the output, False where the source sees nothing; None when it sees everything.
    """

    source: Camera
    target: Camera
    valid: NDArray[np.bool_] | None
    _maps: tuple[NDArray, NDArray] | None
    _working_size: tuple[int, int]

    @classmethod
    def prepare(cls, source: Camera, width: int, height: int) -> Rectification:
        """Prepare the maps for an output of `width` x `height`, with the source's focal lengths scaled to it."""
        target = source.resized(width, height)
        if source.is_rectified:
            return cls(source, target, None, None, (source.width, source.height))
        # Undistort at twice the output's size at most: more would be thrown away, less would alias.
        working = (min(source.width, 2 * width), min(source.height, 2 * height))
        scaled = source.resized(*working)
        if source.distortion_model == "equidistant":
            maps = cv2.fisheye.initUndistortRectifyMap(
                scaled.K, source.distortion, np.eye(3), scaled.K, working, cv2.CV_32FC1
            )
        else:
            maps = cv2.initUndistortRectifyMap(scaled.K, source.distortion, None, scaled.K, working, cv2.CV_32FC1)
        ones = np.full((working[1], working[0]), 255, np.uint8)
        seen = cv2.resize(cv2.remap(ones, *maps, cv2.INTER_NEAREST), (width, height), interpolation=cv2.INTER_AREA)
        valid = seen == 255
        return cls(source, target, None if valid.all() else valid, (maps[0], maps[1]), working)

    def renewed(self, source: Camera, width: int, height: int) -> Rectification:
        """Return what `prepare` would: with the same maps, which take long to make, where only the pose is another."""
        if (self.target.width, self.target.height) != (width, height) or not source.has_lens_of(self.source):
            return Rectification.prepare(source, width, height)
        return self if source is self.source else replace(self, source=source, target=source.resized(width, height))

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the rectified image (H, W, 3) of one of the source's images."""
        if self._maps is not None:
            image = cv2.resize(image, self._working_size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
            image = cv2.remap(image, *self._maps, cv2.INTER_LINEAR)  # type: ignore[assignment]
        size = (self.target.width, self.target.height)
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)

    def nearest(self, values: NDArray, unknown: float) -> NDArray:
        """Return for each output pixel the value of one of the source's images (h, w, ...) at the nearest pixel.

        Args:
            values: what is known of an image at its own pixels, and must not be averaged.
            unknown: what pixels get that the source does not see.
        """
        size = (self.target.width, self.target.height)
        source, target = self.source, self.target
        if source.distortion_model == "equidistant":
            columns, rows = cv2.fisheye.initUndistortRectifyMap(
                source.K, source.distortion, np.eye(3), target.K, size, cv2.CV_32FC1
            )
        else:
            columns, rows = cv2.initUndistortRectifyMap(source.K, source.distortion, None, target.K, size, cv2.CV_32FC1)
        column, row = (np.floor(axis + 0.5).astype(np.intp) for axis in (columns, rows))
        seen = (column >= 0) & (column < source.width) & (row >= 0) & (row < source.height)
        found = values[np.clip(row, 0, source.height - 1), np.clip(column, 0, source.width - 1)]
        found[~seen] = unknown
        return found
