# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The loss of surface normals."""

from __future__ import annotations

import torch
from torch import Tensor

from mtl_perception.training.losses.reduction import mean_of

ROUNDED = 0.02
"""Below this distance (1.1 degrees) of two normals the second term is round, so that its gradient has no jump."""


def normals_loss(normals: Tensor, truth: Tensor) -> Tensor:
    """One minus the cosine of the angle between them, plus the distance of the two unit vectors.

    The cosine alone (M2H and its successors) is flat where the error is small: at 5 degrees its slope is a tenth of
    that at 60, and the median never gets sharp. The distance, 2 sin(angle / 2), is nearly the angle itself, as in the
    angular losses of Bae et al. 2021 (Estimating and Exploiting the Aleatoric Uncertainty in Surface Normal
    Estimation), without the infinite slope that acos has at 0.

    Args:
        normals: (N, 3, h, w) unit length.
        truth: (N, 3, h, w) unit length; NaN unknown.
    """
    known = torch.isfinite(truth).all(dim=1)
    own = normals.float().permute(0, 2, 3, 1)[known]
    # Half precision leaves a length that is off by some thousandths; a length of 0 must not be divided by.
    own = own / own.norm(dim=1, keepdim=True).clamp(min=0.1)
    squared = (own - truth.permute(0, 2, 3, 1)[known]).square().sum(dim=1)
    distance = (squared + ROUNDED**2).sqrt() - ROUNDED
    return mean_of(0.5 * squared + distance)
