# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The loss of motion masks."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from mtl_perception.training.losses.reduction import stride_of
from mtl_perception.training.samples import UNKNOWN_MOTION


def motion_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Binary cross-entropy plus soft Dice.

    Args:
        logits: (N, h, w).
        truth: (N, H, W) uint8, 255 moving, 0 not, 128 unknown, at the logits' size or larger by a whole stride.
    """
    stride = stride_of(truth, logits)
    known = (truth != UNKNOWN_MOTION).float()
    moving = functional.avg_pool2d((truth == 255).float()[:, None], stride, ceil_mode=True)[:, 0]
    weight = functional.avg_pool2d(known[:, None], stride, ceil_mode=True)[:, 0]
    target = moving / weight.clamp(min=1e-6)  # of what is known
    bce = functional.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")
    # Moving pixels are few: they weigh three times as much.
    bce = (bce * weight * (1 + 2 * target)).sum() / weight.sum().clamp(min=1.0)
    probability = logits.float().sigmoid() * weight
    overlap = 2 * (probability * target).sum() + 1.0
    return 2.0 * bce + (1.0 - overlap / (probability.sum() + moving.sum() + 1.0))
