# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A small residual encoder for computers without a GPU."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mtl_perception.network.blocks import ResidualBlock, conv_norm_relu


class ResidualEncoder(nn.Module):
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
