# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One training sample: the cameras of a frame, the frame before where there is one, and what is known of the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from mtl_perception.core import UNOBSERVED, LabelSpace
from mtl_perception.network.batch import CameraBatch

UNKNOWN_MOTION = 128
"""In a sample's motion mask: not annotated."""

_MIRROR_BASE = np.diag([1.0, -1.0, 1.0, 1.0])
_MIRROR_CAMERA = np.diag([-1.0, 1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Sample:
    """One frame of N cameras, all of one size (H, W).

    Attributes:
        images: uint8 (N, H, W, 3).
        K: float64 (N, 3, 3) at that size.
        base_from_camera: float64 (N, 4, 4).
        ground_known: whether the base's z = 0 plane is the ground.
        depth: float32 (N, H, W) metres; NaN unknown, +inf no surface.
        semantic: uint8 (N, H, W), ids of `dataset`; ids without a mapping are void.
        dataset: the name of a mapping of the label space, or "" for the label space's own ids.
        motion_mask: uint8 (N, H, W), 0, 255 or `UNKNOWN_MOTION`.
        occupancy: uint8 (X, Y, Z), or None where it is not known.
        previous_images, previous_from_current: of the frame before, or None.
    """

    images: NDArray[np.uint8]
    K: NDArray[np.float64]
    base_from_camera: NDArray[np.float64]
    ground_known: bool
    depth: NDArray[np.float32]
    semantic: NDArray[np.uint8]
    dataset: str
    motion_mask: NDArray[np.uint8]
    occupancy: NDArray[np.uint8] | None = None
    previous_images: NDArray[np.uint8] | None = None
    previous_from_current: NDArray[np.float64] | None = None

    def mirrored(self) -> Sample:
        """Return the sample as seen in a mirror in the base's x-z plane: left becomes right, poses stay rigid."""
        K = self.K.copy()
        K[:, 0, 2] = self.images.shape[2] - 1 - K[:, 0, 2]
        previous = self.previous_from_current
        return replace(
            self,
            images=self.images[:, :, ::-1],
            K=K,
            base_from_camera=_MIRROR_BASE @ self.base_from_camera @ _MIRROR_CAMERA,
            depth=self.depth[:, :, ::-1],
            semantic=self.semantic[:, :, ::-1],
            motion_mask=self.motion_mask[:, :, ::-1],
            occupancy=None if self.occupancy is None else self.occupancy[:, ::-1],
            previous_images=None if self.previous_images is None else self.previous_images[:, :, ::-1],
            previous_from_current=None if previous is None else _MIRROR_CAMERA @ previous @ _MIRROR_CAMERA,
        )


@dataclass(frozen=True)
class TrainingBatch:
    """Samples as tensors; images of all samples in one dimension (N), frames in another (B).

    Attributes:
        cameras: the images and their geometry.
        depth: (N, H, W).
        semantic: (N, H, W) int64, rows of `label_table`.
        label_table: (R, labels) bool, which classes a row may stand for; void rows are all False.
        motion_mask: (N, H, W) uint8.
        occupancy: (B, X, Y, Z) uint8; all `UNOBSERVED` where it is not known.
        previous: the images of the frame before, for `previous_rows` only.
        previous_from_current: (M, 4, 4), for `previous_rows`.
        previous_rows: (M,) rows of `cameras` that have a frame before.
    """

    cameras: CameraBatch
    depth: torch.Tensor
    semantic: torch.Tensor
    label_table: torch.Tensor
    motion_mask: torch.Tensor
    occupancy: torch.Tensor
    previous: CameraBatch | None
    previous_from_current: torch.Tensor
    previous_rows: torch.Tensor


def collate(samples: Sequence[Sample], labels: LabelSpace, grid_shape: tuple[int, int, int]) -> TrainingBatch:
    """Join samples of one size into a batch.

    Raises:
        KeyError: a sample's dataset has no mapping in the label space.
        ValueError: the samples are of different sizes.
    """
    cameras = _camera_batch(samples, [s.images for s in samples])
    datasets = sorted({sample.dataset for sample in samples})
    own = np.eye(256, len(labels), dtype=bool)
    tables = [labels.candidates(dataset) if dataset else own for dataset in datasets]
    semantic = [s.semantic.astype(np.int64) + 256 * datasets.index(s.dataset) for s in samples]
    unknown = np.full(grid_shape, UNOBSERVED, np.uint8)
    with_previous = [s for s in samples if s.previous_images is not None]
    previous_images = [s.previous_images for s in with_previous if s.previous_images is not None]
    rows: list[int] = []
    start = 0
    for sample in samples:
        if sample.previous_images is not None:
            rows.extend(range(start, start + len(sample.images)))
        start += len(sample.images)
    transforms = [s.previous_from_current for s in with_previous if s.previous_from_current is not None]
    return TrainingBatch(
        cameras=cameras,
        depth=torch.from_numpy(np.concatenate([s.depth for s in samples])),
        semantic=torch.from_numpy(np.concatenate(semantic)),
        label_table=torch.from_numpy(np.concatenate(tables)),
        motion_mask=torch.from_numpy(np.concatenate([s.motion_mask for s in samples])),
        occupancy=torch.from_numpy(np.stack([unknown if s.occupancy is None else s.occupancy for s in samples])),
        previous=_camera_batch(with_previous, previous_images) if with_previous else None,
        previous_from_current=torch.from_numpy(np.concatenate([np.zeros((0, 4, 4)), *transforms])).float(),
        previous_rows=torch.tensor(rows, dtype=torch.int64),
    )


def _camera_batch(samples: Sequence[Sample], images: Sequence[NDArray[np.uint8]]) -> CameraBatch:
    counts = [len(each) for each in images]
    stacked = torch.from_numpy(np.ascontiguousarray(np.concatenate(images))).permute(0, 3, 1, 2).float() / 255.0
    return CameraBatch(
        images=stacked,
        K=torch.from_numpy(np.concatenate([s.K for s in samples])).float(),
        base_from_camera=torch.from_numpy(np.concatenate([s.base_from_camera for s in samples])).float(),
        ground_known=torch.tensor([s.ground_known for s, n in zip(samples, counts, strict=True) for _ in range(n)]),
        frame_index=torch.repeat_interleave(torch.arange(len(samples)), torch.tensor(counts)),
        num_frames=len(samples),
    )
