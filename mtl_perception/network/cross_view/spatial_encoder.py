# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The cross-view branch's own small CNN, which sees geometry and is not shared with the tasks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDE = 8


class SpatialEncoder(nn.Module):
    """Images (N, 3, H, W) in 0..1 -> features (N, width, ceil(H/8), ceil(W/8)), each image by itself.

    The "spatial-aware encoder" of CvM (Wang et al. 2025, "3D-Aware Multi-Task Learning with Cross-View Correlations"),
    which takes the CNN of UniMatch (Xu et al. 2023): a 7x7 convolution with stride 2, two residual blocks at each of
    the strides 2, 4 and 8, and a 1x1 convolution, with instance norm. At the published widths it has 1,048,896
    parameters.
    """

    def __init__(self, width: int = 128, stage_widths: tuple[int, int, int] = (64, 96, 128)) -> None:
        """Build it for `width` channels at the end and `stage_widths` at the strides 2, 4 and 8."""
        super().__init__()
        first, second, third = stage_widths
        self.stem = nn.Conv2d(3, first, 7, 2, bias=False)
        self.norm = InstanceNorm()
        self.stages = nn.Sequential(
            InstanceNormBlock(first, first),
            InstanceNormBlock(first, first),
            InstanceNormBlock(first, second, stride=2),
            InstanceNormBlock(second, second),
            InstanceNormBlock(second, third, stride=2),
            InstanceNormBlock(third, third),
        )
        self.out = nn.Conv2d(third, width, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return the features."""
        # All of the padding is to the right and below. Three strides of 2 put the centre of pixel u at 8u with padding
        # on both sides, and at 8u + 3 with this one; the plane sweep takes it to be at 8u + 3.5.
        padded = functional.pad((images - 0.45) / 0.25, (0, 6, 0, 6))
        return self.out(self.stages(functional.relu(self.norm(self.stem(padded)))))


class InstanceNorm(nn.Module):
    """Instance norm without parameters: (N, C, h, w) -> the same. A map of a single pixel becomes 0.

    torch's own module refuses such a map while training.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Give every channel of every image mean 0 and variance 1."""
        return torch.instance_norm(x, None, None, None, None, True, 0.1, 1e-5, torch.backends.cudnn.enabled)


class InstanceNormBlock(nn.Module):
    """UniMatch's residual block: (N, inputs, h, w) -> (N, outputs, h/stride, w/stride), rounded up."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        """Build the block; the shortcut is a 1x1 convolution where the shape changes."""
        super().__init__()
        self.stride = stride
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            InstanceNorm(),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            InstanceNorm(),
            nn.ReLU(inplace=True),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), InstanceNorm())

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        # A slice before a 1x1 convolution is what its stride does (see network/blocks.py).
        return functional.relu(self.body(x) + self.shortcut(x[:, :, :: self.stride, :: self.stride]))
