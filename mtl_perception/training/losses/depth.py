# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The loss of depth."""

from __future__ import annotations

import torch
from torch import Tensor

from mtl_perception.training.losses.reduction import mean_of

CROSS_ENTROPY, ABSOLUTE = 0.3, 2.0


def depth_loss(logits: Tensor, depth: Tensor, scale: Tensor, bins: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy over bins (soft between the two nearest, one more bin for no surface) plus L1 in log depth.

    Args:
        logits: (N, D + 1, h, w).
        depth: (N, h, w) the prediction, metres.
        scale: (N,) metric over canonical depth.
        bins: (D,) canonical depths, uniform in log.
        truth: (N, h, w) metres; NaN unknown, +inf no surface.
    """
    measured = torch.isfinite(truth)
    sky = torch.isposinf(truth)
    metres = torch.where(measured, truth, torch.ones_like(truth)).clamp(min=0.05)
    step = torch.log(bins[1] / bins[0])
    position = (torch.log(metres / scale[:, None, None] / bins[0]) / step).clamp(0, len(bins) - 1.001)
    lower = position.floor().long()
    fraction = position - lower
    log_probability = logits.float().log_softmax(dim=1)
    on_lower = log_probability.gather(1, lower[:, None])[:, 0]
    on_upper = log_probability.gather(1, lower[:, None] + 1)[:, 0]
    surface = -((1 - fraction) * on_lower + fraction * on_upper)
    cross_entropy = torch.where(sky, -log_probability[:, -1], surface)[measured | sky]
    in_range = measured & (metres / scale[:, None, None] < bins[-1])
    absolute = (depth.float().log() - metres.log()).abs()[in_range]
    return CROSS_ENTROPY * mean_of(cross_entropy) + ABSOLUTE * mean_of(absolute)
