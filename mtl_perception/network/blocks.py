# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The building block of all convolutional parts."""

from __future__ import annotations

from torch import Tensor, nn


def conv_norm_relu(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Return convolution, batch norm and ReLU, padded to keep the size at stride 1."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut (He et al. 2016): (N, inputs, h, w) -> (N, outputs, h/stride, w/stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        """Build the block; the shortcut is a 1x1 convolution where the shape changes."""
        super().__init__()
        self.first = conv_norm_relu(inputs, outputs, 3, stride)
        self.second = nn.Sequential(nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.stride = stride
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        # What a 1x1 convolution with a stride does; torch 2.13's own (oneDNN's AVX-512 kernel) writes beyond its memory
        # in the backward pass of small maps with more than one thread.
        sampled = x[:, :, :: self.stride, :: self.stride]
        return self.activation(self.second(self.first(x)) + self.shortcut(sampled))
