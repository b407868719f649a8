# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From serialised messages back to a prediction, and to what is true of its frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from nav_msgs.msg import Odometry
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, Image

from mtl_perception.core import CameraPrediction, LabelSpace, Prediction, RigFrame
from mtl_perception.core.camera import Camera, Rig
from mtl_perception.core.ground_truth import Box, CameraTruth, GroundTruth, Sweep
from mtl_perception.core.prediction import Detection, EgoMotion
from mtl_perception.core.transforms import Transform, inverse
from mtl_perception.data.sample_messages import CAMERA_TRUTH
from mtl_perception.messages.bev import from_bev_map
from mtl_perception.messages.cameras import camera_from_info
from mtl_perception.messages.detections import detections_of, read_detections, with_velocities
from mtl_perception.messages.driving import from_driving_context, from_steering
from mtl_perception.messages.images import depth_to_array, values_to_array
from mtl_perception.messages.points import read_point_cloud, xyz_of
from mtl_perception.messages.poses import read_ego_motion
from mtl_perception.messages.predictions import from_occupancy
from mtl_perception.messages.raw_images import Announced
from mtl_perception.messages.scene_flow import from_scene_flow
from mtl_perception.ros.ego_odometry import has_motion
from mtl_perception.ros.evaluation_topics import PREDICTED_IMAGES, RIG_TRUTH, SWEEP_TRUTH, TRUTH, prediction_topics
from mtl_perception.ros.message_store import MessageStore
from mtl_perception.ros.perception_outputs import CAMERA_TOPICS
from mtl_perception.ros.pose_history import NoPoseError, PoseHistory


@dataclass(frozen=True)
class Surroundings:
    """What is known around a frame.

    Attributes:
        previous_ns: the stamp of the reference image before; None where the recording does not go on from there.
        window_ns: how far from the frame's stamp a sweep may be to belong to it.
        dataset: whose label ids the true semantics have; "" for the suite's own.
        poses: of the base in the world.
    """

    previous_ns: int | None
    window_ns: int
    dataset: str
    poses: PoseHistory


class FrameReader:
    """Reads the messages of a frame out of a store."""

    def __init__(
        self, store: MessageStore, labels: LabelSpace, info_topics: Mapping[str, str], rectified: frozenset[str]
    ) -> None:
        """Read from `store`, where the calibration of each camera comes on a topic of `info_topics`.

        The images of the cameras `rectified` are undistorted already.
        """
        self._store = store
        self._labels = labels
        self._info_topics = info_topics
        self._rectified = rectified
        self._types = prediction_topics(list(info_topics))
        self._cameras: dict[str, Camera] = {}

    def prediction(self, carried: Prediction, previous_ns: int | None) -> Prediction:
        """Return a prediction with all that perception/frame, which carried the given one, has no place for.

        Args:
            carried: from perception/frame.
            previous_ns: the stamp of the prediction before, that motion is told since.

        Raises:
            ValueError: a message makes no sense; names its topic.
        """
        stamp_ns, cameras = carried.stamp_ns, self._with_flow(carried)
        occupancy = self._predicted("occupancy", stamp_ns)
        bev_map = self._predicted("bev_map_layers", stamp_ns)
        steering = self._predicted("steering", stamp_ns)
        context = self._predicted("driving_context", stamp_ns)
        boxes = self._boxes("perception", self._predicted("detections", stamp_ns), stamp_ns)
        odometry, motion = self._predicted("odometry", stamp_ns), None
        if odometry is not None and previous_ns is not None and has_motion(odometry):
            motion = read_ego_motion(odometry, previous_ns, "perception/odometry")
        return replace(
            carried,
            cameras={name: self._with_images(name, camera, carried.tasks) for name, camera in cameras.items()},
            occupancy=occupancy and from_occupancy(occupancy),
            bev_map=bev_map and from_bev_map(bev_map),
            steering=steering and from_steering(steering),
            driving_context={} if context is None else from_driving_context(context),
            detections=None if boxes is None else self._detections(boxes),
            ego_motion=motion,
        )

    def frame(self, prediction: Prediction) -> RigFrame:
        """Return the frame that a prediction was made of, black.

        Raises:
            ValueError: a camera's calibration has not come, or makes no sense; names its topic.
        """
        for name, camera in prediction.cameras.items():
            self._cameras[name] = self._camera(name, camera)
        cameras = tuple(self._cameras[name] for name in self._info_topics if name in self._cameras)
        black = {
            name: np.broadcast_to(np.uint8(0), (self._cameras[name].height, self._cameras[name].width, 3))
            for name in prediction.cameras
        }
        return RigFrame(
            Rig(cameras, prediction.base_frame),
            prediction.stamp_ns,
            black,
            {name: camera.stamp_ns for name, camera in prediction.cameras.items()},
            {n: c.world_from_camera for n, c in prediction.cameras.items() if c.world_from_camera is not None},
            prediction.world_from_base,
            prediction.world_frame,
        )

    def truth(self, prediction: Prediction, around: Surroundings) -> GroundTruth:
        """Return what has come of a frame's truth.

        Raises:
            ValueError: a message makes no sense; names its topic.
        """
        stamp_ns = prediction.stamp_ns
        cameras = {name: self._camera_truth(name, camera.stamp_ns) for name, camera in prediction.cameras.items()}
        rig = {name: self._read(f"{TRUTH}/{name}", kind, stamp_ns) for name, kind in RIG_TRUTH.items()}
        context = rig["driving_context"]
        tasks = {} if context is None else from_driving_context(context, f"{TRUTH}/driving_context")
        return GroundTruth(
            {name: truth for name, truth in cameras.items() if truth is not None},
            dataset=around.dataset,
            ego_motion=_motion(rig["ego_motion"], stamp_ns, around),
            sweep=self._sweep(stamp_ns, around),
            occupancy=rig["occupancy"] and from_occupancy(rig["occupancy"], f"{TRUTH}/occupancy"),
            bev_map=rig["bev_map"] and from_bev_map(rig["bev_map"], f"{TRUTH}/bev_map"),
            steering=rig["steering"] and from_steering(rig["steering"]).angle,
            driving_context={task: max(classes, key=classes.__getitem__) for task, classes in tasks.items()},
        )

    def _with_images(self, name: str, camera: CameraPrediction, tasks: tuple[str, ...]) -> CameraPrediction:
        found: dict[str, Any] = {}
        announced = Announced(camera.camera.width, camera.camera.height, f"camera '{name}' of perception/frame")
        for field in PREDICTED_IMAGES:
            task, encoding = CAMERA_TOPICS[field]
            topic = f"perception/{name}/{field}"
            message = self._read(topic, Image, camera.stamp_ns) if task in tasks else None
            if message is not None:
                found[field] = values_to_array(message, encoding, topic, announced)
        return replace(camera, **found)

    def _with_flow(self, carried: Prediction) -> dict[str, CameraPrediction]:
        message = self._predicted("scene_flow", carried.stamp_ns)
        if message is None:
            return dict(carried.cameras)
        sizes = {name: (camera.camera.height, camera.camera.width) for name, camera in carried.cameras.items()}
        flows = from_scene_flow(message, sizes)
        return {name: replace(camera, scene_flow=flows[name]) for name, camera in carried.cameras.items()}

    def _camera(self, name: str, prediction: CameraPrediction) -> Camera:
        topic = self._info_topics[name]
        info = self._read(topic, CameraInfo, prediction.stamp_ns)
        if info is not None:
            mount, rectified = prediction.camera.base_from_camera, name in self._rectified
            return camera_from_info(name, info, mount, topic, rectified=rectified)
        if name not in self._cameras:
            raise ValueError(f"{topic}: no message of the image's stamp {prediction.stamp_ns} has come")
        return self._cameras[name]

    def _camera_truth(self, name: str, stamp_ns: int) -> CameraTruth | None:
        found: dict[str, Any] = {}
        for field, encoding in CAMERA_TRUTH.items():
            topic = f"{TRUTH}/{name}/{field}"
            message = self._read(topic, Image, stamp_ns)
            if message is not None:
                metres = field == "depth" and message.encoding != encoding
                found[field] = depth_to_array(message, topic) if metres else values_to_array(message, encoding, topic)
        return CameraTruth(**found) if found else None

    def _sweep(self, stamp_ns: int, around: Surroundings) -> Sweep | None:
        stamps = {own for name in SWEEP_TRUTH for own in self._store.stamps_ns(f"{TRUTH}/{name}")}
        near = [own for own in sorted(stamps) if abs(own - stamp_ns) <= around.window_ns]
        if not near:
            return None
        own_ns = min(near, key=lambda own: abs(own - stamp_ns))
        lidar, detections, _ = (self._read(f"{TRUTH}/{n}", kind, own_ns) for n, kind in SWEEP_TRUTH.items())
        points = None if lidar is None else read_point_cloud(lidar, f"{TRUTH}/lidar")
        boxes = self._boxes(TRUTH, detections, own_ns)
        return Sweep(
            own_ns,
            _pose(around.poses, own_ns),
            points=None if points is None else xyz_of(points, f"{TRUTH}/lidar"),
            boxes=None if boxes is None else tuple(boxes),
        )

    def _boxes(self, where: str, message: Any, stamp_ns: int) -> list[Box] | None:
        if message is None:
            return None
        topic = f"{where}/detection_velocities"
        boxes = read_detections(message, f"{where}/detections")
        velocities = self._read(topic, SWEEP_TRUTH["detection_velocities"], stamp_ns)
        return boxes if velocities is None else with_velocities(boxes, velocities, topic)

    def _detections(self, boxes: list[Box]) -> tuple[Detection, ...]:
        try:
            return detections_of(boxes, self._labels)
        except KeyError as error:
            raise ValueError(f"perception/detections: {error.args[0]}") from error

    def _predicted(self, name: str, stamp_ns: int) -> Any:
        topic = f"perception/{name}"
        return self._read(topic, self._types[topic], stamp_ns)

    def _read(self, topic: str, kind: Any, stamp_ns: int) -> Any:
        data = self._store.get(topic, stamp_ns)
        return None if data is None else deserialize_message(data, kind)


def _motion(told: Odometry | None, stamp_ns: int, around: Surroundings) -> EgoMotion | None:
    if around.previous_ns is None:
        return None
    if told is not None:
        return read_ego_motion(told, around.previous_ns, f"{TRUTH}/ego_motion")
    previous, now = (_pose(around.poses, stamp) for stamp in (around.previous_ns, stamp_ns))
    if previous is None or now is None:
        return None
    return EgoMotion(around.previous_ns, inverse(previous) @ now, np.zeros((6, 6)))


def _pose(poses: PoseHistory, stamp_ns: int) -> Transform | None:
    try:
        return poses.at(stamp_ns, wait=True)
    except NoPoseError:
        return None
