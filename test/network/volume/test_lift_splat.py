# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Lift-splat: a known depth lands in the voxels where the surface is, and rays reach what lies before it."""

import dataclasses
import itertools
import math

import pytest
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


def test_a_known_pixel_at_a_known_depth_lands_in_the_known_voxel(batch: CameraBatch) -> None:
    features = torch.zeros(3, 1, 8, 12)
    features[1, 0, 2, 9] = 1.0
    # Bins three to a voxel, so that the mass of one is within one slice; depth 5.25 m is a slice's middle.
    depths = torch.logspace(-0.3, 1.7, 200)
    probability = torch.zeros(3, 201, 8, 12)
    probability[:, int((depths - 5.25).abs().argmin())] = 1.0
    voxels = LiftSplat(GRID, 8)(features, probability, depths.expand(3, 200), batch)
    # Pixel (9, 2) of the map is (75.5, 19.5) of the image: 0.28 right of the axis and 0.12 above it at 1 m.
    point = torch.tensor([5.25, -0.28 * 5.25, 1.5 + 0.12 * 5.25])
    x, y, z = ((point - torch.tensor(GRID.origin)) / GRID.voxel_size).long().tolist()
    assert voxels[0, 0, x, y, z] > 0.2 and voxels[1, 0].abs().sum() == 0
    assert voxels[0, 0, x, y, z] > 0.8 * voxels[0, 0].sum()


def reference(lift: LiftSplat, features: torch.Tensor, probability: torch.Tensor, batch: CameraBatch) -> torch.Tensor:
    """Lift point by point, with loops."""
    count, size = BINS.shape[1], torch.tensor(GRID.shape)
    step = (BINS[0, -1] / BINS[0, 0]).log() / (count - 1)
    sums = torch.zeros(2, features.shape[1] + 3, *GRID.shape)
    slices = math.ceil(lift.reach / GRID.voxel_size)
    for camera, row, column in itertools.product(range(3), range(4), range(6)):
        cumulative = [0.0, *probability[camera, :-1, row, column].cumsum(dim=0).tolist()]

        def nearer(depth: float, cumulative: list[float] = cumulative) -> float:
            position = (math.log(max(depth, 1e-3) / BINS[0, 0].item()) / step.item()) + 0.5
            position = min(max(position, 0.0), count)
            below = min(int(position), count - 1)
            return cumulative[below] + (position - below) * (cumulative[below + 1] - cumulative[below])

        pixel = torch.tensor([(column + 0.5) * lift.stride - 0.5, (row + 0.5) * lift.stride - 0.5, 1.0])
        ray = torch.linalg.inv(batch.K[camera]) @ pixel
        for index in range(slices):
            near, far = index * GRID.voxel_size, (index + 1) * GRID.voxel_size
            pose = batch.base_from_camera[camera]
            point = pose[:3, :3] @ (ray * (near + far) / 2) + pose[:3, 3]
            cell = ((point - torch.tensor(GRID.origin)) / GRID.voxel_size).floor().long()
            if (cell >= 0).all() and (cell < size).all():
                mass = nearer(far) - nearer(near)
                values = torch.cat([features[camera, :, row, column] * mass, torch.tensor([mass, 1 - nearer(far), 1])])
                sums[(int(batch.frame_index[camera]), slice(None), *cell.tolist())] += values
    return sums[:, :-1] / sums[:, -1:].clamp(min=1)


@pytest.mark.parametrize("stride", [8, 7.0, 3.5])
def test_the_lift_is_that_of_a_loop_over_points(batch: CameraBatch, stride: float) -> None:
    torch.manual_seed(0)
    # Cameras turned to the side and down, whose points are not on the borders between voxels.
    turn = torch.linalg.matrix_exp(torch.tensor([[0.0, -0.3, 0.1, 0], [0.3, 0, -0.2, 0], [-0.1, 0.2, 0, 0], [0] * 4]))
    focal = 6.0 * stride  # the map's field of view is the same at every stride
    K = torch.tensor([[focal, 0, 3 * stride - 0.5], [0, focal, 2 * stride - 0.5], [0, 0, 1]]).expand(3, 3, 3)
    batch = dataclasses.replace(batch, base_from_camera=batch.base_from_camera @ turn.T, K=K)
    features, probability = torch.randn(3, 2, 4, 6), torch.randn(3, 49, 4, 6).softmax(dim=1)
    lift = LiftSplat(GRID, stride)
    expected = reference(lift, features, probability, batch)
    torch.testing.assert_close(lift(features, probability, BINS, batch), expected, atol=1e-4, rtol=1e-3)


def test_the_static_way_of_an_export_gives_the_same(batch: CameraBatch, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    features, probability = torch.randn(3, 2, 8, 12), torch.randn(3, 49, 8, 12).softmax(dim=1)
    expected = LiftSplat(GRID, 8)(features, probability, BINS, batch)
    monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda: True)
    torch.testing.assert_close(LiftSplat(GRID, 8)(features, probability, BINS, batch), expected)


def test_gradients_reach_features_and_depth(batch: CameraBatch) -> None:
    torch.manual_seed(0)
    features = torch.randn(3, 2, 8, 12, requires_grad=True)
    probability = torch.randn(3, 49, 8, 12).softmax(dim=1).requires_grad_()
    LiftSplat(GRID, 8)(features, probability, BINS, batch).square().sum().backward()
    assert features.grad is not None and features.grad.abs().sum() > 0
    assert probability.grad is not None and probability.grad.abs().sum() > 0


def test_bfloat16_features_are_lifted_with_exact_geometry(batch: CameraBatch) -> None:
    torch.manual_seed(0)
    features, probability = torch.randn(3, 2, 8, 12), torch.randn(3, 49, 8, 12).softmax(dim=1)
    expected = LiftSplat(GRID, 8)(features, probability, BINS, batch)
    lift = LiftSplat(GRID, 8).to(torch.bfloat16)
    voxels = lift(features.bfloat16(), probability.bfloat16(), BINS, batch)
    assert voxels.dtype == torch.bfloat16
    torch.testing.assert_close(voxels.float(), expected, atol=0.02, rtol=0.05)
