# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Decoders of dense per-camera tasks: depth as a distribution over bins, and semantics."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_perception.network.blocks import conv_norm_relu
from mtl_perception.network.config import DepthBins


class DetailDecoder(nn.Module):
    """From the shared map at stride 4 and the stem at stride 2 to logits at stride 2: (N, outputs, H/2, W/2)."""

    def __init__(self, inputs: int, stem: int, width: int, outputs: int) -> None:
        """Build it; `width` channels are carried at stride 2."""
        super().__init__()
        self.own = conv_norm_relu(inputs, inputs)
        self.narrow = nn.Conv2d(inputs, width, 1)
        self.stem = nn.Conv2d(stem, width, 1)
        self.refine = conv_norm_relu(width, width)
        self.logits = nn.Conv2d(width, outputs, 1)

    def forward(self, shared: Tensor, stem: Tensor) -> Tensor:
        """Decode."""
        coarse = self.narrow(self.own(shared))
        fine = functional.interpolate(coarse, stem.shape[-2:], mode="bilinear") + self.stem(stem)
        return self.logits(self.refine(fine))


class DepthHead(nn.Module):
    """Depth as a distribution over log-spaced bins and one more bin for "no surface" (sky).

    The same distribution gives the depth, the standard deviation, and the weights with which features are lifted into
    voxels. It stands in for M2H's ReLU.

    The depth is the median of the distribution weighted by 1 / depth, which is what minimises the expected relative
    error |estimate - depth| / depth (the (-1)-median of Gneiting 2011, "Making and evaluating point forecasts"). A
    median stays on one of two surfaces where a mean would float between them.
    """

    index: Tensor

    def __init__(self, decoder: nn.Module, bins: DepthBins) -> None:
        """Build the head around `decoder`, which has one output a bin and one more for "no surface"."""
        super().__init__()
        self.decoder = decoder
        self.nearest = math.log(bins.nearest)
        self.step = (math.log(bins.farthest) - self.nearest) / (bins.count - 1)
        # Integers stay exact when the network's floating-point numbers are made bfloat16, depths would not.
        self.register_buffer("index", torch.arange(bins.count), persistent=False)

    @property
    def bins(self) -> Tensor:
        """The bins' canonical depths in metres, (count,), float32 whatever the network's type."""
        return self._log_bins().exp()

    def forward(self, *features: Tensor) -> Tensor:
        """Return logits (N, count + 1, h, w); the last bin is "no surface"."""
        return self.decoder(*features)

    def statistics(self, logits: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reduce logits (N, count + 1, h, w) to depth (m), its standard deviation (m) and the probability of a surface.

        `scale` (N,) turns canonical into metric depth. Each result is (N, h, w), float32.
        """
        logits = logits.float()
        distribution = logits[:, :-1].softmax(dim=1)
        log_bins = self._log_bins()[None, :, None, None]
        mean = (distribution * log_bins).sum(dim=1)
        variance = (distribution * (log_bins - mean[:, None]).square()).sum(dim=1)
        weighted = (logits[:, :-1] - log_bins).softmax(dim=1)
        below = weighted.cumsum(dim=1) - weighted
        median = ((0.5 - below) / weighted.clamp(min=1e-6)).clamp(0, 1).sum(dim=1) - 0.5  # in bins
        depth = (self.nearest + self.step * median).exp() * scale[:, None, None]
        surface = 1.0 - logits.softmax(dim=1)[:, -1]
        return depth, depth * variance.clamp(min=1e-8).sqrt(), surface  # d(depth) = depth * d(log depth)

    def harmonic_mean(self, logits: Tensor, scale: Tensor) -> Tensor:
        """Return 1 / E[1 / depth] (N, h, w), metres: the depth to expect flow with, which goes by its inverse."""
        distribution = logits[:, :-1].float().softmax(dim=1)
        inverse = (distribution * (-self._log_bins())[None, :, None, None].exp()).sum(dim=1)
        return scale[:, None, None] / inverse

    def _log_bins(self) -> Tensor:
        return self.nearest + self.step * self.index.float()
