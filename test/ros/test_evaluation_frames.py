# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The frames of a live evaluation: the calibration of each image, and images of a size that does not fit."""

import numpy as np
import pytest
from rclpy.serialization import serialize_message

from mtl_perception.core import Camera, CameraPrediction, LabelSpace, Prediction
from mtl_perception.messages.cameras import to_camera_info
from mtl_perception.messages.images import array_to_image
from mtl_perception.resources import config_file
from mtl_perception.ros.evaluation_frames import FrameReader
from mtl_perception.ros.message_store import MessageStore

K = np.array([[10.0, 0, 8], [0, 10, 6], [0, 0, 1]])
LENS = Camera("front", 16, 12, K, np.eye(4), "plumb_bob", np.array([-0.3, 0.1, 0, 0, 0]), "front_optical")


def reader_of(store: MessageStore, rectified: bool = False) -> FrameReader:
    labels = LabelSpace.load(config_file("labels", "default"))
    return FrameReader(store, labels, {"front": "front/camera_info"}, frozenset(["front"] if rectified else []))


def predicted(stamp_ns: int) -> Prediction:
    camera = Camera("front", 8, 6, K * [[0.5], [0.5], [1]], np.eye(4))
    black = np.zeros((6, 8, 3), np.uint8)
    cameras = {"front": CameraPrediction(camera, stamp_ns, None, black)}
    return Prediction(stamp_ns, cameras, "base_link", "", None, tasks=("normals",))


@pytest.mark.parametrize("rectified", [False, True])
def test_a_camera_is_as_its_images_are(rectified: bool) -> None:
    store = MessageStore(1 << 20)
    store.add("front/camera_info", 1, serialize_message(to_camera_info(LENS, 1)))
    camera = reader_of(store, rectified).frame(predicted(1)).rig["front"]
    assert camera.is_rectified == rectified and camera.has_lens_of(LENS) != rectified


def test_a_calibration_that_changes_is_followed() -> None:
    store = MessageStore(1 << 20)
    reader = reader_of(store)
    for stamp_ns, size in ((1, (16, 12)), (2, (32, 24)), (3, (16, 12))):
        changed = Camera("front", *size, K * stamp_ns ** np.array([[1.0], [1], [0]]), np.eye(4))
        store.add("front/camera_info", stamp_ns, serialize_message(to_camera_info(changed, stamp_ns)))
        frame = reader.frame(predicted(stamp_ns))
        assert frame.rig["front"].has_lens_of(changed) and frame.images["front"].shape == (*size[::-1], 3)


def test_images_of_another_size_than_the_prediction_are_refused_by_name() -> None:
    store = MessageStore(1 << 20)
    topic = "perception/front/normals"
    store.add(topic, 1, serialize_message(array_to_image(np.zeros((3, 4, 3), np.float32), "32FC3", 1, "")))
    with pytest.raises(ValueError, match=f"{topic}: size 4x3, but camera 'front' of perception/frame says 8x6"):
        reader_of(store).prediction(predicted(1), None)
