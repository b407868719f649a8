# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The loss of depth."""

from __future__ import annotations

import torch
from torch import Tensor

from mtl_perception.training.losses.reduction import mean_of

CROSS_ENTROPY, RANKED = 0.3, 2.0


def depth_loss(logits: Tensor, scale: Tensor, bins: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy over bins (soft between the two nearest, one more bin for no surface) plus a ranked score.

    The continuous ranked probability score (Gneiting and Raftery 2007, "Strictly proper scoring rules") is to a
    distribution what the absolute error is to a number, and equals it where the distribution is one bin; here it is
    that of log depth. Unlike an error of the estimate, it lets a distribution say that it does not know.

    Args:
        logits: (N, D + 1, h, w).
        scale: (N,) metric over canonical depth.
        bins: (D,) canonical depths, uniform in log.
        truth: (N, h, w) metres; NaN unknown, +inf no surface.
    """
    measured = torch.isfinite(truth)
    sky = torch.isposinf(truth)
    canonical = torch.where(measured, truth / scale[:, None, None], bins[0])
    step = torch.log(bins[1] / bins[0])
    position = (torch.log(canonical.clamp(min=1e-3) / bins[0]) / step).clamp(0, len(bins) - 1.001)
    lower = position.floor().long()
    fraction = position - lower
    log_probability = logits.float().log_softmax(dim=1)
    on_lower = log_probability.gather(1, lower[:, None])[:, 0]
    on_upper = log_probability.gather(1, lower[:, None] + 1)[:, 0]
    surface = -((1 - fraction) * on_lower + fraction * on_upper)
    cross_entropy = torch.where(sky, -log_probability[:, -1], surface)[measured | sky]
    below = logits[:, :-1].float().softmax(dim=1).cumsum(dim=1)
    index = torch.arange(len(bins), device=logits.device)[None, :, None, None]
    truly_below = (index + 1 - position[:, None]).clamp(0, 1)
    ranked = step * (below - truly_below).square().sum(dim=1)
    in_range = measured & (canonical < bins[-1])
    return CROSS_ENTROPY * mean_of(cross_entropy) + RANKED * mean_of(ranked[in_range])
