# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What goes through the network: the images of all cameras of all frames of a batch, flattened into one dimension."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class CameraBatch:
    """N images of B frames; frames may have different numbers of cameras. All images have one size (H, W).

    Attributes:
        images: (N, 3, H, W) RGB, 0..1, rectified.
        K: (N, 3, 3) intrinsics at that size, pixels.
        base_from_camera: (N, 4, 4), metres.
        ground_known: (N,) bool, whether the base frame's z = 0 plane is the ground.
        frame_index: (N,) int64, the frame of the batch each image belongs to.
        num_frames: B.
    """

    images: Tensor
    K: Tensor
    base_from_camera: Tensor
    ground_known: Tensor
    frame_index: Tensor
    num_frames: int

    def select(self, rows: Tensor) -> CameraBatch:
        """Return the batch of some of the images (M,) int64, its frames numbered anew."""
        frames, frame_index = torch.unique(self.frame_index[rows], return_inverse=True)
        return CameraBatch(
            self.images[rows],
            self.K[rows],
            self.base_from_camera[rows],
            self.ground_known[rows],
            frame_index,
            len(frames),
        )


@dataclass(frozen=True)
class PreviousFrame:
    """What the network remembers of the frame before, one row a camera of the current batch. Nothing is encoded twice.

    Attributes:
        features: what `NetworkOutput.memory` of that frame held, (N, ...) each.
        K: (N, 3, 3) intrinsics of the full input size.
        previous_from_current: (N, 4, 4), the motion of each camera between its two images, metres; None where no poses
            are known: the network then estimates it for the tasks that can do with that.
        valid: (N,) bool; False where a camera has no usable previous image (its row is then meaningless).
        newest: (N,) bool, whose previous image is of the rig's previous frame, not of an earlier one; None: all that
            are valid.
    """

    features: Mapping[str, Tensor]
    K: Tensor
    previous_from_current: Tensor | None
    valid: Tensor
    newest: Tensor | None = None

    @property
    def of_one_frame(self) -> Tensor:
        """The rows (N,) bool whose previous images show the rig at one moment."""
        return self.valid if self.newest is None else self.valid & self.newest

    def select(self, rows: Tensor) -> PreviousFrame:
        """Return what is remembered of some of the cameras (M,) int64."""
        return PreviousFrame(
            {name: each[rows] for name, each in self.features.items()},
            self.K[rows],
            None if self.previous_from_current is None else self.previous_from_current[rows],
            self.valid[rows],
            None if self.newest is None else self.newest[rows],
        )


@dataclass(frozen=True)
class History:
    """What the network remembers of several frames before, oldest first, for tasks of the whole rig.

    Attributes:
        features: what `NetworkOutput.frame_memory` of those frames held, (B, T, ...) each.
        age: (B, T), seconds before the current frame.
        valid: (B, T) bool; False where there is no frame (its entry is then meaningless).
    """

    features: Mapping[str, Tensor]
    age: Tensor
    valid: Tensor
