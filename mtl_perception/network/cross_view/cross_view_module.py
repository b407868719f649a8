# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""CvM as a whole, and how its result enters the maps that all tasks share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_perception.network.cross_view.cost_volume import PlaneSweepCostVolume
from mtl_perception.network.cross_view.multi_view_transformer import MultiViewTransformer
from mtl_perception.network.cross_view.neighbours import Neighbours
from mtl_perception.network.cross_view.spatial_encoder import STRIDE, SpatialEncoder

FUSED_LEVELS = 2


class CrossViewModule(nn.Module):
    """Images and their geometry -> cross-view features and a cost volume at stride 8 (CvM, Wang et al. 2025).

    Spatial encoder, multi-view transformer and plane sweep, in this order, shared by all tasks. At the published sizes
    (the defaults) 4,199,232 parameters; the source says about 5 million. Its ablation has a map of the shared encoder
    in the place of the spatial encoder's.

    Raises:
        ValueError: see the parts.
    """

    def __init__(
        self,
        *,
        nearest: float,
        farthest: float,
        width: int = 128,
        planes: int = 128,
        layers: int = 6,
        windows: int = 2,
        stage_widths: tuple[int, int, int] = (64, 96, 128),
        sweep: bool = True,
        reused: int = 0,
    ) -> None:
        """Build it; the planes reach from `nearest` to `farthest` metres. Without `sweep` there is no cost volume.

        With `reused` it starts from a shared map of so many channels at stride 8, and has no spatial encoder.
        """
        super().__init__()
        self.encoder = nn.Conv2d(reused, width, 1) if reused else SpatialEncoder(width, stage_widths)
        self.transformer = MultiViewTransformer(width, layers, windows)
        self.sweep = sweep
        self.cost_volume = PlaneSweepCostVolume(planes, nearest, farthest, STRIDE)

    def forward(
        self, images: Tensor, K: Tensor, neighbours: Neighbours, previous_features: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Compare the views.

        Args:
            images: (N, 3, H, W), 0..1; with `reused` the shared map (N, reused, H/8, W/8).
            K: (N, 3, 3) at the images' size.
            neighbours: of each image.
            previous_features: (N, width, H/8, W/8), the features returned for the frame before, one row a current
                image. They must be given if `neighbours` has previous images.

        Returns:
            Features (N, width, H/8, W/8), to be kept for the next frame, and cost (N, planes, H/8, W/8), high where the
            views agree; sizes rounded up. Without a sweep (N, 0, H/8, W/8).
        """
        features = self.transformer(self.encoder(images), neighbours.index, neighbours.valid, previous_features)
        if not self.sweep:
            return features, features[:, :0]
        return features, self.cost_volume(features, K, neighbours, previous_features)


class CrossViewFusion(nn.Module):
    """Levels (finest first, one width) with the cross-view result -> levels of the same shapes.

    CvM concatenates the encoder's map with the cost volume and the cross-view features; that 1x1 convolutions bring
    them back to the map's width, and that the levels near stride 8 (the two finest) get them, is our reading.
    """

    def __init__(self, levels_width: int, width: int, planes: int) -> None:
        """Build it for levels of `levels_width` channels, features of `width` and costs of `planes`.

        With a `width` or `planes` of 0 it leaves features or costs out (CvM's ablation).
        """
        super().__init__()
        self.sizes = width, planes
        self.reduce = nn.Conv2d(width + planes, levels_width, 1)
        self.fuse = nn.ModuleList(nn.Conv2d(2 * levels_width, levels_width, 1) for _ in range(FUSED_LEVELS))

    def forward(self, levels: Sequence[Tensor], features: Tensor, cost: Tensor) -> list[Tensor]:
        """Fuse; levels after the second are returned as they are."""
        width, planes = self.sizes
        reduced = self.reduce(torch.cat([features[:, :width], cost[:, :planes]], dim=1))
        fused = []
        for level, fuse in zip(levels, self.fuse, strict=False):
            resized = functional.interpolate(reduced, level.shape[-2:], mode="bilinear", align_corners=False)
            fused.append(fuse(torch.cat([level, resized], dim=1)))
        return [*fused, *levels[FUSED_LEVELS:]]
