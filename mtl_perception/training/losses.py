# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The loss of each task, on the rows of a batch that carry its truth."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from mtl_perception.core import FREE, UNLABELLED, UNOBSERVED
from mtl_perception.training.samples import UNKNOWN_MOTION


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
    log_probability = logits.log_softmax(dim=1)
    on_lower = log_probability.gather(1, lower[:, None])[:, 0]
    on_upper = log_probability.gather(1, lower[:, None] + 1)[:, 0]
    surface = -((1 - fraction) * on_lower + fraction * on_upper)
    cross_entropy = torch.where(sky, -log_probability[:, -1], surface)[measured | sky]
    in_range = measured & (metres / scale[:, None, None] < bins[-1])
    absolute = (depth.log() - metres.log()).abs()[in_range]
    return 0.3 * _mean(cross_entropy) + 2.0 * _mean(absolute)


def semantic_loss(logits: Tensor, rows: Tensor, label_table: Tensor, class_weights: Tensor) -> Tensor:
    """Negative log of the probability that the annotated classes have together (a label may stand for several).

    Args:
        logits: (N, C, h, w).
        rows: (N, h, w) int64, rows of `label_table`.
        label_table: (R, C) bool.
        class_weights: (C,), of each class; a row weighs as its lightest class.
    """
    table = label_table.to(logits.dtype)
    weight_of_row = torch.where(label_table, class_weights, class_weights.max()).amin(dim=1) * label_table.any(dim=1)
    known = label_table.any(dim=1)[rows]
    flat = logits.permute(0, 2, 3, 1)[known]
    candidates = table[rows[known]]
    among = torch.logsumexp(flat.masked_fill(candidates == 0, -1e4), dim=1)
    weights = weight_of_row[rows[known]]
    return (weights * (torch.logsumexp(flat, dim=1) - among)).sum() / weights.sum().clamp(min=1.0)


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


def occupancy_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Occupied or free on observed voxels (cross-entropy plus soft Dice), and the class where it is annotated.

    Args:
        logits: (B, 1 + labels, X, Y, Z).
        truth: (B, X, Y, Z) uint8.
    """
    observed = truth != UNOBSERVED
    occupied = observed & (truth != FREE)
    target = occupied.float()
    bce = functional.binary_cross_entropy_with_logits(logits[:, 0], target, reduction="none")
    weighted = _mean((bce * (1 + 2 * target))[observed])
    probability = logits[:, 0].sigmoid() * observed
    dice = 1 - (2 * (probability * target).sum() + 1) / (probability.sum() + target.sum() + 1)
    labelled = occupied & (truth != UNLABELLED)
    classes = logits[:, 1:].permute(0, 2, 3, 4, 1)[labelled]
    return weighted + dice + 0.3 * _mean(functional.cross_entropy(classes, truth[labelled].long(), reduction="none"))


def _mean(values: Tensor) -> Tensor:
    """Mean that is 0 (with a gradient path) where there is no value."""
    return values.sum() / max(1, values.numel())
