# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What goes through the network: the images of all cameras of all frames of a batch, flattened into one dimension."""

from __future__ import annotations

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
    """What the motion decoder remembers of the frame before, one row a camera of the current batch.

    Attributes:
        embedding: (N, E, H/4, W/4).
        thumbnail: (N, 3, H/4, W/4), the image at stride 4.
        K: (N, 3, 3) intrinsics of the full input size.
        previous_from_current: (N, 4, 4), the motion of each camera between its two images, metres.
        valid: (N,) bool; False where a camera has no usable previous image (its row is then meaningless).
    """

    embedding: Tensor
    thumbnail: Tensor
    K: Tensor
    previous_from_current: Tensor
    valid: Tensor
