# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How well each pixel matches its neighbours at each depth: a plane sweep."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_perception.network.cross_view.neighbours import Neighbours
from mtl_perception.network.geometry import in_full_precision, rays

IN_FRONT_M = 0.05
LARGEST_CORRELATION = 2**26
"""Elements (256 MiB) of the correlation that is in memory at a time."""


class PlaneSweepCostVolume(nn.Module):
    """Correlation of every pixel's feature with its neighbours', warped by each of L depths: (N, L, h, w).

    The planes are uniform in inverse depth, the nearest first, and parallel to the reference image (CvM, Wang et al.
    2025; MVSplat, Chen et al. 2024, section 3.1). For the plane at depth d, X = R (d K_i^-1 u) + t, projected with K_j,
    and C_d = mean over j of <F_i, F_j warped> / sqrt(C). The mean is over valid projections only (our reading; cameras
    that look around a vehicle share little): the neighbour is valid, X is in front of it, and its projection inside the
    image. Where there is none, C is 0. Gradients reach the features of both views, never the poses.

    Bilinear sampling is linear, so <F_i, sampled F_j> = sampled <F_i, F_j>: all pixels are correlated by one matrix
    product, and scalars are sampled instead of features. On a CPU that is 11 times faster than warping the features of
    a 16x28 map and 3 times for 32x88 (beyond some 10,000 pixels warping would win), and needs C times less memory.

    Raises:
        ValueError: fewer than two planes, or not 0 < nearest < farthest.
    """

    def __init__(self, planes: int, nearest: float, farthest: float, stride: int = 8) -> None:
        """Sweep `planes` depths from `nearest` to `farthest` (metres) over maps at `stride`."""
        super().__init__()
        if planes < 2 or not 0.0 < nearest < farthest:
            raise ValueError(f"cannot sweep {planes} planes from {nearest} m to {farthest} m")
        self.planes = planes
        self.nearest = nearest
        self.farthest = farthest
        self.stride = stride

    def depths(self, device: torch.device | None = None) -> Tensor:
        """Return the planes' depths (L,) in metres, float32 whatever the module's type."""
        return 1.0 / torch.linspace(1.0 / self.nearest, 1.0 / self.farthest, self.planes, device=device)

    def forward(self, features: Tensor, K: Tensor, neighbours: Neighbours, previous: Tensor | None = None) -> Tensor:
        """Sweep.

        Args:
            features: (N, C, h, w), current views at the stride.
            K: (N, 3, 3) of the current views at stride 1.
            neighbours: of each current view.
            previous: (N, C, h, w) of the frame before. Without it no index of `neighbours` reaches N.
        """
        count, channels, height, width = features.shape
        views = features if previous is None else torch.cat([features, previous])
        queries = features.flatten(2).transpose(1, 2) / math.sqrt(channels)
        total = hits = torch.zeros(count, height * width, self.planes, device=features.device)
        for view in range(neighbours.index.shape[1]):
            grid, valid = self._projections(K, neighbours, view, height, width)
            keys = views.index_select(0, neighbours.index[:, view]).flatten(2)
            total = total + self._sampled(queries, keys, grid, (height, width)) * valid
            hits = hits + valid
        return (total / hits.clamp(min=1.0)).to(features.dtype).transpose(1, 2).unflatten(2, (height, width))

    @torch.no_grad()
    @in_full_precision
    def _projections(
        self, K: Tensor, neighbours: Neighbours, view: int, height: int, width: int
    ) -> tuple[Tensor, Tensor]:
        """Return where each pixel lands for each plane, (N, h * w, L, 2) in -1..1, and 1.0 where that is valid."""
        pose, other_K = neighbours.other_from_this[:, view].float(), neighbours.K[:, view].float()
        directions = torch.einsum("nij,njhw->nihw", pose[:, :3, :3], rays(K.float(), height, width, self.stride))
        points = directions.flatten(2)[..., None] * self.depths(K.device) + pose[:, :3, 3, None, None]
        z = points[:, 2].clamp(min=IN_FRONT_M)
        coordinates = []
        for axis, size in enumerate((width, height)):
            focal, centre = other_K[:, axis, axis, None, None], other_K[:, axis, 2, None, None]
            coordinates.append((focal * points[:, axis] / z + centre + 0.5) * (2.0 / (size * self.stride)) - 1.0)
        grid = torch.stack(coordinates, dim=-1)
        valid = (points[:, 2] > IN_FRONT_M) & (grid.abs() <= 1.0).all(dim=-1) & neighbours.valid[:, view, None, None]
        return grid, valid.to(grid.dtype)

    def _sampled(self, queries: Tensor, keys: Tensor, grid: Tensor, size: tuple[int, int]) -> Tensor:
        """Correlate queries (N, Q, C) with all keys (N, C, h * w) and sample that at `grid` (N, Q, L, 2): (N, Q, L)."""
        step = max(1, LARGEST_CORRELATION // (keys.shape[0] * keys.shape[2]))
        parts = []
        for start in range(0, queries.shape[1], step):
            correlation = (queries[:, start : start + step] @ keys).float()
            maps = correlation.flatten(0, 1).unflatten(1, (1, *size))
            targets = grid[:, start : start + step].flatten(0, 1)[:, :, None]
            sampled = functional.grid_sample(maps, targets, padding_mode="zeros", align_corners=False)
            parts.append(sampled.view(*correlation.shape[:2], self.planes))
        return torch.cat(parts, dim=1)
