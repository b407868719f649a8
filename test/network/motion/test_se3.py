# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Rigid motions: vectors, matrices, the adjoint, and the motion of a rig."""

import math

import pytest
import torch
from torch import Tensor

from mtl_perception.network.motion.se3 import (
    adjoint,
    inverse,
    matrix_from_vector,
    rig_motion,
    vector_from_matrix,
)


def random_vectors(count: int, angle: float, distance: float, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    axis = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator, dtype=torch.float64), dim=1)
    return torch.cat([angle * axis, distance * torch.randn(count, 3, generator=generator, dtype=torch.float64)], dim=1)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-5, 1e-3, 0.1, 1.0, 2.5, math.pi - 1e-4, math.pi - 1e-7])
def test_vectors_survive_the_way_through_matrices(angle: float) -> None:
    vector = random_vectors(20, angle, 3.0)
    torch.testing.assert_close(vector_from_matrix(matrix_from_vector(vector)), vector, rtol=1e-7, atol=1e-9)
    single = vector_from_matrix(matrix_from_vector(vector.float()))
    if angle < 3.0:
        torch.testing.assert_close(single, vector.float(), rtol=1e-5, atol=2e-6)


def test_matrices_are_the_exponential_of_the_cross_product() -> None:
    vector = random_vectors(10, 1.3, 1.0)
    x, y, z = vector[:, :3].unbind(1)
    zero = torch.zeros_like(x)
    generator = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).view(-1, 3, 3)
    matrix = matrix_from_vector(vector)
    torch.testing.assert_close(matrix[:, :3, :3], torch.linalg.matrix_exp(generator))
    assert torch.equal(matrix[:, :3, 3], vector[:, 3:])
    assert torch.equal(matrix[:, 3], torch.tensor([0.0, 0, 0, 1], dtype=torch.float64).expand(10, 4))


def test_a_half_turn_keeps_its_axis_up_to_sign() -> None:
    vector = random_vectors(10, math.pi, 1.0)
    matrix = matrix_from_vector(vector)
    torch.testing.assert_close(matrix_from_vector(vector_from_matrix(matrix)), matrix, atol=1e-7, rtol=0)


def test_motions_compose_as_matrices() -> None:
    first = matrix_from_vector(random_vectors(5, 0.4, 1.0, seed=1))
    second = matrix_from_vector(random_vectors(5, 0.7, 1.0, seed=2))
    point = torch.randn(5, 4, 1, dtype=torch.float64)
    point[:, 3] = 1.0
    through_both = second @ (first @ point)
    composed = matrix_from_vector(vector_from_matrix(second @ first))
    torch.testing.assert_close(composed @ point, through_both)
    torch.testing.assert_close(inverse(composed) @ through_both, point)


def test_gradients_at_rest_are_exact() -> None:
    vector = torch.zeros(2, 6, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda v: vector_from_matrix(matrix_from_vector(v)), vector)
    expected = torch.eye(12, dtype=torch.float64).view(2, 6, 2, 6)
    torch.testing.assert_close(jacobian, expected)
    assert torch.autograd.gradcheck(matrix_from_vector, random_vectors(2, 0.5, 1.0).requires_grad_())


def test_half_precision_is_computed_in_single() -> None:
    vector = random_vectors(3, 0.1, 1.0).bfloat16()
    matrix = matrix_from_vector(vector)
    assert matrix.dtype == torch.float32
    identity = matrix[:, :3, :3] @ matrix[:, :3, :3].transpose(1, 2)
    torch.testing.assert_close(identity, torch.eye(3).expand(3, 3, 3), atol=1e-6, rtol=0)


def test_the_adjoint_carries_small_motions() -> None:
    frame = matrix_from_vector(random_vectors(4, 1.0, 2.0))
    small = random_vectors(4, 1e-5, 1e-5, seed=3)
    carried = frame @ matrix_from_vector(small) @ inverse(frame)
    expected = matrix_from_vector((adjoint(frame) @ small[:, :, None])[:, :, 0])
    torch.testing.assert_close(carried, expected, atol=1e-9, rtol=0)


def rig(count: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Return a base motion, extrinsics that differ a lot, and the cameras' motions that follow."""
    base = matrix_from_vector(random_vectors(1, 0.2, 1.0, seed=4))
    extrinsics = matrix_from_vector(random_vectors(count, 1.7, 2.0, seed=5))
    return base[0], extrinsics, inverse(extrinsics) @ base @ extrinsics


def test_cameras_that_agree_give_the_motion_of_the_base_whatever_their_extrinsics() -> None:
    base, extrinsics, cameras = rig()
    log_variance = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    motion, covariance = rig_motion(
        cameras.float(),
        extrinsics.float(),
        log_variance,
        torch.ones(4, dtype=torch.bool),
        torch.tensor([1, 0, 1, 1]),
        2,
    )
    assert motion.dtype == covariance.dtype == torch.float32
    torch.testing.assert_close(motion, base.float().expand(2, 4, 4), atol=2e-6, rtol=1e-5)


def test_a_certain_camera_outweighs_an_uncertain_one() -> None:
    base, extrinsics, cameras = rig(2)
    wrong = cameras.clone()
    wrong[1] = wrong[1] @ matrix_from_vector(torch.tensor([[0.05, 0.0, 0.0, 0.2, 0.0, 0.0]], dtype=torch.float64))[0]
    valid, frame = torch.ones(2, dtype=torch.bool), torch.zeros(2, dtype=torch.int64)
    log_variance = torch.full((2, 6), -10.0)
    log_variance[1] = 4.0
    motion, _ = rig_motion(wrong, extrinsics, log_variance, valid, frame, 1)
    torch.testing.assert_close(motion[0], base.float(), atol=1e-5, rtol=0)
    even, _ = rig_motion(wrong, extrinsics, torch.zeros(2, 6), valid, frame, 1)
    assert (even[0] - base.float()).abs().max() > 0.01


def test_invalid_cameras_are_ignored_even_if_they_hold_nothing() -> None:
    base, extrinsics, cameras = rig()
    log_variance = torch.full((4, 6), -6.0)
    frame = torch.tensor([0, 0, 1, 1])
    cameras, extrinsics = cameras.float(), extrinsics.float()
    only, covariance = rig_motion(cameras[:1], extrinsics[:1], log_variance[:1], torch.tensor([True]), frame[:1], 1)
    cameras[1:], log_variance[1:] = float("nan"), float("nan")
    motion, both = rig_motion(cameras, extrinsics, log_variance, torch.tensor([True, False, False, False]), frame, 2)
    assert torch.equal(motion[0], only[0])
    assert torch.equal(both[0], covariance[0])
    torch.testing.assert_close(motion[0], base.float(), atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(motion[1], torch.eye(4))
    torch.testing.assert_close(both[1], 1e6 * torch.eye(6))


def test_the_covariance_is_that_of_many_noisy_cameras() -> None:
    base, extrinsics, cameras = rig(1)
    draws = 20000
    log_variance = torch.tensor([[-12.0, -11.0, -13.0, -9.0, -8.0, -10.0]])
    generator = torch.Generator().manual_seed(6)
    noise = torch.randn(draws, 6, generator=generator, dtype=torch.float64) * (0.5 * log_variance.double()).exp()
    noisy = matrix_from_vector(vector_from_matrix(cameras) + noise)
    frame = torch.arange(draws)
    valid = torch.ones(draws, dtype=torch.bool)
    motion, covariance = rig_motion(
        noisy, extrinsics.expand(draws, 4, 4), log_variance.expand(draws, 6), valid, frame, draws
    )
    errors = vector_from_matrix(inverse(base[None]).expand(draws, 4, 4) @ motion.double())
    measured = torch.cov(errors.T)
    scale = measured.diagonal().sqrt()
    correlation = (measured - covariance[0].double()) / (scale[:, None] * scale[None, :])
    assert correlation.abs().max() < 0.04
    # A camera away from the base: the same noise at the base itself would move it less.
    assert measured.diagonal()[3:].sum() > 1.01 * log_variance.double().exp()[0, 3:].sum()


def test_two_cameras_with_equal_errors_halve_the_variance() -> None:
    _, extrinsics, cameras = rig(1)
    one = torch.full((1, 6), -6.0)
    valid, frame = torch.ones(2, dtype=torch.bool), torch.zeros(2, dtype=torch.int64)
    _, single = rig_motion(cameras, extrinsics, one, valid[:1], frame[:1], 1)
    _, double = rig_motion(cameras.repeat(2, 1, 1), extrinsics.repeat(2, 1, 1), one.repeat(2, 1), valid, frame, 1)
    torch.testing.assert_close(double, single / 2, rtol=1e-4, atol=1e-7)
