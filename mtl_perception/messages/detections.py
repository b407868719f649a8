# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Boxes as vision_msgs/Detection3DArray and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
from geometry_msgs.msg import Point, Vector3
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import ColorRGBA
from vision_msgs.msg import Detection3D, Detection3DArray, ObjectHypothesisWithPose
from visualization_msgs.msg import Marker, MarkerArray

from mtl_perception.core.ground_truth import Box
from mtl_perception.core.labels import LabelSpace
from mtl_perception.core.prediction import Detection
from mtl_perception.core.transforms import transform_from
from mtl_perception.messages.points import columns_of, read_point_cloud, to_point_cloud
from mtl_perception.messages.poses import to_pose, transform_from_pose
from mtl_perception.messages.stamps import to_header

_TEXT_HEIGHT = 0.4  # metres
_LINE_WIDTH = 0.08  # metres

# The corners of a box in units of its half extents, and the pairs of them that differ in one axis only: its edges.
_CORNERS = [(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]
_EDGES = [pair for pair in combinations(_CORNERS, 2) if sum(a != b for a, b in zip(*pair, strict=True)) == 1]


def boxes_of(detections: Sequence[Detection], labels: LabelSpace) -> list[Box]:
    """Return predicted boxes in the form that the messages take, with the names of their classes."""
    return [
        Box(
            transform_from(box.centre, [0.0, 0.0, np.sin(box.yaw / 2), np.cos(box.yaw / 2)]),
            box.size,
            labels.names[box.label],
            score=box.score,
            velocity=np.array([*box.velocity, 0.0]),
        )
        for box in detections
    ]


def detections_of(boxes: Sequence[Box], labels: LabelSpace) -> tuple[Detection, ...]:
    """Return what `boxes_of` was given; a velocity that is not known becomes NaN.

    Raises:
        KeyError: a class is not one of `labels`.
    """
    detections = []
    for box in boxes:
        x, y, z = box.frame_from_box[:3, 3].tolist()
        yaw = float(np.arctan2(box.frame_from_box[1, 0], box.frame_from_box[0, 0]))
        vx, vy = (float("nan"),) * 2 if box.velocity is None else box.velocity[:2].tolist()
        detections.append(Detection(labels.id_of(box.label), box.score, (x, y, z), box.size, yaw, (vx, vy)))
    return tuple(detections)


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


def detection_markers(
    boxes: Sequence[Box], labels: LabelSpace, stamp_ns: int, frame_id: str, least_score: float = 0.3
) -> MarkerArray:
    """Return the edges of each box of `least_score` or more and, above it, its class and score.

    What was shown before is deleted first.
    """
    header = to_header(stamp_ns, frame_id)
    message = MarkerArray(markers=[Marker(header=header, action=Marker.DELETEALL)])
    for number, box in enumerate(box for box in boxes if box.score >= least_score):
        length, width, height = box.size
        edges = Marker(header=header, ns="boxes", id=number, type=Marker.LINE_LIST, action=Marker.ADD)
        edges.pose = to_pose(box.frame_from_box)
        edges.scale.x = _LINE_WIDTH
        edges.color = _colour(labels, box.label)
        edges.points = [Point(x=x * length, y=y * width, z=z * height) for pair in _EDGES for x, y, z in pair]
        text = Marker(header=header, ns="classes", id=number, type=Marker.TEXT_VIEW_FACING, action=Marker.ADD)
        text.pose = to_pose(box.frame_from_box)
        text.pose.position.z += height / 2 + _TEXT_HEIGHT
        text.scale.z = _TEXT_HEIGHT
        text.color = ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)
        text.text = f"{box.label} {box.score:.2f}"
        message.markers += [edges, text]
    return message


def with_velocities(boxes: Sequence[Box], message: Any, topic: str = "detection_velocities") -> list[Box]:
    """Return boxes with the velocities that `to_box_velocities` has put into a message.

    Raises:
        ValueError: there are not as many as boxes, or it is no cloud of velocities; names `topic`.
    """
    columns = read_point_cloud(message, topic)
    if len(columns) != len(boxes):
        raise ValueError(f"{topic}: {len(columns)} velocities for {len(boxes)} boxes")
    velocities = columns_of(columns, ("vx", "vy", "vz"), topic)
    return [
        box if np.isnan(velocity).any() else replace(box, velocity=velocity)
        for box, velocity in zip(boxes, velocities, strict=True)
    ]


def read_detections(message: Any, topic: str = "detections") -> list[Box]:
    """Return the boxes of a Detection3DArray with their most likely class.

    Raises:
        ValueError: a box's pose, size or score makes no sense; names `topic` and the box.
    """
    boxes = []
    for index, detection in enumerate(message.detections):
        pose = transform_from_pose(detection.bbox.center, f"{topic}: box {index}")
        extent = detection.bbox.size
        size = float(extent.x), float(extent.y), float(extent.z)
        if not np.isfinite(size).all() or min(size) < 0:
            raise ValueError(f"{topic}: box {index}: size {size} must be finite and not negative")
        best = max((result.hypothesis for result in detection.results), key=lambda h: h.score, default=None)
        label, score = ("", 0.0) if best is None else (str(best.class_id), float(best.score))
        if not np.isfinite(score):
            raise ValueError(f"{topic}: box {index}: score {score} is not finite")
        boxes.append(Box(pose, size, label, str(detection.id), score))
    return boxes


def _colour(labels: LabelSpace, name: str) -> ColorRGBA:
    colour = labels.labels[labels.id_of(name)].colour if name in labels.names else (255, 255, 255)
    red, green, blue = (value / 255.0 for value in colour)
    return ColorRGBA(r=red, g=green, b=blue, a=1.0)
