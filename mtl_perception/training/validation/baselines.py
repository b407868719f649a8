# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Predictions that do not look at the images: always the same, and the best such that is known for these very frames.

What they say is taken from the truth of the very frames that are scored, so that hardly any other constant would do
better by the task's key metric; a network has to be better than that to be worth anything. What is said of each voxel
and cell, which could describe a single place in full, is taken from the other worlds: from that share on in which they
are occupied, or of the layer, which overlaps best with those worlds.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import (
    FREE,
    UNOBSERVED,
    BevMap,
    Camera,
    CameraPrediction,
    EgoMotion,
    LabelSpace,
    Occupancy,
    Prediction,
    Steering,
    VoxelGrid,
)
from mtl_perception.core.frame import RigFrame
from mtl_perception.core.ground_truth import GroundTruth
from mtl_perception.core.scene_classes import SCENE_CLASSES
from mtl_perception.evaluation.judged import JudgedFrame, SparseDepth, judged
from mtl_perception.training.validation.judging import GROUND_M

BASELINES: Mapping[str, str] = {
    "depth": "the depth of least relative error everywhere",
    "semantic": "the most frequent class everywhere",
    "panoptic": "one segment of the most frequent class",
    "normals": "the mean normal everywhere",
    "motion_mask": "everything moves",
    "scene_flow": "nothing moves",
    "ego_motion": "the mean velocity of these frames, straight on",
    "occupancy": "occupied where it often is in other worlds",
    "occupancy_above_ground": "occupied where it often is in other worlds",
    "bev_map": "of a layer where it often is in other worlds",
    "detections": "no box",
    "steering": "the median angle of these frames",
    "driving_context": "the most frequent class of each task",
}
"""Per task of metrics.json what the constant prediction says."""
_SIZE = 16  # pixels; an image without content needs no more
_REACH = 8.0  # times the distance to the side: 83 degrees from the axis
_EVERY = 23  # pixels of which one is looked at for the depth
_PANOPTIC_BASE = 1000
_SHARES = np.linspace(0.05, 0.95, 19)


class ConstantPrediction:
    """Learns from frames with their truth, then says the same of each."""

    def __init__(
        self, labels: LabelSpace, depths_m: tuple[float, float], layers: Collection[str], scene_tasks: Collection[str]
    ) -> None:
        """Know nothing yet.

        Args:
            labels: of the truth.
            depths_m: truth nearer or farther than this is not scored.
            layers: of the map from above that are predicted.
            scene_tasks: the tasks of the driving context that are predicted.
        """
        self._labels, self._limits, self._layers, self._scene_tasks = labels, depths_m, layers, scene_tasks
        self._depths: list[NDArray[np.float32]] = []
        self._classes = np.zeros(len(labels), np.int64)
        self._normal = np.zeros(3)
        self._occupancy: _MostFrequent | None = None
        self._map: BevMap | None = None
        self._cells: dict[str, NDArray[np.float64]] = {}
        self._known: dict[str, NDArray[np.float64]] = {}
        self._angles: list[float] = []
        self._context: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._velocities: list[NDArray[np.float64]] = []

    def learn(self, frame: JudgedFrame) -> None:
        """Take in what is true of a frame, ego motion apart."""
        for camera in frame.cameras.values():
            truth = camera.truth
            if truth.depth is not None:
                self._learn_depth(truth.depth.ravel()[::_EVERY])
            elif camera.sparse_depth is not None:
                self._learn_depth(camera.sparse_depth.depth)
            if truth.semantic is not None:
                counts = np.bincount(truth.semantic.ravel(), minlength=256)
                if frame.truth.dataset:  # of whose classes each may be several of ours
                    self._classes += counts @ self._labels.candidates(frame.truth.dataset)
                else:
                    self._classes += counts[: len(self._labels)]
            if truth.normals is not None:
                self._normal += np.nansum(truth.normals.reshape(-1, 3), axis=0)
        self._count(frame.truth, 1)
        if frame.truth.steering is not None:
            self._angles.append(frame.truth.steering)
        for task, name in frame.truth.driving_context.items():
            self._context[task][name] += 1

    def learn_motion(self, frame: JudgedFrame) -> None:
        """Take in how the base has moved."""
        motion = frame.truth.ego_motion
        if motion is not None:
            seconds = _seconds(frame.prediction.stamp_ns, motion)
            self._velocities.append(motion.previous_base_from_base[:3, 3] / seconds)

    @contextmanager
    def without(self, truths: Sequence[GroundTruth]) -> Iterator[None]:
        """Say of voxels and cells, inside the `with`, what is known without these frames, which were learned before."""
        for truth in truths:
            self._count(truth, -1)
        yield
        for truth in truths:
            self._count(truth, 1)

    def judged(
        self, frame: RigFrame, truth: GroundTruth, sparse_depth: Mapping[str, SparseDepth] | None = None
    ) -> JudgedFrame:
        """Return the constant prediction for a frame beside its truth."""
        prediction = Prediction(
            stamp_ns=frame.stamp_ns,
            cameras={name: self._camera(frame.rig[name]) for name in frame.present},
            base_frame=frame.rig.base_frame,
            world_frame=frame.world_frame,
            world_from_base=frame.world_from_base,
            missing=frame.missing,
            occupancy=None if self._occupancy is None else self._occupancy.prediction(),
            bev_map=self._bev_map(),
            detections=(),
            ego_motion=self._motion(frame.stamp_ns, truth.ego_motion),
            steering=Steering(float(np.median(self._angles)), float(np.std(self._angles))) if self._angles else None,
            driving_context={
                task: {name: float(name == self._context[task].most_common(1)[0][0]) for name in SCENE_CLASSES[task]}
                for task in self._scene_tasks
                if self._context[task]
            },
        )
        return judged(prediction, frame, truth, sparse_depth)

    def _learn_depth(self, depths: NDArray[np.float32]) -> None:
        low, high = self._limits
        self._depths.append(depths[(depths >= low) & (depths <= high)])

    def _count(self, truth: GroundTruth, times: int) -> None:
        if truth.occupancy is not None:
            if self._occupancy is None:
                self._occupancy = _MostFrequent(truth.occupancy.grid, len(self._labels))
            self._occupancy.count(truth.occupancy, times)
        if truth.bev_map is not None:
            self._map = truth.bev_map
            for name, layer in truth.bev_map.layers.items():
                known = ~np.isnan(layer)
                self._cells[name] = self._cells.get(name, 0.0) + times * np.where(known, layer, 0.0)
                self._known[name] = self._known.get(name, 0.0) + times * known

    def _camera(self, camera: Camera) -> CameraPrediction:
        """Return what is said of a camera's image, as that of a pinhole camera that sees farther to the sides."""
        focal = _SIZE / 2 / _REACH
        middle = (_SIZE - 1) / 2
        wide = Camera(
            camera.name,
            _SIZE,
            _SIZE,
            np.array([[focal, 0.0, middle], [0.0, focal, middle], [0.0, 0.0, 1.0]]),
            camera.base_from_camera,
        )
        shape = (_SIZE, _SIZE)
        depths = np.concatenate(self._depths) if self._depths else np.zeros(0, np.float32)
        length = float(np.linalg.norm(self._normal))
        said = np.uint8(self._classes.argmax()) if self._classes.any() else None
        return CameraPrediction(
            wide,
            0,
            None,
            np.zeros((*shape, 3), np.uint8),
            depth=np.full(shape, _least_relative_error(depths), np.float32) if len(depths) else None,
            semantic=None if said is None else np.full(shape, said, np.uint8),
            semantic_confidence=None if said is None else np.ones(shape, np.float32),
            panoptic=None if said is None else np.full(shape, int(said) * _PANOPTIC_BASE, np.int32),
            normals=np.full((*shape, 3), self._normal / length, np.float32) if length else None,
            motion_mask=np.full(shape, 255, np.uint8),
            scene_flow=np.zeros((*shape, 3), np.float32),
        )

    def _bev_map(self) -> BevMap | None:
        if self._map is None:
            return None
        layers = {}
        for name in self._layers:
            if name in self._cells:
                cells, known = self._cells[name], self._known[name]
                least = _best_share(cells, known)
                layers[name] = _from_half_on(cells / np.maximum(known, 1.0), least).astype(np.float32)
        return replace(self._map, layers=layers)

    def _motion(self, stamp_ns: int, motion: EgoMotion | None) -> EgoMotion | None:
        if motion is None or not self._velocities:
            return None
        pose = np.eye(4)
        pose[:3, 3] = np.mean(self._velocities, axis=0) * _seconds(stamp_ns, motion)
        return EgoMotion(motion.previous_stamp_ns, pose, np.eye(6))


class _MostFrequent:
    """What each voxel of a grid most often is, where it is observed; those near the ground are judged apart."""

    def __init__(self, grid: VoxelGrid, labels: int) -> None:
        self._grid = grid
        self._high = grid.centres()[..., 2] > GROUND_M
        self._counts = np.zeros((labels + 2, *grid.shape), np.int32)  # per label; of no known label; free
        self._kinds = np.full(256, labels, np.int64)
        self._kinds[:labels] = np.arange(labels)
        self._kinds[FREE] = labels + 1

    def count(self, truth: Occupancy, times: int) -> None:
        places = np.nonzero(truth.labels != UNOBSERVED)
        self._counts[(self._kinds[truth.labels[places]], *places)] += times

    def prediction(self) -> Occupancy:
        occupied = self._counts[:-1].sum(axis=0)
        seen = occupied + self._counts[-1]
        probability = np.zeros(self._grid.shape, np.float32)
        for part in (self._high, ~self._high):
            least = _best_share(occupied[part], seen[part])
            probability[part] = _from_half_on(occupied[part] / np.maximum(seen[part], 1), least)
        labels = np.where(probability >= 0.5, self._counts[:-2].argmax(axis=0), FREE).astype(np.uint8)
        return Occupancy(self._grid, labels, probability)


def _best_share(positive: NDArray[Any], seen: NDArray[Any]) -> float:
    """Return from which share of the times that it was seen something is best called positive: of the largest IoU."""
    share = positive / np.maximum(seen, 1)
    ious = []
    for least in _SHARES:
        called = (share >= least) & (seen > 0)
        ious.append(positive[called].sum() / max(1, seen[called].sum() + positive[~called].sum()))
    return float(_SHARES[int(np.argmax(ious))])


def _from_half_on(share: NDArray[Any], least: float) -> NDArray[Any]:
    """Return shares on a scale on which `least` is 0.5, from which on scores call something positive."""
    return np.where(share < least, 0.5 * share / least, 0.5 + 0.5 * (share - least) / max(1.0 - least, 1e-6))


def _seconds(stamp_ns: int, motion: EgoMotion) -> float:
    return 1e-9 * (stamp_ns - motion.previous_stamp_ns)


def _least_relative_error(depths: NDArray[np.float32]) -> float:
    """Return what has the least mean of |it - depth| / depth: the median of the depths weighted by their inverses."""
    ordered = np.sort(depths).astype(np.float64)
    below = np.cumsum(1.0 / ordered)
    return float(ordered[np.searchsorted(below, below[-1] / 2)])
