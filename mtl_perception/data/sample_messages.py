# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A sample as the messages of a robot, with what is known to be true on `/ground_truth/...`.

    /<camera>/image, /<camera>/camera_info        as the camera gave it
    /odom, /tf                                    the base's pose at the stamp of every image, and of the sweep
    /tf_static                                    base frame -> each optical frame
    /cabin/<camera>/image, /cabin/joints          what is known of the driver
    /ground_truth/<camera>/<field>                the fields of CameraTruth, see `CAMERA_TRUTH`
    /ground_truth/occupancy, bev_map, steering, driving_context, ego_motion
    /ground_truth/lidar, detections, detection_velocities
    /ground_truth/dataset                         whose label ids those of `semantic` are; absent: the suite's own

Only what a sample has is there. Names are absolute, as in a bag.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from mtl_perception.core.camera import Camera, Rig
from mtl_perception.core.frame import CabinFrame, RigFrame
from mtl_perception.core.ground_truth import CameraTruth, GroundTruth, Sample, Sweep
from mtl_perception.core.prediction import Steering
from mtl_perception.core.transforms import Transform, inverse
from mtl_perception.messages.bev import to_bev_map
from mtl_perception.messages.cameras import to_camera_info
from mtl_perception.messages.detections import to_box_velocities, to_detections
from mtl_perception.messages.driving import to_cabin_joints, to_driving_context, to_steering
from mtl_perception.messages.images import array_to_image
from mtl_perception.messages.points import to_point_cloud
from mtl_perception.messages.poses import StampedTransform, to_ego_motion, to_odometry, to_transform
from mtl_perception.messages.predictions import to_occupancy

GROUND_TRUTH = "/ground_truth"

CAMERA_TRUTH = {
    "depth": "32FC1",
    "semantic": "mono8",
    "instance": "32SC1",
    "panoptic": "32SC1",
    "normals": "32FC3",
    "edges": "mono8",
    "motion_mask": "mono8",
    "scene_flow": "32FC3",
}
"""Per field of CameraTruth, which is also its topic's last part, the encoding of its image."""


class TopicMessage(NamedTuple):
    """One message, the topic that it belongs on, and its stamp in nanoseconds."""

    topic: str
    message: Any
    stamp_ns: int


def sample_messages(sample: Sample) -> list[TopicMessage]:
    """Return all that a sample tells, in the order of stamps; at equal stamps the pose comes first.

    Raises:
        ValueError: an image of the truth is not of its camera's size, or not of the type that CameraTruth says.
    """
    frame, truth = sample.frame, sample.truth
    messages = list(_pose_messages(frame, truth.sweep))
    for name in frame.present:
        messages += _camera_messages(frame, frame.rig[name], truth.cameras.get(name))
    messages += _rig_messages(frame, truth)
    if truth.sweep is not None:
        messages += _sweep_messages(truth.sweep, frame.rig.base_frame)
    if sample.cabin is not None:
        messages += _cabin_messages(sample.cabin, frame.stamp_ns)
    return sorted(messages, key=lambda entry: entry.stamp_ns)  # stable


def static_messages(rig: Rig, stamp_ns: int, dataset: str = "") -> list[TopicMessage]:
    """Return what is told once, for all who come later, too: where the cameras sit, and whose labels the truth has."""
    transforms = [
        to_transform(StampedTransform(stamp_ns, rig.base_frame, optical_frame(camera), camera.base_from_camera))
        for camera in rig
    ]
    messages = [TopicMessage("/tf_static", TFMessage(transforms=transforms), stamp_ns)]
    if dataset:
        messages.append(TopicMessage(f"{GROUND_TRUTH}/dataset", String(data=dataset), stamp_ns))
    return messages


def optical_frame(camera: Camera) -> str:
    """Return the name of a camera's optical frame."""
    return camera.frame_id or f"{camera.name}_optical_frame"


def _pose_messages(frame: RigFrame, sweep: Sweep | None) -> Iterable[TopicMessage]:
    poses: dict[int, Transform] = {}
    if frame.world_from_base is not None:
        poses[frame.stamp_ns] = frame.world_from_base
    for name, world_from_camera in frame.world_from_camera.items():
        base_from_camera = frame.rig[name].base_from_camera
        poses.setdefault(frame.image_stamps_ns[name], world_from_camera @ inverse(base_from_camera))
    if sweep is not None and sweep.world_from_base is not None:
        poses.setdefault(sweep.stamp_ns, sweep.world_from_base)
    for stamp_ns, world_from_base in poses.items():
        pose = StampedTransform(stamp_ns, frame.world_frame, frame.rig.base_frame, world_from_base)
        yield TopicMessage("/odom", to_odometry(pose), stamp_ns)
        yield TopicMessage("/tf", TFMessage(transforms=[to_transform(pose)]), stamp_ns)


def _camera_messages(frame: RigFrame, camera: Camera, truth: CameraTruth | None) -> Iterable[TopicMessage]:
    stamp_ns, frame_id = frame.image_stamps_ns[camera.name], optical_frame(camera)
    info = to_camera_info(camera, stamp_ns)
    info.header.frame_id = frame_id
    yield TopicMessage(f"/{camera.name}/camera_info", info, stamp_ns)
    image = array_to_image(frame.images[camera.name], "rgb8", stamp_ns, frame_id)
    yield TopicMessage(f"/{camera.name}/image", image, stamp_ns)
    for field, encoding in CAMERA_TRUTH.items():
        values = getattr(truth, field, None)
        if values is None:
            continue
        if values.shape[:2] != (camera.height, camera.width):
            raise ValueError(
                f"camera '{camera.name}': {field} is {values.shape}, expected {camera.height}x{camera.width}"
            )
        topic = f"{GROUND_TRUTH}/{camera.name}/{field}"
        yield TopicMessage(topic, array_to_image(values, encoding, stamp_ns, frame_id), stamp_ns)


def _rig_messages(frame: RigFrame, truth: GroundTruth) -> Iterable[TopicMessage]:
    stamp_ns, base_frame = frame.stamp_ns, frame.rig.base_frame
    if truth.occupancy is not None:
        message = to_occupancy(truth.occupancy, stamp_ns, base_frame)
        yield TopicMessage(f"{GROUND_TRUTH}/occupancy", message, stamp_ns)
    if truth.bev_map is not None:
        yield TopicMessage(f"{GROUND_TRUTH}/bev_map", to_bev_map(truth.bev_map, stamp_ns, base_frame), stamp_ns)
    if truth.ego_motion is not None:
        known = frame.world_from_base is not None
        pose = StampedTransform(
            stamp_ns,
            frame.world_frame if known else "",
            base_frame,
            np.eye(4) if frame.world_from_base is None else frame.world_from_base,
        )
        yield TopicMessage(f"{GROUND_TRUTH}/ego_motion", to_ego_motion(truth.ego_motion, pose), stamp_ns)
    if truth.steering is not None:
        steering = Steering(truth.steering, 0.0)
        yield TopicMessage(f"{GROUND_TRUTH}/steering", to_steering(steering, stamp_ns, base_frame), stamp_ns)
    if truth.driving_context:
        context = {task: {name: 1.0} for task, name in truth.driving_context.items()}
        message = to_driving_context(context, stamp_ns, base_frame)
        yield TopicMessage(f"{GROUND_TRUTH}/driving_context", message, stamp_ns)


def _sweep_messages(sweep: Sweep, base_frame: str) -> Iterable[TopicMessage]:
    stamp_ns = sweep.stamp_ns
    if sweep.points is not None:
        fields = {} if sweep.intensity is None else {"intensity": np.asarray(sweep.intensity, dtype=np.float32)}
        cloud = to_point_cloud(sweep.points, stamp_ns, base_frame, fields=fields)
        yield TopicMessage(f"{GROUND_TRUTH}/lidar", cloud, stamp_ns)
    if sweep.boxes is not None:
        detections = to_detections(sweep.boxes, stamp_ns, base_frame)
        yield TopicMessage(f"{GROUND_TRUTH}/detections", detections, stamp_ns)
        velocities = to_box_velocities(sweep.boxes, stamp_ns, base_frame)
        yield TopicMessage(f"{GROUND_TRUTH}/detection_velocities", velocities, stamp_ns)


def _cabin_messages(cabin: CabinFrame, stamp_ns: int) -> Iterable[TopicMessage]:
    """Joints are given in the frame of the first cabin camera."""
    for name, image in cabin.images.items():
        message = array_to_image(image, "rgb8", stamp_ns, _cabin_frame(name))
        yield TopicMessage(f"/cabin/{name}/image", message, stamp_ns)
    if cabin.posture is not None or cabin.gestures is not None:
        frame_id = _cabin_frame(next(iter(cabin.images), "camera"))
        joints = to_cabin_joints(cabin.posture, cabin.gestures, stamp_ns, frame_id)
        yield TopicMessage("/cabin/joints", joints, stamp_ns)


def _cabin_frame(name: str) -> str:
    return f"cabin_{name}_optical_frame"
