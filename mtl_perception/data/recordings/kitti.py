# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""KITTI: a sequence of the odometry set or of the tracking set.

base_link is on the ground, x forward: below the grey left camera for the odometry set (mounted 1.65 m up; x is the mean
direction of motion, as the files do not say how the camera is tilted), below the GPS/IMU (0.93 m up) for the tracking
set. `odom` starts at the first base pose. KITTI's sensors are triggered together: one stamp a frame, at 10 Hz from a
made-up start.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.camera import Camera, Rig
from mtl_perception.core.ground_truth import Box, GroundTruth, Sample, Sweep
from mtl_perception.core.transforms import BODY_FROM_OPTICAL, Transform, inverse
from mtl_perception.data.recordings.recording import (
    EPOCH_NS,
    Recording,
    Shot,
    level_start,
    optical_frame,
    read_image,
    rig_frame,
    rigid,
    with_velocities,
)

PERIOD_NS = 100_000_000
CAMERA_HEIGHT = 1.65  # of KITTI's sensor description, metres over the ground
IMU_HEIGHT = 0.93
_EARTH_RADIUS = 6378137.0


def read(source: Path, first: int | None = None, last: int | None = None) -> Recording:
    """Read the frames from `first` to `last` (both included).

    Args:
        source: a folder with poses.txt, calib.txt and image_l/ or image_0/ (odometry), or with calib/, image_02/,
            velodyne/, oxts/ and label_02/ of one sequence (tracking; also a folder above it).
        first: the first frame's number; None: 0.
        last: the last frame's number; None: the last one that is there.

    Raises:
        ValueError: the folder is none of these, or has no frame in that range; names the folder.
    """
    frames = range(first or 0, 10**9 if last is None else last + 1)
    for path in sorted(source.rglob("poses.txt")):
        return _Odometry(path.parent, frames)
    for path in sorted(source.rglob("image_02")):
        return _Tracking(path.parent, frames)
    raise ValueError(f"{source}: neither poses.txt (odometry set) nor image_02/ (tracking set) in it or below it")


class _Sequence(Recording):
    """Frames at KITTI's nominal rate; `paths` are the reference camera's images, named after their number."""

    def __init__(self, name: str, rig: Rig, paths: Sequence[Path], world_from_base: Sequence[Transform]) -> None:
        self.name, self.rig, self._paths, self._world_from_base = name, rig, paths, world_from_base
        self._odom_from_world = level_start(world_from_base[self._number(0)])

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self._paths)

    def stamp_ns(self, index: int) -> int:
        """Return the made-up stamp."""
        return EPOCH_NS + self._number(index) * PERIOD_NS

    def odom_from_base(self, index: int) -> Transform:
        """Return the vehicle's pose."""
        return self._odom_from_world @ self._world_from_base[self._number(index)]

    def follows(self, index: int) -> bool:
        """Return whether no frame is missing in between."""
        return index > 0 and self._number(index) == self._number(index - 1) + 1

    def _number(self, index: int) -> int:
        return int(self._paths[index].stem)


class _Odometry(_Sequence):
    def __init__(self, folder: Path, frames: range) -> None:
        images = next((f for name in ("image_l", "image_0", "image_2") if (f := folder / name).is_dir()), None)
        if images is None:
            raise ValueError(f"{folder} has no image_l/, image_0/ or image_2/")
        paths = _chosen(images, frames)
        poses = [rigid(pose) for pose in np.loadtxt(folder / "poses.txt").reshape(-1, 3, 4)]
        row = _read_projections(folder / "calib.txt")["P2" if images.name == "image_2" else "P0"]
        base_from_camera = _below_camera(poses)
        height, width = read_image(paths[0]).shape[:2]
        camera = Camera("front", width, height, row[:, :3], base_from_camera, frame_id=optical_frame("front"))
        # KITTI's world is the first camera. Seen from the first base instead, z is up.
        world_from_base = [base_from_camera @ pose @ inverse(base_from_camera) for pose in poses]
        super().__init__(f"kitti odometry {folder.name}", Rig((camera,)), paths, world_from_base)

    def _read(self, index: int) -> Sample:
        shot = Shot(self.stamp_ns(index), read_image(self._paths[index]), self.odom_from_base(index))
        return Sample(rig_frame(self.rig, {"front": shot}), GroundTruth(ego_motion=self.ego_motion(index)))


def _chosen(folder: Path, frames: range) -> list[Path]:
    paths = [path for path in sorted(folder.glob("*.png")) if int(path.stem) in frames]
    if not paths:
        raise ValueError(f"{folder}: no image in the range asked for")
    return paths


def _below_camera(world_from_camera: list[Transform]) -> Transform:
    """Return base_from_camera: the base moves along its own x, so the mean motion tells how far the camera looks up or
    down."""
    steps = [(inverse(a) @ b)[:3, 3] for a, b in pairwise(world_from_camera)]
    _, down, ahead = np.sum(steps, axis=0) if steps else (0.0, 0.0, 1.0)
    base_from_camera = np.eye(4)
    base_from_camera[:3, :3] = _rotation(1, np.arctan2(-down, ahead)) @ BODY_FROM_OPTICAL[:3, :3]
    base_from_camera[2, 3] = CAMERA_HEIGHT
    return base_from_camera


class _Tracking(_Sequence):
    def __init__(self, folder: Path, frames: range) -> None:
        sequence = sorted(path for path in (folder / "image_02").iterdir() if path.is_dir())[0].name
        paths = _chosen(folder / "image_02" / sequence, frames)
        height, width = read_image(paths[0]).shape[:2]
        calibration = _Calibration(folder / "calib" / f"{sequence}.txt", width, height)
        poses = _read_oxts(folder / "oxts" / f"{sequence}.txt")
        super().__init__(f"kitti tracking {sequence}", Rig(calibration.cameras), paths, poses)
        self._right, self._scans = folder / "image_03" / sequence, folder / "velodyne" / sequence
        self._base_from_velodyne = calibration.base_from_velodyne
        self._labels = _read_labels(folder / "label_02" / f"{sequence}.txt", calibration.base_from_rect)

    def _read(self, index: int) -> Sample:
        path, stamp_ns, pose = self._paths[index], self.stamp_ns(index), self.odom_from_base(index)
        pictures = {"left": read_image(path), "right": read_image(self._right / path.name)}
        frame = rig_frame(self.rig, {name: Shot(stamp_ns, picture, pose) for name, picture in pictures.items()})
        scan = np.fromfile(self._scans / f"{path.stem}.bin", dtype=np.float32).reshape(-1, 4)
        points = scan[:, :3] @ self._base_from_velodyne[:3, :3].T + self._base_from_velodyne[:3, 3]
        sweep = Sweep(stamp_ns, pose, points, scan[:, 3], self._boxes(self._number(index)))
        return Sample(frame, GroundTruth(ego_motion=self.ego_motion(index), sweep=sweep))

    def _boxes(self, number: int) -> tuple[Box, ...]:
        boxes = self._labels.get(number, [])
        if number + 1 == len(self._world_from_base):
            return tuple(boxes)
        now_from_next = inverse(self._world_from_base[number]) @ self._world_from_base[number + 1]
        return with_velocities(boxes, self._labels.get(number + 1, []), now_from_next, PERIOD_NS * 1e-9)


class _Calibration:
    """A tracking sequence's calibration. `rect` is the rectified frame of camera 0, which the labels are in."""

    def __init__(self, path: Path, width: int, height: int) -> None:
        matrices = _read_projections(path)
        velodyne_from_imu, rect_from_velodyne = rigid(matrices["Tr_imu_velo"]), np.eye(4)
        rect_from_velodyne[:3] = matrices["R_rect"] @ matrices["Tr_velo_cam"]
        self.base_from_velodyne = inverse(velodyne_from_imu)
        self.base_from_velodyne[2, 3] += IMU_HEIGHT
        self.base_from_rect = self.base_from_velodyne @ inverse(rigid(rect_from_velodyne))

        def camera(name: str, projection: NDArray[np.float64]) -> Camera:
            K = projection[:, :3]
            rect_from_camera = np.eye(4)
            rect_from_camera[:3, 3] = -np.linalg.solve(K, projection[:, 3])
            mount = self.base_from_rect @ rect_from_camera
            return Camera(name, width, height, K, mount, frame_id=optical_frame(name))

        self.cameras = (camera("left", matrices["P2"]), camera("right", matrices["P3"]))


def _read_projections(path: Path) -> dict[str, NDArray[np.float64]]:
    """Return the matrices of a calibration file by name; 12 numbers are 3x4, 9 are 3x3. A file without names has P0,
    P1, ..."""
    matrices = {}
    for index, line in enumerate(filter(None, path.read_text().splitlines())):
        words = line.split()
        name = f"P{index}" if _is_number(words[0]) else words.pop(0).rstrip(":")
        if len(words) not in (9, 12):
            raise ValueError(f"{path}: '{name}' has {len(words)} numbers, expected 9 or 12")
        matrices[name] = np.array(words, dtype=np.float64).reshape(3, -1)
    return matrices


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _read_oxts(path: Path) -> list[Transform]:
    """Return world_from_base a frame from latitude, longitude, altitude, roll, pitch and yaw (KITTI's Mercator
    projection)."""
    rows = np.loadtxt(path, usecols=range(6))
    scale = np.cos(np.radians(rows[0, 0]))
    poses = []
    for latitude, longitude, altitude, roll, pitch, yaw in rows:
        pose = np.eye(4)
        pose[:3, :3] = _rotation(2, yaw) @ _rotation(1, pitch) @ _rotation(0, roll)
        pose[0, 3] = scale * _EARTH_RADIUS * np.radians(longitude)
        pose[1, 3] = scale * _EARTH_RADIUS * np.log(np.tan(np.pi / 4 + np.radians(latitude) / 2))
        pose[2, 3] = altitude
        imu_from_base = np.eye(4)
        imu_from_base[2, 3] = -IMU_HEIGHT
        poses.append(pose @ imu_from_base)
    return poses


def _rotation(axis: int, angle: float) -> NDArray[np.float64]:
    i, j = ((1, 2), (2, 0), (0, 1))[axis]
    rotation = np.eye(3)
    rotation[i, i] = rotation[j, j] = np.cos(angle)
    rotation[i, j], rotation[j, i] = -np.sin(angle), np.sin(angle)
    return rotation


_Labels = dict[int, list[Box]]  # by frame


def _read_labels(path: Path, base_from_rect: Transform) -> _Labels:
    # KITTI's box at rotation 0: length along the camera's x, height along -y from the bottom's centre, width along z.
    axes = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    labels: _Labels = {}
    for line in path.read_text().splitlines():
        frame, track, kind, *numbers = line.split()
        if kind == "DontCare":
            continue
        height, width, length, x, y, z, turn = (float(value) for value in numbers[7:14])
        rect_from_box = np.eye(4)
        rect_from_box[:3, :3] = _rotation(1, turn) @ axes
        rect_from_box[:3, 3] = [x, y - height / 2, z]
        box = Box(base_from_rect @ rect_from_box, (length, width, height), kind.lower(), track)
        labels.setdefault(int(frame), []).append(box)
    return labels
