# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Sampling: a voxel holds what its camera shows there, and the ground what is painted on it."""

import dataclasses

import pytest
import torch

from mtl_perception.core import VoxelGrid
from mtl_perception.network import CameraBatch
from mtl_perception.network.volume.lift_splat import LiftSplat
from mtl_perception.network.volume.voxel_sampling import GroundSampling, VoxelSampling

GRID = VoxelGrid((-8.0, -8.0, -1.0), 0.5, (32, 32, 8))
BINS = torch.logspace(-0.3, 1.7, 200).expand(3, 200)
# The cameras of `batch` look along x from a height of 1.5 m; at stride 8: focal length 12.5, centre (5.5, 3.5).


def certain(depth: float, width: int = 12, height: int = 8) -> torch.Tensor:
    """Return a distribution that is sure of one depth."""
    probability = torch.zeros(3, 201, height, width)
    probability[:, int((BINS[0] - depth).abs().argmin())] = 1.0
    return probability


def test_a_voxel_is_the_bilinear_mean_of_the_pixels_around_its_centre(batch: CameraBatch) -> None:
    torch.manual_seed(0)
    features = torch.randn(3, 2, 8, 12)
    voxels = VoxelSampling(GRID, 8)(features, certain(5.25), BINS, batch)
    assert voxels.shape == (2, 4, 32, 32, 8)
    # Voxel (26, 17, 6): centre (5.25, 0.75, 2.25), so 0.75 m left and 0.75 m above at a depth of 5.25 m.
    u, v = 5.5 - 12.5 * 0.75 / 5.25, 3.5 - 12.5 * 0.75 / 5.25
    du, dv = u % 1, v % 1
    patch = features[:, :, int(v) : int(v) + 2, int(u) : int(u) + 2]
    weights = torch.tensor([[(1 - du) * (1 - dv), du * (1 - dv)], [(1 - du) * dv, du * dv]])
    expected = (patch * weights).sum(dim=(2, 3))
    mass = voxels[:, 2, 26, 17, 6]
    assert (mass > 0.99).all() and (voxels[:, 3, 26, 17, 6] < 0.01).all()
    torch.testing.assert_close(voxels[0, :2, 26, 17, 6], expected[:2].mean(dim=0), atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(voxels[1, :2, 26, 17, 6], expected[2], atol=2e-3, rtol=1e-3)


def test_what_is_nearer_is_free_what_is_behind_unknown_and_nothing_is_seen_backwards(batch: CameraBatch) -> None:
    voxels = VoxelSampling(GRID, 8)(torch.ones(3, 1, 8, 12), certain(5.25), BINS, batch)
    mass, beyond = voxels[0, 1, :, 16, 5], voxels[0, 2, :, 16, 5]
    torch.testing.assert_close(beyond[18:25], torch.ones(7))
    assert beyond[27:].abs().max() < 1e-3 and mass[28:].abs().max() < 1e-3 and mass[18:25].abs().max() < 1e-3
    assert (voxels[..., :16, :, :] == 0).all()


def test_beside_the_image_nothing_is_seen_and_its_border_is_no_step(batch: CameraBatch) -> None:
    # The map's left border is 6 pixels from the axis: at a depth of 5.25 m, 2.52 m to the left.
    column = VoxelSampling(GRID, 8)(torch.ones(3, 1, 8, 12), certain(5.25), BINS, batch)[0, 1, 26, :, 5]
    y = -8.0 + 0.5 * (torch.arange(32) + 0.5)
    assert (column[y.abs() > 2.6] == 0).all() and (column[y.abs() < 2.0] > 0.99).all()
    moved = []
    for shift in (-1e-4, 1e-4):  # metres, around where a voxel's centre crosses the border
        pose = batch.base_from_camera.clone()
        pose[:, 1, 3] += 2.75 - 2.52 + shift
        shifted = dataclasses.replace(batch, base_from_camera=pose)
        moved.append(VoxelSampling(GRID, 8)(torch.ones(3, 1, 8, 12), certain(5.25), BINS, shifted))
    assert (moved[0] - moved[1]).abs().max() < 1e-2


def test_it_agrees_with_the_lift_where_rays_are_dense(batch: CameraBatch) -> None:
    fine = dataclasses.replace(batch, K=batch.K * torch.tensor([8.0, 8.0, 1.0])[None, :, None])
    features = torch.linspace(-1, 1, 96).expand(3, 1, 64, 96).contiguous()
    depths = certain(5.25, 96, 64)
    lifted = LiftSplat(GRID, 8)(features, depths, BINS, fine)[0, :, 26, 13:19, 3:7]
    sampled = VoxelSampling(GRID, 8)(features, depths, BINS, fine)[0, :, 26, 13:19, 3:7]
    torch.testing.assert_close(sampled, lifted, atol=0.12, rtol=0.1)


def test_paint_on_the_ground_lies_where_it_is(batch: CameraBatch) -> None:
    torch.manual_seed(0)
    features = torch.zeros(3, 1, 64, 96)
    # A line across the road at x = 4.25 m: 1.5 m below the camera, so in row 31.5 + 100 * 1.5 / 4.25 = 66.8: too low;
    # at x = 6.25 m in row 55.5.
    features[:, :, 55:57] = 1.0
    ground = GroundSampling(GRID, 1)(features, batch)
    assert ground.shape == (2, 2, 32, 32)
    x = -8.0 + 0.5 * (torch.arange(32) + 0.5)
    assert x[ground[0, 0, :, 16].argmax()] == 6.25
    assert ground[0, 0, 28, 16] == 1.0 and (ground[0, 0, :28, 16] == 0).all() and (ground[0, 0, 30:, 16] == 0).all()
    visible = ground[0, 1, :, 16]
    assert (visible[x > 5.0] == 1).all() and (visible[x < 4.5] == 0).all()
    assert (ground[1] == 0).all()  # its ground is not known


def test_a_frame_without_cameras_is_empty(batch: CameraBatch) -> None:
    alone = dataclasses.replace(batch, frame_index=torch.tensor([1, 1, 1]))
    voxels = VoxelSampling(GRID, 8)(torch.ones(3, 1, 8, 12), certain(5.25), BINS, alone)
    ground = GroundSampling(GRID, 8)(torch.ones(3, 1, 8, 12), alone)
    assert (voxels[0] == 0).all() and (ground[0] == 0).all()
    assert voxels[1].abs().sum() > 0 and ground[1].abs().sum() > 0


@pytest.mark.parametrize("autocast", [False, True])
def test_gradients_reach_features_and_depth(batch: CameraBatch, autocast: bool) -> None:
    torch.manual_seed(0)
    features = torch.randn(3, 2, 8, 12, requires_grad=True)
    logits = torch.randn(3, 201, 8, 12, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        voxels = VoxelSampling(GRID, 8)(features, logits.softmax(dim=1), BINS, batch)
        ground = GroundSampling(GRID, 8)(features, batch)
    with torch.no_grad():
        exact = VoxelSampling(GRID, 8)(features, logits.softmax(dim=1), BINS, batch)
    torch.testing.assert_close(voxels.float(), exact)  # geometry stays exact
    (voxels.square().sum() + ground.square().sum()).backward()
    assert features.grad is not None and features.grad.abs().sum() > 0 and features.grad.isfinite().all()
    assert logits.grad is not None and logits.grad.abs().sum() > 0 and logits.grad.isfinite().all()
