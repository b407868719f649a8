# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a task keeps of before and after the cross-task attention and of the encoder's last layer (M2H's GGFM)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_perception.network.dense.multi_scale_fusion import ResidualUnit


class GlobalGatedFusion(nn.Module):
    """Three streams (N, width, h, w) to one map (M2H, global gated feature merging).

    Each stream has a 1x1 convolution; from the means over the image of all three come gates in (0, 1), one a stream and
    channel; the gated streams are summed, followed by a residual feed-forward of four times the width and a 1x1
    convolution. M2H's published code has it for depth and semantics only.
    """

    def __init__(self, width: int) -> None:
        """Build it; all streams and the result have `width` channels."""
        super().__init__()
        self.before = nn.Conv2d(width, width, 1, bias=False)
        self.after = nn.Conv2d(width, width, 1, bias=False)
        self.unique = nn.Conv2d(width, width, 1, bias=False)
        self.gate = nn.Sequential(
            nn.Conv2d(3 * width, width, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(width, 3 * width, 1, bias=False),
            nn.Sigmoid(),
        )
        self.feed_forward = nn.Sequential(
            nn.Conv2d(width, 4 * width, 1, bias=False), nn.ReLU(), nn.Conv2d(4 * width, width, 1, bias=False)
        )
        self.output = nn.Conv2d(width, width, 1, bias=False)

    def forward(self, before: Tensor, after: Tensor, unique: Tensor) -> Tensor:
        """Merge a task's maps before and after the attention; `unique` may have any size, it is resized to theirs."""
        resized = functional.interpolate(self.unique(unique), before.shape[-2:], mode="bilinear")
        streams = [self.before(before), self.after(after), resized]
        means = torch.cat([stream.mean(dim=(2, 3), keepdim=True) for stream in streams], dim=1)
        gates = self.gate(means).chunk(3, dim=1)
        merged = gates[0] * streams[0] + gates[1] * streams[1] + gates[2] * streams[2]
        return self.output(merged + self.feed_forward(merged))


class UniqueStream(nn.Module):
    """A task's own reading of the encoder's last map: (N, inputs, h, w) -> (N, width, h, w).

    The third stream of M2H's published code: 1x1 convolution, 3x3 with stride 2, 3x3 to `width`, then a fusion block
    (residual unit, 1x1, bilinear x2) as in `MultiScaleFusion`. The full M2H has it; its published size of M2H-small
    leaves no room for it, there the coarsest level is the third stream.
    """

    def __init__(self, inputs: int, width: int, inner: int = 384) -> None:
        """Build it; `inner` channels are carried by the first two convolutions."""
        super().__init__()
        self.reassemble = nn.Sequential(nn.Conv2d(inputs, inner, 1), nn.Conv2d(inner, inner, 3, 2, 1))
        self.project = nn.Sequential(nn.Conv2d(inner, width, 3, padding=1), nn.ReLU())
        self.fuse = nn.Sequential(ResidualUnit(width), nn.Conv2d(width, width, 1))

    def forward(self, last: Tensor) -> Tensor:
        """Read the map."""
        coarse = self.fuse(self.project(self.reassemble(last)))
        return functional.interpolate(coarse, last.shape[-2:], mode="bilinear")
