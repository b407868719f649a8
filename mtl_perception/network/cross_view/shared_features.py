# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Cross-view correlations of the features that all tasks share, for small computers."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from mtl_perception.network.blocks import conv_norm_relu
from mtl_perception.network.cross_view.cost_volume import PlaneSweepCostVolume
from mtl_perception.network.cross_view.neighbours import Neighbours

STRIDE = 8


class SharedFeatureCrossView(nn.Module):
    """The shared level at stride 8 and its geometry -> an embedding of it, and a cost volume.

    CvM (Wang et al. 2025) gives the correlations an encoder of their own; its ablation finds that the multi-task
    encoder's features do nearly as well (18.84 against 19.05). That costs a projection and the plane sweep only. The
    embedding is of one image alone, so that it serves as the previous frame's without looking further back.
    """

    def __init__(self, inputs: int, width: int, planes: int, nearest: float, farthest: float) -> None:
        """Build it for a level of `inputs` channels; the planes reach from `nearest` to `farthest` metres."""
        super().__init__()
        self.embed = nn.Sequential(conv_norm_relu(inputs, width), nn.Conv2d(width, width, 1))
        self.cost_volume = PlaneSweepCostVolume(planes, nearest, farthest, STRIDE)

    def embedding(self, level: Tensor) -> Tensor:
        """Return what is correlated, and kept for the next frame: (N, width, h, w), of length sqrt(width)."""
        embedded = functional.normalize(self.embed(level), dim=1)
        return embedded * embedded.shape[1] ** 0.5

    def forward(
        self, level: Tensor, K: Tensor, neighbours: Neighbours, previous_features: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Compare the views; arguments and results are those of `CrossViewModule`, with a level for the images."""
        features = self.embedding(level)
        return features, self.cost_volume(features, K, neighbours, previous_features)
