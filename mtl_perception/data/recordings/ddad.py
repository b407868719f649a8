# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""DDAD scenes in DGP's layout: cameras and LiDAR with a pose each, and boxes.

base_link is DGP's vehicle frame (on the ground, x forward). Stamps come from the file names, which count 100 ns: the
ISO stamps in the JSON read them as microseconds and are ten times too large.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from mtl_perception.core.camera import Camera, Rig
from mtl_perception.core.ground_truth import Box, GroundTruth, Sample, Sweep
from mtl_perception.core.transforms import Transform, inverse, transform_from
from mtl_perception.data.recordings.recording import (
    Recording,
    Shot,
    level_start,
    optical_frame,
    read_image,
    rig_frame,
    with_velocities,
)

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
    return _Scene(scenes[0])


class _Scene(Recording):
    """A scene's JSON with its calibration and class names."""

    def __init__(self, path: Path) -> None:
        self.name = f"ddad {path.parent.name}"
        self._folder = path.parent
        content = json.loads(path.read_text())
        data = {entry["key"]: entry for entry in content["data"]}
        self._samples: list[dict[str, Any]] = [
            {data[key]["id"]["name"]: _datum(data[key]) for key in sample["datum_keys"]}
            for sample in content["samples"]
        ]
        key = content["samples"][0]["calibration_key"]
        calibration = json.loads((self._folder / "calibration" / f"{key}.json").read_text())
        rows = zip(calibration["names"], calibration["intrinsics"], calibration["extrinsics"], strict=True)
        self._calibration = {name: (intrinsics, _transform(extrinsics)) for name, intrinsics, extrinsics in rows}
        channels = [channel for channel in NAMES if channel in self._samples[0]]
        if not channels:
            raise ValueError(f"{path}: none of the cameras {', '.join(NAMES)}")
        self._channels = {NAMES[channel]: channel for channel in channels}
        self.rig = Rig(tuple(self._camera(channel) for channel in channels))
        ontologies = {self._folder / "ontology" / f"{name}.json" for name in content["ontologies"].values()}
        items = [item for path in sorted(ontologies) for item in json.loads(path.read_text())["items"]]
        self._classes = {int(item["id"]): str(item["name"]) for item in items}
        self._odom_from_world = np.eye(4)
        self._odom_from_world = level_start(self._odom_from_base(0, channels[0]))

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self._samples)

    def stamp_ns(self, index: int) -> int:
        """Return the stamp of the first camera."""
        return _stamp_ns(self._samples[index][self._channels[self.rig.names[0]]])

    def odom_from_base(self, index: int) -> Transform:
        """Return the vehicle's pose at that stamp."""
        return self._odom_from_base(index, self._channels[self.rig.names[0]])

    def _read(self, index: int) -> Sample:
        shots = {}
        for name, channel in self._channels.items():
            datum = self._samples[index][channel]
            picture = read_image(self._folder / datum["filename"])
            shots[name] = Shot(_stamp_ns(datum), picture, self._odom_from_base(index, channel))
        sweep = self._sweep(index) if LIDAR in self._samples[index] else None
        return Sample(rig_frame(self.rig, shots), GroundTruth(ego_motion=self.ego_motion(index), sweep=sweep))

    def _odom_from_base(self, index: int, channel: str) -> Transform:
        """Return the vehicle's pose at the stamp of one sensor."""
        world_from_sensor = _transform(self._samples[index][channel]["pose"])
        return self._odom_from_world @ world_from_sensor @ inverse(self._calibration[channel][1])

    def _camera(self, channel: str) -> Camera:
        intrinsics, base_from_camera = self._calibration[channel]
        K = np.array(
            [
                [intrinsics["fx"], intrinsics["skew"], intrinsics["cx"]],
                [0.0, intrinsics["fy"], intrinsics["cy"]],
                [0.0, 0.0, 1.0],
            ]
        )
        size = int(self._samples[0][channel]["width"]), int(self._samples[0][channel]["height"])
        return Camera(NAMES[channel], *size, K, base_from_camera, frame_id=optical_frame(NAMES[channel]))

    def _sweep(self, index: int) -> Sweep:
        datum = self._samples[index][LIDAR]
        with np.load(self._folder / datum["filename"], allow_pickle=False) as arrays:
            cloud = arrays["data"]
        base_from_lidar = self._calibration[LIDAR][1]
        points = cloud[:, :3] @ base_from_lidar[:3, :3].T + base_from_lidar[:3, 3]
        pose, boxes = self._odom_from_base(index, LIDAR), self._boxes(index)
        if index + 1 < len(self):
            later = self._samples[index + 1]
            seconds = (_stamp_ns(later[LIDAR]) - _stamp_ns(datum)) * 1e-9
            now_from_later = inverse(pose) @ self._odom_from_base(index + 1, LIDAR)
            boxes = with_velocities(boxes, self._boxes(index + 1), now_from_later, seconds)
        return Sweep(_stamp_ns(datum), pose, points, cloud[:, 3].astype(np.float32), boxes)

    def _boxes(self, index: int) -> tuple[Box, ...]:
        boxes: list[Box] = []
        for name in self._samples[index][LIDAR]["annotations"].values():
            path = self._folder / name
            if path.parts[-3] == "bounding_box_3d":
                boxes += [self._box(entry) for entry in json.loads(path.read_text())["annotations"]]
        return tuple(boxes)

    def _box(self, entry: dict[str, Any]) -> Box:
        box = entry["box"]
        size = (float(box["length"]), float(box["width"]), float(box["height"]))
        label = self._classes.get(int(entry["class_id"]), "unknown")
        return Box(
            self._calibration[LIDAR][1] @ _transform(box["pose"]), size, label.lower(), str(entry["instance_id"])
        )


def _stamp_ns(datum: dict[str, Any]) -> int:
    return int(Path(datum["filename"]).stem) * _FILE_STAMP_NS


def _datum(entry: dict[str, Any]) -> Any:
    """Return what is under an entry's "datum", whose key is the sensor's kind."""
    kinds = list(entry["datum"].values())
    if not kinds:
        raise ValueError(f"entry {entry['key']} has no datum")
    return kinds[0]


def _transform(pose: dict[str, Any]) -> Transform:
    t, q = pose["translation"], pose["rotation"]
    return transform_from([t["x"], t["y"], t["z"]], [q["qx"], q["qy"], q["qz"], q["qw"]])
