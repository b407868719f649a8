# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Labelled frames of a bag as training samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mtl_perception.pipeline import MIN_CAMERA_HEIGHT
from mtl_perception.training.samples import UNKNOWN_MOTION, TrainingSample
from mtl_perception.training.sources import Size

DATASET = "teacher"
"""The name under which the label space knows what a row of the teachers' semantics stands for."""


class LabelledSource:
    """Frames that teachers have labelled, see `labelling`. They are used whole, at the size that they were labelled at.

    Where the bag has no poses, the motion since the frame before is NaN.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        """Take the files; they are read when a sample is asked for."""
        self.files = tuple(files)

    def available(self, progress: float) -> int:
        """Return the number of frames, whatever the progress."""
        return len(self.files)

    def sample(self, index: int, size: Size, rng: np.random.Generator) -> TrainingSample:
        """Return frame `index`.

        Raises:
            ValueError: it was labelled at another size.
        """
        with np.load(self.files[index]) as file:
            stored = {key: file[key] for key in file.files}
        height, width = stored["depth"].shape[1:]
        if (width, height) != size:
            raise ValueError(f"{self.files[index]} was labelled at {width}x{height}, not at {size[0]}x{size[1]}")
        previous, motion = stored.get("previous_images"), stored.get("previous_from_current")
        if previous is not None and motion is None:
            motion = np.full((len(previous), 4, 4), np.nan)
        heights = stored["base_from_camera"][:, 2, 3]
        return TrainingSample(
            images=stored["images"],
            K=stored["K"],
            base_from_camera=stored["base_from_camera"],
            ground_known=bool((heights > MIN_CAMERA_HEIGHT).all()),
            depth=stored["depth"].astype(np.float32),
            semantic=stored["semantic"],
            dataset=DATASET,
            motion_mask=np.full(stored["depth"].shape, UNKNOWN_MOTION, np.uint8),
            previous_images=previous,
            previous_from_current=motion,
            seconds=float(stored["seconds"]),
        )
