# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Lift-splat: camera features along their depth distributions into voxels of the base frame."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mtl_perception.core import VoxelGrid
from mtl_perception.network.batch import CameraBatch
from mtl_perception.network.geometry import rays
from mtl_perception.network.scattering import sums_by_index

BESIDE = 1e-4
"""Voxels that all points are moved by: rigs are mounted at round figures, so that many points would lie on a border."""


class LiftSplat(nn.Module):
    """Camera maps (N, C, h, w) and depth distributions (N, D + 1, h, w) -> voxels (B, C + 2, X, Y, Z).

    Each feature is spread over the frustum points of its pixel, weighted by the depth distribution, and averaged per
    voxel (Philion and Fidler 2020, section 3.1; MAESTRO, section 3.1). The frustum's slices are one voxel apart,
    whatever the bins of the distribution, so that no voxel is jumped over. Two channels are added that the same
    distribution gives for nothing: the mean probability that the surface is in the voxel, and that it lies beyond it
    (so that the voxel is seen through: free).

    Points outside the grid are added into one more row, which is then left out, so that all shapes are static when the
    network is exported or compiled. Geometry is float64, and the points are moved a little (`BESIDE`), so that the same
    calibration gives the same voxels in every runtime; sums are float32. The type of the features makes no difference
    to either. The result is channels-last in memory.
    """

    def __init__(self, grid: VoxelGrid, stride: float) -> None:
        """Build the lift into `grid` from maps at `stride`; the frustum ends where the grid's farthest corner is."""
        super().__init__()
        self.grid = grid
        self.stride = stride
        farthest = (
            max(abs(low), abs(low + count * grid.voxel_size))
            for low, count in zip(grid.origin[:2], grid.shape[:2], strict=True)
        )
        self.reach = math.hypot(*farthest)

    def forward(self, features: Tensor, distribution: Tensor, bins: Tensor, batch: CameraBatch) -> Tensor:
        """Lift and splat.

        Args:
            features: (N, C, h, w).
            distribution: (N, D + 1, h, w), probabilities; the last bin is "no surface".
            bins: (N, D), metric depths, uniform in log depth.
            batch: cameras and frames.
        """
        _, channels, height, width = features.shape
        edges = torch.arange(0.0, self.reach + self.grid.voxel_size, self.grid.voxel_size, device=features.device)
        nearer = self._cumulative(distribution.float(), bins.float(), edges).permute(0, 2, 3, 1)
        mass = (nearer[..., 1:] - nearer[..., :-1]).flatten()
        beyond = (1.0 - nearer[..., 1:]).flatten()

        size_x, size_y, size_z = self.grid.shape
        voxels = batch.num_frames * size_x * size_y * size_z
        target = self._voxels(batch, edges, height, width, outside=voxels).flatten()
        if torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export():
            points = torch.arange(len(target), device=target.device)
        else:
            points = (target < voxels).nonzero()[:, 0]  # the same sums in less time
        mass, beyond, target = mass[points, None], beyond[points, None], target[points]
        pixel = points.div(len(edges) - 1, rounding_mode="floor")
        lifted = features.float().permute(0, 2, 3, 1).flatten(0, 2)[pixel] * mass
        rows = torch.cat([lifted, mass, beyond, torch.ones_like(mass)], dim=1)
        sums = sums_by_index(rows, target, voxels + 1)[:-1]
        means = sums[:, :-1] / sums[:, -1:].clamp(min=1.0)
        means = means.to(features.dtype).view(batch.num_frames, size_x, size_y, size_z, channels + 2)
        return means.permute(0, 4, 1, 2, 3)

    def _cumulative(self, distribution: Tensor, bins: Tensor, edges: Tensor) -> Tensor:
        """Return the probability (N, S + 1, h, w) that the surface is nearer than each slice edge."""
        count = bins.shape[1]
        cumulative = torch.cat([torch.zeros_like(distribution[:, :1]), distribution[:, :-1].cumsum(dim=1)], dim=1)
        step = (bins[:, -1:] / bins[:, :1]).log() / (count - 1)
        # A bin's mass is spread evenly from half a step before its centre to half a step behind, in log depth.
        position = (edges[None].clamp(min=1e-3) / bins[:, :1]).log() / step + 0.5
        position = position.clamp(0, count)
        below = position.floor().clamp(max=count - 1)
        fraction = (position - below)[:, :, None, None]
        camera = torch.arange(len(bins), device=bins.device)[:, None]
        index = below.long()
        return (1 - fraction) * cumulative[camera, index] + fraction * cumulative[camera, index + 1]

    def _voxels(self, batch: CameraBatch, edges: Tensor, height: int, width: int, outside: int) -> Tensor:
        """Return each frustum point's voxel in the flattened batch, or `outside`: (N, h, w, S) int64."""
        pose = batch.base_from_camera.double()
        ray = rays(intrinsics_at(batch.K, self.stride), height, width)
        in_base = torch.einsum("nij,njhw->nihw", pose[:, :3, :3], ray)
        middles = ((edges[:-1] + edges[1:]) / 2).double()
        index = (batch.frame_index * math.prod(self.grid.shape))[:, None, None, None].int()
        inside = torch.ones_like(index, dtype=torch.bool)
        place = math.prod(self.grid.shape)
        for axis in range(3):
            start = (pose[:, axis, 3] - self.grid.origin[axis]) / self.grid.voxel_size + BESIDE
            along = in_base[:, axis, :, :, None] / self.grid.voxel_size
            cell = torch.floor(middles * along + start[:, None, None, None])
            inside = inside & (cell >= 0) & (cell < self.grid.shape[axis])
            place //= self.grid.shape[axis]
            index = index + cell.int() * place
        return torch.where(inside, index, outside).long()


def intrinsics_at(K: Tensor, stride: float) -> Tensor:
    """Return the intrinsics (N, 3, 3), float64, of the pixels of a map at a stride, which may be fractional."""
    K = K.double()
    centre = (K[:, :2, 2:] + 0.5) / stride - 0.5
    return torch.cat([torch.cat([K[:, :2, :2] / stride, centre], dim=2), K[:, 2:]], dim=1)
