# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Lift-splat: a known depth lands in the voxels where the surface is, and rays reach what lies before it."""

import torch

from mtl_perception.core import VoxelGrid
from mtl_perception.network import CameraBatch
from mtl_perception.network.volume.lift_splat import LiftSplat

GRID = VoxelGrid((-8.0, -8.0, -1.0), 0.5, (32, 32, 8))
BINS = torch.logspace(-0.3, 1.7, 48)[None].expand(3, 48)


def certain(depth: float) -> torch.Tensor:
    """Return a distribution that is sure of one depth, at stride 8."""
    probability = torch.zeros(3, 49, 8, 12)
    probability[:, int((BINS[0] - depth).abs().argmin())] = 1.0
    return probability


def test_the_surface_lands_at_its_depth_in_its_own_frame(batch: CameraBatch) -> None:
    features = torch.ones(3, 2, 8, 12)
    voxels = LiftSplat(GRID, 8)(features, certain(5.0), BINS, batch)
    assert voxels.shape == (2, 4, 32, 32, 8)
    weight = voxels[:, 2].sum(dim=(2, 3))  # over y and z: how much surface at each x
    x = -8.0 + 0.5 * (torch.arange(32) + 0.5)
    for frame in range(2):
        mean_x = (weight[frame] * x).sum() / weight[frame].sum()
        assert abs(mean_x - 5.0) < 0.4
    torch.testing.assert_close(voxels[:, 0], voxels[:, 2])  # features of 1 are lifted with the surface's own weight


def test_rays_reach_what_lies_before_the_surface_and_not_behind(batch: CameraBatch) -> None:
    beyond = LiftSplat(GRID, 8)(torch.ones(3, 1, 8, 12), certain(5.0), BINS, batch)[0, -1]
    ahead = beyond[:, 16, 5]  # along +x at the cameras' height
    x = -8.0 + 0.5 * (torch.arange(32) + 0.5)
    assert (ahead[(x > 1.0) & (x < 4.0)] == 1).all()
    assert (ahead[x > 6.0] == 0).all() and (ahead[x < 0] == 0).all()


def test_sky_reaches_to_the_end_of_the_grid_and_leaves_no_surface(batch: CameraBatch) -> None:
    sky = torch.zeros(3, 49, 8, 12)
    sky[:, -1] = 1.0
    voxels = LiftSplat(GRID, 8)(torch.ones(3, 1, 8, 12), sky, BINS, batch)
    assert (voxels[:, 1] == 0).all()
    assert voxels[0, 2, 30, 16, 5] == 1


def test_no_voxel_along_a_ray_is_jumped_over(batch: CameraBatch) -> None:
    uniform = torch.full((3, 49, 8, 12), 1 / 49)
    mass = LiftSplat(GRID, 8)(torch.ones(3, 1, 8, 12), uniform, BINS, batch)[0, 1]
    assert (mass[18:31, 16, 5] > 0).all()
