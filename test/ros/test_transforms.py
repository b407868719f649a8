# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Transforms at a stamp, absent ones by name, and recordings that start again."""

import numpy as np
import pytest
from rclpy.duration import Duration
from tf2_ros import Buffer

from mtl_perception.core.transforms import transform_from
from mtl_perception.messages.poses import StampedTransform, to_transform
from mtl_perception.ros.pose_history import NoPoseError, NotYetError
from mtl_perception.ros.poses import TfPoses
from mtl_perception.ros.transforms import TransformBuffer, Transforms

SECOND = 10**9


def pose(x: float, yaw: float = 0.0):
    return transform_from([x, 0.0, 0.0], [0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2)])


def test_tf_is_looked_up_at_the_stamp():
    buffer = Buffer(Duration(seconds=10))
    for second in (1, 2):
        moved = StampedTransform(second * SECOND, "odom", "base_link", pose(float(second)))
        buffer.set_transform(to_transform(moved), "test")
    source = TfPoses(Transforms(buffer), "odom", "base_link")
    assert source.world_from_base(1_500_000_000, wait=True)[0, 3] == pytest.approx(1.5)
    with pytest.raises(NotYetError, match="'odom' <- 'base_link'"):
        source.world_from_base(3 * SECOND, wait=True)
    with pytest.raises(NoPoseError) as refused:
        source.world_from_base(SECOND // 2, wait=True)
    assert not isinstance(refused.value, NotYetError)


def test_absent_transform_is_named():
    with pytest.raises(NotYetError, match="'base_link' <- 'front_optical_frame'"):
        Transforms(Buffer(Duration(seconds=10))).target_from_source("base_link", "front_optical_frame", 0)


def test_transforms_of_a_recording_that_starts_again_are_taken_and_static_ones_stay():
    buffer = TransformBuffer(Duration(seconds=30))
    buffer.set_transform_static(to_transform(StampedTransform(0, "base_link", "front", pose(1.0))), "test")

    def tell(second, x):
        buffer.set_transform(
            to_transform(StampedTransform(round(second * SECOND), "odom", "base_link", pose(x))), "test"
        )

    for second in (10, 11, 100):
        tell(second, 0.0)
    tell(20, 5.0)  # one from nowhere changes nothing
    tell(100.1, 0.0)
    assert Transforms(buffer).target_from_source("odom", "front", 100 * SECOND)[0, 3] == pytest.approx(1.0)
    for step in range(4):
        tell(10 + 0.1 * step, 2.0)
    assert Transforms(buffer).target_from_source("odom", "front", 10_250_000_000)[0, 3] == pytest.approx(3.0)
    with pytest.raises(NotYetError):
        Transforms(buffer).target_from_source("odom", "front", 100 * SECOND)
