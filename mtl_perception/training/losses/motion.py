# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The loss of motion masks."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from mtl_perception.training.samples import UNKNOWN_MOTION


def motion_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Binary cross-entropy plus soft Dice. `truth` (N, H, W) uint8 at 4 times the logits' (N, h, w) size."""
    known = (truth != UNKNOWN_MOTION).float()
    target = functional.avg_pool2d((truth == 255).float()[:, None], 4)[:, 0]
    weight = functional.avg_pool2d(known[:, None], 4)[:, 0]
    bce = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    # Moving pixels are few: they weigh three times as much.
    bce = (bce * weight * (1 + 2 * target)).sum() / weight.sum().clamp(min=1.0)
    probability = logits.sigmoid() * weight
    overlap = 2 * (probability * target).sum() + 1.0
    return 2.0 * bce + (1.0 - overlap / (probability.sum() + (target * weight).sum() + 1.0))
