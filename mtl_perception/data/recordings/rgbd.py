# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Hand-held RGB-D recordings.

Two layouts: 7-Scenes' and 3DMatch's (frame-*.color, .depth, .pose), and Open3D's (color/, depth/, trajectory.log).

The camera is the robot: base_link is the camera's body (x forward, y left, z up), the camera is called "camera".
The source's world has no known "up": the bag's `odom` is turned so that z is square to the level surfaces (floor,
tables) that the depth images show, and x is where the first image looks. Its origin stays the source's, so z = 0 is not
the floor. Depth and colour share one set of intrinsics and are taken as they are: in 7-Scenes they are not registered
to each other (a parallax of some pixels).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.camera import Camera, Rig, backproject
from mtl_perception.core.ground_truth import CameraTruth, GroundTruth, Sample
from mtl_perception.core.transforms import BODY_FROM_OPTICAL, Transform, inverse
from mtl_perception.data.recordings.recording import (
    EPOCH_NS,
    Recording,
    Shot,
    optical_frame,
    read_depth,
    read_image,
    rig_frame,
    rigid,
)

CAMERA = "camera"
RATE_HZ = 30.0  # nominal: these recordings have no time stamps, frame ids count at this rate
_FRAMES_FOR_LEVEL = 25
_LARGEST_STEP = 0.2  # metres between pixels 8 apart: more is an edge


@dataclass(frozen=True, eq=False)
class _Frame:
    id: int
    colour: Path
    depth: Path
    world_from_camera: Transform


def read(source: Path, first: int | None = None, last: int | None = None) -> Recording:
    """Read the frames with ids from `first` to `last` (both included) of a folder.

    Raises:
        ValueError: the folder has no such frames, or a file is not what it should be; names the file.
    """
    frames, K = _open3d(source) if (source / "depth").is_dir() or (source / "RGBD").is_dir() else _scenes(source)
    chosen = [f for f in frames if (first is None or f.id >= first) and (last is None or f.id <= last)]
    if not chosen:
        raise ValueError(
            f"{source}: no frame with an id from {first} to {last}, there are {frames[0].id} to {frames[-1].id}"
        )
    height, width = read_image(chosen[0].colour).shape[:2]
    camera = Camera(CAMERA, width, height, K, BODY_FROM_OPTICAL, frame_id=optical_frame(CAMERA))
    return _Rgbd(f"rgbd {source.name}", camera, frames, chosen)


class _Rgbd(Recording):
    def __init__(self, name: str, camera: Camera, frames: Sequence[_Frame], chosen: Sequence[_Frame]) -> None:
        self.name, self.rig, self._all, self._frames = name, Rig((camera,)), frames, chosen

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self._frames)

    def stamp_ns(self, index: int) -> int:
        """Return the made-up stamp."""
        return EPOCH_NS + round(self._frames[index].id / RATE_HZ * 1e9)

    def odom_from_base(self, index: int) -> Transform:
        """Return the pose of the camera's body."""
        world_from_base = self._frames[index].world_from_camera @ inverse(self.rig[CAMERA].base_from_camera)
        return self._odom_from_world @ world_from_base

    def _read(self, index: int) -> Sample:
        frame = self._frames[index]
        shot = Shot(self.stamp_ns(index), read_image(frame.colour), self.odom_from_base(index))
        truth = GroundTruth({CAMERA: CameraTruth(depth=read_depth(frame.depth))}, ego_motion=self.ego_motion(index))
        return Sample(rig_frame(self.rig, {CAMERA: shot}), truth)

    @cached_property
    def _odom_from_world(self) -> Transform:
        # "Up" is that of the whole recording, whichever of its frames were chosen.
        return _odom_from_world(self._all, self.rig[CAMERA])


def _scenes(source: Path) -> tuple[list[_Frame], NDArray[np.float64]]:
    frames = []
    for pose in sorted(source.glob("frame-*.pose.txt")):
        stem = pose.name.removesuffix(".pose.txt")
        colour = next((path for end in ("jpg", "png") if (path := source / f"{stem}.color.{end}").exists()), None)
        if colour is None:
            raise ValueError(f"{pose} has no {stem}.color.jpg or .png beside it")
        frames.append(_Frame(int(stem.split("-")[1]), colour, source / f"{stem}.depth.png", _read_pose(pose)))
    if not frames:
        raise ValueError(f"{source} has neither frame-*.pose.txt (7-Scenes) nor a folder depth/ (Open3D)")
    intrinsics = next(
        (p for folder in (source, source.parent) if (p := folder / "camera-intrinsics.txt").exists()), None
    )
    if intrinsics is None:
        raise ValueError(f"{source} has no camera-intrinsics.txt, nor has the folder above")
    return frames, np.loadtxt(intrinsics).reshape(3, 3)


def _read_pose(path: Path) -> Transform:
    try:
        return rigid(np.loadtxt(path).reshape(4, 4))
    except ValueError as error:
        raise ValueError(f"{path} is not a 4x4 pose: {error}") from error


def _open3d(source: Path) -> tuple[list[_Frame], NDArray[np.float64]]:
    folder = source / "RGBD" if (source / "RGBD").is_dir() else source
    poses = _read_trajectory(folder / "trajectory.log")
    depths, colours = (sorted(p for p in (folder / name).iterdir() if p.stem.isdigit()) for name in ("depth", "color"))
    if not len(depths) == len(colours) == len(poses):
        raise ValueError(f"{folder}: {len(colours)} colour and {len(depths)} depth images but {len(poses)} poses")
    frames = [_Frame(int(c.stem), c, d, p) for c, d, p in zip(colours, depths, poses, strict=True)]
    names = ("camera_primesense.json", "camera_intrinsic.json")
    path = next((p for f in (folder, folder.parent) for name in names if (p := f / name).exists()), None)
    if path is None:
        raise ValueError(f"{folder} has no {' or '.join(names)}, nor has the folder above")
    return frames, np.asarray(json.loads(path.read_text())["intrinsic_matrix"], dtype=np.float64).reshape(3, 3).T


def _read_trajectory(path: Path) -> list[Transform]:
    """Return the poses camera -> world of Open3D's .log: a line of three integers, then the matrix in four lines."""
    lines = path.read_text().splitlines()
    headers = [i for i, line in enumerate(lines) if re.fullmatch(r"\s*-?\d+\s+-?\d+\s+-?\d+\s*", line)]
    try:
        return [rigid(np.loadtxt(lines[i + 1 : i + 5])) for i in headers]
    except (ValueError, IndexError) as error:
        raise ValueError(f"{path} is not a trajectory of 4x4 poses: {error}") from error


def _odom_from_world(frames: Sequence[_Frame], camera: Camera) -> Transform:
    up = _level_normal(_up_of_poses(np.stack([frame.world_from_camera for frame in frames])), frames, camera)
    forward = frames[0].world_from_camera[:3, 2]
    forward = forward - up * (forward @ up)
    forward /= np.linalg.norm(forward)
    result = np.eye(4)
    result[:3, :3] = [forward, np.cross(up, forward), up]
    return result


def _up_of_poses(world_from_camera: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return "up" as far as the way the camera was held tells it (some degrees)."""
    up = -world_from_camera[:, :3, 1].mean(axis=0)
    up /= np.linalg.norm(up)
    # A camera that is held upright keeps its image rows (x) level, however far it looks down: where it turns
    # enough, the direction that is square to all of them is a better "up" than the mean image column.
    rows = world_from_camera[:, :3, 0]
    values, vectors = np.linalg.eigh(rows.T @ rows)
    if values[0] < 0.2 * values[1]:
        up = vectors[:, 0] * np.sign(vectors[:, 0] @ up)
    return np.asarray(up)


def _level_normal(up: NDArray[np.float64], frames: Sequence[_Frame], camera: Camera) -> NDArray[np.float64]:
    """Return the mean normal of the surfaces that are nearly level already; `up` where there are too few of them."""
    chosen = [frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, _FRAMES_FOR_LEVEL).astype(int))]
    normals = np.concatenate([_normals(frame, camera) for frame in chosen])
    normals *= np.sign(normals @ up)[:, None]
    for degrees in (15, 15, 10, 10, 5, 5):
        level = normals[normals @ up > np.cos(np.radians(degrees))]
        if len(level) <= 0.02 * len(normals):
            break
        up = level.mean(axis=0)
        up /= np.linalg.norm(up)
    return up


def _normals(frame: _Frame, camera: Camera) -> NDArray[np.float64]:
    """Return the unit normals (N, 3), in the world, of the smooth surfaces that one depth image shows."""
    points = backproject(camera, read_depth(frame.depth))[::4, ::4]
    down, right = points[2:, 1:-1] - points[:-2, 1:-1], points[1:-1, 2:] - points[1:-1, :-2]
    smooth = (np.linalg.norm(down, axis=-1) < _LARGEST_STEP) & (np.linalg.norm(right, axis=-1) < _LARGEST_STEP)
    normals = np.cross(down[smooth], right[smooth])
    normals = normals / np.linalg.norm(normals, axis=-1, keepdims=True)
    return np.asarray(normals @ frame.world_from_camera[:3, :3].T)
