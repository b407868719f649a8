# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Rigid and independent flow, correspondences and velocities."""

import torch
from torch import Tensor

from mtl_perception.network.geometry import rays, reproject
from mtl_perception.network.motion.flow_composition import (
    correspondence,
    independent_flow,
    rigid_flow,
    to_base_velocity,
)
from mtl_perception.network.motion.se3 import inverse, matrix_from_vector

K = torch.tensor([[90.0, 0, 45.0], [0, 95.0, 29.0], [0, 0, 1]]).expand(2, 3, 3)
PREVIOUS_K = torch.tensor([[80.0, 0, 44.0], [0, 85.0, 28.0], [0, 0, 1]]).expand(2, 3, 3)
MOTION = matrix_from_vector(torch.tensor([[0.02, -0.1, 0.03, 0.2, -0.1, 1.0], [0.0, 0.1, 0.0, 0.0, 0.0, -0.8]]))


def depth_map() -> Tensor:
    return 1.0 + 20.0 * torch.rand(2, 15, 23, generator=torch.Generator().manual_seed(0))


def random_flow(seed: int) -> Tensor:
    return torch.randn(2, 3, 15, 23, generator=torch.Generator().manual_seed(seed))


def test_a_static_point_lands_where_the_reprojection_says() -> None:
    depth = depth_map()
    flow = rigid_flow(depth, K, MOTION, 4)
    pixels, in_front = correspondence(depth, flow, K, PREVIOUS_K, 4)
    expected, expected_in_front = reproject(depth, K, MOTION, PREVIOUS_K, 4)
    assert torch.equal(in_front, expected_in_front)
    torch.testing.assert_close(pixels[in_front], expected[in_front], atol=1e-3, rtol=1e-4)


def test_a_camera_at_rest_sees_no_rigid_flow_and_every_pixel_stays() -> None:
    depth, rest = depth_map(), torch.eye(4).expand(2, 4, 4)
    flow = rigid_flow(depth, K, rest, 4)
    assert torch.equal(flow, torch.zeros_like(flow))
    pixels, in_front = correspondence(depth, flow, K, K, 4)
    assert in_front.all()
    columns = torch.arange(23.0).expand(2, 15, 23)
    torch.testing.assert_close(pixels[..., 0], columns, atol=1e-4, rtol=1e-5)


def test_a_step_forward_makes_rigid_flow_of_a_step_forward() -> None:
    forward = torch.eye(4).repeat(2, 1, 1)
    forward[:, 2, 3] = 1.5  # what is 10 m ahead now was 11.5 m ahead before
    flow = rigid_flow(depth_map(), K, forward, 4)
    expected = torch.tensor([0.0, 0.0, 1.5])[None, :, None, None].expand_as(flow)
    torch.testing.assert_close(flow, expected, atol=1e-5, rtol=0)


def test_the_mask_chooses_between_rigid_and_complete_flow() -> None:
    complete, rigid = random_flow(1), rigid_flow(depth_map(), K, MOTION, 4)
    still, moving = torch.zeros(2, 15, 23), torch.ones(2, 15, 23)
    assert torch.equal(rigid + independent_flow(still, complete, rigid), rigid)
    torch.testing.assert_close(rigid + independent_flow(moving, complete, rigid), complete)
    half = rigid + independent_flow(0.5 * moving, complete, rigid)
    torch.testing.assert_close(half, (rigid + complete) / 2)


def scene() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return depth, camera motion, extrinsics, interval and complete flow of points that move, built in the world."""
    depth = depth_map().double()
    intrinsics = K.double()
    # Base poses in the world: the vehicle drives and turns; the camera sits on it, turned away from the axes.
    world_from_current = matrix_from_vector(
        torch.tensor([[0.0, 0, 1.2, 10, 5, 0], [0.1, 0, -2, -4, 3, 0.5]], dtype=torch.float64)
    )
    world_from_previous = matrix_from_vector(
        torch.tensor([[0.0, 0, 1.0, 9, 4, 0], [0.1, 0.05, -1.8, -5, 3, 0.4]], dtype=torch.float64)
    )
    base_from_camera = matrix_from_vector(
        torch.tensor([[-1.2, 1.2, -1.2, 1, 0.3, 1.4], [0.4, 1.9, 0.1, -1, 0.2, 1.5]], dtype=torch.float64)
    )
    camera_now, camera_then = world_from_current @ base_from_camera, world_from_previous @ base_from_camera
    previous_from_current = inverse(camera_then) @ camera_now
    seconds = torch.tensor([0.1, 0.25], dtype=torch.float64)
    velocity = torch.tensor([[3.0, -2.0, 0.5], [-8.0, 1.0, 0.0]], dtype=torch.float64)  # in the world

    points = rays(intrinsics, 15, 23, 4) * depth[:, None]
    here = torch.cat([points, torch.ones_like(points[:, :1])], dim=1)
    in_world = torch.einsum("nij,njhw->nihw", camera_now, here)
    in_world[:, :3] -= (velocity * seconds[:, None])[:, :, None, None]  # where they were
    there = torch.einsum("nij,njhw->nihw", inverse(camera_then), in_world)
    expected = torch.einsum("nji,nj->ni", world_from_current[:, :3, :3], velocity)  # in the current base's axes
    return (
        depth,
        previous_from_current,
        base_from_camera,
        seconds,
        torch.cat([(there - here)[:, :3], expected[:, :, None, None].expand_as(points)], dim=1),
    )


def test_the_velocity_of_points_that_move_before_a_moving_camera() -> None:
    depth, motion, base_from_camera, seconds, flow_and_velocity = scene()
    complete, expected = flow_and_velocity.split(3, dim=1)
    rigid = rigid_flow(depth, K, motion, 4)
    own = independent_flow(torch.ones_like(depth), complete, rigid)
    torch.testing.assert_close(to_base_velocity(own, motion, base_from_camera, seconds), expected)


def test_static_points_before_a_moving_camera_have_no_velocity() -> None:
    depth, motion, base_from_camera, seconds, _ = scene()
    rigid = rigid_flow(depth, K, motion, 4)
    own = independent_flow(torch.ones_like(depth), rigid, rigid)
    assert (to_base_velocity(own, motion, base_from_camera, seconds) == 0).all()


def test_gradients_reach_depth_flow_and_mask_and_half_precision_gives_single() -> None:
    depth, complete = depth_map().requires_grad_(), random_flow(1).requires_grad_()
    mask = torch.full((2, 15, 23), 0.3, requires_grad=True)
    rigid = rigid_flow(depth, K, MOTION, 4)
    final = rigid + independent_flow(mask, complete, rigid)
    pixels, _ = correspondence(depth, final, K, PREVIOUS_K, 4)
    pixels.sum().backward()
    for tensor in (depth, complete, mask):
        assert tensor.grad is not None and tensor.grad.isfinite().all() and tensor.grad.abs().sum() > 0
    rough = rigid_flow(depth_map().bfloat16(), K, MOTION, 4)
    assert rough.dtype == torch.float32
    assert independent_flow(mask.bfloat16(), complete.bfloat16(), rough).dtype == torch.float32
    velocity = to_base_velocity(complete.bfloat16(), MOTION, MOTION, torch.tensor([0.1, 0.0]))
    assert velocity.dtype == torch.float32 and velocity.isfinite().all()
