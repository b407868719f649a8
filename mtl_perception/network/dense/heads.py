# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Dense heads: M2H's two decoders, and what semantics, normals and edges make of a decoder's channels.

Depth's head is in `detail.py`. A head takes any decoder and hands its own arguments on to it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_perception.network.blocks import conv_norm_relu

DILATIONS = (6, 12, 18)


class SemanticHead(nn.Module):
    """Semantic segmentation: a decoder's channels are logits of the labels."""

    def __init__(self, decoder: nn.Module) -> None:
        """Build the head around `decoder`, which has one output a label, at least two."""
        super().__init__()
        self.decoder = decoder

    def forward(self, *features: Tensor) -> Tensor:
        """Return logits (N, labels, h, w)."""
        return self.decoder(*features)

    def statistics(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reduce logits (N, labels, h, w) to label (int64), its probability and normalised entropy, (N, h, w) each.

        The entropy is 0 where one label is certain and 1 where all are equally likely. Both are float32.
        """
        logarithm = logits.float().log_softmax(dim=1)
        confidence, label = logarithm.max(dim=1)
        entropy = -(logarithm.exp() * logarithm).sum(dim=1) / math.log(logits.shape[1])
        return label, confidence.exp(), entropy.clamp(0.0, 1.0)


class NormalHead(nn.Module):
    """Surface normals: tanh of a decoder's three channels, then unit length (M2H)."""

    def __init__(self, decoder: nn.Module) -> None:
        """Build the head around `decoder`, which has three outputs."""
        super().__init__()
        self.decoder = decoder

    def forward(self, *features: Tensor) -> Tensor:
        """Return unit normals (N, 3, h, w) in the camera's optical frame."""
        raw = self.decoder(*features)
        return functional.normalize(raw.float().tanh(), dim=1).to(raw.dtype)


class EdgeHead(nn.Module):
    """Semantic edges: a decoder's single channel is the logit of an edge (M2H)."""

    def __init__(self, decoder: nn.Module) -> None:
        """Build the head around `decoder`, which has one output."""
        super().__init__()
        self.decoder = decoder

    def forward(self, *features: Tensor) -> Tensor:
        """Return logits (N, h, w)."""
        return self.decoder(*features)[:, 0]


class RefinedHead(nn.Module):
    """M2H's decoder of depth and semantics: (N, width, h, w) -> (N, outputs, 4h, 4w).

    Atrous spatial pyramid pooling (rates 1, 6, 12, 18 and the image's mean), two up-blocks, a residual refinement at
    the full size, a gate in (0, 1) a pixel, a 1x1 convolution. The last of `widths` sets the cost: its convolutions run
    at the full size. (M2H's depth ends in a 3x3 convolution to one channel; for tens of depth bins that is too dear.)
    """

    def __init__(self, width: int, outputs: int, widths: tuple[int, int] = (128, 64)) -> None:
        """Build it; `widths` are the channels behind the first and the second up-block, multiples of 4."""
        super().__init__()
        middle, fine = widths
        self.context = AtrousPyramid(width)
        self.up = nn.Sequential(UpBlock(width, middle), UpBlock(middle, fine))
        self.refine = nn.Sequential(
            nn.Conv2d(fine, fine, 3, padding=1), nn.ReLU(), nn.Conv2d(fine, fine, 3, padding=1), nn.ReLU()
        )
        self.gate = nn.Sequential(nn.Conv2d(fine, 1, 3, padding=1), nn.Sigmoid())
        self.logits = nn.Conv2d(fine, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Decode."""
        fine = self.up(self.context(x))
        fine = fine + self.refine(fine)
        return self.logits(fine * self.gate(fine))


class UpsamplingHead(nn.Module):
    """M2H's decoder of normals and edges: (N, width, h, w) -> (N, outputs, 4h, 4w), two up-blocks and 1x1."""

    def __init__(self, width: int, outputs: int, widths: tuple[int, int] = (128, 64)) -> None:
        """Build it; `widths` as in `RefinedHead`."""
        super().__init__()
        middle, fine = widths
        self.up = nn.Sequential(UpBlock(width, middle), UpBlock(middle, fine))
        self.logits = nn.Conv2d(fine, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Decode."""
        return self.logits(self.up(x))


class AtrousPyramid(nn.Module):
    """Atrous spatial pyramid pooling (DeepLabv3, Chen et al. 2017, section 3.3): keeps the shape."""

    def __init__(self, width: int) -> None:
        """Build it."""
        super().__init__()
        self.local = conv_norm_relu(width, width, 1)
        self.atrous = nn.ModuleList([_dilated(width, dilation) for dilation in DILATIONS])
        # Batch norm of one value a channel and image is undefined for a single image in training: group norm.
        self.image = nn.Sequential(nn.Conv2d(width, width, 1, bias=False), nn.GroupNorm(1, width), nn.ReLU())
        self.project = conv_norm_relu(5 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Apply it."""
        image = self.image(x.mean(dim=(2, 3), keepdim=True)).expand_as(x)
        return self.project(torch.cat([self.local(x), *(branch(x) for branch in self.atrous), image], dim=1))


class UpBlock(nn.Module):
    """Twice the size, with channel attention (M2H's up-block): (N, inputs, h, w) -> (N, outputs, 2h, 2w).

    Both paths convolve at the small size: the shortcut's 1x1 convolution commutes with its bilinear upsampling.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        """Build it."""
        super().__init__()
        self.enlarge = nn.Sequential(
            conv_norm_relu(inputs, outputs),
            conv_norm_relu(outputs, outputs),
            nn.ConvTranspose2d(outputs, outputs, 2, 2),
        )
        self.shortcut = nn.Conv2d(inputs, outputs, 1)
        self.attention = nn.Sequential(
            nn.Conv2d(outputs, outputs // 4, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(outputs // 4, outputs, 1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        fine = self.enlarge(x)
        shortcut = functional.interpolate(self.shortcut(x), scale_factor=2.0, mode="bilinear")
        return fine * self.attention(fine.mean(dim=(2, 3), keepdim=True)) + shortcut


def _dilated(width: int, dilation: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    )
