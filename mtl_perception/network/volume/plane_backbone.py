# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From voxels to the ground plane."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_perception.network.blocks import ResidualBlock, conv_norm_relu
from mtl_perception.network.volume.volume_blocks import PointwiseConv


class PlaneBackbone(nn.Module):
    """Voxels (B, C, X, Y, Z) -> bird's-eye view (B, width, X, Y): height folded into channels, then 2D convolutions.

    The transformation of plane tasks (MAESTRO, section 3.3); without prototypes it alone stands between the voxels and
    the heads (the paper's "baseline MTL"). What is known of the plane already (B, extra, X, Y) may be added to it.
    """

    def __init__(self, inputs: int, height: int, width: int, extra: int = 0) -> None:
        """Build it for `inputs` channels and `height` voxels along z, and `extra` channels of the plane."""
        super().__init__()
        self.fold = nn.Sequential(
            PointwiseConv(inputs * height + extra, width, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        self.fine = ResidualBlock(width, width)
        self.coarse = nn.Sequential(conv_norm_relu(width, width, 3, 2), ResidualBlock(width, width))

    def forward(self, voxels: Tensor, extra: Tensor | None = None) -> Tensor:
        """Apply it."""
        # Heights before channels: with channels-last voxels, as the lift gives them, nothing is copied.
        plane = voxels.permute(0, 4, 1, 2, 3).flatten(1, 2)
        if extra is not None:
            plane = torch.cat([plane, extra], dim=1)
        fine = self.fine(self.fold(plane))
        coarse = functional.interpolate(self.coarse(fine), fine.shape[-2:], mode="bilinear")
        return fine + coarse
