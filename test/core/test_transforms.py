# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Transforms: quaternions, inverses, interpolation, refusals."""

import numpy as np
import pytest

from mtl_perception.core.transforms import (
    BODY_FROM_OPTICAL,
    interpolate,
    inverse,
    quaternion_from_rotation,
    rotation_from_quaternion,
    transform_from,
    transform_points,
)


def random_transform(rng: np.random.Generator) -> np.ndarray:
    quaternion = rng.normal(size=4)
    return transform_from(rng.normal(size=3), quaternion / np.linalg.norm(quaternion))


def test_quaternion_round_trip_over_random_and_half_turn_rotations() -> None:
    rng = np.random.default_rng(0)
    quaternions = [*rng.normal(size=(50, 4)), [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    for quaternion in quaternions:
        rotation = rotation_from_quaternion(np.asarray(quaternion) / np.linalg.norm(quaternion))
        np.testing.assert_allclose(rotation_from_quaternion(quaternion_from_rotation(rotation)), rotation, atol=1e-12)


def test_inverse_undoes_a_transform() -> None:
    transform = random_transform(np.random.default_rng(1))
    np.testing.assert_allclose(inverse(transform) @ transform, np.eye(4), atol=1e-12)


def test_interpolation_half_way_turns_half_the_angle_the_shorter_way() -> None:
    start = transform_from([0, 0, 0], [0, 0, np.sin(np.radians(-80)), np.cos(np.radians(-80))])  # yaw -160 degrees
    end = transform_from([2, 0, 0], [0, 0, np.sin(np.radians(80)), np.cos(np.radians(80))])  # yaw +160 degrees
    middle = interpolate(start, end, 0.5)
    np.testing.assert_allclose(middle[:3, 3], [1, 0, 0])
    np.testing.assert_allclose(middle[:3, 0], [-1, 0, 0], atol=1e-9)  # through 180 degrees, not through 0


def test_optical_axis_is_forward_in_the_body() -> None:
    np.testing.assert_allclose(transform_points(BODY_FROM_OPTICAL, np.array([0.0, 0.0, 1.0])), [1, 0, 0])
    np.testing.assert_allclose(transform_points(BODY_FROM_OPTICAL, np.array([1.0, 0.0, 0.0])), [0, -1, 0])


@pytest.mark.parametrize("quaternion", [[0, 0, 0, 0], [0, 0, 0, 2], [np.nan, 0, 0, 1]])
def test_a_quaternion_that_is_none_is_refused(quaternion: list[float]) -> None:
    with pytest.raises(ValueError, match="norm"):
        transform_from([0, 0, 0], quaternion)


def test_a_translation_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        transform_from([np.inf, 0, 0], [0, 0, 0, 1])
