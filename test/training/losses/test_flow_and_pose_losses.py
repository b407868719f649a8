# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Losses of scene flow and of poses: the truth costs nothing, any wrong sign does."""

from dataclasses import replace

import pytest
import torch

from mtl_perception.network.motion.ego_motion import LOG_VARIANCE_REACH, LOG_VARIANCE_START, EgoMotion
from mtl_perception.network.motion.flow_composition import rigid_flow, to_base_velocity
from mtl_perception.network.motion.se3 import matrix_from_vector
from mtl_perception.training.losses.pose import FARTHEST, LIKELIHOOD, ROTATION, pose_loss
from mtl_perception.training.losses.scene_flow import VELOCITY, FlowTruth, independent_flow_of, scene_flow_loss

MOUNT = torch.tensor([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
VECTOR = torch.tensor([[0.02, -0.05, 0.01, 0.1, -0.03, 0.4]])
SURE = torch.full((1, 6), LOG_VARIANCE_START - LOG_VARIANCE_REACH)


@pytest.fixture
def truth() -> FlowTruth:
    """Return a wall 8 m away; a few pixels move at 3 m/s to the left, and one is the sky."""
    velocity = torch.zeros(1, 3, 16, 24)
    velocity[0, 1, 4:8, 4:8] = 3.0
    depth = torch.full((1, 16, 24), 8.0)
    depth[0, 12:14, 12:14] = torch.inf
    velocity[0, :, 12:14, 12:14] = torch.nan
    return FlowTruth(
        velocity=velocity,
        depth=depth,
        motion_mask=((velocity[:, 1] > 0) * 255).byte(),
        K=torch.tensor([[[20.0, 0, 11.5], [0, 20, 7.5], [0, 0, 1]]]),
        base_from_camera=MOUNT[None],
        previous_from_current=matrix_from_vector(VECTOR),
        seconds=torch.tensor([0.2]),
    )


def perfect(truth: FlowTruth) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    motion, mount = truth.previous_from_current, truth.base_from_camera
    velocity = truth.velocity[:, :, 1::2, 1::2].nan_to_num()
    independent = independent_flow_of(velocity, motion, mount, truth.seconds)
    still = rigid_flow(torch.full((1, 8, 12), 8.0), truth.K, motion, 2)
    return still + independent, independent, 40.0 * (velocity[:, 1] > 0) - 20.0


def test_own_flow_is_the_inverse_of_the_velocity(truth: FlowTruth) -> None:
    motion, mount, seconds = truth.previous_from_current, truth.base_from_camera, truth.seconds
    velocity = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    flow = independent_flow_of(velocity, motion, mount, seconds)
    torch.testing.assert_close(to_base_velocity(flow, motion, mount, seconds), velocity)


def test_the_true_flow_costs_nothing_at_any_stride(truth: FlowTruth) -> None:
    complete, independent, mask = perfect(truth)
    assert float(scene_flow_loss(complete, independent, mask, truth)) == pytest.approx(0.0, abs=1e-4)


def test_each_wrong_part_costs(truth: FlowTruth) -> None:
    complete, independent, mask = perfect(truth)
    for wrong in ((-complete, independent, mask), (complete, -independent, mask), (complete, independent, -mask)):
        assert float(scene_flow_loss(*wrong, truth)) > 0.3
    backward = replace(truth, previous_from_current=truth.previous_from_current.inverse())
    assert float(scene_flow_loss(complete, independent, mask, backward)) > 0.1


def test_few_moving_pixels_weigh_as_much_as_all_static_ones(truth: FlowTruth) -> None:
    complete, independent, mask = perfect(truth)
    nothing_moves = float(scene_flow_loss(complete, torch.zeros_like(independent), mask, truth))
    assert nothing_moves == pytest.approx(VELOCITY * 3.0, rel=0.05)  # 4 pixels of 96 are off by 3 m/s
    drift = independent + independent_flow_of(
        torch.tensor([3.0, 0, 0]).view(1, 3, 1, 1).expand_as(independent) * (mask < 0)[:, None],
        truth.previous_from_current,
        truth.base_from_camera,
        truth.seconds,
    )
    assert float(scene_flow_loss(complete, drift, mask, truth)) == pytest.approx(nothing_moves, rel=0.05)


def test_unknown_flow_costs_nothing_and_has_a_gradient(truth: FlowTruth) -> None:
    nothing = replace(
        truth,
        velocity=torch.full_like(truth.velocity, torch.nan),
        motion_mask=torch.full_like(truth.motion_mask, 128),
    )
    maps = [torch.randn(1, 3, 8, 12, requires_grad=True) for _ in range(2)]
    loss = scene_flow_loss(*maps, torch.zeros(1, 8, 12), nothing)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-6)
    assert all(each.grad is not None and torch.isfinite(each.grad).all() for each in maps)


def test_the_true_pose_costs_nothing_and_a_wrong_one_its_error() -> None:
    motion = matrix_from_vector(VECTOR)
    assert float(pose_loss(EgoMotion(VECTOR, SURE), motion)) == pytest.approx(0.0, abs=1e-4)
    unsure = torch.full((1, 6), 2.0)
    off = VECTOR + torch.tensor([[0.01, 0, 0, 0, 0, -0.3]])
    difference = float(pose_loss(EgoMotion(off, unsure), motion) - pose_loss(EgoMotion(VECTOR, unsure), motion))
    spread = 0.5 * LIKELIHOOD * (0.01**2 + 0.3**2) * torch.exp(torch.tensor(-2.0)).item()
    assert difference == pytest.approx(ROTATION * 0.01 + 0.3 + spread, rel=1e-3)


def test_the_best_variance_is_that_of_the_error_and_large_errors_do_not_explode() -> None:
    motion = matrix_from_vector(VECTOR)
    off = VECTOR + 0.05
    losses = {
        variance: float(pose_loss(EgoMotion(off, torch.full((1, 6), variance).log()), motion))
        for variance in (0.05**2 / 4, 0.05**2, 0.05**2 * 4)
    }
    assert min(losses, key=losses.__getitem__) == 0.05**2
    log_variance = SURE.clone().requires_grad_()
    pose_loss(EgoMotion(VECTOR + 100.0, log_variance), motion).backward()
    assert log_variance.grad is not None and log_variance.grad.abs().max() <= LIKELIHOOD * 0.5 * FARTHEST
