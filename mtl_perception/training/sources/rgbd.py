# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Hand-held RGB-D recordings of static rooms."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from mtl_perception.core import Camera, VoxelGrid
from mtl_perception.core.transforms import BODY_FROM_OPTICAL, inverse
from mtl_perception.data.occupancy import occupancy_from_depth
from mtl_perception.data.recordings import open_recording
from mtl_perception.training.samples import TrainingSample
from mtl_perception.training.sources.base import Size
from mtl_perception.training.sources.windows import nearest, random_window, smooth, window_intrinsics


class RgbdSource:
    """A hand-held RGB-D recording of a static room (7-Scenes layout): depth, indoors, nothing moves."""

    def __init__(self, folder: Path, last_id: int, grid: VoxelGrid) -> None:
        """Read the frames with ids below `last_id` into memory at half size.

        Raises:
            ValueError: there are none.
        """
        self.grid = grid
        recording = open_recording("rgbd", folder, last=last_id - 1)
        (camera,) = recording.rig.cameras
        size = camera.width // 2, camera.height // 2
        self.K = camera.resized(*size).K
        self.images, self.depth, self.world_from_camera, self.stamps_ns = [], [], [], []
        for index in range(len(recording)):
            sample = recording.sample(index)
            image, depth = sample.frame.images[camera.name], sample.truth.cameras[camera.name].depth
            assert depth is not None  # the reader says that it is there
            self.images.append(cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8))
            self.depth.append(cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST).astype(np.float32))
            self.world_from_camera.append(sample.frame.world_from_camera[camera.name])
            self.stamps_ns.append(sample.frame.stamp_ns)

    def available(self, progress: float) -> int:
        """Return the number of frames, whatever the progress."""
        return len(self.images)

    def sample(self, index: int, size: Size, rng: np.random.Generator) -> TrainingSample:
        """Return a frame with the one before it (one to three frames back)."""
        before = max(0, index - int(rng.integers(1, 4)))
        image, depth = self.images[index], self.depth[index]
        height, width = depth.shape
        window = random_window(width, height, rng.uniform(0.65, 1.0), rng)
        depth_part = nearest(depth[None], window, size)
        K = window_intrinsics(self.K, window, size)
        view = Camera("rgbd", size[0], size[1], K, BODY_FROM_OPTICAL)
        labels = None
        if rng.random() < 0.25:  # the occupancy decoder costs as much as several images, so not every frame asks for it
            labels = occupancy_from_depth(self.grid, [(view, depth_part[0], None)]).labels
        has_previous = before != index and rng.random() < 0.4
        moved = inverse(self.world_from_camera[before]) @ self.world_from_camera[index]
        return TrainingSample(
            images=smooth(image, window, size)[None],
            K=K[None],
            base_from_camera=BODY_FROM_OPTICAL[None],
            ground_known=False,
            depth=depth_part,
            semantic=np.zeros((1, size[1], size[0]), np.uint8),  # not labelled, but it is indoors
            dataset="indoor",
            motion_mask=np.zeros((1, size[1], size[0]), np.uint8),
            occupancy=labels,
            previous_images=smooth(self.images[before], window, size)[None] if has_previous else None,
            previous_from_current=moved[None] if has_previous else None,
            scene_flow=np.zeros((*depth_part.shape, 3), np.float32),
            seconds=(self.stamps_ns[index] - self.stamps_ns[before]) * 1e-9 if has_previous else 0.0,
        )
