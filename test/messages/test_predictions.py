# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Predictions, occupancy and maps as messages, also through their serialised form."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from visualization_msgs.msg import Marker, MarkerArray

from mtl_perception.core import Camera, CameraPrediction, Detection, LabelSpace, Occupancy, Prediction, VoxelGrid
from mtl_perception.core.transforms import BODY_FROM_OPTICAL, transform_from
from mtl_perception.mapping import GridMap
from mtl_perception.messages.labels import read_label_info, to_label_info
from mtl_perception.messages.maps import to_occupancy_grid
from mtl_perception.messages.mesh import MeshMarkers
from mtl_perception.messages.points import read_point_cloud, xyz_of
from mtl_perception.messages.predictions import (
    from_occupancy,
    from_rig_prediction,
    occupancy_points,
    to_occupancy,
    to_rig_prediction,
)
from mtl_perception_msgs.msg import RigPrediction, SemanticOccupancy

LABELS = LabelSpace.load(Path(__file__).resolve().parents[2] / "config" / "labels" / "default.yaml")
POSE = transform_from([1.0, -2.0, 0.5], [0.1, 0.2, 0.3, np.sqrt(1 - 0.14)])


def prediction(with_pose: bool = True) -> Prediction:
    rng = np.random.default_rng(1)
    K = np.array([[5.0, 0, 4], [0, 5, 3], [0, 0, 1]])
    camera = Camera("front", 8, 6, K, BODY_FROM_OPTICAL, frame_id="front_optical")
    depth = rng.uniform(1, 9, (6, 8)).astype(np.float32)
    depth[0, 0] = np.nan
    front = CameraPrediction(
        camera,
        124,
        POSE if with_pose else None,
        rng.integers(0, 256, (6, 8, 3), dtype=np.uint8),
        depth=depth,
        semantic=rng.integers(0, 16, (6, 8), dtype=np.uint8),
        panoptic=rng.integers(-1, 15999, (6, 8), dtype=np.int32),
    )
    boxes = (
        Detection(11, 0.7, (1.0, 2.0, 0.1), (4.0, 1.8, 1.5), 3.1, (0.3, float("nan"))),
        Detection(3, 0.2, (-1.0, 2.0, 0.1), (0.5, 0.6, 1.7), -1.0, (0.0, 0.1)),
    )
    pose, tasks = POSE if with_pose else None, ("depth", "semantic", "panoptic", "detections")
    return Prediction(
        123, {"front": front}, "base_link", "odom", pose, missing=("left",), detections=boxes, tasks=tasks
    )


def test_a_prediction_there_and_back() -> None:
    sent = prediction()
    message = deserialize_message(serialize_message(to_rig_prediction(sent, 3)), RigPrediction)
    read = from_rig_prediction(message)
    assert message.sequence == 3
    assert (read.stamp_ns, read.base_frame, read.world_frame) == (123, "base_link", "odom")
    assert (read.missing, read.tasks) == (("left",), ("depth", "semantic", "panoptic", "detections"))
    assert repr(read.detections) == repr(sent.detections)  # digit by digit, unknown velocities too
    before, after = sent.cameras["front"], read.cameras["front"]
    for field in ("colour", "depth", "semantic", "panoptic"):
        np.testing.assert_array_equal(getattr(after, field), getattr(before, field))
    assert after.depth_std is None
    assert after.motion_mask is None
    assert after.stamp_ns == 124
    np.testing.assert_allclose(after.world_from_camera, POSE, atol=1e-12)
    np.testing.assert_allclose(after.camera.base_from_camera, BODY_FROM_OPTICAL, atol=1e-12)
    np.testing.assert_array_equal(after.camera.K, before.camera.K)


def test_a_prediction_without_a_pose_says_so() -> None:
    message = to_rig_prediction(prediction(with_pose=False))
    assert message.header.frame_id == ""
    read = from_rig_prediction(message)
    assert read.world_from_base is None
    assert read.cameras["front"].world_from_camera is None


def test_no_boxes_are_another_thing_than_boxes_that_were_not_looked_for() -> None:
    for tasks, expected in ((("depth", "detections"), ()), (("depth",), None)):
        read = from_rig_prediction(to_rig_prediction(replace(prediction(), detections=None, tasks=tasks)))
        assert read.detections == expected


def test_an_image_of_another_size_is_refused_by_name() -> None:
    sent = prediction()
    front = sent.cameras["front"]
    object.__setattr__(front, "depth", front.depth[:3])
    with pytest.raises(ValueError, match=r"camera 'front': depth is \(3, 8\), expected 6x8"):
        to_rig_prediction(sent)


def test_occupancy_there_and_back_and_as_points() -> None:
    rng = np.random.default_rng(2)
    grid = VoxelGrid((-1.0, 2.0, 0.5), 0.2, (2, 3, 4))
    labels = rng.choice(np.array([1, 8, 254, 255], np.uint8), (2, 3, 4))
    probability = rng.integers(0, 256, (2, 3, 4)).astype(np.float32) / 255
    sent = Occupancy(grid, labels, probability)
    message = deserialize_message(serialize_message(to_occupancy(sent, 5, "base_link")), SemanticOccupancy)
    assert message.labels[(3 * 3 + 1) * 2 + 1] == labels[1, 1, 3]  # x fastest
    read = from_occupancy(message)
    assert read.grid == grid
    np.testing.assert_array_equal(read.labels, labels)
    np.testing.assert_allclose(read.probability, probability, atol=1e-6)
    points = read_point_cloud(occupancy_points(sent, LABELS, 5, "base_link"))
    np.testing.assert_array_equal(points["label"], labels[labels < 254])
    np.testing.assert_allclose(xyz_of(points), grid.centres()[labels < 254], atol=1e-6)
    message.labels = message.labels[:5]
    with pytest.raises(ValueError, match="occupancy2: labels has 5 values, 2 x 3 x 4 expected"):
        from_occupancy(message, "occupancy2")


def test_label_info_names_every_class() -> None:
    names = read_label_info(to_label_info(LABELS, 0))
    assert [names[i] for i in range(len(LABELS))] == list(LABELS.names)
    assert names[255] == "unknown"


def block(triangles: int) -> SimpleNamespace:
    rng = np.random.default_rng(triangles)
    return SimpleNamespace(
        vertices=rng.normal(size=(9, 3)).astype(np.float32),
        triangles=rng.integers(0, 9, (triangles, 3)),
        colours=rng.integers(0, 256, (9, 3), dtype=np.uint8),
        labels=np.full(9, 8, np.uint8),
    )


def markers(data: bytes) -> list[Marker]:
    message = deserialize_message(data, MarkerArray)
    # What rclpy makes of it is as long: no field is missing and none is left over.
    assert len(serialize_message(message)) == len(data)
    return list(message.markers)


def test_mesh_blocks_are_added_changed_and_deleted() -> None:
    mesh = MeshMarkers("odom")
    full = block(4)
    first, second = markers(mesh.update({(0, 0, 0): full, (0, 0, 1): block(2)}, (), 5_000_000_007))
    assert (first.action, first.type, first.header.frame_id, first.header.stamp.nanosec) == (0, 11, "odom", 7)
    assert first.id != second.id
    corners = full.triangles.reshape(-1)
    np.testing.assert_array_equal([(p.x, p.y, p.z) for p in first.points], full.vertices.astype(float)[corners])
    np.testing.assert_allclose([(c.r, c.g, c.b) for c in first.colors], full.colours[corners] / 255, atol=1e-6)
    changed = markers(mesh.update({(0, 0, 1): block(3), (0, 0, 0): block(0)}, [(7, 7, 7)], 6))
    assert [(m.id, m.action, len(m.points)) for m in changed] == [
        (first.id, Marker.DELETE, 0),
        (second.id, Marker.ADD, 9),
    ]
    assert [m.action for m in markers(mesh.reset(7))] == [Marker.DELETEALL]


def test_mesh_blocks_can_be_coloured_by_label() -> None:
    (marker,) = markers(MeshMarkers("odom", LABELS.palette).update({0: block(1)}, (), 0))
    colour = marker.colors[0]
    np.testing.assert_allclose([colour.r, colour.g, colour.b], LABELS.palette[8] / 255, atol=1e-6)


def test_a_grid_keeps_its_rows() -> None:
    data = np.array([[-1, 0, 100], [0, 0, -1]], np.int8)
    message = to_occupancy_grid(GridMap(np.array([1.0, -2.0]), 0.1, data), 9, "odom")
    assert (message.info.width, message.info.height, message.info.origin.position.y) == (3, 2, -2.0)
    assert list(message.data) == [-1, 0, 100, 0, 0, -1]
