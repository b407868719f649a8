# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Labelled street photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.transforms import BODY_FROM_OPTICAL
from mtl_perception.data.recordings import open_recording
from mtl_perception.training.samples import UNKNOWN_MOTION, TrainingSample, class_borders
from mtl_perception.training.sources.base import Size
from mtl_perception.training.sources.windows import nearest, random_window, smooth, window_intrinsics

_SKY = 0  # of CamVid's classes


class CamVidSource:
    """Labelled street photographs (the layout of `street_labels`: train/*.jpg, train_labels/*.png)."""

    def __init__(self, folder: Path) -> None:
        """Read all images into memory.

        Raises:
            ValueError: there are none.
        """
        recording = open_recording("camvid", folder, split="train")
        (camera,) = recording.rig.names
        self.images, self.labels = [], []
        for index in range(len(recording)):
            sample = recording.sample(index)
            labels = sample.truth.cameras[camera].semantic
            assert labels is not None  # the reader says that it is there
            self.images.append(sample.frame.images[camera])
            self.labels.append(labels)

    def available(self, progress: float) -> int:
        """Return the number of images, whatever the progress."""
        return len(self.images)

    def sample(self, index: int, size: Size, rng: np.random.Generator) -> TrainingSample:
        """Return an image. Its camera is not known: a plausible one is drawn, so that geometry tells no class."""
        image, labels = self.images[index], self.labels[index]
        height, width = image.shape[:2]
        focal = width * rng.uniform(0.7, 1.4)
        K = np.array([[focal, 0, width / 2 - 0.5], [0, focal, height / 2 - 0.5], [0, 0, 1.0]])
        window = random_window(width, height, rng.uniform(0.55, 1.0), rng)
        semantic = nearest(labels[None], window, size)
        # The sky is where no depth will ever be measured: the one thing that CamVid says about depth.
        depth = np.where(semantic == _SKY, np.inf, np.nan).astype(np.float32)
        return TrainingSample(
            images=smooth(image, window, size)[None],
            K=window_intrinsics(K, window, size)[None],
            base_from_camera=_street_mount(rng)[None],
            ground_known=bool(rng.random() < 0.5),
            depth=depth,
            semantic=semantic,
            dataset="camvid",
            motion_mask=np.full(semantic.shape, UNKNOWN_MOTION, np.uint8),
            edges=class_borders(semantic),
        )


def _street_mount(rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw where a car's camera may sit: height, pitch, roll."""
    pitch, roll = rng.normal(0.0, 0.03, 2)
    c, s = np.cos(pitch), np.sin(pitch)
    pitched = np.array([[c, 0, s, 0], [0, 1, 0, 0], [-s, 0, c, 0], [0, 0, 0, 1.0]])
    c, s = np.cos(roll), np.sin(roll)
    rolled = np.array([[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1.0]])
    mount = pitched @ rolled @ BODY_FROM_OPTICAL
    mount[2, 3] = rng.uniform(1.1, 1.8)
    return mount
