# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mtl_perception.network.batch import CameraBatch
from mtl_perception.network.config import AlignmentConfig, DepthBins
from mtl_perception.network.geometry import reproject
from mtl_perception.network.motion.alignment import INFLATION_SCALE, AlignedEgoMotion, AlignmentProblem, align
from mtl_perception.network.motion.matching import STRIDE
from mtl_perception.network.motion.se3 import inverse, matrix_from_vector, rig_motion, vector_from_matrix

HEIGHT, WIDTH = 64, 96
LOOKING = torch.tensor([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


def _rig(frames: int = 2, cameras: int = 3) -> CameraBatch:
    """Cameras that look to different sides from different places of a base."""
    poses = []
    for camera in range(cameras):
        turn = matrix_from_vector(torch.tensor([[0.0, 0.0, 2 * math.pi * camera / cameras, 0.3, 0.1 * camera, 1.4]]))[0]
        poses.append(turn @ LOOKING)
    K = torch.tensor([[70.0, 0, 47.5], [0, 70.0, 31.5], [0, 0, 1]])
    count = frames * cameras
    return CameraBatch(
        images=torch.zeros(count, 3, HEIGHT, WIDTH),
        K=K.repeat(count, 1, 1),
        base_from_camera=torch.stack(poses).repeat(frames, 1, 1),
        ground_known=torch.ones(count, dtype=torch.bool),
        frame_index=torch.arange(frames).repeat_interleave(cameras),
        num_frames=frames,
    )


def _scene(batch: CameraBatch, motion: Tensor) -> tuple[Tensor, Tensor]:
    """Return depths (N, h, w) of a made-up scene and where its points were before a motion (B, 4, 4) of the base."""
    generator = torch.Generator().manual_seed(3)
    depth = 2.0 + 10.0 * torch.rand(len(batch.K), HEIGHT // STRIDE, WIDTH // STRIDE, generator=generator)
    camera = inverse(batch.base_from_camera) @ motion[batch.frame_index] @ batch.base_from_camera
    where, _ = reproject(depth, batch.K, camera, batch.K, STRIDE)
    return depth, where


MOTION = matrix_from_vector(torch.tensor([[0.01, -0.02, 0.1, 0.8, 0.1, 0.02], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]))


def test_perfect_matches_give_the_motion_of_each_rig() -> None:
    batch = _rig()
    depth, where = _scene(batch, MOTION)
    everyone = torch.ones(6, dtype=torch.bool)
    found, information = align(depth, where, torch.zeros_like(depth), batch, batch.K, everyone, stride=STRIDE)
    torch.testing.assert_close(found.float(), MOTION, atol=1e-5, rtol=0)
    assert (torch.linalg.eigvalsh(information) > 0).all()


def test_what_moves_by_itself_is_voted_down() -> None:
    batch = _rig()
    depth, where = _scene(batch, MOTION)
    where[:, :5, :8] += 6.0  # a tenth of all points are elsewhere, all in the same way
    everyone = torch.ones(6, dtype=torch.bool)
    found, _ = align(depth, where, torch.full_like(depth, 4.0), batch, batch.K, everyone, stride=STRIDE)
    torch.testing.assert_close(found.float(), MOTION, atol=2e-3, rtol=0)


def test_a_low_precision_takes_the_weight_from_wrong_matches() -> None:
    batch = _rig()
    depth, where = _scene(batch, MOTION)
    where[:, :, :14] += 1.5  # more than half of them
    log_precision = torch.full_like(depth, 4.0)
    log_precision[:, :, :14] = -6.0
    everyone = torch.ones(6, dtype=torch.bool)
    found, _ = align(depth, where, log_precision, batch, batch.K, everyone, stride=STRIDE)
    torch.testing.assert_close(found.float(), MOTION, atol=2e-3, rtol=0)


def test_cameras_that_do_not_count_do_not_matter_and_a_frame_without_any_stands_still() -> None:
    batch = _rig()
    depth, where = _scene(batch, MOTION)
    where[1], where[3:] = torch.nan, 7.0
    where[1] = 1e6
    valid = torch.tensor([True, False, True, False, False, False])
    found, information = align(depth, where, torch.zeros_like(depth), batch, batch.K, valid, stride=STRIDE)
    torch.testing.assert_close(found[0].float(), MOTION[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(found[1].float(), torch.eye(4))
    assert information[1].abs().max() == 0


@pytest.mark.parametrize("axis", range(6))
def test_the_information_is_the_curvature_of_the_error(axis: int) -> None:
    batch = _rig(1)
    depth, where = _scene(batch, MOTION[:1])
    everyone = torch.ones(3, dtype=torch.bool)
    found, information = align(depth, where, torch.zeros_like(depth), batch, batch.K, everyone, stride=STRIDE)
    small = torch.zeros(1, 6, dtype=torch.float64)
    small[0, axis] = 1e-4
    camera_from_base = inverse(batch.base_from_camera).double()
    moved = camera_from_base @ (matrix_from_vector(small) @ found) @ batch.base_from_camera.double()
    seen, _ = reproject(depth.double(), batch.K.double(), moved, batch.K.double(), STRIDE)
    error = (seen - where.double()).square().sum()
    assert error / small[0, axis] ** 2 * 1.5 == pytest.approx(float(information[0, axis, axis]), rel=0.02)


@pytest.mark.parametrize("nearer", [0.98, 1.02])
def test_the_step_from_the_truth_is_the_error(nearer: float) -> None:
    batch = _rig()
    depth, where = _scene(batch, MOTION)
    everyone = torch.ones(6, dtype=torch.bool)
    rest = (torch.zeros_like(depth), batch, batch.K, everyone)
    assert AlignmentProblem(depth, where, *rest, STRIDE).step(MOTION.double())[0].abs().max() < 1e-5
    wrong = (nearer * depth).requires_grad_()
    step, _ = AlignmentProblem(wrong, where, *rest, STRIDE).step(MOTION.double())
    found, _ = align(wrong.detach(), where, *rest, stride=STRIDE)
    error = vector_from_matrix(found @ inverse(MOTION.double()))
    assert error[0].norm() > 0.01
    torch.testing.assert_close(step.detach(), error, atol=1e-3, rtol=0)
    # The true depth is in the direction that makes the error smaller.
    step[0, 3:].norm().backward()
    assert wrong.grad is not None
    assert (float(wrong.grad[:3].sum()) > 0) == (nearer > 1) and wrong.grad[3:].abs().max() < 1e-6


def test_the_cameras_of_a_rig_agree_and_add_up_to_its_covariance() -> None:
    torch.manual_seed(0)
    batch = _rig()
    module = AlignedEgoMotion(16, DepthBins(nearest=0.4, farthest=80, count=16, canonical_focal=100), AlignmentConfig())
    module.eval()
    levels = [torch.randn(6, 16, HEIGHT // stride, WIDTH // stride) for stride in (4, 8)]
    before = module.keep([torch.randn_like(level) for level in levels], batch)
    alignment = module(levels, module.keep(levels, batch), batch, before)
    everyone = torch.ones(6, dtype=torch.bool)
    depth, where = _scene(batch, MOTION)
    matches = replace(alignment.matches, fine=where, log_precision=torch.zeros_like(depth))
    exact = replace(alignment, matches=matches, depth=depth)
    motion = module.solve(exact, batch, batch.K, everyone)
    combined, covariance = rig_motion(
        motion.previous_from_current, batch.base_from_camera, motion.log_variance, everyone, batch.frame_index, 2
    )
    torch.testing.assert_close(combined, MOTION, atol=1e-4, rtol=0)
    _, information = align(depth, where, torch.zeros_like(depth), batch, batch.K, everyone, stride=STRIDE)
    expected = torch.linalg.inv(information) * (INFLATION_SCALE * module.inflation[0]).exp()
    # Only the variances of each camera's components are handed on, so that the sum is of the same size, not equal.
    ratio = covariance.diagonal(dim1=1, dim2=2) / expected.diagonal(dim1=1, dim2=2)
    assert (ratio > 0.3).all() and (ratio < 3).all()


def test_many_wrong_matches_of_high_precision_cannot_hold_a_large_motion_back() -> None:
    batch = _rig()
    large = matrix_from_vector(torch.tensor([[0.0, 0.0, 0.5, 0.6, 0.2, 0.0], [0.0, 0.1, -0.3, 0.0, 0.4, 0.1]]))
    depth, where = _scene(batch, large)
    generator = torch.Generator().manual_seed(4)
    lost = torch.rand(depth.shape, generator=generator) < 0.3
    random = torch.rand(*depth.shape, 2, generator=generator) * torch.tensor([WIDTH / STRIDE, HEIGHT / STRIDE])
    where = torch.where(lost[..., None], random, where)
    everyone = torch.ones(6, dtype=torch.bool)
    found, _ = align(depth, where, torch.full_like(depth, 5.0), batch, batch.K, everyone, stride=STRIDE)
    torch.testing.assert_close(found.float(), large, atol=5e-3, rtol=0)
