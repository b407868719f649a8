# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the box and map heads have found, added to the prototypes that occupancy starts from (MAESTRO, section 3.4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_perception.core import VoxelGrid
from mtl_perception.network.volume.center_head import Boxes


class ScenePrototypeAggregator(nn.Module):
    """Prototypes (B, K, C), boxes and map layers with their features -> occupancy queries (B, K, C).

    A detection class's prototype is the mean over its boxes of the features in each (RoIAlign, He et al. 2017, here of
    rotated boxes in bird's-eye view); a map layer's is the mean of the features in its mask. Where one of them
    corresponds to a prototype it is added to it; where several do, their mean is (MAESTRO, section 3.4). A class
    without a box and a layer without a cell add nothing. It has no weights.

    Raises:
        ValueError: (when built) a correspondence names a prototype that does not exist.
    """

    detection: Tensor
    map_layers: Tensor

    def __init__(
        self,
        grid: VoxelGrid,
        prototypes: int,
        detection: Sequence[int],
        map_layers: Sequence[Sequence[int]],
        samples: int = 7,
    ) -> None:
        """Build it for planes over `grid` and K = `prototypes`.

        Args:
            grid: where the plane features are.
            prototypes: K.
            detection: for each detection class the index of its prototype.
            map_layers: for each map layer the indices of the prototypes it contributes to; none if empty.
            samples: points along each side of a box at which features are read.
        """
        super().__init__()
        self.grid = grid
        self.samples = samples
        pairs = [(index,) for index in detection]
        self.register_buffer("detection", _correspondence(pairs, prototypes), persistent=False)
        self.register_buffer("map_layers", _correspondence(map_layers, prototypes), persistent=False)

    def forward(
        self,
        prototypes: Tensor,
        detection_features: Tensor,
        boxes: Boxes,
        valid: Tensor,
        map_features: Tensor,
        map_mask: Tensor,
    ) -> Tensor:
        """Aggregate.

        Args:
            prototypes: (B, K, C).
            detection_features: (B, C, X, Y).
            boxes: R candidates of each frame, (B, R); no gradient passes their geometry.
            valid: (B, R) bool, which candidates are boxes.
            map_features: (B, C, X, Y).
            map_mask: (B, layers, X, Y), bool or weights from 0 to 1.
        """
        roi, seen = self.pool(detection_features, boxes)
        classes = torch.arange(len(self.detection), device=boxes.label.device)
        of_class = ((boxes.label[..., None] == classes) & (valid & seen)[..., None]).float()
        found = _weighted_mean(of_class.transpose(1, 2), roi)
        mask = map_mask.float().flatten(2)
        layers = _weighted_mean(mask, map_features.float().flatten(2).transpose(1, 2))
        added = _weighted_mean(of_class.amax(dim=1)[:, None] * self.detection.T, found)
        present = (mask.amax(dim=2) > 0).float()
        added = added + _weighted_mean(present[:, None] * self.map_layers.T, layers)
        return prototypes + added.to(prototypes.dtype)

    def pool(self, features: Tensor, boxes: Boxes) -> tuple[Tensor, Tensor]:
        """Return the mean of the features (B, C, X, Y) in each box, (B, R, C), and which boxes touch the grid (B, R).

        Points of a box that are outside the grid are left out of its mean.
        """
        steps = (torch.arange(self.samples, device=features.device) + 0.5) / self.samples - 0.5
        along, across = torch.meshgrid(steps, steps, indexing="ij")
        local = torch.stack([along.flatten(), across.flatten()], dim=-1) * boxes.size.detach().float()[..., None, :2]
        yaw = boxes.yaw.detach().float()[..., None]
        cosine, sine = yaw.cos(), yaw.sin()
        rotated = torch.stack(
            [cosine * local[..., 0] - sine * local[..., 1], sine * local[..., 0] + cosine * local[..., 1]], dim=-1
        )
        points = boxes.centre.detach().float()[..., None, :2] + rotated
        origin = points.new_tensor(self.grid.origin[:2])
        extent = points.new_tensor(self.grid.shape[:2]) * self.grid.voxel_size
        place = 2.0 * (points - origin) / extent - 1.0
        inside = (place.abs() <= 1).all(dim=-1).float()
        # The plane's rows are x and its columns y; grid_sample names columns first.
        values = functional.grid_sample(features.float(), place.flip(-1), padding_mode="border", align_corners=False)
        mean = (values * inside[:, None]).sum(dim=-1) / inside.sum(dim=-1).clamp(min=1.0)[:, None]
        return mean.transpose(1, 2), inside.amax(dim=-1) > 0


def _correspondence(targets: Sequence[Sequence[int]], prototypes: int) -> Tensor:
    """Return (sources, prototypes), 1 where a source contributes to a prototype."""
    matrix = torch.zeros(len(targets), prototypes)
    for source, indices in enumerate(targets):
        for index in indices:
            if not 0 <= index < prototypes:
                raise ValueError(f"correspondence {source} -> {index}: there are {prototypes} prototypes")
            matrix[source, index] = 1.0
    return matrix


def _weighted_mean(weights: Tensor, rows: Tensor) -> Tensor:
    """Return the means (B, T, C) of rows (B, S, C) under weights (B, T, S); zero where all weights are."""
    total = weights.sum(dim=2, keepdim=True)
    return weights @ rows / torch.where(total > 0, total, 1.0)
