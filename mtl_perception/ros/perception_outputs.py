# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The topics that the perception node publishes, and which of them somebody watches."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from nav_msgs.msg import OccupancyGrid, Odometry
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from vision_msgs.msg import Detection3DArray, LabelInfo
from visualization_msgs.msg import MarkerArray

from mtl_perception.core import CameraPrediction, LabelSpace, Prediction
from mtl_perception.core.prediction import MAPPED_TASKS
from mtl_perception.messages.bev import to_bev_map, to_drivable_grid
from mtl_perception.messages.cameras import to_camera_info
from mtl_perception.messages.detections import boxes_of, detection_markers, to_box_velocities, to_detections
from mtl_perception.messages.driving import to_driving_context, to_steering
from mtl_perception.messages.images import array_to_image
from mtl_perception.messages.labels import to_label_info
from mtl_perception.messages.predictions import occupancy_points, to_occupancy, to_rig_prediction
from mtl_perception.messages.scene_flow import to_scene_flow
from mtl_perception.network.config import SCENE_TASKS
from mtl_perception.ros import qos
from mtl_perception.ros.ego_odometry import UNPOSED_FRAME, EgoOdometry
from mtl_perception.ros.frames import prefixed
from mtl_perception.ros.lifecycle import ManagedNode
from mtl_perception_msgs.msg import BevMap, DrivingContext, RigPrediction, SemanticOccupancy, Steering


class CameraTopic(NamedTuple):
    """What a camera's topic is about, and the encoding of its images."""

    task: str
    encoding: str


class RigTopic(NamedTuple):
    """A topic's type, and the tasks one of which suffices for it to be published."""

    kind: Any
    tasks: tuple[str, ...]


CAMERA_TOPICS = {
    "depth": CameraTopic("depth", "32FC1"),
    "depth_std": CameraTopic("depth", "32FC1"),
    "semantic": CameraTopic("semantic", "mono8"),
    "semantic_color": CameraTopic("semantic", "rgb8"),
    "semantic_confidence": CameraTopic("semantic", "32FC1"),
    "motion_mask": CameraTopic("motion_mask", "mono8"),
    "edges": CameraTopic("edges", "mono8"),
    "edge_probability": CameraTopic("edges", "32FC1"),
    "normals": CameraTopic("normals", "32FC3"),
    "panoptic": CameraTopic("panoptic", "32SC1"),
}
"""The topics `perception/<camera>/...`; but for `semantic_color` their names are fields of CameraPrediction."""

RIG_TOPICS = {
    "occupancy": RigTopic(SemanticOccupancy, ("occupancy",)),
    "occupancy_points": RigTopic(PointCloud2, ("occupancy",)),
    "bev_map": RigTopic(OccupancyGrid, ("bev_map",)),
    "bev_map_layers": RigTopic(BevMap, ("bev_map",)),
    "detections": RigTopic(Detection3DArray, ("detections",)),
    "detection_velocities": RigTopic(PointCloud2, ("detections",)),
    "detection_markers": RigTopic(MarkerArray, ("detections",)),
    "scene_flow": RigTopic(PointCloud2, ("scene_flow",)),
    "odometry": RigTopic(Odometry, ("ego_motion",)),
    "steering": RigTopic(Steering, ("steering",)),
    "driving_context": RigTopic(DrivingContext, tuple(SCENE_TASKS)),
}
"""The topics `perception/...`."""


FRAME = "frame"
"""The topic `perception/frame`."""
TASKS_OF_TOPIC: Mapping[str, tuple[str, ...]] = {
    **{name: (topic.task,) for name, topic in CAMERA_TOPICS.items()},
    **{name: topic.tasks for name, topic in RIG_TOPICS.items()},
    FRAME: MAPPED_TASKS,
}
"""The tasks behind each topic, those of cameras by their names without the camera."""


class PerceptionOutputs:
    """Publishes predictions: per camera `perception/<camera>/...`, per rig `perception/...`.

    What nobody watches is not made into a message.
    """

    def __init__(
        self,
        node: ManagedNode,
        cameras: Sequence[str],
        tasks: Sequence[str],
        labels: LabelSpace,
        frame_prefix: str = "",
    ) -> None:
        """Make the publishers of the tasks that can be computed, and no others; `label_info` is sent by `announce`."""
        self._node = node
        self._labels, self._palette = labels, labels.palette
        self._marker_score = self._confidence = 0.0
        self._is_announced = False
        self._sequence = 0
        self._odometry = EgoOdometry(prefixed(frame_prefix, UNPOSED_FRAME))
        self._cameras: dict[str, dict[str, Any]] = {
            camera: {
                topic: node.create_output(Image, f"perception/{camera}/{topic}")
                for topic, (task, _) in CAMERA_TOPICS.items()
                if task in tasks
            }
            for camera in cameras
        }
        self._infos = {camera: node.create_output(CameraInfo, f"perception/{camera}/camera_info") for camera in cameras}
        self._rig: dict[str, Any] = {
            topic: node.create_output(kind, f"perception/{topic}")
            for topic, (kind, shown) in RIG_TOPICS.items()
            if set(shown).intersection(tasks)
        }
        self._frame = node.create_output(RigPrediction, f"perception/{FRAME}")
        self._label_info = node.create_output(LabelInfo, "perception/label_info", qos.latched())

    def show(self, labels: LabelSpace, marker_score: float, confidence: float) -> None:
        """Take other colours, another score from which boxes have markers, another confidence that labels have."""
        self._labels, self._palette, self._marker_score = labels, labels.palette, marker_score
        if confidence != self._confidence:
            self._confidence = confidence
            if self._is_announced:
                self.announce()

    def announce(self) -> None:
        """Publish the classes, for all who come later, too."""
        self._label_info.publish(to_label_info(self._labels, self._node.clock_ns, self._confidence))
        self._is_announced = True

    def watched(self) -> set[str]:
        """Return the topics, those of cameras without the camera, that somebody watches now."""
        found = {topic for topics in self._cameras.values() for topic in _watched(topics)}
        return found.union(_watched(self._rig), [FRAME] if _is_watched(self._frame) else [])

    def publish(self, prediction: Prediction, topics: Collection[str]) -> set[str]:
        """Publish what the prediction holds for these topics, where somebody watches; return what has been sent."""
        sent = {topic for name, camera in prediction.cameras.items() for topic in self._send(name, camera, topics)}
        for topic, message in self._rig_messages(prediction, [t for t in _watched(self._rig) if t in topics]):
            self._rig[topic].publish(message)
            sent.add(topic)
        if FRAME in topics and _is_watched(self._frame):
            self._frame.publish(to_rig_prediction(prediction, self._sequence))
            sent.add(FRAME)
        self._sequence += 1
        return sent

    def _send(self, name: str, prediction: CameraPrediction, topics: Collection[str]) -> Iterable[str]:
        """Publish the images of a camera for these topics; yield those that have been sent."""
        publishers = self._cameras[name]
        frame_id = prediction.camera.frame_id
        if _is_watched(self._infos[name]):
            self._infos[name].publish(to_camera_info(prediction.camera, prediction.stamp_ns))
        for topic in _watched(publishers):
            image = getattr(prediction, "semantic" if topic == "semantic_color" else topic)
            if topic in topics and image is not None:
                shown = self._palette[image] if topic == "semantic_color" else image
                encoding = CAMERA_TOPICS[topic].encoding
                publishers[topic].publish(array_to_image(shown, encoding, prediction.stamp_ns, frame_id))
                yield topic

    def _rig_messages(self, prediction: Prediction, topics: Sequence[str]) -> Iterable[tuple[str, Any]]:
        """Return a message for each of the topics that the prediction has something for."""
        at = prediction.stamp_ns, prediction.base_frame
        odometry = self._odometry.add(prediction)  # watched or not: motions add up
        made: dict[str, Any] = {}
        if odometry is not None:
            made["odometry"] = lambda: odometry
        if (occupancy := prediction.occupancy) is not None:
            made["occupancy"] = lambda: to_occupancy(occupancy, *at)
            made["occupancy_points"] = lambda: occupancy_points(occupancy, self._labels, *at)
        if (bev_map := prediction.bev_map) is not None:
            made["bev_map"] = lambda: to_drivable_grid(bev_map, *at)
            made["bev_map_layers"] = lambda: to_bev_map(bev_map, *at)
        if prediction.detections is not None:
            boxes = boxes_of(prediction.detections, self._labels)
            made["detections"] = lambda: to_detections(boxes, *at)
            made["detection_velocities"] = lambda: to_box_velocities(boxes, *at)
            made["detection_markers"] = lambda: detection_markers(boxes, self._labels, *at, self._marker_score)
        if "scene_flow" in prediction.tasks:
            made["scene_flow"] = lambda: to_scene_flow(prediction)
        if (steering := prediction.steering) is not None:
            made["steering"] = lambda: to_steering(steering, *at)
        if prediction.driving_context:
            made["driving_context"] = lambda: to_driving_context(prediction.driving_context, *at)
        return ((topic, make()) for topic, make in made.items() if topic in topics)


def _watched(publishers: Mapping[str, Any]) -> list[str]:
    return [topic for topic, publisher in publishers.items() if _is_watched(publisher)]


def _is_watched(publisher: Any) -> bool:
    return bool(publisher.get_subscription_count() > 0)
