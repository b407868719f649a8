# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Predicted boxes as messages with their velocities, and what RViz shows of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from visualization_msgs.msg import Marker

from mtl_perception.core import LabelSpace
from mtl_perception.core.prediction import Detection
from mtl_perception.messages.detections import (
    boxes_of,
    detection_markers,
    detections_of,
    read_detections,
    to_box_velocities,
    to_detections,
    with_velocities,
)

LABELS = LabelSpace.load(Path(__file__).resolve().parents[2] / "config" / "labels" / "default.yaml")
CAR = Detection(8, 0.75, (10.0, -2.0, 0.8), (4.5, 1.8, 1.6), 3.0, (-5.5, 0.25))
WALKER = Detection(10, 0.5, (4.0, 1.0, 0.9), (0.6, 0.5, 1.75), -1.25, (0.0, 1.5))


def sent(message: Any) -> Any:
    return deserialize_message(serialize_message(message), type(message))


def test_predicted_boxes_there_and_back() -> None:
    boxes = boxes_of((CAR, WALKER), LABELS)
    assert [box.label for box in boxes] == ["car", "pedestrian"]
    read = read_detections(sent(to_detections(boxes, 7, "base_link")))
    read = with_velocities(read, sent(to_box_velocities(boxes, 7, "base_link")))
    for before, after in zip((CAR, WALKER), detections_of(read, LABELS), strict=True):
        for field in ("label", "score", "centre", "size", "velocity"):
            assert getattr(after, field) == getattr(before, field)
        assert after.yaw == pytest.approx(before.yaw, abs=1e-12)


def test_velocities_of_other_boxes_are_refused() -> None:
    boxes = boxes_of((CAR, WALKER), LABELS)
    with pytest.raises(ValueError, match="speeds: 2 velocities for 1 boxes"):
        with_velocities(boxes[:1], to_box_velocities(boxes, 7, "base_link"), "speeds")
    assert np.isnan(detections_of(read_detections(to_detections(boxes, 7, "base_link")), LABELS)[0].velocity).all()


def test_markers_are_the_twelve_edges_with_class_and_score() -> None:
    wipe, edges, text = detection_markers(boxes_of((CAR,), LABELS), LABELS, 7, "base_link").markers
    assert wipe.action == Marker.DELETEALL
    assert (edges.type, edges.header.frame_id) == (Marker.LINE_LIST, "base_link")
    ends = np.array([[p.x, p.y, p.z] for p in edges.points]).reshape(12, 2, 3)
    lengths = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1)
    assert sorted(lengths) == pytest.approx([1.6] * 4 + [1.8] * 4 + [4.5] * 4)
    np.testing.assert_allclose(np.abs(ends).reshape(-1, 3), np.tile([2.25, 0.9, 0.8], (24, 1)))
    assert (edges.pose.position.x, edges.color.b) == (10.0, pytest.approx(142 / 255))
    assert text.text == "car 0.75" and text.pose.position.z > 0.8 + 0.8


def test_boxes_of_a_lower_score_have_no_marker() -> None:
    boxes = boxes_of((CAR,), LABELS)  # 0.75
    counts = [len(detection_markers(boxes, LABELS, 7, "base_link", score).markers) for score in (0.7, 0.75, 0.8)]
    assert counts == [3, 3, 1]
