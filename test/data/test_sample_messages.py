# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A sample as messages: on which topics, when, and that the truth says what it said."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from mtl_perception.core.ground_truth import CameraTruth, GroundTruth, Sample
from mtl_perception.data.sample_messages import CAMERA_TRUTH, sample_messages, static_messages
from mtl_perception.messages.images import values_to_array
from mtl_perception.messages.poses import read_odometry, read_transform
from mtl_perception.messages.stamps import stamp_ns_from


def test_everything_that_a_sample_has_is_told_once(make_sample: Callable[[int], Sample]) -> None:
    topics = [entry.topic for entry in sample_messages(make_sample(1))]
    assert topics.count("/odom") == topics.count("/tf") == 3  # two cameras and the sweep, each at its own time
    truth = [f"/ground_truth/{name}/{field}" for name in ("front", "left") for field in CAMERA_TRUTH]
    rig = ("occupancy", "bev_map", "ego_motion", "steering", "driving_context")
    truth += [f"/ground_truth/{name}" for name in (*rig, "lidar", "detections", "detection_velocities")]
    robot = [f"/{name}/{what}" for name in ("front", "left") for what in ("image", "camera_info")]
    cabin = ["/cabin/driver/image", "/cabin/face/image", "/cabin/joints"]
    rest = [topic for topic in topics if topic not in ("/odom", "/tf")]
    assert sorted(rest) == sorted(truth + robot + cabin)


def test_what_is_not_known_is_not_told(make_sample: Callable[[int], Sample]) -> None:
    sample = make_sample(0)
    frame = replace(sample.frame, world_from_base=None, world_from_camera={})
    bare = Sample(frame, GroundTruth({"front": CameraTruth(semantic=sample.truth.cameras["front"].semantic)}))
    assert [entry.topic for entry in sample_messages(bare)] == [
        "/front/camera_info",
        "/front/image",
        "/ground_truth/front/semantic",
        "/left/camera_info",
        "/left/image",
    ]


def test_every_message_has_its_stamp_and_poses_come_first(make_sample: Callable[[int], Sample]) -> None:
    sample = make_sample(2)
    messages = sample_messages(sample)
    stamps = [entry.stamp_ns for entry in messages]
    assert stamps == sorted(stamps)
    posed: set[int] = set()
    for topic, message, stamp_ns in messages:
        if topic == "/odom":
            pose = read_odometry(message)
            posed.add(pose.stamp_ns)
            assert (pose.target_frame, pose.source_frame) == ("odom", "base_link")
        elif topic == "/tf":
            assert stamp_ns_from(message.transforms[0].header.stamp) == stamp_ns
        else:
            assert stamp_ns_from(message.header.stamp) == stamp_ns
            assert stamp_ns in posed
    (left,) = [entry for entry in messages if entry.topic == "/left/image"]
    assert left.stamp_ns == sample.frame.image_stamps_ns["left"] != sample.frame.stamp_ns


def test_truth_images_keep_every_value(make_sample: Callable[[int], Sample]) -> None:
    sample = make_sample(3)
    messages = {entry.topic: entry.message for entry in sample_messages(sample)}
    for name, truth in sample.truth.cameras.items():
        for field, encoding in CAMERA_TRUTH.items():
            read = values_to_array(messages[f"/ground_truth/{name}/{field}"], encoding)
            np.testing.assert_array_equal(read, getattr(truth, field))  # infinite and NaN, too
            assert read.dtype == getattr(truth, field).dtype


def test_what_is_told_once(make_sample: Callable[[int], Sample]) -> None:
    rig = make_sample(0).frame.rig
    (entry,) = static_messages(rig, 5)
    mounts = [read_transform(transform) for transform in entry.message.transforms]
    assert [mount.source_frame for mount in mounts] == ["front_optical_frame", "left_optical_frame"]
    for mount, camera in zip(mounts, rig, strict=True):
        np.testing.assert_allclose(mount.target_from_source, camera.base_from_camera, atol=1e-12)
    assert [entry.topic for entry in static_messages(rig, 5, "camvid")] == ["/tf_static", "/ground_truth/dataset"]


def test_a_wrong_truth_is_refused_by_name(make_sample: Callable[[int], Sample]) -> None:
    sample = make_sample(0)
    for truth, text in (
        (CameraTruth(depth=np.zeros((4, 4), np.float32)), r"camera 'left': depth is \(4, 4\), expected 8x12"),
        (CameraTruth(semantic=np.zeros((8, 12), np.int32)), r"encoding 'mono8' for int32"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValueError, match=text):
            sample_messages(Sample(sample.frame, GroundTruth({"left": truth})))
