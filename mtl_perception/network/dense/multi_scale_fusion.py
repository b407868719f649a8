# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One map of a task from all levels of the encoder, coarse to fine (M2H's multi-scale fusion, one for each task)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

LEVELS = 4


class MultiScaleFusion(nn.Module):
    """Levels, finest first, each (N, width, h, w), to one map at the finest level's size (M2H, multi-scale fusion).

    Four fusion blocks go from the coarsest level to the finest: what is there plus a residual unit of the level's own
    map, a second residual unit, a 1x1 convolution, and bilinear upsampling to the next level. As in M2H's figure the
    result stays at the finest level (4H/14 with a ViT /14); its published code doubles it once more. As in that code
    there is no normalisation. Upsampling comes after the 1x1 convolution, not before: the two commute.

    Raises:
        ValueError: (in forward) there are not four levels.
    """

    def __init__(self, width: int) -> None:
        """Build it; all levels and the result have `width` channels."""
        super().__init__()
        self.lateral = nn.ModuleList([ResidualUnit(width) for _ in range(LEVELS - 1)])
        self.merge = nn.ModuleList([ResidualUnit(width) for _ in range(LEVELS)])
        self.project = nn.ModuleList([nn.Conv2d(width, width, 1) for _ in range(LEVELS)])
        self.last = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU())

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Fuse the levels: (N, width, h0, w0)."""
        if len(levels) != LEVELS:
            raise ValueError(f"multi-scale fusion needs {LEVELS} levels, not {len(levels)}")
        *finer, coarsest = levels
        x = self.project[0](self.merge[0](coarsest))
        steps = zip(reversed(finer), self.lateral, self.merge[1:], self.project[1:], strict=True)
        for level, lateral, merge, project in steps:
            x = functional.interpolate(x, level.shape[-2:], mode="bilinear") + lateral(level)
            x = project(merge(x))
        return self.last(x)


class ResidualUnit(nn.Module):
    """Two 3x3 convolutions, each after a ReLU, and a shortcut (RefineNet's residual unit): keeps the shape."""

    def __init__(self, width: int) -> None:
        """Build it."""
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the unit."""
        return x + self.second(functional.relu(self.first(functional.relu(x))))
