# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One training sample: images of one size with what the losses ask for; and samples joined to a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtl_perception.core import UNKNOWN, UNOBSERVED, BevMap, CameraTruth, LabelSpace, Sample
from mtl_perception.core.transforms import inverse
from mtl_perception.data.true_boxes import boxes_at
from mtl_perception.data.world.rendering.camera_truth import edges_of
from mtl_perception.network.batch import CameraBatch, PreviousFrame

UNKNOWN_MOTION = 128
"""In a sample's motion mask and edges: not annotated."""

_MIRROR_BASE = np.diag([1.0, -1.0, 1.0, 1.0])
_MIRROR_CAMERA = np.diag([-1.0, 1.0, 1.0, 1.0])
_FLIP_X = np.array([-1, 1, 1], np.float32)
_FLIP_Y = np.array([1, -1, 1], np.float32)


@dataclass(frozen=True, eq=False)
class BoxTruth:
    """The annotated boxes of one frame in its base frame at its stamp, one a row.

    Attributes:
        centre: float32 (K, 3) metres.
        size: float32 (K, 3) length, width, height, metres.
        yaw: float32 (K,) radians.
        velocity: float32 (K, 2) over ground in the base's axes, m/s; NaN where unknown.
        label: int64 (K,) label ids.
        seen: bool (K,), whether the images show enough of it to find it: `mtl_perception.data.true_boxes.boxes_at`.
    """

    centre: NDArray[np.float32]
    size: NDArray[np.float32]
    yaw: NDArray[np.float32]
    velocity: NDArray[np.float32]
    label: NDArray[np.int64]
    seen: NDArray[np.bool_]

    def __len__(self) -> int:
        """Return the number of boxes."""
        return len(self.label)

    def mirrored(self) -> BoxTruth:
        """Return the boxes as seen in a mirror in the base's x-z plane."""
        return replace(self, centre=self.centre * _FLIP_Y, yaw=-self.yaw, velocity=self.velocity * _FLIP_Y[:2])


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
        seconds: how much earlier that frame is; 0 without one.
        normals: float32 (N, H, W, 3) in each camera's optical frame; NaN unknown. None: all unknown.
        edges: uint8 (N, H, W), 255 on borders between classes of `semantic`, 0 elsewhere, `UNKNOWN_MOTION` where the
            class is unknown. None: all unknown.
        instance: int32 (N, H, W), the number of the thing, the same in all images; 0 no thing, -1 unknown. None: all
            unknown.
        scene_flow: float32 (N, H, W, 3), velocity over ground in the base's axes, m/s; NaN unknown. None: all unknown.
        bev_map: float32 (L, X, Y), 0 or 1 per layer of the network, in its order; NaN unknown. None: all unknown.
        boxes: around things; None where they are not annotated.
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
    seconds: float = 0.0
    normals: NDArray[np.float32] | None = None
    edges: NDArray[np.uint8] | None = None
    instance: NDArray[np.int32] | None = None
    scene_flow: NDArray[np.float32] | None = None
    bev_map: NDArray[np.float32] | None = None
    boxes: BoxTruth | None = None

    def of_camera(self, index: int) -> TrainingSample:
        """Return the sample of a robot that has but one of the cameras.

        What that camera shows of the voxels and boxes is not known apart from what the others show, so there are none.
        """
        one = slice(index, index + 1)
        images = ("images", "K", "base_from_camera", "depth", "semantic", "motion_mask", "previous_images")
        known = (*images, "previous_from_current", "normals", "edges", "instance", "scene_flow")
        kept = {name: value[one] for name in known if (value := getattr(self, name)) is not None}
        return replace(self, occupancy=None, boxes=None, **kept)

    def mirrored(self) -> TrainingSample:
        """Return the sample as seen in a mirror in the base's x-z plane: left becomes right, poses stay rigid.

        Occupancy and BEV map must lie alike on both sides of that plane.
        """
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
            normals=None if self.normals is None else self.normals[:, :, ::-1] * _FLIP_X,
            edges=None if self.edges is None else self.edges[:, :, ::-1],
            instance=None if self.instance is None else self.instance[:, :, ::-1],
            scene_flow=None if self.scene_flow is None else self.scene_flow[:, :, ::-1] * _FLIP_Y,
            bev_map=None if self.bev_map is None else self.bev_map[:, :, ::-1],
            boxes=None if self.boxes is None else self.boxes.mirrored(),
        )


def training_sample(
    sample: Sample, ground_known: bool, labels: LabelSpace, layers: Sequence[str] = ()
) -> TrainingSample:
    """Return what the losses ask for of a sample, at the size of its images.

    What the sample does not know of one of several images is unknown there. A previous frame counts only with poses and
    with an image of every camera.

    Args:
        sample: whose images are rectified and of one size.
        ground_known: whether the base's z = 0 plane is the ground.
        labels: the label space.
        layers: of the BEV map.

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
    semantic = np.stack([_or_full(known.semantic, size, UNKNOWN, np.uint8) for known in seen])
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
        semantic=semantic,
        dataset=truth.dataset,
        motion_mask=np.stack([_or_full(known.motion_mask, size, UNKNOWN_MOTION, np.uint8) for known in seen]),
        occupancy=None if truth.occupancy is None else truth.occupancy.labels,
        previous_images=np.stack([previous.images[name] for name in names]) if previous and paired else None,
        previous_from_current=np.stack(
            [inverse(previous.world_from_camera[name]) @ frame.world_from_camera[name] for name in names]
        )
        if previous and paired
        else None,
        seconds=(frame.stamp_ns - previous.stamp_ns) * 1e-9 if previous and paired else 0.0,
        normals=_stacked([known.normals for known in seen], (*size, 3), np.nan, np.float32),
        edges=None if all(known.semantic is None for known in seen) else class_borders(semantic),
        instance=_stacked([known.instance for known in seen], size, -1, np.int32),
        scene_flow=_stacked([known.scene_flow for known in seen], (*size, 3), np.nan, np.float32),
        bev_map=None if truth.bev_map is None else chosen_layers(truth.bev_map, layers),
        boxes=box_truth(sample, labels),
    )


def class_borders(semantic: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the edges (N, H, W) of a sample with these classes, see `TrainingSample.edges`."""
    edges = np.stack([edges_of(image) for image in semantic])
    edges[semantic == UNKNOWN] = UNKNOWN_MOTION
    return edges


def chosen_layers(bev_map: BevMap, layers: Sequence[str]) -> NDArray[np.float32]:
    """Return some layers of a map, float32 (L, X, Y); NaN where the map does not have the layer."""
    shape = next((layer.shape for layer in bev_map.layers.values()), (0, 0))
    chosen = np.full((len(layers), *shape), np.nan, np.float32)
    for row, name in enumerate(layers):
        if name in bev_map.layers:
            chosen[row] = bev_map.layers[name]
    return chosen


def box_truth(sample: Sample, labels: LabelSpace) -> BoxTruth | None:
    """Return the boxes of a sample that lead to classes of the label space; None where they are not annotated."""
    frame, sweep = sample.frame, sample.truth.sweep
    if sweep is None or sweep.boxes is None:
        return None
    boxes, seen = boxes_at(
        sweep, labels, frame.stamp_ns, frame.world_from_base, frame.rig, frame.images, sample.truth.cameras
    )
    return BoxTruth(
        centre=boxes.centre.astype(np.float32),
        size=boxes.size.astype(np.float32),
        yaw=boxes.yaw.astype(np.float32),
        velocity=boxes.velocity.astype(np.float32),
        label=boxes.label,
        seen=seen,
    )


def _or_full(image: NDArray | None, size: tuple[int, ...], value: float, kind: type) -> NDArray:
    return np.full(size, value, kind) if image is None else image


def _stacked(images: Sequence[NDArray | None], size: tuple[int, ...], value: float, kind: type) -> NDArray | None:
    if all(image is None for image in images):
        return None
    return np.stack([_or_full(image, size, value, kind) for image in images])


@dataclass(frozen=True)
class TrainingBatch:
    """Samples as tensors; images of all samples in one dimension (N), frames in another (B).

    Attributes:
        cameras: the images and their geometry.
        depth: (N, H, W) metres; NaN unknown, +inf no surface.
        semantic: (N, H, W) int64, rows of `label_table`.
        label_table: (R, labels) bool, which classes a row may stand for; void rows are all False.
        motion_mask: (N, H, W) uint8, 0, 255 or `UNKNOWN_MOTION`.
        normals: (N, 3, H, W) in each camera's optical frame; NaN unknown.
        edges: (N, H, W) uint8, 0, 255 or `UNKNOWN_MOTION`.
        instance: (N, H, W) int32; 0 no thing, -1 unknown.
        scene_flow: (N, 3, H, W) over ground, base axes, m/s; NaN unknown.
        occupancy: (B, X, Y, Z) uint8; all `UNOBSERVED` where it is not known.
        bev_map: (B, L, X, Y), 0 or 1; NaN unknown.
        boxes: (B) per frame; None where they are not annotated.
        previous: the images of the frame before, for `previous_rows` only.
        previous_from_current: (M, 4, 4), for `previous_rows`.
        previous_rows: (M,) rows of `cameras` that have a frame before.
        seconds: (M,) how much earlier that frame is, for `previous_rows`.
    """

    cameras: CameraBatch
    depth: Tensor
    semantic: Tensor
    label_table: Tensor
    motion_mask: Tensor
    normals: Tensor
    edges: Tensor
    instance: Tensor
    scene_flow: Tensor
    occupancy: Tensor
    bev_map: Tensor
    boxes: tuple[BoxTruth | None, ...]
    previous: CameraBatch | None
    previous_from_current: Tensor
    previous_rows: Tensor
    seconds: Tensor

    def to(self, device: torch.device | str) -> TrainingBatch:
        """Return the batch with its tensors on a device; boxes stay where they are."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=True) for name, value in values.items() if isinstance(value, Tensor)
        }
        moved["cameras"] = _on(self.cameras, device)
        moved["previous"] = None if self.previous is None else _on(self.previous, device)
        return replace(self, **moved)

    def previous_frame(self, memory: Mapping[str, Tensor]) -> PreviousFrame:
        """Return what the network may know of the frame before, for all N rows.

        Rows without such a frame are not valid: zeros, and a camera that has not moved.

        Args:
            memory: (M, ...) each, what the network remembers of `previous`.
        """
        rows, count = self.previous_rows, len(self.cameras.images)
        motion = torch.eye(4, device=rows.device).repeat(count, 1, 1)
        motion[rows] = self.previous_from_current
        valid = torch.zeros(count, dtype=torch.bool, device=rows.device)
        valid[rows] = True
        features = {
            name: values.new_zeros((count, *values.shape[1:])).index_copy(0, rows, values)
            for name, values in memory.items()
        }
        return PreviousFrame(features, self.cameras.K, motion, valid)


def collate(
    samples: Sequence[TrainingSample], labels: LabelSpace, grid_shape: tuple[int, int, int], layers: Sequence[str]
) -> TrainingBatch:
    """Join samples of one size into a batch.

    Args:
        samples: at least one.
        labels: the label space.
        grid_shape: of the occupancy, (X, Y, Z).
        layers: of the BEV map.

    Raises:
        KeyError: a sample's dataset has no mapping in the label space.
        ValueError: the samples are of different sizes.
    """
    datasets = sorted({sample.dataset for sample in samples})
    tables = [label_table(dataset, labels) for dataset in datasets]
    semantic = [s.semantic.astype(np.int64) + 256 * datasets.index(s.dataset) for s in samples]
    counts = [len(s.images) for s in samples]
    starts = np.cumsum([0, *counts])
    paired = [index for index, s in enumerate(samples) if s.previous_images is not None]
    rows = [row for index in paired for row in range(starts[index], starts[index + 1])]
    before = [samples[index] for index in paired]
    transforms = [s.previous_from_current for s in before if s.previous_from_current is not None]
    seconds = [s.seconds for s in before for _ in s.images]
    maps = (len(layers), *grid_shape[:2])
    return TrainingBatch(
        cameras=_camera_batch(samples, [s.images for s in samples]),
        depth=_joined([s.depth for s in samples]),
        semantic=_joined(semantic),
        label_table=torch.from_numpy(np.concatenate(tables)),
        motion_mask=_joined([s.motion_mask for s in samples]),
        normals=_channels_first([_or_full(s.normals, (*s.depth.shape, 3), np.nan, np.float32) for s in samples]),
        edges=_joined([_or_full(s.edges, s.depth.shape, UNKNOWN_MOTION, np.uint8) for s in samples]),
        instance=_joined([_or_full(s.instance, s.depth.shape, -1, np.int32) for s in samples]),
        scene_flow=_channels_first([_or_full(s.scene_flow, (*s.depth.shape, 3), np.nan, np.float32) for s in samples]),
        occupancy=_joined([_or_full(s.occupancy, grid_shape, UNOBSERVED, np.uint8)[None] for s in samples]),
        bev_map=_joined([_or_full(s.bev_map, maps, np.nan, np.float32)[None] for s in samples]),
        boxes=tuple(s.boxes for s in samples),
        previous=_camera_batch(before, [s.previous_images for s in before if s.previous_images is not None])
        if before
        else None,
        previous_from_current=torch.from_numpy(np.concatenate([np.zeros((0, 4, 4)), *transforms])).float(),
        previous_rows=torch.tensor(rows, dtype=torch.int64),
        seconds=torch.tensor(seconds, dtype=torch.float32),
    )


def label_table(dataset: str, labels: LabelSpace) -> NDArray[np.bool_]:
    """Return which classes each id of a sample's `dataset` may stand for, bool (256, labels).

    Raises:
        KeyError: the dataset has no mapping in the label space.
    """
    return labels.candidates(dataset) if dataset else np.eye(256, len(labels), dtype=bool)


def _joined(arrays: Sequence[NDArray]) -> Tensor:
    return torch.from_numpy(np.concatenate(arrays))


def _channels_first(arrays: Sequence[NDArray]) -> Tensor:
    return _joined(arrays).permute(0, 3, 1, 2)


def _camera_batch(samples: Sequence[TrainingSample], images: Sequence[NDArray[np.uint8]]) -> CameraBatch:
    counts = [len(each) for each in images]
    stacked = _channels_first(images).float() / 255.0
    return CameraBatch(
        images=stacked,
        K=torch.from_numpy(np.concatenate([s.K for s in samples])).float(),
        base_from_camera=torch.from_numpy(np.concatenate([s.base_from_camera for s in samples])).float(),
        ground_known=torch.tensor([s.ground_known for s, n in zip(samples, counts, strict=True) for _ in range(n)]),
        frame_index=torch.repeat_interleave(torch.arange(len(samples)), torch.tensor(counts)),
        num_frames=len(samples),
    )


def _on(batch: CameraBatch, device: torch.device | str) -> CameraBatch:
    moved = {
        field.name: getattr(batch, field.name).to(device, non_blocking=True)
        for field in fields(batch)
        if field.name != "num_frames"
    }
    return replace(batch, **moved)
