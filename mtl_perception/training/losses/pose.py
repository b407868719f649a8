# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The loss of ego motion as the pose pyramid's decoder gives it: a motion vector with variances."""

from __future__ import annotations

from torch import Tensor

from mtl_perception.network.motion.ego_motion import LOG_VARIANCE_REACH, LOG_VARIANCE_START, EgoMotion
from mtl_perception.network.motion.se3 import vector_from_matrix
from mtl_perception.training.losses.reduction import mean_of

ROTATION, TRANSLATION, LIKELIHOOD = 10.0, 1.0, 0.05
FARTHEST = 25.0
"""Squared errors beyond this many variances count by their logarithm: early on they would drown everything else."""


def pose_loss(estimate: EgoMotion, previous_from_current: Tensor) -> Tensor:
    """L1 of axis-angle (radians) and translation (metres), and the Gaussian likelihood of the error for the variances.

    The likelihood trains the variances only: through it, motions that are hard to tell would be given up on. It is
    counted from that of the smallest possible variance without error, so that the loss is 0 at best.

    Args:
        estimate: of N cameras.
        previous_from_current: (N, 4, 4), the truth.
    """
    error = (estimate.vector.float() - vector_from_matrix(previous_from_current).float()).abs()
    smallest = LOG_VARIANCE_START - LOG_VARIANCE_REACH
    return (
        ROTATION * mean_of(error[:, :3].sum(dim=1))
        + TRANSLATION * mean_of(error[:, 3:].sum(dim=1))
        + LIKELIHOOD * variance_loss(estimate, previous_from_current, smallest)
    )


def variance_loss(estimate: EgoMotion, previous_from_current: Tensor, smallest: float) -> Tensor:
    """Return the Gaussian likelihood of the errors, which trains the variances only.

    Args:
        estimate: of N cameras.
        previous_from_current: (N, 4, 4), the truth.
        smallest: log variance at which the loss would be 0 without an error.
    """
    error = estimate.vector.detach().float() - vector_from_matrix(previous_from_current).float()
    log_variance = estimate.log_variance.float()
    squared = error.square() * (-log_variance).exp()
    inside = squared.clamp(max=FARTHEST)
    bounded = inside + FARTHEST * (squared / FARTHEST).clamp(min=1.0).log()
    return mean_of(0.5 * (bounded + log_variance - smallest).sum(dim=1))
