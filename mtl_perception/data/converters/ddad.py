# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""DDAD scenes in DGP's layout: cameras and LiDAR with a pose each, and boxes.

base_link is DGP's vehicle frame (on the ground, x forward). Stamps come from the file names, which count 100 ns: the
ISO stamps in the JSON read them as microseconds and are ten times too large.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mtl_perception.core.camera import Camera
from mtl_perception.core.transforms import Transform, inverse, transform_from
from mtl_perception.data.converters.recording import (
    Instant,
    Recording,
    Shot,
    Sweep,
    level_start,
    optical_frame,
    read_image,
    with_velocities,
)
from mtl_perception.messages.detections import Box

# DDAD's cameras by where they look; the reference camera first.
NAMES = {
    "CAMERA_01": "front",
    "CAMERA_05": "front_left",
    "CAMERA_06": "front_right",
    "CAMERA_07": "back_left",
    "CAMERA_08": "back_right",
    "CAMERA_09": "back",
}
LIDAR = "LIDAR"
_FILE_STAMP_NS = 100


def read(source: Path) -> Recording:
    """Read the one scene (scene_*.json) at or below a folder.

    Raises:
        ValueError: there is none, there are several, or it has no known camera; names the file.
    """
    scenes = [path for path in sorted(source.rglob("scene_*.json")) if not path.name.startswith("scene_dataset")]
    if len(scenes) != 1:
        raise ValueError(f"{source}: {len(scenes)} files scene_*.json, expected one: name the scene's own folder")
    scene = _Scene(scenes[0])
    start = level_start(scene.world_from_base(scene.samples[0], scene.cameras[0][0]))
    cameras = [camera for _, camera in scene.cameras]
    return Recording(f"ddad {scenes[0].parent.name}", cameras, len(scene.samples), scene.instants(), start)


class _Scene:
    """A scene's JSON with its calibration and class names."""

    def __init__(self, path: Path) -> None:
        self._folder = path.parent
        content = json.loads(path.read_text())
        data = {entry["key"]: entry for entry in content["data"]}
        self.samples: list[dict[str, Any]] = [
            {data[key]["id"]["name"]: next(iter(data[key]["datum"].values())) for key in sample["datum_keys"]}
            for sample in content["samples"]
        ]
        key = content["samples"][0]["calibration_key"]
        calibration = json.loads((self._folder / "calibration" / f"{key}.json").read_text())
        rows = zip(calibration["names"], calibration["intrinsics"], calibration["extrinsics"], strict=True)
        self._calibration = {name: (intrinsics, _transform(extrinsics)) for name, intrinsics, extrinsics in rows}
        channels = [channel for channel in NAMES if channel in self.samples[0]]
        if not channels:
            raise ValueError(f"{path}: none of the cameras {', '.join(NAMES)}")
        self.cameras = [(channel, self._camera(channel)) for channel in channels]
        ontologies = {self._folder / "ontology" / f"{name}.json" for name in content["ontologies"].values()}
        items = [item for path in sorted(ontologies) for item in json.loads(path.read_text())["items"]]
        self._classes = {int(item["id"]): str(item["name"]) for item in items}

    def instants(self) -> Iterator[Instant]:
        """Yield an instant a sample."""
        for index, sample in enumerate(self.samples):
            shots = []
            for channel, camera in self.cameras:
                picture = read_image(self._folder / sample[channel]["filename"])
                pose = self.world_from_base(sample, channel)
                shots.append(Shot(camera.name, _stamp_ns(sample[channel]), picture, pose))
            yield Instant(shots, self._sweep(index) if LIDAR in sample else None)

    def world_from_base(self, sample: dict[str, Any], channel: str) -> Transform:
        """Return the vehicle's pose at the stamp of one sensor."""
        return _transform(sample[channel]["pose"]) @ inverse(self._calibration[channel][1])

    def _camera(self, channel: str) -> Camera:
        intrinsics, base_from_camera = self._calibration[channel]
        K = np.array(
            [
                [intrinsics["fx"], intrinsics["skew"], intrinsics["cx"]],
                [0.0, intrinsics["fy"], intrinsics["cy"]],
                [0.0, 0.0, 1.0],
            ]
        )
        size = int(self.samples[0][channel]["width"]), int(self.samples[0][channel]["height"])
        return Camera(NAMES[channel], *size, K, base_from_camera, frame_id=optical_frame(NAMES[channel]))

    def _sweep(self, index: int) -> Sweep:
        datum = self.samples[index][LIDAR]
        with np.load(self._folder / datum["filename"], allow_pickle=False) as arrays:
            cloud = arrays["data"]
        base_from_lidar = self._calibration[LIDAR][1]
        points = cloud[:, :3] @ base_from_lidar[:3, :3].T + base_from_lidar[:3, 3]
        pose, boxes = self.world_from_base(self.samples[index], LIDAR), self._boxes(index)
        if index + 1 < len(self.samples):
            later = self.samples[index + 1]
            seconds = (_stamp_ns(later[LIDAR]) - _stamp_ns(datum)) * 1e-9
            now_from_later = inverse(pose) @ self.world_from_base(later, LIDAR)
            boxes = with_velocities(boxes, self._boxes(index + 1), now_from_later, seconds)
        return Sweep(_stamp_ns(datum), pose, points, cloud[:, 3], boxes)

    def _boxes(self, index: int) -> list[Box]:
        boxes = []
        for name in self.samples[index][LIDAR]["annotations"].values():
            path = self._folder / name
            if path.parts[-3] == "bounding_box_3d":
                boxes += [self._box(entry) for entry in json.loads(path.read_text())["annotations"]]
        return boxes

    def _box(self, entry: dict[str, Any]) -> Box:
        box = entry["box"]
        size = (float(box["length"]), float(box["width"]), float(box["height"]))
        label = self._classes.get(int(entry["class_id"]), "unknown")
        return Box(
            self._calibration[LIDAR][1] @ _transform(box["pose"]), size, label.lower(), str(entry["instance_id"])
        )


def _stamp_ns(datum: dict[str, Any]) -> int:
    return int(Path(datum["filename"]).stem) * _FILE_STAMP_NS


def _transform(pose: dict[str, Any]) -> Transform:
    t, q = pose["translation"], pose["rotation"]
    return transform_from([t["x"], t["y"], t["z"]], [q["qx"], q["qy"], q["qz"], q["qw"]])
