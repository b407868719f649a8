# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The Kalman filter of something that moves in the ground plane at a velocity that changes little.

A state is a mean (4,), x and y in metres and their velocities in m/s, in the world frame, with its covariance (4, 4).
Measured are x and y. A box's velocity is used where the thing is seen first and no more: it comes from the same images
as the boxes of before, and a network that says that everything stands would otherwise hold its tracks back.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ACCELERATION_STD = 2.0  # m/s^2
_POSITION_STD = 0.3  # metres, of a box's centre, and besides, as shares of its distance from the robot ...
_DEPTH_STD_SHARE = 0.05  # ... along the line of sight, and ...
_SIDE_STD_SHARE = 0.01  # ... across it: cameras see directions better than distances
_VELOCITY_STD = 3.0  # m/s, of a box's velocity
_UNKNOWN_VELOCITY_STD = 6.0  # m/s, without one

State = tuple[NDArray[np.float64], NDArray[np.float64]]


def begun(position: NDArray[np.float64], velocity: NDArray[np.float64], ray: NDArray[np.float64]) -> State:
    """Return the state of what is first seen at `position` (2,), metres, with `velocity` (2,), m/s, NaN if unknown.

    `ray` (2,) is the way there from the robot, metres.
    """
    known = bool(np.isfinite(velocity).all())
    std = _VELOCITY_STD if known else _UNKNOWN_VELOCITY_STD
    covariance = np.eye(4) * std**2
    covariance[:2, :2] = _noise(ray)
    return np.concatenate([position, velocity if known else np.zeros(2)]), covariance


def predicted(mean: NDArray[np.float64], covariance: NDArray[np.float64], seconds: float) -> State:
    """Return the state some seconds later, accelerations being white noise that holds for that time."""
    step = np.eye(4)
    step[[0, 1], [2, 3]] = seconds
    push = np.concatenate([np.eye(2) * 0.5 * seconds**2, np.eye(2) * seconds]) * _ACCELERATION_STD
    return step @ mean, step @ covariance @ step.T + push @ push.T


def updated(
    mean: NDArray[np.float64], covariance: NDArray[np.float64], position: NDArray[np.float64], ray: NDArray[np.float64]
) -> State:
    """Return the state after it was measured at `position` (2,), metres, `ray` (2,) being the way from the robot."""
    noise = _noise(ray)
    gain = np.linalg.solve(covariance[:2, :2] + noise, covariance[:2]).T
    kept = np.eye(4)
    kept[:, :2] -= gain
    # Joseph's form, which stays symmetric and positive
    return mean + gain @ (position - mean[:2]), kept @ covariance @ kept.T + gain @ noise @ gain.T


def distances(
    means: NDArray[np.float64],
    covariances: NDArray[np.float64],
    positions: NDArray[np.float64],
    rays: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the squared Mahalanobis distances (T, B) of states (T, 4), (T, 4, 4) from boxes.

    The boxes are at `positions` (B, 2), metres; `rays` (B, 2) are the ways there from the robot.
    """
    off = positions[None] - means[:, None, :2]
    spread = covariances[:, None, :2, :2] + _noise(rays)
    return np.einsum("tbi,tbi->tb", off, np.linalg.solve(spread, off[..., None])[..., 0])


def _noise(rays: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the covariances (..., 2, 2) of the positions of boxes at `rays` (..., 2) from the robot."""
    squared = (rays**2).sum(axis=-1)[..., None, None]
    across = (_POSITION_STD**2 + _SIDE_STD_SHARE**2 * squared) * np.eye(2)
    return across + (_DEPTH_STD_SHARE**2 - _SIDE_STD_SHARE**2) * rays[..., :, None] * rays[..., None, :]
