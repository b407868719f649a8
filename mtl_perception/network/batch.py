# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What goes through the network: the images of all cameras of all frames of a batch, flattened into one dimension."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

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


class Rows(Sequence[Tensor]):
    """Some rows of each of several tensors (N, ...), taken when one is asked for: few of them ever are."""

    def __init__(self, tensors: Sequence[Tensor], rows: Tensor) -> None:
        """Offer `rows` (M,) int64 of `tensors`."""
        self._tensors, self._rows = tensors, rows

    def __len__(self) -> int:
        """Return the number of tensors."""
        return len(self._tensors)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | Sequence[Tensor]:
        """Return a tensor (M, ...), or several of them."""
        if isinstance(index, slice):
            return Rows(self._tensors[index], self._rows)
        return self._tensors[index][self._rows]


class RowsByName(Mapping[str, Tensor]):
    """Some rows of each of several named tensors (N, ...), taken when one is asked for."""

    def __init__(self, tensors: Mapping[str, Tensor], rows: Tensor) -> None:
        """Offer `rows` (M,) int64 of `tensors`."""
        self._tensors, self._rows = tensors, rows

    def __len__(self) -> int:
        """Return the number of tensors."""
        return len(self._tensors)

    def __iter__(self) -> Iterator[str]:
        """Return their names."""
        return iter(self._tensors)

    def __getitem__(self, name: str) -> Tensor:
        """Return a tensor (M, ...)."""
        return self._tensors[name][self._rows]


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
        elapsed: (N,) seconds between its two images; None: not known. Only steering asks.
    """

    features: Mapping[str, Tensor]
    K: Tensor
    previous_from_current: Tensor | None
    valid: Tensor
    newest: Tensor | None = None
    elapsed: Tensor | None = None

    @property
    def of_one_frame(self) -> Tensor:
        """The rows (N,) bool whose previous images show the rig at one moment."""
        return self.valid if self.newest is None else self.valid & self.newest

    def select(self, rows: Tensor) -> PreviousFrame:
        """Return what is remembered of some of the cameras (M,) int64."""
        return PreviousFrame(
            RowsByName(self.features, rows),
            self.K[rows],
            None if self.previous_from_current is None else self.previous_from_current[rows],
            self.valid[rows],
            None if self.newest is None else self.newest[rows],
            None if self.elapsed is None else self.elapsed[rows],
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
