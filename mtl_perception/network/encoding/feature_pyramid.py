# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A feature pyramid over an encoder's maps."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from mtl_perception.network.blocks import conv_norm_relu


class FeaturePyramid(nn.Module):
    """Top-down pyramid (Lin et al. 2017, section 3) with a global context term.

    Encoder maps at four strides, finest first, to as many maps of one width: (N, width, h, w) at the same strides.
    """

    def __init__(self, widths: Sequence[int], width: int) -> None:
        """Build it for the encoder's `widths` at strides 4, 8, 16, 32."""
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(w, width, 1) for w in widths)
        self.smooth = nn.ModuleList(conv_norm_relu(width, width) for _ in widths[:-1])
        self.context = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(widths[-1], width, 1), nn.ReLU(inplace=True))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Fuse the maps (finest first), coarse to fine; the finest of the result has seen all."""
        fused = self.lateral[-1](maps[-1]) + self.context(maps[-1])
        levels = [fused]
        for level in range(len(maps) - 2, -1, -1):
            finer = self.lateral[level](maps[level])
            fused = self.smooth[level](finer + functional.interpolate(fused, finer.shape[-2:], mode="bilinear"))
            levels.append(fused)
        return levels[::-1]
