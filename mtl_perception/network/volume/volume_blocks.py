# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Building blocks of the 3D half: 3D convolutions that are practical on a CPU, and a backbone over voxels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class PointwiseConv(nn.Linear):
    """A convolution with a kernel of 1 over any number of dimensions: (B, inputs, ...) -> (B, outputs, ...).

    One matrix product over channels-last data, which it neither copies nor leaves. The same sums as `nn.Conv3d`, whose
    channels-last kernel is three to five times slower on a CPU.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Apply it."""
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


class SeparableConv3d(nn.Module):
    """A 3x3x3 convolution that is factorised, with batch norm and ReLU: (B, inputs, X, Y, Z) -> (B, outputs, X, Y, Z).

    First across channels, then over space within each channel (Haase and Amthor 2020, "blueprint separable
    convolutions"). With 48 channels it takes a thirtieth of a plain 3x3x3 convolution's products. A volume is large,
    so that each tensor of its size costs as much as a step of computation: in evaluation mode the batch norm is part
    of the convolution's weights.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        """Build it."""
        super().__init__()
        self.across = PointwiseConv(inputs, outputs, bias=False)
        self.within = nn.Conv3d(outputs, outputs, 3, 1, 1, groups=outputs, bias=False)
        self.norm = nn.BatchNorm3d(outputs)

    def forward(self, voxels: Tensor) -> Tensor:
        """Apply it."""
        return self.over_space(self.across(voxels)).relu_()

    def over_space(self, mixed: Tensor) -> Tensor:
        """Apply the part within channels and the norm to what the part across them gave; no ReLU."""
        if self.training:
            return self.norm(self.within(mixed))
        norm, kernel = self.norm, self.within.weight
        assert norm.running_mean is not None and norm.running_var is not None  # it tracks them
        scale = norm.weight.float() * (norm.running_var.float() + norm.eps).rsqrt()
        bias = norm.bias.float() - norm.running_mean.float() * scale
        scaled = kernel.float() * scale[:, None, None, None, None]
        return functional.conv3d(mixed, scaled.to(kernel.dtype), bias.to(kernel.dtype), 1, 1, 1, len(kernel))


class VolumeBackbone(nn.Module):
    """Voxels (B, C, X, Y, Z) -> voxels of the same shape, to which a sequence of separable 3D convolutions is added.

    These run at half the resolution, so that a voxel sees farther than its neighbours at an eighth of the cost; what is
    finer than that comes with the voxels themselves.
    """

    def __init__(self, width: int) -> None:
        """Build it for `width` channels."""
        super().__init__()
        self.coarse = nn.Sequential(
            nn.Conv3d(width, width, 3, 2, 1, groups=width, bias=False),
            SeparableConv3d(width, width),
            SeparableConv3d(width, width),
        )

    def forward(self, voxels: Tensor) -> Tensor:
        """Apply it; the result is channels-last in memory."""
        coarse = self.coarse(voxels.contiguous(memory_format=torch.channels_last_3d))
        return functional.interpolate(coarse, voxels.shape[-3:], mode="nearest").add_(voxels)
