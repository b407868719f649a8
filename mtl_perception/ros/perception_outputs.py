# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The topics that the perception node publishes, and which of them somebody watches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from vision_msgs.msg import LabelInfo

from mtl_perception.core import CameraPrediction, LabelSpace, Prediction
from mtl_perception.messages.cameras import to_camera_info
from mtl_perception.messages.images import array_to_image
from mtl_perception.messages.labels import to_label_info
from mtl_perception.messages.predictions import occupancy_points, to_occupancy, to_rig_prediction
from mtl_perception.ros import qos
from mtl_perception.ros.lifecycle import ManagedNode
from mtl_perception_msgs.msg import RigPrediction, SemanticOccupancy

MAPPING_NEEDS = ("depth", "semantic", "motion_mask")
"""The tasks that a map is made from."""

# Per camera: topic -> the task it shows.
_CAMERA_TOPICS = {
    "depth": "depth",
    "depth_std": "depth",
    "semantic": "semantic",
    "semantic_color": "semantic",
    "motion_mask": "motion_mask",
}
_RIG_TOPICS = {"occupancy": SemanticOccupancy, "occupancy_points": PointCloud2}


class PerceptionOutputs:
    """Publishes predictions: per camera `perception/<camera>/...`, per rig `perception/...`."""

    def __init__(self, node: ManagedNode, cameras: Sequence[str], tasks: Sequence[str], labels: LabelSpace) -> None:
        """Make the publishers of the tasks that can be computed, and no others; `label_info` is sent by `announce`."""
        self._node = node
        self._labels = labels
        self._palette = labels.palette
        self._sequence = 0
        self._cameras: dict[str, dict[str, Any]] = {
            camera: {
                topic: node.create_output(Image, f"perception/{camera}/{topic}")
                for topic, task in _CAMERA_TOPICS.items()
                if task in tasks
            }
            for camera in cameras
        }
        self._infos = {camera: node.create_output(CameraInfo, f"perception/{camera}/camera_info") for camera in cameras}
        self._rig: dict[str, Any] = {}
        if "occupancy" in tasks:
            self._rig = {topic: node.create_output(kind, f"perception/{topic}") for topic, kind in _RIG_TOPICS.items()}
        self._frame = node.create_output(RigPrediction, "perception/frame")
        self._label_info = node.create_output(LabelInfo, "perception/label_info", qos.latched())

    def announce(self) -> None:
        """Publish the classes, for all who come later, too."""
        self._label_info.publish(to_label_info(self._labels, self._node.clock_ns))

    def watched_tasks(self) -> set[str]:
        """Return the tasks of which somebody watches a topic now."""
        tasks = {
            _CAMERA_TOPICS[topic]
            for publishers in self._cameras.values()
            for topic, publisher in publishers.items()
            if _is_watched(publisher)
        }
        if any(_is_watched(publisher) for publisher in self._rig.values()):
            tasks.add("occupancy")
        if _is_watched(self._frame):
            tasks.update(MAPPING_NEEDS)
        return tasks

    def publish(self, prediction: Prediction) -> None:
        """Publish what the prediction holds."""
        for name, camera in prediction.cameras.items():
            self._publish_camera(name, camera)
        occupancy = prediction.occupancy
        if occupancy is not None:
            stamp_ns, frame = prediction.stamp_ns, prediction.base_frame
            self._rig["occupancy"].publish(to_occupancy(occupancy, stamp_ns, frame))
            if _is_watched(self._rig["occupancy_points"]):
                points = occupancy_points(occupancy, self._labels, stamp_ns, frame)
                self._rig["occupancy_points"].publish(points)
        if _is_watched(self._frame):
            self._frame.publish(to_rig_prediction(prediction, self._sequence))
        self._sequence += 1

    def _publish_camera(self, name: str, prediction: CameraPrediction) -> None:
        publishers = self._cameras[name]
        frame_id = prediction.camera.frame_id
        self._infos[name].publish(to_camera_info(prediction.camera, prediction.stamp_ns))
        for topic, encoding, image in self._images(publishers, prediction):
            publishers[topic].publish(array_to_image(image, encoding, prediction.stamp_ns, frame_id))

    def _images(self, publishers: dict[str, Any], prediction: CameraPrediction) -> Iterable[tuple[str, str, Any]]:
        if prediction.depth is not None:
            yield "depth", "32FC1", prediction.depth
        if prediction.depth_std is not None:
            yield "depth_std", "32FC1", prediction.depth_std
        if prediction.motion_mask is not None:
            yield "motion_mask", "mono8", prediction.motion_mask
        if prediction.semantic is not None:
            yield "semantic", "mono8", prediction.semantic
            if _is_watched(publishers["semantic_color"]):
                yield "semantic_color", "rgb8", self._palette[prediction.semantic]


def _is_watched(publisher: Any) -> bool:
    return publisher.get_subscription_count() > 0
