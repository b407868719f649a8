# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Lift-splat: camera features along their depth distributions into voxels of the base frame."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mtl_perception.core import VoxelGrid
from mtl_perception.network.batch import CameraBatch
from mtl_perception.network.geometry import rays


class LiftSplat(nn.Module):
    """Camera maps (N, C, h, w) and depth distributions (N, D + 1, h, w) -> voxels (B, C + 2, X, Y, Z).

    Each feature is spread over the frustum points of its pixel, weighted by the depth distribution, and averaged per
    voxel (Philion and Fidler 2020, section 3.1; MAESTRO, section III-A). The frustum's slices are one voxel apart,
    whatever the bins of the distribution, so that no voxel is jumped over. Two channels are added that the same
    distribution gives for nothing: the mean probability that the surface is in the voxel, and that it lies beyond it
    (so that the voxel is seen through: free).
    """

    slices: Tensor

    def __init__(self, grid: VoxelGrid, stride: int) -> None:
        """Build the lift into `grid` from maps at `stride`; the frustum ends where the grid's farthest corner is."""
        super().__init__()
        self.grid = grid
        self.stride = stride
        corners = torch.tensor(grid.origin), torch.tensor(grid.origin) + torch.tensor(grid.shape) * grid.voxel_size
        reach = float(torch.maximum(corners[0].abs(), corners[1].abs())[:2].norm())
        edges = torch.arange(0.0, reach + grid.voxel_size, grid.voxel_size)
        self.register_buffer("slices", edges, persistent=False)

    def forward(self, features: Tensor, distribution: Tensor, bins: Tensor, batch: CameraBatch) -> Tensor:
        """Lift and splat.

        Args:
            features: (N, C, h, w).
            distribution: (N, D + 1, h, w), probabilities; the last bin is "no surface".
            bins: (N, D), metric depths, uniform in log depth.
            batch: cameras and frames.
        """
        _, channels, height, width = features.shape
        nearer = self._cumulative(distribution, bins)  # at every slice edge
        index, inside = self._voxels(batch, height, width)
        camera, depth_slice, row, column = inside.nonzero(as_tuple=True)
        target = index[inside]
        mass = (nearer[:, 1:] - nearer[:, :-1])[camera, depth_slice, row, column]
        beyond = 1.0 - nearer[:, 1:][camera, depth_slice, row, column]
        lifted = features.permute(0, 2, 3, 1)[camera, row, column] * mass[:, None]
        rows = torch.cat([lifted, mass[:, None], beyond[:, None]], dim=1)

        size_x, size_y, size_z = self.grid.shape
        sums = rows.new_zeros(batch.num_frames * size_x * size_y * size_z, channels + 2).index_add(0, target, rows)
        hits = torch.bincount(target, minlength=len(sums)).to(rows.dtype)
        means = sums / hits.clamp(min=1.0)[:, None]
        return means.view(batch.num_frames, size_x, size_y, size_z, channels + 2).permute(0, 4, 1, 2, 3)

    def _cumulative(self, distribution: Tensor, bins: Tensor) -> Tensor:
        """Return the probability (N, S + 1, h, w) that the surface is nearer than each slice edge."""
        count = bins.shape[1]
        cumulative = torch.cat([torch.zeros_like(distribution[:, :1]), distribution[:, :-1].cumsum(dim=1)], dim=1)
        step = (bins[:, -1:] / bins[:, :1]).log() / (count - 1)
        # A bin's mass is spread evenly from half a step before its centre to half a step behind, in log depth.
        position = (self.slices[None].clamp(min=1e-3) / bins[:, :1]).log() / step + 0.5
        position = position.clamp(0, count)
        below = position.floor().clamp(max=count - 1)
        fraction = (position - below)[:, :, None, None]
        camera = torch.arange(len(bins), device=bins.device)[:, None]
        index = below.long()
        return (1 - fraction) * cumulative[camera, index] + fraction * cumulative[camera, index + 1]

    def _voxels(self, batch: CameraBatch, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Return each frustum point's voxel in the flattened batch, and which points are inside: both (N, S, h, w)."""
        ray = rays(batch.K, height, width, self.stride)
        in_base = torch.einsum("nij,njhw->nihw", batch.base_from_camera[:, :3, :3], ray)
        middles = (self.slices[:-1] + self.slices[1:]) / 2
        position = batch.base_from_camera[:, None, :3, 3, None, None]
        points = middles[None, :, None, None, None] * in_base[:, None] + position
        origin = points.new_tensor(self.grid.origin)[None, None, :, None, None]
        cell = torch.floor((points - origin) / self.grid.voxel_size)
        size = points.new_tensor(self.grid.shape)[None, None, :, None, None]
        inside = ((cell >= 0) & (cell < size)).all(dim=2)
        cell = cell.clamp(min=0).long()
        _, size_y, size_z = self.grid.shape
        flat = (cell[:, :, 0] * size_y + cell[:, :, 1]) * size_z + cell[:, :, 2]
        offset = batch.frame_index * (self.grid.shape[0] * size_y * size_z)
        return flat + offset[:, None, None, None], inside
