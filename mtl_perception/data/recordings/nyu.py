# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Single images with a depth image each and no poses, as of NYU Depth v2.

Two layouts: Metric3D's, a JSON file of "files", each with "rgb", "depth", "cam_in" (fx, fy, cx, cy in pixels) and
"depth_scale" (units per metre), where paths end in those of files beside the JSON; and that of the official split as
images, rgb_<n>.jpg (or .png) beside sync_depth_<n>.png in millimetres, in folders of any depth, whose intrinsics are
those that NYU publishes for its colour camera. `sync` images are registered: depth and colour share the intrinsics.
Images show different places, so none follows another: stamps are an hour apart. The camera is the robot (base_link is
its body); all images have the intrinsics of the first.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mtl_perception.core.camera import Camera, Rig
from mtl_perception.core.ground_truth import CameraTruth, GroundTruth, Sample
from mtl_perception.core.transforms import BODY_FROM_OPTICAL
from mtl_perception.data.recordings.recording import (
    EPOCH_NS,
    Recording,
    Shot,
    optical_frame,
    read_depth,
    read_image,
    rig_frame,
)

CAMERA = "camera"
INTRINSICS = (518.8579, 519.4696, 325.5824, 253.7362)
"""fx, fy, cx, cy of NYU Depth v2's colour camera at 640x480 (Silberman et al., toolbox_nyu_depth_v2)."""
MILLIMETRES = 1000.0
_STEP_NS = 3_600_000_000_000


@dataclass(frozen=True)
class _Pair:
    colour: Path
    depth: Path
    intrinsics: tuple[float, ...]
    units_per_metre: float


def read(source: Path) -> Recording:
    """Read the pairs that the one JSON file in a folder lists, or those below a folder.

    Raises:
        ValueError: there are none, or one is not there or of another camera; names the file.
    """
    for path in sorted(source.glob("*.json")):
        content = json.loads(path.read_text())
        if isinstance(content, dict) and content.get("files"):
            return _Pairs(source, [_listed(path, entry) for entry in content["files"]])
    pairs = []
    for depth in sorted(source.rglob("sync_depth_*.png")):
        stem = depth.stem.replace("sync_depth_", "rgb_")
        colour = next((path for end in ("jpg", "png") if (path := depth.with_name(f"{stem}.{end}")).is_file()), None)
        if colour is None:
            raise ValueError(f"{depth} has no {stem}.jpg or .png beside it")
        pairs.append(_Pair(colour, depth, INTRINSICS, MILLIMETRES))
    if not pairs:
        raise ValueError(f"{source} has neither a .json with a list of 'files' nor sync_depth_*.png in it or below it")
    return _Pairs(source, pairs)


def _listed(path: Path, entry: dict[str, Any]) -> _Pair:
    try:
        fx, fy, cx, cy = (float(value) for value in entry["cam_in"])
        colour, depth = _beside(path, entry["rgb"]), _beside(path, entry["depth"])
        return _Pair(colour, depth, (fx, fy, cx, cy), float(entry["depth_scale"]))
    except KeyError as error:
        raise ValueError(f"{path}: an entry of 'files' has no {error}") from error


def _beside(path: Path, listed: str) -> Path:
    """Return where a listed file is: the list's paths begin in a folder above the JSON's own."""
    parts = Path(listed).parts
    for start in range(len(parts)):
        candidate = path.parent.joinpath(*parts[start:])
        if candidate.is_file():
            return candidate
    raise ValueError(f"{path} lists {listed}, which is not beside it")


class _Pairs(Recording):
    def __init__(self, folder: Path, pairs: list[_Pair]) -> None:
        self.name, self._pairs = f"nyu {folder.name}", pairs
        first = pairs[0]
        different = [pair.colour for pair in pairs if pair.intrinsics != first.intrinsics]
        if different:
            raise ValueError(f"{different[0]} has other intrinsics (cam_in) than {first.colour}")
        height, width = read_image(first.colour).shape[:2]
        fx, fy, cx, cy = first.intrinsics
        K = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
        self.rig = Rig((Camera(CAMERA, width, height, K, BODY_FROM_OPTICAL, frame_id=optical_frame(CAMERA)),))

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._pairs)

    def stamp_ns(self, index: int) -> int:
        """Return the made-up stamp."""
        return EPOCH_NS + index * _STEP_NS

    def odom_from_base(self, index: int) -> None:
        """Return None: no pose is known."""

    def follows(self, index: int) -> bool:
        """Return False: images are unrelated."""
        return False

    def _read(self, index: int) -> Sample:
        pair = self._pairs[index]
        frame = rig_frame(self.rig, {CAMERA: Shot(self.stamp_ns(index), read_image(pair.colour))})
        depth = read_depth(pair.depth, pair.units_per_metre)
        return Sample(frame, GroundTruth({CAMERA: CameraTruth(depth=depth)}))
