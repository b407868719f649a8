# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Boxes as vision_msgs/Detection3DArray and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from geometry_msgs.msg import Vector3
from sensor_msgs.msg import PointCloud2
from vision_msgs.msg import Detection3D, Detection3DArray, ObjectHypothesisWithPose

from mtl_perception.core.ground_truth import Box
from mtl_perception.messages.points import to_point_cloud
from mtl_perception.messages.poses import to_pose, transform_from_pose
from mtl_perception.messages.stamps import to_header


def to_detections(boxes: Sequence[Box], stamp_ns: int, frame_id: str) -> Detection3DArray:
    """Return boxes as Detection3DArray; vision_msgs has no place for the velocity."""
    header = to_header(stamp_ns, frame_id)
    message = Detection3DArray(header=header)
    for box in boxes:
        detection = Detection3D(header=header, id=box.track)
        detection.bbox.center = to_pose(box.frame_from_box)
        length, width, height = (float(value) for value in box.size)
        detection.bbox.size = Vector3(x=length, y=width, z=height)
        result = ObjectHypothesisWithPose()
        result.hypothesis.class_id = box.label
        result.hypothesis.score = float(box.score)
        result.pose.pose = to_pose(box.frame_from_box)
        detection.results.append(result)
        message.detections.append(detection)
    return message


def to_box_velocities(boxes: Sequence[Box], stamp_ns: int, frame_id: str) -> PointCloud2:
    """Return a point for each box, in the order of `to_detections`: its centre and vx, vy, vz in m/s, NaN where
    unknown."""
    centres = np.array([box.frame_from_box[:3, 3] for box in boxes]).reshape(-1, 3)
    unknown = np.full(3, np.nan)
    velocities = np.array(
        [unknown if box.velocity is None else box.velocity for box in boxes], dtype=np.float32
    ).reshape(-1, 3)
    fields = {f"v{axis}": velocities[:, i] for i, axis in enumerate("xyz")}
    return to_point_cloud(centres, stamp_ns, frame_id, fields=fields)


def read_detections(message: Any, topic: str = "detections") -> list[Box]:
    """Return the boxes of a Detection3DArray with their most likely class.

    Raises:
        ValueError: a box's pose makes no sense; names `topic` and the box.
    """
    boxes = []
    for index, detection in enumerate(message.detections):
        pose = transform_from_pose(detection.bbox.center, f"{topic}: box {index}")
        size = detection.bbox.size
        best = max((result.hypothesis for result in detection.results), key=lambda h: h.score, default=None)
        label, score = ("", 0.0) if best is None else (str(best.class_id), float(best.score))
        boxes.append(Box(pose, (float(size.x), float(size.y), float(size.z)), label, str(detection.id), score))
    return boxes
