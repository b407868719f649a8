# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The losses of the tasks of the rig's 3D half."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from mtl_perception.core import FREE, UNLABELLED, UNOBSERVED
from mtl_perception.training.losses.reduction import mean_of


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
    weighted = mean_of((bce * (1 + 2 * target))[observed])
    probability = logits[:, 0].sigmoid() * observed
    dice = 1 - (2 * (probability * target).sum() + 1) / (probability.sum() + target.sum() + 1)
    labelled = occupied & (truth != UNLABELLED)
    classes = logits[:, 1:].permute(0, 2, 3, 4, 1)[labelled]
    return weighted + dice + 0.3 * mean_of(functional.cross_entropy(classes, truth[labelled].long(), reduction="none"))
