# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Stamps, poses, points and boxes: there and back, and what is refused."""

import numpy as np
import pytest
from geometry_msgs.msg import Pose
from nav_msgs.msg import Odometry

from mtl_perception.core.transforms import transform_from
from mtl_perception.messages.detections import Box, read_detections, to_box_velocities, to_detections
from mtl_perception.messages.points import read_point_cloud, to_point_cloud, xyz_of
from mtl_perception.messages.poses import StampedTransform, read_odometry, read_transform, to_odometry, to_transform
from mtl_perception.messages.stamps import stamp_ns_from, to_time

POSE = transform_from([1.0, -2.0, 0.5], [0.1, 0.2, 0.3, np.sqrt(1 - 0.14)])


def test_stamps_keep_every_nanosecond() -> None:
    assert stamp_ns_from(to_time(1_532_402_927_647_951_123)) == 1_532_402_927_647_951_123
    with pytest.raises(ValueError, match="stamp -1 ns"):
        to_time(-1)


def test_poses_there_and_back() -> None:
    stamped = StampedTransform(123, "odom", "base_link", POSE)
    for read in (read_odometry(to_odometry(stamped)), read_transform(to_transform(stamped))):
        assert (read.stamp_ns, read.target_frame, read.source_frame) == (123, "odom", "base_link")
        np.testing.assert_allclose(read.target_from_source, POSE, atol=1e-12)


def test_an_unset_quaternion_is_refused_by_topic() -> None:
    message = Odometry()
    message.pose.pose = Pose()
    message.pose.pose.orientation.w = 0.0
    with pytest.raises(ValueError, match="odom2: pose: quaternion"):
        read_odometry(message, "odom2")


def test_points_there_and_back() -> None:
    xyz = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    rgb = np.arange(15, dtype=np.uint8).reshape(5, 3)
    cloud = to_point_cloud(xyz, 9, "map", rgb=rgb, fields={"label": np.arange(5, dtype=np.uint8)})
    points = read_point_cloud(cloud)
    np.testing.assert_array_equal(xyz_of(points), xyz.astype(np.float64))
    np.testing.assert_array_equal(points["label"], range(5))
    packed = np.ascontiguousarray(points["rgb"]).view(np.uint32)
    np.testing.assert_array_equal(packed & 255, rgb[:, 2])
    np.testing.assert_array_equal(packed >> 16, rgb[:, 0])
    cloud.width = 6
    with pytest.raises(ValueError, match="lidar: data has"):
        read_point_cloud(cloud, "lidar")


def test_boxes_there_and_back() -> None:
    boxes = [
        Box(POSE, (4.0, 2.0, 1.5), "car", "17", 0.9, np.array([1.0, 2.0, 0.0])),
        Box(POSE, (1, 1, 2), "pedestrian"),
    ]
    read = read_detections(to_detections(boxes, 5, "base_link"))
    assert [(box.label, box.track, box.size) for box in read] == [
        ("car", "17", (4.0, 2.0, 1.5)),
        ("pedestrian", "", (1.0, 1.0, 2.0)),
    ]
    np.testing.assert_allclose(read[0].frame_from_box, POSE, atol=1e-12)
    velocities = read_point_cloud(to_box_velocities(boxes, 5, "base_link"))
    np.testing.assert_allclose(velocities["vy"], [2.0, np.nan])
    assert len(read_point_cloud(to_box_velocities([], 5, "base_link"))) == 0
