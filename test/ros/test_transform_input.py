# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What is told of transforms as they arrive, and where they are not interpolated between."""

import numpy as np
import pytest
from rclpy.duration import Duration
from rclpy.node import Node
from tf2_msgs.msg import TFMessage
from tf2_ros import Buffer

from mtl_perception.messages.poses import StampedTransform, to_transform
from mtl_perception.ros.diagnostics import Level
from mtl_perception.ros.pose_history import NoPoseError
from mtl_perception.ros.poses import TfPoses
from mtl_perception.ros.transform_input import TransformInput
from mtl_perception.ros.transforms import Transforms

SECOND = 10**9


@pytest.fixture
def transforms(ros_context):
    node = Node("listener")
    yield TransformInput(Buffer(Duration(seconds=30)), node, max_gap_s=1.0)
    node.destroy_node()


def moved(parent, child, stamp_ns=0, x=0.0):
    pose = np.eye(4)
    pose[0, 3] = x
    return TFMessage(transforms=[to_transform(StampedTransform(stamp_ns, parent, child, pose))])


def test_all_is_well(transforms):
    transforms.static_callback(moved("base_link", "front"))
    for second in (1, 2):
        transforms.callback(moved("odom", "base_link", second * SECOND, x=float(second)))
    status = transforms.status()
    assert (status.level, status.message) == (Level.OK, "2 frames")
    assert status.values == {"/tf": "2 messages", "/tf_static": "1 messages"}


def test_a_static_transform_that_is_unusable_is_told_until_there_is_a_better_one(transforms):
    bent = moved("base_link", "front")
    bent.transforms[0].transform.rotation.w = 0.0
    transforms.static_callback(bent)
    for _ in range(2):
        status = transforms.status()
        assert status.level == Level.WARN
        assert "'/tf_static', 'base_link' <- 'front': the quaternion (0, 0, 0, 0) has length 0" in status.message
    transforms.static_callback(moved("base_link", "front"))
    assert transforms.status().level == Level.OK


def test_a_moving_transform_that_is_unusable_is_told_once(transforms):
    bent = moved("odom", "base_link", SECOND, x=float("nan"))
    transforms.callback(bent)
    assert "not finite" in transforms.status().message
    assert transforms.status().level == Level.OK


def test_static_loops_are_told_while_they_last(transforms):
    transforms.static_callback(moved("a", "b"))
    transforms.static_callback(moved("b", "a"))
    for _ in range(2):
        assert transforms.status().level == Level.ERROR
        assert "form a loop" in transforms.status().message
    transforms.static_callback(moved("c", "a"))
    assert "two parents, 'b' and 'c'" in transforms.status().message
    assert transforms.status().level == Level.OK


def test_frames_that_are_static_and_moving_are_told(transforms):
    transforms.static_callback(moved("a", "b"))
    transforms.callback(moved("a", "b", SECOND))
    assert "sent both on /tf and on /tf_static" in transforms.status().message


def test_a_gap_is_not_interpolated_across(transforms):
    transforms.static_callback(moved("base_link", "front"))
    for second in (1, 2, 5, 6):
        transforms.callback(moved("odom", "base_link", second * SECOND, x=float(second)))
    poses = TfPoses(Transforms(transforms.buffer), "odom", "base_link", transforms.gap)
    assert poses.world_from_base(1_500_000_000, wait=False)[0, 3] == pytest.approx(1.5)
    assert poses.world_from_base(5_500_000_000, wait=False)[0, 3] == pytest.approx(5.5)
    with pytest.raises(NoPoseError, match=r"'odom' <- 'base_link' around the stamp are 3\.000 s apart"):
        poses.world_from_base(3 * SECOND, wait=True)
    assert "3.000 s apart" in transforms.gap("odom", "front", 3 * SECOND)
    transforms.clear()
    assert transforms.gap("odom", "front", 3 * SECOND) == ""
