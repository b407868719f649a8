# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Messages that fuzzing has found to crash their readers, or to be taken for good: each is refused by name."""

import numpy as np
import pytest

from mtl_perception.core import BevMap, Occupancy, VoxelGrid
from mtl_perception.core.ground_truth import Box
from mtl_perception.core.prediction import EgoMotion
from mtl_perception.core.transforms import transform_from
from mtl_perception.messages.bev import from_bev_map, to_bev_map
from mtl_perception.messages.detections import read_detections, to_box_velocities, to_detections, with_velocities
from mtl_perception.messages.points import read_point_cloud, to_point_cloud, xyz_of
from mtl_perception.messages.poses import StampedTransform, read_ego_motion, to_ego_motion
from mtl_perception.messages.predictions import from_occupancy, to_occupancy
from mtl_perception.messages.scene_flow import from_scene_flow
from mtl_perception.ros.player import header_stamp_ns


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"offset": 2**31 - 1}, r"field 'y' \(4 bytes at 2147483647\) is not within a point of 12 bytes"),
        ({"offset": 9}, r"is not within a point"),
        ({"count": 2**32 - 1}, r"is not within a point"),
        ({"name": "x"}, r"a field has no name, or that of another one: 'x'"),
        ({"name": ""}, r"a field has no name"),
        ({"datatype": 9}, r"unknown datatype of field 'y'"),
    ],
)
def test_fields_of_a_cloud_that_cannot_be(change: dict, text: str) -> None:
    """NumPy 2 reads beyond its memory where an offset is near 2^31, and the process ends."""
    cloud = to_point_cloud(np.zeros((2, 3)), 5, "lidar")
    for name, value in change.items():
        setattr(cloud.fields[1], name, value)
    with pytest.raises(ValueError, match=f"lidar/points: .*{text}"):
        read_point_cloud(cloud, "lidar/points")


def test_a_cloud_without_fields_or_of_huge_points() -> None:
    cloud = to_point_cloud(np.zeros((0, 3)), 5, "lidar")
    cloud.point_step = 2**32 - 1
    with pytest.raises(ValueError, match="topic: points of 3 fields and 4294967295 bytes"):
        read_point_cloud(cloud, "topic")
    cloud.fields = []
    with pytest.raises(ValueError, match="topic: points of 0 fields"):
        read_point_cloud(cloud, "topic")


def test_coordinates_that_are_not_there() -> None:
    cloud = to_point_cloud(np.zeros((2, 3)), 5, "lidar")
    cloud.fields[1].name = "q"
    with pytest.raises(ValueError, match="topic: there is no field 'y' of one number a point"):
        xyz_of(read_point_cloud(cloud, "topic"), "topic")
    with pytest.raises(ValueError, match="topic: there is no field 'y' of float32"):
        from_scene_flow(cloud, {}, "topic")
    box = Box(np.eye(4), (1.0, 1.0, 1.0), "car")
    with pytest.raises(ValueError, match="topic: there is no field 'vx' of one number a point"):
        with_velocities([box, box], cloud, "topic")


def test_boxes_whose_size_or_score_is_none() -> None:
    box = Box(np.eye(4), (1.0, 1.0, 1.0), "car", score=0.5)
    assert to_box_velocities([box], 5, "base").width == 1
    for values in ({"x": float("nan")}, {"y": float("inf")}, {"z": -1.0}):
        message = to_detections([box], 5, "base")
        for axis, value in values.items():
            setattr(message.detections[0].bbox.size, axis, value)
        with pytest.raises(ValueError, match=r"topic: box 0: size .* must be finite and not negative"):
            read_detections(message, "topic")
    message = to_detections([box], 5, "base")
    message.detections[0].results[0].hypothesis.score = float("nan")
    with pytest.raises(ValueError, match="topic: box 0: score nan is not finite"):
        read_detections(message, "topic")


@pytest.mark.parametrize("speed", [1e200, 1e120, float("nan"), float("inf")])
def test_motions_that_cannot_be(speed: float) -> None:
    motion = EgoMotion(4_000_000_000, transform_from([1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]), np.eye(6))
    message = to_ego_motion(motion, StampedTransform(5_000_000_000, "odom", "base", np.eye(4)))
    assert read_ego_motion(message, 4_000_000_000).previous_stamp_ns == 4_000_000_000
    message.twist.twist.angular.z = speed
    with pytest.raises(ValueError, match=r"topic: a twist of .* is no ego motion"):
        read_ego_motion(message, 4_000_000_000, "topic")
    message.twist.twist.angular.z = 0.0
    message.twist.covariance[7] = float("nan")
    with pytest.raises(ValueError, match="topic: the twist's covariance is not finite"):
        read_ego_motion(message, 4_000_000_000, "topic")


@pytest.mark.parametrize("size", [0.0, -0.5, float("nan"), float("inf")])
def test_grids_of_cells_that_cannot_be(size: float) -> None:
    layers = {"road": np.ones((2, 2), np.float32), "floor": np.ones((2, 2), np.float32)}
    message = to_bev_map(BevMap((0.0, 0.0), 0.5, layers), 5, "base")
    message.cell_size = size
    with pytest.raises(ValueError, match=r"topic: cells of .* cannot be"):
        from_bev_map(message, "topic")
    message.cell_size, message.layers = 0.5, ["road", "road"]
    with pytest.raises(ValueError, match="topic: layers are called the same: 'road', 'road'"):
        from_bev_map(message, "topic")
    grid = VoxelGrid((0.0, 0.0, 0.0), 0.5, (1, 1, 1))
    voxels = Occupancy(grid, np.zeros((1, 1, 1), np.uint8), np.zeros((1, 1, 1), np.float32))
    occupancy = to_occupancy(voxels, 5, "base")
    occupancy.voxel_size = size
    with pytest.raises(ValueError, match="topic: voxel grid: size"):
        from_occupancy(occupancy, "topic")
    occupancy.voxel_size, occupancy.origin.y = 0.5, float("nan")
    with pytest.raises(ValueError, match="topic: voxel grid: origin"):
        from_occupancy(occupancy, "topic")


@pytest.mark.parametrize("data", [b"", b"\0\1", b"\0\1\0\0\0\0\0\0"])
def test_serialised_messages_without_a_header(data: bytes) -> None:
    with pytest.raises(ValueError, match=f"a message of {len(data)} bytes has no header"):
        header_stamp_ns(data)
