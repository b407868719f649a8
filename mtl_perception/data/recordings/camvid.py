# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""CamVid: street photographs with the class of every pixel, in the layout of SegNet's copy of it.

A folder has train/ and train_labels/ (or trainannot/), and likewise for other splits. Labels are ids of the label
space's dataset `camvid`; its void becomes unknown. The camera's calibration is not part of it: the focal length is
assumed to be one image width (a field of view of 53 degrees). The camera is the robot (base_link is its body), and
there are no poses. Files are named after a clip and a frame number, which counts 30 a second: that gives the stamps.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.camera import Camera, Rig
from mtl_perception.core.ground_truth import CameraTruth, GroundTruth, Sample
from mtl_perception.core.labels import UNKNOWN
from mtl_perception.core.transforms import BODY_FROM_OPTICAL
from mtl_perception.data.recordings.picture_files import read_pixels
from mtl_perception.data.recordings.recording import (
    EPOCH_NS,
    Recording,
    Shot,
    optical_frame,
    read_image,
    rig_frame,
)

CAMERA = "camera"
RATE_HZ = 30.0
VOID = 11
_CLIP_NS = 3_600_000_000_000  # from one clip to the next; they were recorded on different days
_LONGEST_GAP = 30  # frames; the labelled ones of a clip are a second apart


def read(source: Path, split: str = "train") -> Recording:
    """Read the images of one split: "train", "val" or "test".

    Raises:
        ValueError: there are none, or one has no labels beside it; names the folder or the file.
    """
    paths = sorted(path for path in (source / split).glob("*") if path.suffix in (".jpg", ".png"))
    if not paths:
        raise ValueError(f"{source / split} has no images (.jpg or .png)")
    folder = next((f for end in ("_labels", "annot") if (f := source / f"{split}{end}").is_dir()), None)
    if folder is None:
        raise ValueError(f"{source} has no {split}_labels/ nor {split}annot/")
    return _CamVid(f"camvid {split}", paths, folder)


class _CamVid(Recording):
    def __init__(self, name: str, paths: list[Path], labels: Path) -> None:
        self.name, self._paths, self._labels = name, paths, labels
        numbers = [_clip_and_number(path) for path in paths]
        clips = sorted({clip for clip, _ in numbers})
        self._numbers = [(clips.index(clip), number) for clip, number in numbers]
        height, width = read_image(paths[0]).shape[:2]
        K = np.array([[width, 0.0, (width - 1) / 2], [0.0, width, (height - 1) / 2], [0.0, 0.0, 1.0]])
        self.rig = Rig((Camera(CAMERA, width, height, K, BODY_FROM_OPTICAL, frame_id=optical_frame(CAMERA)),))

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._paths)

    def stamp_ns(self, index: int) -> int:
        """Return the stamp, exact within a clip and made up between clips."""
        clip, number = self._numbers[index]
        return EPOCH_NS + clip * _CLIP_NS + round(number / RATE_HZ * 1e9)

    def odom_from_base(self, index: int) -> None:
        """Return None: no pose is known."""

    def follows(self, index: int) -> bool:
        """Return whether the image before is of the same clip and at most a second earlier."""
        if index == 0:
            return False
        (clip_before, before), (clip, now) = self._numbers[index - 1], self._numbers[index]
        return clip == clip_before and now - before <= _LONGEST_GAP

    def _read(self, index: int) -> Sample:
        path = self._paths[index]
        frame = rig_frame(self.rig, {CAMERA: Shot(self.stamp_ns(index), read_image(path))})
        semantic = _read_labels(self._labels / f"{path.stem}.png")
        return Sample(frame, GroundTruth({CAMERA: CameraTruth(semantic=semantic)}, dataset="camvid"))


def _clip_and_number(path: Path) -> tuple[str, int]:
    """Return e.g. "0016E5" and 7959 of 0016E5_07959.png, or "Seq05VD_f" and 30 of Seq05VD_f00030.png."""
    match = re.fullmatch(r"(.*?)_?(\d+)", path.stem)
    if match is None:
        raise ValueError(f"{path} is not named after a clip and a frame number")
    return match[1], int(match[2])


def _read_labels(path: Path) -> NDArray[np.uint8]:
    ids = read_pixels(path)
    if ids.dtype != np.uint8 or ids.ndim != 2:
        raise ValueError(f"{path} is not a readable 8-bit label image")
    return np.where(ids == VOID, np.uint8(UNKNOWN), ids).astype(np.uint8)
