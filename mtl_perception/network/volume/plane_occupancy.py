# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Semantic occupancy from lifted voxels."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from mtl_perception.core import VoxelGrid
from mtl_perception.network.blocks import ResidualBlock, conv_norm_relu


class PlaneOccupancyDecoder(nn.Module):
    """Voxels (B, C, X, Y, Z) -> logits (B, 1 + labels, X, Y, Z): occupied or not, and the label if occupied.

    The height is folded into channels and 2D convolutions run over the ground plane (as in MAESTRO's branches of plane
    tasks, section 3.3; FlashOcc, Yu et al. 2023, section 3.3 shows that little is lost against 3D convolutions).
    """

    def __init__(self, grid: VoxelGrid, inputs: int, width: int, labels: int) -> None:
        """Build it for `grid` with `width` channels on the ground plane."""
        super().__init__()
        self.height = grid.shape[2]
        self.labels = labels
        self.body = nn.Sequential(
            conv_norm_relu(inputs * self.height, width, 1), ResidualBlock(width, width), ResidualBlock(width, width)
        )
        self.coarse = nn.Sequential(conv_norm_relu(width, width, 3, 2), ResidualBlock(width, width))
        self.logits = nn.Conv2d(width, (1 + labels) * self.height, 1)

    def forward(self, voxels: Tensor) -> Tensor:
        """Decode."""
        frames, channels, size_x, size_y, size_z = voxels.shape
        fold, norm, activation = self.body[0].children()
        # Heights before channels, as the voxels lie in memory: the weights are reordered, not the voxels.
        assert isinstance(fold, nn.Conv2d)
        weight = fold.weight.unflatten(1, (channels, size_z)).transpose(1, 2).flatten(1)
        plane = functional.linear(voxels.permute(0, 2, 3, 4, 1).flatten(3), weight).movedim(-1, 1)
        fine = self.body[1:](activation(norm(plane)))
        coarse = functional.interpolate(self.coarse(fine), (size_x, size_y), mode="bilinear")
        logits = self.logits(fine + coarse)
        return logits.view(frames, 1 + self.labels, size_z, size_x, size_y).permute(0, 1, 3, 4, 2)
