# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The losses of steering and of the scene-level classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from mtl_perception.network.driving.attentive_pooler import LOG_VARIANCE_REACH, LOG_VARIANCE_START
from mtl_perception.training.driving.features import UNKNOWN_CLASS

_LARGEST_CLASS_WEIGHT = 10.0
_SMALL_ANGLE = 0.01  # radians
_FREEDOM = 4.0  # of the t distribution of an angle's error


def steering_loss(angle: Tensor, log_variance: Tensor, true: Tensor, emphasis: float, variance: float) -> Tensor:
    """Return how wrong angles (B,) are, and how wrong their log variances (B,); a scalar.

    The first part is the weighted squared error of Yuan et al. 2018 (SteeringLoss, "Steering loss: a cost-sensitive
    loss function for the end-to-end control of autonomous driving"), sum w (y^ - y)^2 / sum w with w = exp(emphasis
    |y|), which keeps the few curves from drowning in straight driving. It is divided by `variance`, that of the true
    angles, so that the mean angle has a loss of about 1. The second is half of the negative log likelihood of the error
    as it is, so that the deviation does not change what the angle learns: of a t distribution of that variance, as one
    large error where a small one was stated would else outweigh all that a step learns. It is shifted so that the loss
    is never negative: balancing methods take ratios.

    Args:
        angle, log_variance: the head's.
        true: (B,) radians; NaN unknown.
        emphasis: see above, per radian.
        variance: radians^2.
    """
    known = torch.isfinite(true)
    if not known.any():
        return angle.sum() * 0.0
    angle, log_variance, true = angle[known], log_variance[known], true[known]
    weight = (emphasis * true.abs()).exp()
    squared = (angle - true).square()
    error = (weight * squared).sum() / weight.sum() / variance
    stated = (_FREEDOM - 2) * log_variance.exp()
    unlikely = 0.5 * log_variance + (_FREEDOM + 1) / 2 * torch.log1p(squared.detach() / stated)
    return error + 0.5 * (unlikely.mean() - 0.5 * (LOG_VARIANCE_START - LOG_VARIANCE_REACH))


def nearly_straight_loss(angle: Tensor, true: Tensor, variance: float) -> Tensor:
    """Return the mean absolute error of the angle over the deviation of the true ones; a scalar.

    Our addition: a squared error hardly sees the degree by which an angle trembles about straight on, where most of a
    drive is. Within `_SMALL_ANGLE` it is quadratic (Huber 1964).

    Args:
        angle: (B,) radians.
        true: (B,) radians; NaN unknown.
        variance: of the true angles, radians^2.
    """
    known = torch.isfinite(true)
    if not known.any():
        return angle.sum() * 0.0
    loss = functional.huber_loss(angle[known], true[known], delta=_SMALL_ANGLE) / _SMALL_ANGLE
    return loss / variance**0.5


def scene_class_loss(logits: Tensor, true: Tensor, class_weights: Tensor, smoothing: float) -> Tensor:
    """Return the class-balanced cross-entropy with label smoothing; a scalar, 0 where nothing is known.

    Args:
        logits: (B, K).
        true: (B,) int64; `UNKNOWN_CLASS` where it is not known.
        class_weights: (K,).
        smoothing: share of the target that is spread over all classes.
    """
    if not (true != UNKNOWN_CLASS).any():
        return logits.sum() * 0.0
    return functional.cross_entropy(
        logits.float(), true, class_weights, ignore_index=UNKNOWN_CLASS, label_smoothing=smoothing
    )


def balanced_class_weights(counts: Sequence[int]) -> Tensor:
    """Return the weights (K,) that make classes count the same, whose mean over the counted frames is 1.

    A class never weighs more than ten times the average frame: a handful of frames would else be learnt by heart. One
    that does not occur has weight 0.
    """
    found = torch.tensor(counts, dtype=torch.float32)
    present = found > 0
    weights = torch.where(present, found.sum() / found.clamp(min=1.0) / present.sum().clamp(min=1), 0.0)
    return weights.clamp(max=_LARGEST_CLASS_WEIGHT)
