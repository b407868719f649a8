# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Prediction and RigPrediction, Occupancy and SemanticOccupancy, both ways."""

from __future__ import annotations

import array
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from geometry_msgs.msg import Point, Vector3
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2

from mtl_perception.core.labels import LabelSpace
from mtl_perception.core.prediction import CameraPrediction, Detection, Prediction
from mtl_perception.core.voxels import Occupancy, VoxelGrid
from mtl_perception.messages.cameras import camera_from_info, to_camera_info
from mtl_perception.messages.images import (
    array_to_image,
    depth_to_array,
    image_to_array,
    mono_to_array,
    values_to_array,
)
from mtl_perception.messages.points import to_point_cloud
from mtl_perception.messages.poses import to_pose, transform_from_pose
from mtl_perception.messages.raw_images import Announced
from mtl_perception.messages.stamps import stamp_ns_from, to_header
from mtl_perception_msgs.msg import CameraPrediction as CameraPredictionMessage
from mtl_perception_msgs.msg import DetectedBox, RigPrediction, SemanticOccupancy

_ENCODINGS = {
    "colour": "rgb8",
    "depth": "32FC1",
    "depth_std": "32FC1",
    "semantic": "mono8",
    "motion_mask": "mono8",
    "panoptic": "32SC1",
}


def to_rig_prediction(prediction: Prediction, sequence: int = 0) -> RigPrediction:
    """Return a prediction as RigPrediction: all that mapping needs. Occupancy, label confidence and times are not part
    of it.

    Raises:
        ValueError: an image of the prediction is not of its camera's size; names camera and field.
    """
    message = RigPrediction()
    message.has_pose = prediction.world_from_base is not None
    message.header = to_header(prediction.stamp_ns, prediction.world_frame if message.has_pose else "")
    message.base_frame = prediction.base_frame
    if prediction.world_from_base is not None:
        message.world_from_base = to_pose(prediction.world_from_base)
    message.cameras = [_to_camera_prediction(name, camera) for name, camera in prediction.cameras.items()]
    message.missing_cameras = list(prediction.missing)
    message.tasks = list(prediction.tasks)
    message.detections = [_to_box(detection) for detection in prediction.detections or ()]
    message.sequence = sequence
    return message


def from_rig_prediction(message: Any, topic: str = "perception/frame") -> Prediction:
    """Return what a RigPrediction carries.

    Raises:
        ValueError: a pose, a camera or an image makes no sense; names `topic`, camera and field.
    """
    tasks = tuple(str(task) for task in message.tasks)
    return Prediction(
        stamp_ns=stamp_ns_from(message.header.stamp),
        cameras={str(camera.name): _from_camera_prediction(camera, topic) for camera in message.cameras},
        base_frame=str(message.base_frame),
        world_frame=str(message.header.frame_id),
        world_from_base=transform_from_pose(message.world_from_base, f"{topic}: world_from_base")
        if message.has_pose
        else None,
        missing=tuple(str(name) for name in message.missing_cameras),
        detections=tuple(_from_box(box) for box in message.detections) if "detections" in tasks else None,
        tasks=tasks,
    )


def to_occupancy(occupancy: Occupancy, stamp_ns: int, base_frame: str) -> SemanticOccupancy:
    """Return occupancy as SemanticOccupancy; probabilities are rounded to 1/255."""
    grid = occupancy.grid
    message = SemanticOccupancy(header=to_header(stamp_ns, base_frame), voxel_size=float(grid.voxel_size))
    x, y, z = (float(value) for value in grid.origin)
    message.origin = Point(x=x, y=y, z=z)
    message.size_x, message.size_y, message.size_z = grid.shape
    probability = np.rint(np.clip(occupancy.probability, 0.0, 1.0) * 255.0).astype(np.uint8)
    message.labels = array.array("B", occupancy.labels.tobytes(order="F"))  # x fastest
    message.probability = array.array("B", probability.tobytes(order="F"))
    return message


def from_occupancy(message: Any, topic: str = "perception/occupancy") -> Occupancy:
    """Return the occupancy that a SemanticOccupancy carries.

    Raises:
        ValueError: the arrays are not of the stated size, or the grid makes no sense; names `topic`, field and sizes.
    """
    shape = (int(message.size_x), int(message.size_y), int(message.size_z))
    voxel_size = float(np.format_float_positional(np.float32(message.voxel_size)))  # 0.2, not 0.20000000298
    try:
        grid = VoxelGrid((message.origin.x, message.origin.y, message.origin.z), voxel_size, shape)
    except ValueError as error:
        raise ValueError(f"{topic}: {error}") from error
    volumes = {}
    for field in ("labels", "probability"):
        values = np.frombuffer(getattr(message, field), dtype=np.uint8)
        if len(values) != math.prod(shape):
            raise ValueError(
                f"{topic}: {field} has {len(values)} values, {shape[0]} x {shape[1]} x {shape[2]} expected"
            )
        volumes[field] = np.ascontiguousarray(values.reshape(shape, order="F"))
    return Occupancy(grid, volumes["labels"], volumes["probability"].astype(np.float32) / np.float32(255.0))


def occupancy_points(occupancy: Occupancy, labels: LabelSpace, stamp_ns: int, base_frame: str) -> PointCloud2:
    """Return the centres of the occupied voxels, coloured by class, with fields `label` and `probability`, to look
    at."""
    occupied = occupancy.occupied
    ids = occupancy.labels[occupied]
    fields: dict[str, NDArray] = {"label": ids, "probability": occupancy.probability[occupied].astype(np.float32)}
    return to_point_cloud(
        occupancy.grid.centres()[occupied], stamp_ns, base_frame, rgb=labels.palette[ids], fields=fields
    )


def _to_camera_prediction(name: str, prediction: CameraPrediction) -> CameraPredictionMessage:
    message = CameraPredictionMessage(name=name, has_pose=prediction.world_from_camera is not None)
    camera = prediction.camera
    message.camera_info = to_camera_info(camera, prediction.stamp_ns)
    message.base_from_camera = to_pose(camera.base_from_camera)
    if prediction.world_from_camera is not None:
        message.world_from_camera = to_pose(prediction.world_from_camera)
    for field, encoding in _ENCODINGS.items():
        values: NDArray | None = getattr(prediction, field)
        if values is None:
            continue
        if values.shape[:2] != (camera.height, camera.width):
            raise ValueError(f"camera '{name}': {field} is {values.shape}, expected {camera.height}x{camera.width}")
        setattr(message, field, array_to_image(values, encoding, prediction.stamp_ns, camera.frame_id))
    return message


def _from_camera_prediction(message: Any, topic: str) -> CameraPrediction:
    name = str(message.name)
    where = f"{topic}: camera '{name}'"
    base_from_camera = transform_from_pose(message.base_from_camera, f"{where}: base_from_camera")
    camera = camera_from_info(name, message.camera_info, base_from_camera, f"{where}: camera_info")
    world_from_camera = None
    if message.has_pose:
        world_from_camera = transform_from_pose(message.world_from_camera, f"{where}: world_from_camera")
    if not len(message.colour.data):
        raise ValueError(f"{where}: colour is empty")
    announced = Announced(camera.width, camera.height, "camera_info")

    def read(reader: Callable[..., Any], field: str) -> Any:
        image = getattr(message, field)
        return reader(image, topic=f"{where}: {field}", announced=announced) if len(image.data) else None

    return CameraPrediction(
        camera=camera,
        stamp_ns=stamp_ns_from(message.camera_info.header.stamp),
        world_from_camera=world_from_camera,
        colour=np.ascontiguousarray(read(image_to_array, "colour")),
        depth=read(depth_to_array, "depth"),
        depth_std=read(depth_to_array, "depth_std"),
        semantic=read(mono_to_array, "semantic"),
        motion_mask=read(mono_to_array, "motion_mask"),
        panoptic=read(partial(values_to_array, encoding="32SC1"), "panoptic"),
    )


def _to_box(detection: Detection) -> DetectedBox:
    (x, y, z), (length, width, height), (vx, vy) = detection.centre, detection.size, detection.velocity
    return DetectedBox(
        label=detection.label,
        score=detection.score,
        centre=Point(x=x, y=y, z=z),
        size=Vector3(x=length, y=width, z=height),
        yaw=detection.yaw,
        velocity=Vector3(x=vx, y=vy),
    )


def _from_box(box: Any) -> Detection:
    centre, size, velocity = box.centre, box.size, box.velocity
    return Detection(
        label=int(box.label),
        score=box.score,
        centre=(centre.x, centre.y, centre.z),
        size=(size.x, size.y, size.z),
        yaw=box.yaw,
        velocity=(velocity.x, velocity.y),
    )
