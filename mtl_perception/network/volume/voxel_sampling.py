# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Image features read where places of the base frame are seen: the lift the other way round."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_perception.core import VoxelGrid
from mtl_perception.network.batch import CameraBatch
from mtl_perception.network.scattering import sums_by_index
from mtl_perception.network.volume.lift_splat import intrinsics_at

NEAREST_M = 0.1
"""Depth below which nothing is projected."""


class VoxelSampling(nn.Module):
    """Camera maps (N, C, h, w) and depth distributions (N, D + 1, h, w) -> voxels (B, C + 2, X, Y, Z).

    The channels are those of `LiftSplat`, read at each voxel's centre (Harley et al. 2023, "Simple-BEV") and weighted
    by the probability that the surface is as far away as the voxel is (as FB-BEV does, Li et al. 2023, section 3.3).
    Where rays are farther apart than voxels, this leaves no gaps; where they are closer together, `LiftSplat` misses
    less. Everything is continuous in the calibration: towards the border of an image what it says fades out within a
    pixel of the map. Geometry is float64; the result is channels-last in memory.
    """

    centres: Tensor

    def __init__(self, grid: VoxelGrid, stride: float) -> None:
        """Build it for voxels of `grid` from maps at `stride`."""
        super().__init__()
        self.grid, self.stride = grid, stride
        centres = torch.from_numpy(grid.centres()).flatten(0, 2)
        self.register_buffer("centres", centres, persistent=False)

    def forward(self, features: Tensor, distribution: Tensor, bins: Tensor, batch: CameraBatch) -> Tensor:
        """Sample.

        Args:
            features: (N, C, h, w).
            distribution: (N, D + 1, h, w), probabilities; the last bin is "no surface".
            bins: (N, D), metric depths, uniform in log depth.
            batch: cameras and frames.
        """
        place, depth, weight = _seen(self.centres, batch, self.stride, features.shape[-2:])
        half = self.grid.voxel_size / 2
        nearer = _nearer(distribution.float(), bins.float(), place, torch.stack([depth - half, depth + half], dim=1))
        mass, beyond = nearer[:, 1:] - nearer[:, :1], 1.0 - nearer[:, 1:]
        values = functional.grid_sample(
            features.float(), place[:, None], padding_mode="border", align_corners=False
        ).squeeze(2)
        rows = torch.cat([values * mass, mass, beyond], dim=1).transpose(1, 2)
        means = _mean_of_cameras(rows, weight, batch).to(features.dtype)
        return means.unflatten(1, self.grid.shape).permute(0, 4, 1, 2, 3)


class GroundSampling(nn.Module):
    """Camera maps (N, C, h, w) -> what is seen of the ground in each cell (B, C + 1, X, Y).

    The features at the cell's centre on the plane z = 0 (inverse perspective mapping, Mallot et al. 1991), as if
    nothing stood between, and one channel more: whether any camera sees the place, from 0 to 1. Paint on the ground is
    thinner than depth can tell, but where the ground is known so is the paint. Cameras of frames whose ground is not
    known say nothing.
    """

    centres: Tensor

    def __init__(self, grid: VoxelGrid, stride: float) -> None:
        """Build it for the cells of `grid` in x and y from maps at `stride`."""
        super().__init__()
        self.stride, self.shape = stride, grid.shape[:2]
        centres = torch.from_numpy(grid.centres()[:, :, 0]).flatten(0, 1)
        centres[:, 2] = 0.0
        self.register_buffer("centres", centres, persistent=False)

    def forward(self, features: Tensor, batch: CameraBatch) -> Tensor:
        """Sample."""
        place, _, weight = _seen(self.centres, batch, self.stride, features.shape[-2:])
        weight = weight * batch.ground_known[:, None]
        values = functional.grid_sample(
            features.float(), place[:, None], padding_mode="border", align_corners=False
        ).squeeze(2)
        rows = torch.cat([values, torch.ones_like(values[:, :1])], dim=1).transpose(1, 2)
        means = _mean_of_cameras(rows, weight, batch).to(features.dtype)
        return means.unflatten(1, self.shape).permute(0, 3, 1, 2)


def _seen(points: Tensor, batch: CameraBatch, stride: float, size: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Return where points (P, 3) of the base frame are in each camera's map, float32.

    That is: their places for `grid_sample` (N, P, 2), their depths (N, P) in metres, and how far they are inside of the
    map and in front of the camera, from 0 to 1 (N, P).
    """
    pose = batch.base_from_camera.double()
    rotation, translation = pose[:, :3, :3], pose[:, :3, 3]
    in_camera = torch.einsum("npj,nji->npi", points.double() - translation[:, None], rotation)
    K = intrinsics_at(batch.K, stride)
    depth = in_camera[..., 2]
    pixels = torch.einsum("npj,nij->npi", in_camera, K[:, :2]) / depth.clamp(min=NEAREST_M)[..., None]
    extent = pixels.new_tensor([size[1], size[0]])
    # From pixel centres: 0.5 outside of the outermost ones is the map's border.
    border = torch.minimum(pixels + 0.5, extent - 0.5 - pixels).amin(dim=-1)
    weight = border.clamp(0.0, 1.0) * (depth / NEAREST_M - 1.0).clamp(0.0, 1.0)
    place = ((2.0 * pixels + 1.0) / extent - 1.0).clamp(-2.0, 2.0)
    return place.float(), depth.float(), weight.float()


def _nearer(distribution: Tensor, bins: Tensor, place: Tensor, depth: Tensor) -> Tensor:
    """Return the probability (N, S, P) that the surface at places (N, P, 2) is nearer than depths (N, S, P)."""
    count = bins.shape[1]
    cumulative = torch.cat([torch.zeros_like(distribution[:, :1]), distribution[:, :-1].cumsum(dim=1)], dim=1)
    step = (bins[:, -1:] / bins[:, :1]).log() / (count - 1)
    # A bin's mass is spread evenly from half a step before its centre to half a step behind, in log depth.
    position = (depth.clamp(min=1e-3) / bins[:, :1, None]).log() / step[:, :, None] + 0.5
    layer = (2.0 * position.clamp(0, count) + 1.0) / (count + 1) - 1.0
    at = torch.cat([place[:, None].expand(-1, depth.shape[1], -1, -1), layer[..., None]], dim=-1)
    sampled = functional.grid_sample(cumulative[:, None], at[:, None], padding_mode="border", align_corners=False)
    return sampled[:, 0, 0]


def _mean_of_cameras(rows: Tensor, weight: Tensor, batch: CameraBatch) -> Tensor:
    """Return the means (B, P, C) over each frame's cameras of rows (N, P, C) weighted by (N, P); 0 where none sees."""
    sums = sums_by_index(rows * weight[..., None], batch.frame_index, batch.num_frames)
    total = sums_by_index(weight, batch.frame_index, batch.num_frames)
    return sums / total.clamp(min=1.0)[..., None]
