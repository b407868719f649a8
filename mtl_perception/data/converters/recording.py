# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a converter hands over, and how it becomes a bag."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from tf2_msgs.msg import TFMessage
from tqdm import tqdm

from mtl_perception.core.camera import Camera
from mtl_perception.core.transforms import Transform, inverse, quaternion_from_rotation, transform_from
from mtl_perception.core.voxels import Occupancy
from mtl_perception.data.bags import BagWriter
from mtl_perception.messages.cameras import to_camera_info
from mtl_perception.messages.detections import Box, to_box_velocities, to_detections
from mtl_perception.messages.images import array_to_image
from mtl_perception.messages.points import to_point_cloud
from mtl_perception.messages.poses import StampedTransform, to_odometry, to_transform
from mtl_perception.messages.predictions import to_occupancy

BASE_FRAME = "base_link"
WORLD_FRAME = "odom"
EPOCH_NS = 1_000_000_000_000_000_000
"""Where recordings without time stamps start (2001-09-09): not 0, which means "no time" to ROS."""


@dataclass(frozen=True, eq=False)
class Shot:
    """One camera's image, uint8 (H, W, 3) RGB or (H, W) grey, and what is true about it.

    Attributes:
        camera: the camera's name.
        stamp_ns: the image's own stamp.
        image: the picture.
        world_from_base: the base's pose at that stamp.
        depth: float32 (H, W) metres, NaN where unknown.
        semantic: uint8 (H, W) ids of the suite's label space.
        motion_mask: uint8 (H, W), 0 or 255.
    """

    camera: str
    stamp_ns: int
    image: NDArray[np.uint8]
    world_from_base: Transform
    depth: NDArray[np.float32] | None = None
    semantic: NDArray[np.uint8] | None = None
    motion_mask: NDArray[np.uint8] | None = None


@dataclass(frozen=True, eq=False)
class Sweep:
    """What is known of the surroundings at one stamp, in the base frame of that stamp: LiDAR points (N, 3) in metres,
    and boxes."""

    stamp_ns: int
    world_from_base: Transform
    points: NDArray | None = None
    intensity: NDArray | None = None
    boxes: Sequence[Box] | None = None


@dataclass(frozen=True, eq=False)
class Instant:
    """All that belongs together: one image a camera, and what is known about that time."""

    shots: Sequence[Shot]
    sweep: Sweep | None = None
    occupancy: Occupancy | None = None


@dataclass(frozen=True, eq=False)
class Recording:
    """A recording to write.

    Attributes:
        name: what the progress bar shows.
        cameras: the rig; `frame_id` is filled in here.
        count: number of instants.
        instants: the instants in the order of time.
        odom_from_world: from the source's world frame to the bag's `odom`.
    """

    name: str
    cameras: Sequence[Camera]
    count: int
    instants: Iterator[Instant]
    odom_from_world: Transform = field(default_factory=lambda: np.eye(4))


def write_recording(recording: Recording, bag: Path, storage: str) -> None:
    """Write a recording to a bag; after an error or an interruption nothing is left behind.

    Raises:
        ValueError: the bag exists already, or an image is not of its camera's size.
    """
    cameras = {camera.name: camera for camera in recording.cameras}
    with BagWriter(bag, storage) as writer:
        first = True
        for instant in tqdm(recording.instants, total=recording.count, desc=recording.name, unit="frame", disable=None):
            entries = _entries(instant, cameras, recording.odom_from_world)
            if first:
                start_ns = min(entry.stamp_ns for entry in entries)
                writer.write("/tf_static", _static_transforms(recording.cameras, start_ns), start_ns)
                first = False
            for entry in sorted(
                entries, key=lambda entry: entry.stamp_ns
            ):  # stable: at equal stamps the pose comes first
                writer.write(entry.topic, entry.message, entry.stamp_ns)
        if first:
            raise ValueError(f"{recording.name}: there is nothing to convert")


def optical_frame(camera: str) -> str:
    """Return the name of a camera's optical frame."""
    return f"{camera}_optical_frame"


def level_start(world_from_base: Transform) -> Transform:
    """Return `odom_from_world` for an `odom` that is at the first base pose, facing its way, with z up as in the
    world."""
    yaw = np.arctan2(world_from_base[1, 0], world_from_base[0, 0])
    world_from_odom = transform_from(world_from_base[:3, 3], [0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2)])
    return inverse(world_from_odom)


def rigid(matrix: Any) -> Transform:
    """Return a 4x4 (or 3x4) pose from a file as float64 with an exact rotation; files hold single precision."""
    matrix = np.asarray(matrix, dtype=np.float64)
    return transform_from(matrix[:3, 3], quaternion_from_rotation(matrix[:3, :3]))


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read a picture as RGB (H, W, 3), or grey (H, W) where the file is.

    Raises:
        ValueError: the file is missing or no picture.
    """
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype != np.uint8:
        raise ValueError(f"{path} is not a readable 8-bit picture")
    if image.ndim == 2:
        return np.asarray(image, dtype=np.uint8)
    return np.asarray(
        cv2.cvtColor(image, cv2.COLOR_BGRA2RGB if image.shape[2] == 4 else cv2.COLOR_BGR2RGB), dtype=np.uint8
    )


def with_velocities(boxes: Sequence[Box], later: Sequence[Box], now_from_later: Transform, seconds: float) -> list[Box]:
    """Return boxes with the velocity over ground of those whose track goes on in `later`, `seconds` after."""
    following = {box.track: box for box in later}
    result = []
    for box in boxes:
        if box.track in following:
            centre = now_from_later @ following[box.track].frame_from_box[:, 3]
            box = replace(box, velocity=(centre[:3] - box.frame_from_box[:3, 3]) / seconds)
        result.append(box)
    return result


class _Entry(NamedTuple):
    stamp_ns: int
    topic: str
    message: Any


def _entries(instant: Instant, cameras: dict[str, Camera], odom_from_world: Transform) -> list[_Entry]:
    poses = {shot.stamp_ns: shot.world_from_base for shot in instant.shots}
    if instant.sweep is not None:
        poses.setdefault(instant.sweep.stamp_ns, instant.sweep.world_from_base)
    entries = []
    for stamp_ns, world_from_base in sorted(poses.items()):
        pose = StampedTransform(stamp_ns, WORLD_FRAME, BASE_FRAME, odom_from_world @ world_from_base)
        entries.append(_Entry(stamp_ns, "/odom", to_odometry(pose)))
        entries.append(_Entry(stamp_ns, "/tf", TFMessage(transforms=[to_transform(pose)])))
    for shot in instant.shots:
        entries += _shot_entries(shot, cameras[shot.camera])
    if instant.sweep is not None:
        entries += _sweep_entries(instant.sweep)
    if instant.occupancy is not None:
        stamp_ns = instant.shots[0].stamp_ns
        entries.append(
            _Entry(stamp_ns, "/ground_truth/occupancy", to_occupancy(instant.occupancy, stamp_ns, BASE_FRAME))
        )
    return entries


def _shot_entries(shot: Shot, camera: Camera) -> list[_Entry]:
    if shot.image.shape[:2] != (camera.height, camera.width):
        raise ValueError(
            f"camera '{camera.name}': image is {shot.image.shape}, expected {camera.height}x{camera.width}"
        )
    frame_id = optical_frame(camera.name)
    info = to_camera_info(camera, shot.stamp_ns)
    info.header.frame_id = frame_id
    entries = [_Entry(shot.stamp_ns, f"/{camera.name}/camera_info", info)]

    def add(topic: str, array: NDArray | None, encoding: str) -> None:
        if array is not None:
            entries.append(_Entry(shot.stamp_ns, topic, array_to_image(array, encoding, shot.stamp_ns, frame_id)))

    add(f"/{camera.name}/image", shot.image, "rgb8" if shot.image.ndim == 3 else "mono8")
    add(f"/ground_truth/{camera.name}/depth", shot.depth, "32FC1")
    add(f"/ground_truth/{camera.name}/semantic", shot.semantic, "mono8")
    add(f"/ground_truth/{camera.name}/motion_mask", shot.motion_mask, "mono8")
    return entries


def _sweep_entries(sweep: Sweep) -> list[_Entry]:
    entries = []
    if sweep.points is not None:
        fields = {} if sweep.intensity is None else {"intensity": np.asarray(sweep.intensity, dtype=np.float32)}
        cloud = to_point_cloud(sweep.points, sweep.stamp_ns, BASE_FRAME, fields=fields)
        entries.append(_Entry(sweep.stamp_ns, "/ground_truth/lidar", cloud))
    if sweep.boxes is not None:
        detections = to_detections(sweep.boxes, sweep.stamp_ns, BASE_FRAME)
        entries.append(_Entry(sweep.stamp_ns, "/ground_truth/detections", detections))
        velocities = to_box_velocities(sweep.boxes, sweep.stamp_ns, BASE_FRAME)
        entries.append(_Entry(sweep.stamp_ns, "/ground_truth/detection_velocities", velocities))
    return entries


def _static_transforms(cameras: Sequence[Camera], stamp_ns: int) -> TFMessage:
    transforms = [
        to_transform(StampedTransform(stamp_ns, BASE_FRAME, optical_frame(camera.name), camera.base_from_camera))
        for camera in cameras
    ]
    return TFMessage(transforms=transforms)
