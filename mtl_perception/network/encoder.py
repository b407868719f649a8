# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The shared encoder: every camera of every frame in one batch, once."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from mtl_perception.network.blocks import ResidualBlock, conv_norm_relu


class SharedEncoder(nn.Module):
    """A small residual encoder. (N, C, H, W) -> maps at strides 2, 4, 8, 16, 32 (sizes rounded up)."""

    def __init__(self, inputs: int, widths: Sequence[int], blocks: Sequence[int]) -> None:
        """Build the encoder: `widths` and `blocks` are those of strides 4, 8, 16, 32."""
        super().__init__()
        self.stem_width = widths[0] // 2
        self.stem = conv_norm_relu(inputs, self.stem_width, 3, 2)
        stages = []
        previous = self.stem_width
        for width, count in zip(widths, blocks, strict=True):
            stages.append(
                nn.Sequential(
                    ResidualBlock(previous, width, 2), *(ResidualBlock(width, width) for _ in range(count - 1))
                )
            )
            previous = width
        self.stages = nn.ModuleList(stages)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the five maps, finest first."""
        maps = [self.stem(images)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps


class FeaturePyramid(nn.Module):
    """Top-down pyramid (Lin et al. 2017) with a global context term: encoder maps -> one map (N, width, H/4, W/4)."""

    def __init__(self, widths: Sequence[int], width: int) -> None:
        """Build it for the encoder's `widths` at strides 4, 8, 16, 32."""
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(w, width, 1) for w in widths)
        self.smooth = nn.ModuleList(conv_norm_relu(width, width) for _ in widths[:-1])
        self.context = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(widths[-1], width, 1), nn.ReLU(inplace=True))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Fuse the maps at strides 4, 8, 16, 32 (finest first), coarse to fine."""
        fused = self.lateral[-1](maps[-1]) + self.context(maps[-1])
        for level in range(len(maps) - 2, -1, -1):
            finer = self.lateral[level](maps[level])
            fused = self.smooth[level](finer + functional.interpolate(fused, finer.shape[-2:], mode="bilinear"))
        return fused
