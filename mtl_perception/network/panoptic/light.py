# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A light panoptic head for small computers: centres of things, and from each pixel the way to its own."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional

from mtl_perception.network.blocks import conv_norm_relu
from mtl_perception.network.panoptic.targets import CentreTargets

_OFFSET_UNIT = 16.0  # pixels for an output of 1: the size of offsets, so that they need no large weights
_INITIAL_CENTRE = 0.01  # the probability of a centre before training


class LightPanopticHead(nn.Module):
    """Class-agnostic centres and offsets (Panoptic-DeepLab, Cheng et al. 2020, section 3.1).

    The semantic head beside it says what a pixel is; this says which thing it belongs to. Both outputs share one narrow
    decoder, which is our reading for a small computer: the paper's has two branches and context of its own (ASPP),
    which the shared map has already.
    """

    def __init__(self, inputs: int, stem: int, width: int) -> None:
        """Build it for the shared map's and the stem's channels; it works on `width` channels itself."""
        super().__init__()
        self.coarse = nn.Sequential(conv_norm_relu(inputs, width, 1), conv_norm_relu(width, width, 5))
        self.stem = nn.Conv2d(stem, width, 1)
        self.refine = conv_norm_relu(width, width)
        self.centre = nn.Conv2d(width, 1, 1)
        self.offset = nn.Conv2d(width, 2, 1)
        assert self.centre.bias is not None
        nn.init.constant_(self.centre.bias, math.log(_INITIAL_CENTRE / (1.0 - _INITIAL_CENTRE)))

    def forward(self, shared: Tensor, stem: Tensor) -> tuple[Tensor, Tensor]:
        """Decode the shared map (N, inputs, h/2, w/2) at stride 4 and the stem (N, stem, h, w) at stride 2.

        Returns:
            Logits (N, h, w) of a centre, and offsets (N, 2, h, w), x first, from each pixel to its thing's centre, in
            pixels of this map.
        """
        coarse = functional.interpolate(self.coarse(shared), stem.shape[-2:], mode="bilinear")
        refined = self.refine(coarse + self.stem(stem))
        return self.centre(refined)[:, 0], self.offset(refined) * _OFFSET_UNIT


def centre_losses(logits: Tensor, offsets: Tensor, targets: CentreTargets) -> dict[str, Tensor]:
    """Return "centre" and "offset", scalars with the weights of Panoptic-DeepLab (section 3.2: 200 and 0.01).

    Squared error of the centres' probability where the truth is known, L1 of the offsets on things.
    """
    known, thing = targets.known.float(), targets.thing.float()
    centre = (logits.float().sigmoid() - targets.heatmap).square() * known
    offset = functional.l1_loss(offsets.float(), targets.offsets, reduction="none").sum(dim=1) * thing
    return {
        "centre": 200.0 * centre.sum() / known.sum().clamp(min=1.0),
        "offset": 0.01 * offset.sum() / thing.sum().clamp(min=1.0),
    }
