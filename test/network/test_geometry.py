# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Camera geometry: rays, the ground channel, canonical depth, reprojection."""

import torch

from mtl_perception.network import CameraBatch
from mtl_perception.network.geometry import depth_scale, geometry_channels, rays, reproject, sampling_grid


def test_rays_of_a_coarser_map_look_through_the_middle_of_its_pixels(batch: CameraBatch) -> None:
    fine, coarse = rays(batch.K, 64, 96), rays(batch.K, 16, 24, 4)
    torch.testing.assert_close(coarse, torch.nn.functional.avg_pool2d(fine, 4))


def test_the_ground_channel_is_the_inverse_depth_of_the_road(batch: CameraBatch) -> None:
    channels = geometry_channels(batch, canonical_focal=100.0)
    ground = channels[0, 3]
    row = 51  # 20 pixels below the horizon (row 31.5 is level): depth = height * focal / rows
    expected = 2.0 * (row - 31.5) / (1.5 * 100.0)
    torch.testing.assert_close(ground[row], torch.full((96,), expected))
    assert (ground[:31] == 0).all()  # above the horizon there is no road
    assert (channels[2, 2:] == 0).all()  # of a rig that is not on the ground nothing is said


def test_a_longer_lens_scales_canonical_depth(batch: CameraBatch) -> None:
    K = batch.K.clone()
    K[:, :2] *= 2
    torch.testing.assert_close(depth_scale(K, 100.0), torch.full((3,), 2.0))


def test_reprojection_of_a_wall_after_a_step_forward(batch: CameraBatch) -> None:
    depth = torch.full((3, 16, 24), 10.0)
    previous_from_current = torch.eye(4).repeat(3, 1, 1)
    previous_from_current[:, 2, 3] = 2.0  # the camera stood 2 m further back: the wall was 12 m away
    pixels, in_front = reproject(depth, batch.K, previous_from_current, batch.K, 4)
    still, _ = reproject(depth, batch.K, torch.eye(4).repeat(3, 1, 1), batch.K, 4)
    centre = torch.tensor([(47.5 + 0.5) / 4 - 0.5, (31.5 + 0.5) / 4 - 0.5])
    torch.testing.assert_close(pixels - centre, (still - centre) * 10 / 12, atol=1e-4, rtol=1e-4)
    assert in_front.all()


def test_sampling_at_each_pixels_own_place_gives_the_map_back(batch: CameraBatch) -> None:
    v, u = torch.meshgrid(torch.arange(16.0), torch.arange(24.0), indexing="ij")
    grid = sampling_grid(torch.stack([u, v], dim=-1)[None])
    image = torch.rand(1, 2, 16, 24)
    torch.testing.assert_close(torch.nn.functional.grid_sample(image, grid, align_corners=False), image)


def test_autocast_does_not_blur_coordinates(batch: CameraBatch) -> None:
    depth, motion = torch.full((3, 16, 24), 7.3), torch.eye(4).repeat(3, 1, 1)
    motion[:, :3, 3] = torch.tensor([0.31, -0.02, 0.4])
    expected, _ = reproject(depth, batch.K, motion, batch.K, 4)
    channels = geometry_channels(batch, 100.0)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = reproject(depth, batch.K, motion, batch.K, 4)
        torch.testing.assert_close(geometry_channels(batch, 100.0), channels)
    torch.testing.assert_close(found, expected)
