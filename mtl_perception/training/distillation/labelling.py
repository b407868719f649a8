# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Teachers label a bag: metric depth and semantics of every frame, kept on disk, one file a frame.

A relative depth model is brought to metres image by image (`alignment`), by the best of these that an image has:

1. "measured": depth images or LiDAR in the bag. Nothing is more certain.
2. "poses", "ground" or both: corners tracked to the frame before, by the known motion of the camera; and pixels that
   the segmentation teacher calls road, pavement or floor, by the known height of the camera over the base's z = 0
   plane. Poses need no assumption on the scene but say nothing while the robot stands; the ground is seen always, but
   near only, and must be flat. Together with the sky, which is far, they cover near and far.
3. "student": the depth that the student itself sees before it learns. Its scale then stays what it was, and it learns
   the shape of things only. For cameras of unknown height on a robot of unknown motion.

Metric models are taken as they are.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from mtl_perception.core import UNKNOWN, LabelSpace
from mtl_perception.files import write_whole
from mtl_perception.pipeline import MIN_CAMERA_HEIGHT
from mtl_perception.training.distillation.alignment import align
from mtl_perception.training.distillation.anchors import ground_anchors, tracked_anchors
from mtl_perception.training.distillation.bag_frames import BagFrame, BagFrames, SparseDepth
from mtl_perception.training.distillation.class_names import ClassMapping
from mtl_perception.training.distillation.pretrained import DepthTeacher, SegmentationTeacher

MANIFEST = "labels.json"
FORMAT = 2
"""Of the files: since 2 they hold the frame before of a bag without poses, too."""
GROUND = frozenset({"road", "pavement", "floor"})
SKY = ("sky",)
CERTAIN = 0.6
"""Probability from which a teacher's word on sky, ground and movable things is taken as such."""
_MOST_LEVELS = 8
_PRIOR_RESIDUAL = 0.6  # the student may well be wrong about the shape of things; only its scale is asked for
_SKY_SHARE = 0.25  # of the weight of all other anchors
_HORIZON_SLACK = 0.1  # sine of the angle below the horizon down to which a teacher's sky is believed

Prior = Callable[[BagFrame], NDArray[np.float32]]
"""What the student sees before it learns: depth (N, H, W) metres, NaN where it sees no surface."""


@dataclass(frozen=True)
class Rows:
    """How semantics are stored: one number for a set of labels at a level of the teacher's confidence.

    Attributes:
        sets: sets of label names.
        levels: how many levels of confidence, 0..1 in equal steps.
    """

    sets: tuple[tuple[str, ...], ...]
    levels: int

    @classmethod
    def of(cls, mapping: ClassMapping) -> Rows:
        """Return those for a teacher's classes: as many levels as fit into a byte."""
        return cls(mapping.sets, max(1, min(_MOST_LEVELS, UNKNOWN // len(mapping.sets))))

    def encode(self, chosen: NDArray[np.int64], confidence: NDArray[np.floating]) -> NDArray[np.uint8]:
        """Return the rows for indices in `sets` (-1 void) and confidences, of any shape."""
        level = np.clip((confidence * self.levels).astype(np.int64), 0, self.levels - 1)
        return np.where(chosen < 0, UNKNOWN, chosen * self.levels + level).astype(np.uint8)

    @property
    def dataset(self) -> dict[int, tuple[str, ...]]:
        """The rows as a data set of a label space."""
        return {index * self.levels + k: names for index, names in enumerate(self.sets) for k in range(self.levels)}

    @property
    def weights(self) -> NDArray[np.float32]:
        """(256,), the confidence that each row stands for; 0 for void."""
        table = np.zeros(256, np.float32)
        count = len(self.sets) * self.levels
        table[:count] = (np.arange(count) % self.levels + 0.5) / self.levels
        return table


class Labeller:
    """Asks both teachers about frames."""

    def __init__(
        self,
        depth: DepthTeacher,
        segmentation: SegmentationTeacher,
        mapping: ClassMapping,
        labels: LabelSpace,
        prior: Prior,
    ) -> None:
        """Take the teachers, what the classes of one stand for, and the student's own view."""
        self.depth, self.segmentation, self.mapping, self.prior = depth, segmentation, mapping, prior
        self.rows = Rows.of(mapping)
        movable = {label.name for label in labels.labels if label.movable}
        self._is_ground = np.array([*(set(names) <= GROUND for names in mapping.sets), False])
        self._is_sky = np.array([*(names == SKY for names in mapping.sets), False])
        self._moves = np.array([*(bool(movable & set(names)) for names in mapping.sets), False])

    def __call__(self, frame: BagFrame) -> tuple[NDArray[np.float32], NDArray[np.uint8], list[str]]:
        """Label a frame.

        Returns:
            Depth (N, H, W) metres, NaN unknown, +inf sky; semantics (N, H, W) as `Rows`; and what each camera's depth
            was brought to metres by ("metric": nothing; "unknown": it could not be).
        """
        size = frame.images.shape[2], frame.images.shape[1]
        chosen, confidence = self._semantics(frame.large, size)
        chosen[~frame.seen] = -1  # whatever the teacher makes of the black there
        certain = confidence > CERTAIN
        told = self.depth(frame.large, size)
        sky = self._is_sky[chosen] & certain & _above_horizon(frame)
        if self.depth.metric:
            depth, ways = np.where(told > 0.0, told, np.nan).astype(np.float32), ["metric"] * len(told)
        else:
            ground, still = self._is_ground[chosen] & certain, ~(self._moves[chosen] & (confidence > 0.2))
            prior: NDArray[np.float32] | None = None
            depth, ways = np.full(told.shape, np.nan, np.float32), []
            for camera, relative in enumerate(told):
                candidates = _candidates(frame, camera, ground[camera], still[camera])
                aligned = _aligned(relative, candidates, sky[camera])
                if aligned is None:
                    prior = self.prior(frame) if prior is None else prior
                    aligned = _aligned_with_prior(relative, prior[camera])
                way, metres = aligned or ("unknown", depth[camera])
                depth[camera] = metres
                ways.append(way)
        depth[sky] = np.inf
        depth[~frame.seen] = np.nan
        return depth, self.rows.encode(chosen, confidence), ways

    def _semantics(
        self, images: NDArray[np.uint8], size: tuple[int, int]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the likeliest set (N, H, W), -1 void, and its probability."""
        probability = self.segmentation(images, size)
        count = len(self.mapping.sets)
        index = [count if each is None else each for each in self.mapping.set_of_class]
        # A model may give more classes than its configuration names: these are void, too.
        index += [count] * (probability.shape[1] - len(index))
        summed = probability.new_zeros(len(probability), count + 1, *probability.shape[2:])
        summed.index_add_(1, torch.tensor(index[: probability.shape[1]]), probability)
        best, chosen = summed.max(dim=1)
        return torch.where(chosen == count, -1, chosen).numpy(), best.numpy()


def label_bag(
    frames: BagFrames,
    indices: Sequence[int],
    labeller: Labeller,
    folder: Path,
    signature: dict[str, Any],
    *,
    quiet: bool = False,
) -> Counter[str]:
    """Label frames of a bag, those that `folder` does not hold yet.

    Args:
        frames: of the bag.
        indices: which frames.
        labeller: the teachers.
        folder: where the labels are kept; made if need be.
        signature: what the labels depend on.
        quiet: show no progress.

    Returns:
        How many images were brought to metres by what, those that were there already included.

    Raises:
        ValueError: the folder holds labels that depend on something else.
        BagError: a frame cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / MANIFEST
    mapping = labeller.mapping
    signature = signature | {
        "format": FORMAT,
        "sets": [list(names) for names in mapping.sets],
        "classes": list(mapping.set_of_class),
        "levels": labeller.rows.levels,
    }
    if manifest.is_file() and json.loads(manifest.read_text()) != signature:
        raise ValueError(
            f"{folder} holds labels of another bag, other frames, teachers or classes, another student, or another "
            "version of this program: choose another --out"
        )
    write_whole(manifest, json.dumps(signature, indent=1) + "\n")
    ways: Counter[str] = Counter()
    for index in track(indices, description="the teachers label", disable=quiet):
        path = label_file(folder, index)
        if not path.is_file():
            frame = frames(index)
            depth, semantic, found = labeller(frame)
            _save(path, frame, depth, semantic, found)
        with np.load(path) as stored:
            ways.update(str(way) for way in stored["ways"])
    return ways


def label_file(folder: Path, index: int) -> Path:
    """Return the file of a frame's labels."""
    return folder / f"frame_{index:06d}.npz"


def _above_horizon(frame: BagFrame) -> NDArray[np.bool_]:
    """Return the pixels (N, H, W) that look up, as far as the mounts tell, and a little below it: roads climb."""
    height, width = frame.images.shape[1:3]
    v, u = np.mgrid[:height, :width]
    above = np.ones((len(frame.images), height, width), dtype=bool)
    for camera, (K, mount) in enumerate(zip(frame.K, frame.base_from_camera, strict=True)):
        if mount[2, 3] > MIN_CAMERA_HEIGHT:
            x, y = (u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1]
            upward = mount[2, 0] * x + mount[2, 1] * y + mount[2, 2]
            above[camera] = upward > -_HORIZON_SLACK * np.sqrt(x * x + y * y + 1.0)
    return above


def _candidates(
    frame: BagFrame, camera: int, ground: NDArray[np.bool_], still: NDArray[np.bool_]
) -> list[tuple[str, SparseDepth]]:
    """Return what is known of a camera's depth, and by what, the most certain first."""
    found = [("measured", frame.measured[camera])]
    by_motion = by_ground = SparseDepth(np.zeros((0, 2)), np.zeros(0))
    if frame.previous_large is not None and frame.previous_from_current is not None:
        factor = frame.large.shape[2] // frame.images.shape[2]
        K = frame.K[camera].copy()
        K[:2] *= factor
        K[:2, 2] += 0.5 * (factor - 1)  # pixel centres are at integers
        large = np.repeat(np.repeat(still, factor, axis=0), factor, axis=1)
        images = frame.large[camera], frame.previous_large[camera]
        tracked = tracked_anchors(*images, K, frame.previous_from_current[camera], large)
        by_motion = SparseDepth((tracked.pixels + 0.5) / factor - 0.5, tracked.depth)
    if frame.base_from_camera[camera, 2, 3] > MIN_CAMERA_HEIGHT:
        by_ground = ground_anchors(frame.K[camera], frame.base_from_camera[camera], ground)
    if len(by_motion.depth) and len(by_ground.depth):
        found.append(("poses and ground", _joined(by_motion, by_ground)))
    return [*found, ("poses", by_motion), ("ground", by_ground)]


def _aligned(
    relative: NDArray[np.float32], candidates: Sequence[tuple[str, SparseDepth]], sky: NDArray[np.bool_]
) -> tuple[str, NDArray[np.float32]] | None:
    for name, anchors in candidates:
        if not len(anchors.depth):
            continue
        column, row = np.rint(anchors.pixels).astype(np.int64).T
        known, depth, weight = relative[row, column], anchors.depth, np.ones(len(anchors.depth))
        if name != "measured":
            above = relative[sky][::7]
            known = np.concatenate([known, above])
            depth = np.concatenate([depth, np.full(len(above), np.inf)])
            share = _SKY_SHARE * len(weight) / max(1, len(above))
            weight = np.concatenate([weight, np.full(len(above), min(1.0, share))])
        alignment = align(known, depth, weight)
        if alignment is not None:
            return name, alignment.depth(relative)
    return None


def _aligned_with_prior(
    relative: NDArray[np.float32], prior: NDArray[np.float32]
) -> tuple[str, NDArray[np.float32]] | None:
    alignment = align(relative[::4, ::4].ravel(), prior[::4, ::4].ravel(), worst=_PRIOR_RESIDUAL)
    return None if alignment is None else ("student", alignment.depth(relative))


def _joined(one: SparseDepth, other: SparseDepth) -> SparseDepth:
    return SparseDepth(np.concatenate([one.pixels, other.pixels]), np.concatenate([one.depth, other.depth]))


def _save(
    path: Path, frame: BagFrame, depth: NDArray[np.float32], semantic: NDArray[np.uint8], ways: list[str]
) -> None:
    content: dict[str, Any] = {
        "names": np.array(frame.names),
        "images": frame.images,
        "K": frame.K,
        "base_from_camera": frame.base_from_camera,
        "seconds": np.float64(frame.seconds),
        "depth": depth.astype(np.float16),
        "semantic": semantic,
        "ways": np.array(ways),
    }
    if frame.previous_images is not None:
        content["previous_images"] = frame.previous_images
    if frame.previous_from_current is not None:
        content["previous_from_current"] = frame.previous_from_current
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.npz")
    np.savez_compressed(temporary, **content)
    temporary.replace(path)
