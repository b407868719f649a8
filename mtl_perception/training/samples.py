# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One training sample: images of one size with what the losses ask for; and samples joined to a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from mtl_perception.core import UNKNOWN, UNOBSERVED, CameraTruth, LabelSpace, Sample
from mtl_perception.core.transforms import inverse
from mtl_perception.network.batch import CameraBatch

UNKNOWN_MOTION = 128
"""In a sample's motion mask: not annotated."""

_MIRROR_BASE = np.diag([1.0, -1.0, 1.0, 1.0])
_MIRROR_CAMERA = np.diag([-1.0, 1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class TrainingSample:
    """One frame of N rectified cameras, all of one size (H, W).

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

    def mirrored(self) -> TrainingSample:
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


def training_sample(sample: Sample, ground_known: bool) -> TrainingSample:
    """Return what the losses ask for of a sample, at the size of its images.

    The motion mask is unknown where the sample has none, and a previous frame counts only with poses and with an image
    of every camera.

    Raises:
        ValueError: an image is missing, is not rectified, or is not of the size of the others; names the camera.
    """
    frame, truth, previous = sample.frame, sample.truth, sample.previous
    size = frame.rig.cameras[0].height, frame.rig.cameras[0].width
    for camera in frame.rig:
        if camera.name not in frame.images or not camera.is_rectified or (camera.height, camera.width) != size:
            raise ValueError(f"camera '{camera.name}': a rectified image of {size[1]}x{size[0]} is expected of each")
    names = frame.rig.names
    seen = [truth.cameras.get(name, CameraTruth()) for name in names]
    paired = (
        previous is not None
        and set(names) <= previous.world_from_camera.keys() & previous.images.keys()
        and set(names) <= frame.world_from_camera.keys()
    )
    return TrainingSample(
        images=np.stack([frame.images[name] for name in names]),
        K=np.stack([camera.K for camera in frame.rig]),
        base_from_camera=np.stack([camera.base_from_camera for camera in frame.rig]),
        ground_known=ground_known,
        depth=np.stack([_or_full(known.depth, size, np.nan, np.float32) for known in seen]),
        semantic=np.stack([_or_full(known.semantic, size, UNKNOWN, np.uint8) for known in seen]),
        dataset=truth.dataset,
        motion_mask=np.stack([_or_full(known.motion_mask, size, UNKNOWN_MOTION, np.uint8) for known in seen]),
        occupancy=None if truth.occupancy is None else truth.occupancy.labels,
        previous_images=np.stack([previous.images[name] for name in names]) if previous and paired else None,
        previous_from_current=np.stack(
            [inverse(previous.world_from_camera[name]) @ frame.world_from_camera[name] for name in names]
        )
        if previous and paired
        else None,
    )


def _or_full(image: NDArray | None, size: tuple[int, int], value: float, kind: type) -> NDArray:
    return np.full(size, value, kind) if image is None else image


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


def collate(samples: Sequence[TrainingSample], labels: LabelSpace, grid_shape: tuple[int, int, int]) -> TrainingBatch:
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


def _camera_batch(samples: Sequence[TrainingSample], images: Sequence[NDArray[np.uint8]]) -> CameraBatch:
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
