# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The loss of semantic edges."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from mtl_perception.training.losses.reduction import stride_of, weighted_mean
from mtl_perception.training.samples import UNKNOWN_MOTION


def edges_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Class-balanced cross-entropy (HED, Xie and Tu 2015, section 2.2, eq. 2): edges and the rest weigh the same.

    The balance is that of the whole batch. Where nothing is an edge, the rest weighs nothing.

    Args:
        logits: (N, h, w).
        truth: (N, H, W) uint8, 255 edge, 0 none, 128 unknown, at the logits' size or larger by a whole stride. A pixel
            of the logits is an edge if any of those it stands for is, and unknown if none is but some are unknown.
    """
    stride = stride_of(truth, logits)
    edge = functional.max_pool2d((truth == 255).float()[:, None], stride, ceil_mode=True)[:, 0]
    unknown = functional.max_pool2d((truth == UNKNOWN_MOTION).float()[:, None], stride, ceil_mode=True)[:, 0]
    known = edge.maximum(1.0 - unknown)
    share = weighted_mean(edge, known)
    weight = known * (edge * (1.0 - share) + (1.0 - edge) * share)
    entropy = functional.binary_cross_entropy_with_logits(logits.float(), edge, reduction="none")
    return weighted_mean(entropy, weight)
