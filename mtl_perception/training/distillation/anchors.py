# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pixels whose depth in metres is known without a depth model: from the ground, and from tracked corners."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.training.distillation.bag_frames import SparseDepth

NEAREST, FARTHEST = 0.3, 60.0  # metres
SHORTEST_MOTION = 0.08  # metres: a camera that moved less sees no parallax
_LEAST_PARALLAX = 1.5  # pixels
_LARGEST_EPIPOLAR_ERROR = 0.8  # pixels
_FARTHEST_GROUND = 25.0  # metres: beyond, a degree of pitch is half of the distance
_CORNERS = 600


def ground_anchors(
    K: NDArray[np.float64], base_from_camera: NDArray[np.float64], ground: NDArray[np.bool_]
) -> SparseDepth:
    """Return the depth of ground pixels where the ground is the base frame's z = 0 plane.

    Args:
        K: (3, 3).
        base_from_camera: (4, 4); its height over the plane gives the scale.
        ground: (H, W), which pixels show it.
    """
    rows, columns = np.nonzero(ground[::2, ::2])
    pixels = 2.0 * np.stack([columns, rows], axis=1).astype(np.float64)
    upward = _rays(K, pixels) @ base_from_camera[2, :3]
    depth = base_from_camera[2, 3] / np.maximum(-upward, 1e-6)
    known = (upward < 0.0) & (depth > NEAREST) & (depth < _FARTHEST_GROUND)
    return SparseDepth(pixels[known], depth[known])


def tracked_anchors(
    image: NDArray[np.uint8],
    previous: NDArray[np.uint8],
    K: NDArray[np.float64],
    previous_from_current: NDArray[np.float64],
    still: NDArray[np.bool_],
) -> SparseDepth:
    """Return the depth of corners, triangulated between two images of a camera whose motion is known.

    Corners are tracked to the previous image and back (Lucas-Kanade); those that do not come back, that leave their
    epipolar line, or that show too little parallax are left out.

    Args:
        image, previous: uint8 (H, W, 3), of the same camera.
        K: (3, 3) of both.
        previous_from_current: (4, 4), metres.
        still: (H, W), which pixels of `image` show nothing that moves by itself.
    """
    none = SparseDepth(np.zeros((0, 2)), np.zeros(0))
    if np.linalg.norm(previous_from_current[:3, 3]) < SHORTEST_MOTION:
        return none
    grey, grey_before = (cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) for each in (image, previous))
    corners = cv2.goodFeaturesToTrack(grey, _CORNERS, 0.01, 5, mask=still.astype(np.uint8))
    if corners is None:
        return none
    there, found, _ = cv2.calcOpticalFlowPyrLK(grey, grey_before, corners, None)  # type: ignore[call-overload]
    back, returned, _ = cv2.calcOpticalFlowPyrLK(grey_before, grey, there, None)  # type: ignore[call-overload]
    pixels, before = corners[:, 0].astype(np.float64), there[:, 0].astype(np.float64)
    tracked = (found[:, 0] > 0) & (returned[:, 0] > 0) & (np.linalg.norm(back[:, 0] - corners[:, 0], axis=1) < 0.5)

    turned = _rays(K, pixels) @ previous_from_current[:3, :3].T  # where the points at infinity are
    translation, seen = previous_from_current[:3, 3], _rays(K, before)
    # The point is on the ray seen before: seen x (depth * turned + translation) = 0.
    across, along = np.cross(seen, turned), np.cross(seen, translation)
    depth = -(across * along).sum(axis=1) / np.maximum((across**2).sum(axis=1), 1e-12)
    expected = _project(K, depth[:, None] * turned + translation)
    parallax = np.linalg.norm(before - _project(K, turned), axis=1)
    good = tracked & (np.linalg.norm(before - expected, axis=1) < _LARGEST_EPIPOLAR_ERROR)
    good &= (parallax > _LEAST_PARALLAX) & (depth > NEAREST) & (depth < FARTHEST)
    return SparseDepth(pixels[good], depth[good])


def _rays(K: NDArray[np.float64], pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rays (K, 3), z = 1, of pixels (K, 2)."""
    flat = (pixels - K[:2, 2]) / np.array([K[0, 0], K[1, 1]])
    return np.concatenate([flat, np.ones((len(flat), 1))], axis=1)


def _project(K: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    z = np.maximum(points[:, 2:], 1e-6)
    return points[:, :2] / z * np.array([K[0, 0], K[1, 1]]) + K[:2, 2]
