# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""nuScenes keyframes: six cameras, each at its own stamp and pose, LiDAR and boxes where the source has them.

base_link is nuScenes' ego frame: on the ground below the middle of the rear axle. `odom` starts at the first keyframe's
base pose. Two descriptions are read: mmdetection3d's info file (one keyframe and its LiDAR sweep), and vis4d's list of
keyframes, of which those are taken whose images are there.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtl_perception.core.camera import Camera, Rig
from mtl_perception.core.ground_truth import Box, GroundTruth, Sample, Sweep
from mtl_perception.core.transforms import Transform, inverse, transform_from
from mtl_perception.data.recordings.pickles import read_pickle
from mtl_perception.data.recordings.recording import (
    Recording,
    Shot,
    level_start,
    optical_frame,
    read_image,
    rig_frame,
    rigid,
)

# The reference camera first.
CAMERAS = ("CAM_FRONT", "CAM_FRONT_LEFT", "CAM_FRONT_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT")
IMAGE_SIZE = (1600, 900)
_LONGEST_GAP_NS = 800_000_000  # keyframes are half a second apart

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


class _Keyframes(Recording):
    """Keyframes in one of the two descriptions, which tell where a camera's image, stamp and pose are."""

    def __init__(self, name: str, cameras: Sequence[Camera], entries: Sequence[dict[str, Any]]) -> None:
        self.name, self.rig = f"nuscenes {name}", Rig(tuple(cameras))
        self._entries = sorted(entries, key=lambda entry: self._stamp_ns(entry, CAMERAS[0]))
        self._odom_from_world = level_start(self._world_from_base(self._entries[0], CAMERAS[0]))

    def __len__(self) -> int:
        """Return the number of keyframes."""
        return len(self._entries)

    def stamp_ns(self, index: int) -> int:
        """Return the stamp of the front camera."""
        return self._stamp_ns(self._entries[index], CAMERAS[0])

    def odom_from_base(self, index: int) -> Transform:
        """Return the vehicle's pose at that stamp."""
        return self._odom_from_world @ self._world_from_base(self._entries[index], CAMERAS[0])

    def follows(self, index: int) -> bool:
        """Return whether the keyframe before is the one that was taken half a second earlier."""
        return index > 0 and self.stamp_ns(index) - self.stamp_ns(index - 1) < _LONGEST_GAP_NS

    def _read(self, index: int) -> Sample:
        entry, shots = self._entries[index], {}
        for channel in CAMERAS:
            pose = self._odom_from_world @ self._world_from_base(entry, channel)
            picture = read_image(self._image_path(entry, channel))
            shots[camera_name(channel)] = Shot(self._stamp_ns(entry, channel), picture, pose)
        return Sample(
            rig_frame(self.rig, shots), GroundTruth(ego_motion=self.ego_motion(index), sweep=self._sweep(entry))
        )

    @abstractmethod
    def _image_path(self, entry: dict[str, Any], channel: str) -> Path: ...

    @abstractmethod
    def _stamp_ns(self, entry: dict[str, Any], channel: str) -> int: ...

    @abstractmethod
    def _world_from_base(self, entry: dict[str, Any], channel: str) -> Transform:
        """Return the vehicle's pose at the camera's own stamp."""

    @abstractmethod
    def _sweep(self, entry: dict[str, Any]) -> Sweep: ...


def _mmdetection(path: Path, content: dict[str, Any]) -> Recording | None:
    entries = [
        e for e in content["data_list"] if all((path.parent / i["img_path"]).is_file() for i in e["images"].values())
    ]
    if not entries or not all(channel in entries[0]["images"] for channel in CAMERAS):
        return None
    return _MMDetection(path, entries, content["metainfo"]["categories"])


class _MMDetection(_Keyframes):
    def __init__(self, path: Path, entries: Sequence[dict[str, Any]], categories: dict[str, int]) -> None:
        self._folder = path.parent
        self._names = {number: name for name, number in categories.items()}
        images = entries[0]["images"]
        cameras = [_camera(c, images[c]["cam2img"], rigid(images[c]["cam2ego"])) for c in CAMERAS]
        super().__init__(path.stem, cameras, entries)

    def _image_path(self, entry: dict[str, Any], channel: str) -> Path:
        return self._folder / entry["images"][channel]["img_path"]

    def _stamp_ns(self, entry: dict[str, Any], channel: str) -> int:
        return _nanoseconds(entry["images"][channel]["timestamp"])

    def _world_from_base(self, entry: dict[str, Any], channel: str) -> Transform:
        # The file gives it by way of the LiDAR: `lidar2cam` spans the time between.
        image = entry["images"][channel]
        world_from_lidar = rigid(entry["ego2global"]) @ rigid(entry["lidar_points"]["lidar2ego"])
        return world_from_lidar @ inverse(rigid(image["lidar2cam"])) @ inverse(rigid(image["cam2ego"]))

    def _sweep(self, entry: dict[str, Any]) -> Sweep:
        base_from_lidar = rigid(entry["lidar_points"]["lidar2ego"])
        lidar = np.fromfile(self._folder / entry["lidar_points"]["lidar_path"], dtype=np.float32).reshape(-1, 5)
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
                    self._names.get(instance["bbox_label_3d"], "unknown"),
                    velocity=velocity if np.isfinite(velocity).all() else None,
                )
            )
        pose = self._odom_from_world @ rigid(entry["ego2global"])
        return Sweep(_nanoseconds(entry["timestamp"]), pose, points, lidar[:, 3], tuple(boxes))


def _nanoseconds(seconds: float) -> int:
    """Return a stamp that the file holds in seconds; the source counts microseconds."""
    return round(seconds * 1e6) * 1000


def _vis4d(path: Path, content: list[dict[str, Any]]) -> Recording | None:
    samples = path.parent / "samples"
    keyframes = [k for k in content if all(c in k and _vis4d_image(samples, k, c).is_file() for c in CAMERAS)]
    if not keyframes:
        return None
    scene = keyframes[0]["scene_name"]
    return _Vis4D(samples, scene, [keyframe for keyframe in keyframes if keyframe["scene_name"] == scene])


def _vis4d_image(samples: Path, keyframe: dict[str, Any], channel: str) -> Path:
    return samples / channel / Path(keyframe[channel]["image_path"]).name


class _Vis4D(_Keyframes):
    def __init__(self, samples: Path, scene: str, keyframes: Sequence[dict[str, Any]]) -> None:
        self._samples = samples
        calibration = _Calibration(samples.parent)
        cameras = []
        for channel in CAMERAS:
            K = np.asarray(keyframes[0][channel]["intrinsics"], dtype=np.float64)
            cameras.append(_camera(channel, K, calibration.base_from_camera(channel, K)))
        self._base_from_lidar = calibration.base_from_lidar(keyframes[0], cameras[0])
        self._base_from_camera = dict(zip(CAMERAS, (camera.base_from_camera for camera in cameras), strict=True))
        super().__init__(scene, cameras, keyframes)

    def _image_path(self, entry: dict[str, Any], channel: str) -> Path:
        return _vis4d_image(self._samples, entry, channel)

    def _stamp_ns(self, entry: dict[str, Any], channel: str) -> int:
        return int(entry[channel]["timestamp"]) * 1000

    def _world_from_base(self, entry: dict[str, Any], channel: str) -> Transform:
        return rigid(entry[channel]["extrinsics"]) @ inverse(self._base_from_camera[channel])

    def _sweep(self, entry: dict[str, Any]) -> Sweep:
        # Boxes are given in the LiDAR's frame as x y z w l h and a quaternion w x y z. The sweep itself is not there.
        lidar = entry["LIDAR_TOP"]
        annotations = lidar["annotations"]
        boxes = []
        for index, box in enumerate(np.asarray(annotations["boxes3d"], dtype=np.float64)):
            lidar_from_box = transform_from(box[:3], [box[7], box[8], box[9], box[6]])
            lidar_velocity = np.asarray(annotations["boxes3d_velocities"][index], dtype=np.float64)
            velocity = self._base_from_lidar[:3, :3] @ lidar_velocity
            boxes.append(
                Box(
                    self._base_from_lidar @ lidar_from_box,
                    (box[4], box[3], box[5]),
                    _VIS4D_CLASSES[int(annotations["boxes3d_classes"][index])],
                    str(int(annotations["boxes3d_track_ids"][index])),
                    velocity=velocity if np.isfinite(velocity).all() else None,
                )
            )
        pose = self._odom_from_world @ rigid(lidar["extrinsics"]) @ inverse(self._base_from_lidar)
        return Sweep(int(lidar["timestamp"]) * 1000, pose, boxes=tuple(boxes))


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
