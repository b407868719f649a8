# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""nuScenes keyframes: six cameras, each at its own stamp and pose, LiDAR and boxes where the source has them.

base_link is nuScenes' ego frame: on the ground below the middle of the rear axle. `odom` starts at the first keyframe's
base pose. Two descriptions are read: mmdetection3d's info file (one keyframe and its LiDAR sweep), and vis4d's list of
keyframes, of which those are taken whose images are there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mtl_perception.core.camera import Camera
from mtl_perception.core.transforms import Transform, inverse, transform_from
from mtl_perception.data.converters.pickles import read_pickle
from mtl_perception.data.converters.recording import (
    Instant,
    Recording,
    Shot,
    Sweep,
    level_start,
    optical_frame,
    read_image,
    rigid,
)
from mtl_perception.messages.detections import Box

# The reference camera first.
CAMERAS = ("CAM_FRONT", "CAM_FRONT_LEFT", "CAM_FRONT_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT")
IMAGE_SIZE = (1600, 900)

_VIS4D_CLASSES = (
    "bicycle",
    "motorcycle",
    "pedestrian",
    "bus",
    "car",
    "trailer",
    "truck",
    "construction_vehicle",
    "traffic_cone",
    "barrier",
)


def read(source: Path) -> Recording:
    """Read the keyframes below a folder (or those that a .pkl file describes).

    Raises:
        ValueError: no description with images is found, or a file is not what it should be; names the file.
    """
    for path in [source] if source.is_file() else sorted(source.rglob("*.pkl")):
        content = read_pickle(path)
        recording = None
        if isinstance(content, dict) and isinstance(content.get("data_list"), list):
            recording = _mmdetection(path, content)
        elif isinstance(content, list):
            recording = _vis4d(path, content)
        if recording is not None:
            return recording
    raise ValueError(f"{source}: no .pkl of mmdetection3d or vis4d whose images are beside it")


def camera_name(channel: str) -> str:
    """Return the suite's name of a nuScenes channel: CAM_FRONT_LEFT is front_left."""
    return channel.removeprefix("CAM_").lower()


def _camera(channel: str, K: Any, base_from_camera: Transform) -> Camera:
    name = camera_name(channel)
    K = np.asarray(K, dtype=np.float64)[:3, :3]
    return Camera(name, *IMAGE_SIZE, K, base_from_camera, frame_id=optical_frame(name))


def _mmdetection(path: Path, content: dict[str, Any]) -> Recording | None:
    entries = [
        e for e in content["data_list"] if all((path.parent / i["img_path"]).is_file() for i in e["images"].values())
    ]
    if not entries or not all(channel in entries[0]["images"] for channel in CAMERAS):
        return None
    names = {number: name for name, number in content["metainfo"]["categories"].items()}
    cameras = [
        _camera(channel, entries[0]["images"][channel]["cam2img"], rigid(entries[0]["images"][channel]["cam2ego"]))
        for channel in CAMERAS
    ]

    def instants() -> Iterator[Instant]:
        for entry in entries:
            yield _mmdetection_instant(path.parent, entry, names)

    start = level_start(_shot_pose(entries[0], CAMERAS[0]))
    return Recording(f"nuscenes {path.stem}", cameras, len(entries), instants(), start)


def _shot_pose(entry: dict[str, Any], channel: str) -> Transform:
    """Return world_from_base at the camera's own stamp: the file gives it by way of the LiDAR, `lidar2cam` spans the
    time between."""
    image = entry["images"][channel]
    world_from_lidar = rigid(entry["ego2global"]) @ rigid(entry["lidar_points"]["lidar2ego"])
    return world_from_lidar @ inverse(rigid(image["lidar2cam"])) @ inverse(rigid(image["cam2ego"]))


def _mmdetection_instant(folder: Path, entry: dict[str, Any], names: dict[int, str]) -> Instant:
    shots = []
    for channel in CAMERAS:
        image = entry["images"][channel]
        picture = read_image(folder / image["img_path"])
        shots.append(
            Shot(camera_name(channel), round(image["timestamp"] * 1e6) * 1000, picture, _shot_pose(entry, channel))
        )
    base_from_lidar = rigid(entry["lidar_points"]["lidar2ego"])
    lidar = np.fromfile(folder / entry["lidar_points"]["lidar_path"], dtype=np.float32).reshape(-1, 5)
    points = lidar[:, :3] @ base_from_lidar[:3, :3].T + base_from_lidar[:3, 3]
    boxes = []
    for instance in entry["instances"]:
        x, y, z, length, width, height, yaw = (float(value) for value in instance["bbox_3d"])
        lidar_from_box = transform_from([x, y, z], [0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2)])
        velocity = base_from_lidar[:3, :3] @ [*instance["velocity"], 0.0]
        boxes.append(
            Box(
                base_from_lidar @ lidar_from_box,
                (length, width, height),
                names.get(instance["bbox_label_3d"], "unknown"),
                velocity=velocity if np.isfinite(velocity).all() else None,
            )
        )
    sweep = Sweep(round(entry["timestamp"] * 1e6) * 1000, rigid(entry["ego2global"]), points, lidar[:, 3], boxes)
    return Instant(shots, sweep)


def _vis4d(path: Path, content: list[dict[str, Any]]) -> Recording | None:
    samples = path.parent / "samples"

    def image_path(keyframe: dict[str, Any], channel: str) -> Path:
        return samples / channel / Path(keyframe[channel]["image_path"]).name

    keyframes = [k for k in content if all(channel in k and image_path(k, channel).is_file() for channel in CAMERAS)]
    if not keyframes:
        return None
    scene = keyframes[0]["scene_name"]
    keyframes = [keyframe for keyframe in keyframes if keyframe["scene_name"] == scene]
    calibration = _Calibration(path.parent)
    cameras = []
    for channel in CAMERAS:
        K = np.asarray(keyframes[0][channel]["intrinsics"], dtype=np.float64)
        cameras.append(_camera(channel, K, calibration.base_from_camera(channel, K)))
    base_from_lidar = calibration.base_from_lidar(keyframes[0], cameras[0])

    def instants() -> Iterator[Instant]:
        for keyframe in keyframes:
            shots = []
            for channel, camera in zip(CAMERAS, cameras, strict=True):
                pose = rigid(keyframe[channel]["extrinsics"]) @ inverse(camera.base_from_camera)
                picture = read_image(image_path(keyframe, channel))
                shots.append(Shot(camera.name, int(keyframe[channel]["timestamp"]) * 1000, picture, pose))
            yield Instant(shots, _vis4d_boxes(keyframe["LIDAR_TOP"], base_from_lidar))

    start = level_start(rigid(keyframes[0][CAMERAS[0]]["extrinsics"]) @ inverse(cameras[0].base_from_camera))
    return Recording(f"nuscenes {scene}", cameras, len(keyframes), instants(), start)


def _vis4d_boxes(lidar: dict[str, Any], base_from_lidar: Transform) -> Sweep:
    """Read the boxes, given in the LiDAR's frame as x y z w l h and a quaternion w x y z. The sweep itself is not
    there."""
    annotations = lidar["annotations"]
    boxes = []
    for index, box in enumerate(np.asarray(annotations["boxes3d"], dtype=np.float64)):
        lidar_from_box = transform_from(box[:3], [box[7], box[8], box[9], box[6]])
        velocity = base_from_lidar[:3, :3] @ np.asarray(annotations["boxes3d_velocities"][index], dtype=np.float64)
        boxes.append(
            Box(
                base_from_lidar @ lidar_from_box,
                (box[4], box[3], box[5]),
                _VIS4D_CLASSES[int(annotations["boxes3d_classes"][index])],
                str(int(annotations["boxes3d_track_ids"][index])),
                velocity=velocity if np.isfinite(velocity).all() else None,
            )
        )
    return Sweep(int(lidar["timestamp"]) * 1000, rigid(lidar["extrinsics"]) @ inverse(base_from_lidar), boxes=boxes)


class _Calibration:
    """nuScenes' calibrated_sensor table: a row a sensor and vehicle, found again by the intrinsics."""

    def __init__(self, folder: Path) -> None:
        """Read the tables below a folder.

        Raises:
            ValueError: there are none.
        """
        self._path = next(iter(sorted(folder.rglob("calibrated_sensor.json"))), folder / "calibrated_sensor.json")
        if not self._path.is_file():
            raise ValueError(f"{self._path} is missing: it says where the cameras are on the vehicle")
        self._rows = json.loads(self._path.read_text())
        sensors = json.loads((self._path.parent / "sensor.json").read_text())
        self._tokens = {sensor["channel"]: sensor["token"] for sensor in sensors}

    def base_from_camera(self, channel: str, K: Any) -> Transform:
        """Return the camera's place on the vehicle that has these intrinsics.

        Raises:
            ValueError: no row has them.
        """
        for row in self._of(channel):
            if np.allclose(np.asarray(row["camera_intrinsic"]), K, atol=1e-2):
                return _row_transform(row)
        raise ValueError(f"{self._path} has no {channel} with the intrinsics {np.asarray(K).tolist()}")

    def base_from_lidar(self, keyframe: dict[str, Any], front: Camera) -> Transform:
        """Return the LiDAR's place on the vehicle: the row that agrees best with the keyframe's poses of LiDAR and
        front camera."""
        world_from_lidar = rigid(keyframe["LIDAR_TOP"]["extrinsics"])
        world_from_base = rigid(keyframe[CAMERAS[0]]["extrinsics"]) @ inverse(front.base_from_camera)

        def distance(row: dict[str, Any]) -> float:
            estimate = world_from_lidar @ inverse(_row_transform(row))
            # The vehicle drives on between both stamps, but it hardly turns, sinks or jumps sideways.
            offset = inverse(world_from_base) @ estimate
            return float(np.abs(offset[1:3, 3]).sum() + np.abs(offset[:3, :3] - np.eye(3)).sum())

        return _row_transform(min(self._of("LIDAR_TOP"), key=distance))

    def _of(self, channel: str) -> list[dict[str, Any]]:
        return [row for row in self._rows if row["sensor_token"] == self._tokens[channel]]


def _row_transform(row: dict[str, Any]) -> Transform:
    w, x, y, z = row["rotation"]
    return transform_from(row["translation"], [x, y, z, w])
