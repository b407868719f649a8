# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""SHIFT: simulated drives with exact depth and the class of every pixel, as zip archives a view.

A folder has front/, left_90/, ... each with img.zip, depth.zip, semseg.zip and det_3d.json (calibration, poses), and
center/ with lidar.zip and boxes. base_link is the vehicle's origin on the ground, 0.5 m behind and 1.6 m below the
front camera; the LiDAR is 1.6 m above it. The simulator (CARLA) is left-handed with y to the right and angles in
degrees; its depth is 24 bits of 1000 m, where the sky is at the end. Labels are ids of the label space's dataset
`shift`. Frames are numbered at 10 Hz, which gives the stamps; each video starts an hour after the one before.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.camera import Camera, Rig
from mtl_perception.core.ground_truth import Box, CameraTruth, GroundTruth, Sample, Sweep
from mtl_perception.core.transforms import BODY_FROM_OPTICAL, Transform, inverse
from mtl_perception.data.recordings.recording import (
    EPOCH_NS,
    Recording,
    Shot,
    level_start,
    optical_frame,
    rig_frame,
)

# The reference camera first.
NAMES = {
    "front": "front",
    "left_45": "front_left",
    "left_90": "left",
    "right_45": "front_right",
    "right_90": "right",
}
LIDAR = "center"
PERIOD_NS = 100_000_000
_FRONT_FROM_BASE = (0.5, 0.0, 1.6)
_LIDAR_HEIGHT = 1.6
_FARTHEST = 1000.0
_VIDEO_NS = 3_600_000_000_000
_LONGEST_GAP = 10  # frames; the set's "discrete" images are a second apart


def read(source: Path) -> Recording:
    """Read the frames of the one folder at or below `source` that has the views.

    Raises:
        ValueError: there is none, or several; names the folder.
    """
    folders = [path.parent.parent for path in sorted(source.rglob("front/img.zip"))]
    if len(folders) != 1:
        raise ValueError(f"{source}: {len(folders)} folders with front/img.zip, expected one")
    return _Shift(folders[0])


class _Shift(Recording):
    def __init__(self, folder: Path) -> None:
        self.name, self._folder = f"shift {folder.name}", folder
        self._views = {name: view for view, name in NAMES.items() if (folder / view / "img.zip").is_file()}
        self._frames = {view: _frames(folder / view / "det_3d.json") for view in self._views.values()}
        self._lidar = _frames(folder / LIDAR / "det_3d.json") if (folder / LIDAR / "lidar.zip").is_file() else {}
        self._keys = sorted(set.intersection(*(set(frames) for frames in self._frames.values())))
        if not self._keys:
            raise ValueError(f"{folder}: no frame is in all of {', '.join(self._views.values())}")
        self._videos = sorted({video for video, _ in self._keys})
        size = json.loads((folder / "front" / "det_3d.json").read_text())["config"]["imageSize"]
        self.rig = Rig(tuple(self._camera(name, size["width"], size["height"]) for name in self._views))
        # Every video is in a place of its own.
        firsts = {video: next(key for key in self._keys if key[0] == video) for video in self._videos}
        self._odom_from_world = {video: level_start(self._world_from_base(key)) for video, key in firsts.items()}

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self._keys)

    def stamp_ns(self, index: int) -> int:
        """Return the stamp, exact within a video."""
        video, number = self._keys[index]
        return EPOCH_NS + self._videos.index(video) * _VIDEO_NS + number * PERIOD_NS

    def odom_from_base(self, index: int) -> Transform:
        """Return the vehicle's pose."""
        return self._odom_from_world[self._keys[index][0]] @ self._world_from_base(self._keys[index])

    def follows(self, index: int) -> bool:
        """Return whether the frame before is of the same video and at most a second earlier."""
        if index == 0:
            return False
        (video_before, before), (video, now) = self._keys[index - 1], self._keys[index]
        return video == video_before and now - before <= _LONGEST_GAP

    def _read(self, index: int) -> Sample:
        key, stamp_ns, pose = self._keys[index], self.stamp_ns(index), self.odom_from_base(index)
        shots, truth = {}, {}
        for name, view in self._views.items():
            image = cv2.cvtColor(self._image(view, "img", "jpg", key), cv2.COLOR_BGR2RGB)
            shots[name] = Shot(stamp_ns, np.asarray(image, dtype=np.uint8), pose)
            semantic = np.ascontiguousarray(self._image(view, "semseg", "png", key)[..., 2])
            truth[name] = CameraTruth(depth=_depth(self._image(view, "depth", "png", key)), semantic=semantic)
        sweep = self._sweep(key, stamp_ns, pose) if key in self._lidar else None
        known = GroundTruth(truth, "shift", self.ego_motion(index), sweep)
        return Sample(rig_frame(self.rig, shots), known)

    def _camera(self, name: str, width: int, height: int) -> Camera:
        key, view = self._keys[0], self._views[name]
        intrinsics = self._frames[view][key]["intrinsics"]
        (fx, fy), (cx, cy) = intrinsics["focal"], intrinsics["center"]
        K = np.array([[fx, intrinsics["skew"], cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
        world_from_body = _world_from_body(self._frames[view][key]["extrinsics"])
        base_from_camera = inverse(self._world_from_base(key)) @ world_from_body @ BODY_FROM_OPTICAL
        return Camera(name, width, height, K, base_from_camera, frame_id=optical_frame(name))

    def _world_from_base(self, key: tuple[str, int]) -> Transform:
        front_from_base = np.eye(4)
        front_from_base[:3, 3] = np.negative(_FRONT_FROM_BASE)
        return _world_from_body(self._frames["front"][key]["extrinsics"]) @ front_from_base

    def _sweep(self, key: tuple[str, int], stamp_ns: int, pose: Transform) -> Sweep:
        frame = self._lidar[key]
        cloud = _read_cloud(self._member(LIDAR, "lidar", "ply", key), frame["name"])
        points = cloud[:, :3] * [1.0, -1.0, 1.0] + [0.0, 0.0, _LIDAR_HEIGHT]
        labels = [label for label in frame["labels"] if not label["attributes"].get("ego", False)]
        return Sweep(stamp_ns, pose, points, cloud[:, 3], tuple(_box(label) for label in labels))

    def _image(self, view: str, what: str, suffix: str, key: tuple[str, int]) -> NDArray:
        image = cv2.imdecode(np.frombuffer(self._member(view, what, suffix, key), np.uint8), cv2.IMREAD_UNCHANGED)
        if image is None or image.ndim != 3:
            raise ValueError(f"{self._folder / view / what}.zip: frame {key[1]} of {key[0]} is not a colour picture")
        return image

    def _member(self, view: str, what: str, suffix: str, key: tuple[str, int]) -> bytes:
        path, name = self._folder / view / f"{what}.zip", f"{key[0]}/{key[1]:08d}_{what}_{view}.{suffix}"
        with zipfile.ZipFile(path) as archive:
            try:
                return archive.read(name)
            except KeyError as error:
                raise ValueError(f"{path} has no {name}") from error
            except OSError as error:  # an index that points to nowhere: it names no file
                raise ValueError(f"{path}: {error}") from error


def _frames(path: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """Return what a view's description says, by video and frame number."""
    frames = json.loads(path.read_text())["frames"]
    return {(frame["videoName"], int(frame["frameIndex"])): frame for frame in frames}


def _world_from_body(extrinsics: dict[str, Any]) -> Transform:
    """Return the pose of a body (x forward, y left, z up) from CARLA's location and roll, pitch, yaw: mirrored in y."""
    x, y, z = extrinsics["location"]
    roll, pitch, yaw = np.deg2rad(extrinsics["rotation"])
    pose = np.eye(4)
    pose[:3, :3] = _rotation(2, -yaw) @ _rotation(1, -pitch) @ _rotation(0, roll)
    pose[:3, 3] = [x, -y, z]
    return pose


def _rotation(axis: int, angle: float) -> NDArray[np.float64]:
    i, j = ((1, 2), (2, 0), (0, 1))[axis]
    rotation = np.eye(3)
    rotation[i, i] = rotation[j, j] = np.cos(angle)
    rotation[i, j], rotation[j, i] = -np.sin(angle), np.sin(angle)
    return rotation


def _depth(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    blue, green, red = np.moveaxis(image[..., :3].astype(np.uint32), -1, 0)
    counts = red + 256 * green + 65536 * blue
    metres = (counts * (_FARTHEST / (2**24 - 1))).astype(np.float32)
    return np.where(metres > _FARTHEST - 0.1, np.float32(np.inf), metres)


def _read_cloud(data: bytes, name: str) -> NDArray[np.float32]:
    """Return x, y, z and intensity (N, 4) of a binary PLY."""
    header, separator, body = data.partition(b"end_header\n")
    fields = [line.split() for line in header.decode("ascii", "replace").splitlines() if line.startswith("property")]
    expected = [["property", "float", field] for field in ("x", "y", "z", "intensity")]
    if not separator or b"binary_little_endian" not in header or fields != expected or len(body) % 16:
        raise ValueError(f"{name} is not a binary PLY of x, y, z and intensity")
    return np.frombuffer(body, dtype="<f4").reshape(-1, 4)


def _box(label: dict[str, Any]) -> Box:
    """Read a box given in the LiDAR's frame, whose y is to the right; the vehicle is hardly ever tilted in it."""
    box = label["box3d"]
    x, y, z = box["location"]
    base_from_box = np.eye(4)
    base_from_box[:3, :3] = _rotation(2, -float(box["orientation"][2]))
    base_from_box[:3, 3] = [x, -y, z + _LIDAR_HEIGHT]
    length, width, height = (float(value) for value in box["dimension"])
    return Box(base_from_box, (length, width, height), str(label["category"]), str(label["id"]))
