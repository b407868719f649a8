# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Rigid transforms as 4x4 matrices and unit quaternions in ROS order (x, y, z, w)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Transform = NDArray[np.float64]
"""A rigid transform `target_from_source`, 4x4 float64."""

# REP-103: an optical frame looks along +z with x to the right; a body frame looks along +x with y to the left.
BODY_FROM_OPTICAL: Transform = np.array(
    [[0.0, 0.0, 1.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
)


def transform_from(translation: ArrayLike, quaternion: ArrayLike) -> Transform:
    """Return the 4x4 transform of a translation (3,) in metres and a quaternion (4,) as x, y, z, w.

    Raises:
        ValueError: a value is not finite or the quaternion's norm is not near 1.
    """
    matrix = np.eye(4)
    matrix[:3, :3] = rotation_from_quaternion(quaternion)
    matrix[:3, 3] = np.asarray(translation, dtype=np.float64)
    if not np.isfinite(matrix).all():
        raise ValueError(f"translation {translation!r} is not finite")
    return matrix


def inverse(transform: Transform) -> Transform:
    """Return the inverse of a rigid transform, without a general matrix inversion."""
    result = np.eye(4)
    rotation = transform[:3, :3].T
    result[:3, :3] = rotation
    result[:3, 3] = -rotation @ transform[:3, 3]
    return result


def interpolate(first: Transform, second: Transform, fraction: float) -> Transform:
    """Interpolate between poses, linear in translation, slerp in rotation; `fraction` 0 is `first`, 1 is `second`."""
    start, end = quaternion_from_rotation(first[:3, :3]), quaternion_from_rotation(second[:3, :3])
    result = np.eye(4)
    result[:3, :3] = rotation_from_quaternion(_slerp(start, end, fraction))
    result[:3, 3] = (1.0 - fraction) * first[:3, 3] + fraction * second[:3, 3]
    return result


def transform_points(target_from_source: Transform, points: NDArray) -> NDArray[np.float64]:
    """Transform points (..., 3) from the source frame to the target frame."""
    return np.asarray(points) @ target_from_source[:3, :3].T + target_from_source[:3, 3]


def rotation_from_quaternion(quaternion: ArrayLike) -> NDArray[np.float64]:
    """Return the 3x3 rotation of a quaternion x, y, z, w.

    Raises:
        ValueError: the quaternion's norm is not within 1 % of 1 (an all-zero quaternion is an unset message field).
    """
    q = np.asarray(quaternion, dtype=np.float64)
    norm = float(np.linalg.norm(q))
    if not np.isfinite(norm) or abs(norm - 1.0) > 0.01:
        raise ValueError(f"quaternion {q.tolist()} has norm {norm:.4f}, expected 1")
    x, y, z, w = q / norm
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def quaternion_from_rotation(rotation: NDArray) -> NDArray[np.float64]:
    """Return the unit quaternion x, y, z, w of a 3x3 rotation (the eigenvector method of Bar-Itzhack, 2000)."""
    r = np.asarray(rotation, dtype=np.float64)
    k = np.array(
        [
            [r[0, 0] - r[1, 1] - r[2, 2], 0.0, 0.0, 0.0],
            [r[1, 0] + r[0, 1], r[1, 1] - r[0, 0] - r[2, 2], 0.0, 0.0],
            [r[2, 0] + r[0, 2], r[2, 1] + r[1, 2], r[2, 2] - r[0, 0] - r[1, 1], 0.0],
            [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], np.trace(r)],
        ]
    )
    _, vectors = np.linalg.eigh(k / 3.0)
    quaternion = vectors[:, -1]
    return -quaternion if quaternion[3] < 0 else quaternion


def _slerp(start: NDArray[np.float64], end: NDArray[np.float64], fraction: float) -> NDArray[np.float64]:
    cosine = float(np.dot(start, end))
    if cosine < 0:  # the shorter way round
        end, cosine = -end, -cosine
    if cosine > 0.9995:
        blended = (1 - fraction) * start + fraction * end
    else:
        angle = np.arccos(cosine)
        blended = (np.sin((1 - fraction) * angle) * start + np.sin(fraction * angle) * end) / np.sin(angle)
    return blended / np.linalg.norm(blended)
