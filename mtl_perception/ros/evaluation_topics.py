# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The topics that the evaluation node listens to: what was predicted, and what is true."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from nav_msgs.msg import Odometry
from sensor_msgs.msg import Image, PointCloud2
from vision_msgs.msg import Detection3DArray

from mtl_perception.core import Prediction
from mtl_perception.data.sample_messages import CAMERA_TRUTH, GROUND_TRUTH
from mtl_perception.ros.perception_outputs import CAMERA_TOPICS, RIG_TOPICS
from mtl_perception_msgs.msg import BevMap, DrivingContext, RigPrediction, SemanticOccupancy, Steering

FRAME = "perception/frame"
TRUTH = GROUND_TRUTH.lstrip("/")

PREDICTED_IMAGES = ("semantic_confidence", "normals", "edges", "edge_probability", "panoptic")
"""Images per camera that perception/frame does not carry; the others are in it."""
PREDICTED_RIG = (
    "occupancy",
    "bev_map_layers",
    "detections",
    "detection_velocities",
    "scene_flow",
    "odometry",
    "steering",
    "driving_context",
)
RIG_TRUTH: dict[str, Any] = {
    "occupancy": SemanticOccupancy,
    "bev_map": BevMap,
    "ego_motion": Odometry,
    "steering": Steering,
    "driving_context": DrivingContext,
}
"""Truth that has the frame's stamp."""
SWEEP_TRUTH: dict[str, Any] = {
    "lidar": PointCloud2,
    "detections": Detection3DArray,
    "detection_velocities": PointCloud2,
}
"""Truth that has a stamp of its own, near the frame's."""


def prediction_topics(cameras: Sequence[str]) -> dict[str, Any]:
    """Return the type of each topic with predictions."""
    images = {f"perception/{camera}/{name}": Image for camera in cameras for name in PREDICTED_IMAGES}
    return {FRAME: RigPrediction, **images, **{f"perception/{name}": RIG_TOPICS[name].kind for name in PREDICTED_RIG}}


def truth_topics(cameras: Sequence[str]) -> dict[str, Any]:
    """Return the type of each topic with truth."""
    images = {f"{TRUTH}/{camera}/{field}": Image for camera in cameras for field in CAMERA_TRUTH}
    return {**images, **{f"{TRUTH}/{name}": kind for name, kind in (RIG_TRUTH | SWEEP_TRUTH).items()}}


def parts_of(prediction: Prediction) -> Iterable[tuple[str, int]]:
    """Return topic and stamp of every message that belongs to a prediction besides perception/frame itself."""
    for name, camera in prediction.cameras.items():
        for topic in PREDICTED_IMAGES:
            if CAMERA_TOPICS[topic].task in prediction.tasks:
                yield f"perception/{name}/{topic}", camera.stamp_ns
    for topic in PREDICTED_RIG:
        if set(RIG_TOPICS[topic].tasks).intersection(prediction.tasks):
            yield f"perception/{topic}", prediction.stamp_ns


def truths_of(prediction: Prediction) -> Iterable[tuple[str, int]]:
    """Return topic and stamp of all truth that there may be of a frame, but for that of SWEEP_TRUTH."""
    for name, camera in prediction.cameras.items():
        yield from ((f"{TRUTH}/{name}/{field}", camera.stamp_ns) for field in CAMERA_TRUTH)
    yield from ((f"{TRUTH}/{name}", prediction.stamp_ns) for name in RIG_TRUTH)
