# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A perceiver on clips and recordings: what it says of each frame beside what is true of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np

from mtl_perception.core import UNOBSERVED, GroundTruth, RigFrame, Sample
from mtl_perception.core.prediction import EgoMotion
from mtl_perception.core.scene_classes import SCENE_CLASSES
from mtl_perception.core.transforms import inverse
from mtl_perception.evaluation.judged import JudgedFrame, SparseDepth, judged
from mtl_perception.evaluation.projection import sparse_depths
from mtl_perception.evaluation.score import Better, Score, ScoreOptions
from mtl_perception.evaluation.scores import all_scores
from mtl_perception.evaluation.scores.driving_context import DrivingContextScore
from mtl_perception.evaluation.scores.occupancy import OccupancyScore
from mtl_perception.evaluation.statistics import FrameStatistics, Totals
from mtl_perception.memory import MAX_PREVIOUS_AGE_NS
from mtl_perception.pipeline import Perceiver
from mtl_perception.training.validation.clips import Clip

EGO_MOTION = "ego_motion"
DRIVING_CONTEXT = "driving_context"
ABOVE_GROUND = "occupancy_above_ground"
"""Occupancy of what is more than `GROUND_M` above the ground: the road alone is half of all that is occupied."""
GROUND_M = 0.5
MOVED_M = 0.2
"""Pairs of frames that moved less say little about how well motion is estimated."""
_WITH_HISTORY = ("steering", *SCENE_CLASSES)


class AboveGroundScore(OccupancyScore):
    """Occupancy, of the voxels whose centres are more than `GROUND_M` above the base's z = 0."""

    task = ABOVE_GROUND

    def frame(self, judged: JudgedFrame) -> FrameStatistics | None:
        """Return the counts, as `OccupancyScore` does."""
        seen = judged.truth.occupancy
        if seen is None:
            return None
        low = seen.grid.centres()[..., 2] <= GROUND_M
        high = replace(seen, labels=np.where(low, np.uint8(UNOBSERVED), seen.labels))
        return super().frame(replace(judged, truth=replace(judged.truth, occupancy=high)))


class SceneClassesScore(DrivingContextScore):
    """Driving context, with the accuracy and the balanced accuracy of each task beside that of all together."""

    better: ClassVar[Mapping[str, Better]] = {
        **DrivingContextScore.better,
        **{f"{task}_{metric}": "higher" for task in SCENE_CLASSES for metric in ("accuracy", "balanced_accuracy")},
    }

    def metrics(self, totals: Totals) -> dict[str, float]:
        """Return accuracy, and `<task>_accuracy` and `<task>_balanced_accuracy` of each task with truth."""
        own = {
            f"{task}_{name}": value for task, values in self.per_class(totals).items() for name, value in values.items()
        }
        return {**super().metrics(totals), **own}


def scores_for(perceiver: Perceiver, options: ScoreOptions, tasks: Collection[str] | None = None) -> tuple[Score, ...]:
    """Return the scores of what a perceiver does, or of some of its tasks, by their names in the network.

    Raises:
        ValueError: it does not do one of the tasks.
    """
    wanted = set(perceiver.tasks if tasks is None else tasks)
    for task in sorted(wanted - set(perceiver.tasks)):
        raise ValueError(f"task '{task}': {perceiver.tasks_left_out.get(task, 'there is no such task')}")
    if wanted & set(SCENE_CLASSES):
        wanted.add(DRIVING_CONTEXT)
    chosen: list[Score] = []
    for score in all_scores(perceiver.labels, options):
        if score.task in wanted:
            own = SceneClassesScore if score.task == DRIVING_CONTEXT else type(score)
            chosen.append(own(perceiver.labels, options))
        if score.task == "occupancy" and "occupancy" in wanted:
            chosen.append(AboveGroundScore(perceiver.labels, options))
    return tuple(chosen)


def judged_clip(perceiver: Perceiver, clip: Clip, tasks: Collection[str]) -> Iterator[JudgedFrame]:
    """Yield what a perceiver says of a clip's samples, ego motion apart: see `judged_motion`.

    The frames before are shown to it, so that the first sample has a past, too.
    """
    wanted = tuple(task for task in perceiver.tasks if task in tasks and task != EGO_MOTION)
    if not wanted:
        return
    perceiver.reset()
    with_history = tuple(task for task in wanted if task in _WITH_HISTORY)
    first = 0 if with_history else len(clip.early) - 1
    for number in range(first, len(clip.early)):
        last = number == len(clip.early) - 1
        perceiver(clip.early[number], wanted if last else with_history, cabin=clip.early_cabin[number])
    for sample in clip.samples:
        yield judged(perceiver(sample.frame, wanted, cabin=sample.cabin), sample.frame, sample.truth)


def judged_motion(perceiver: Perceiver, clip: Clip) -> Iterator[JudgedFrame]:
    """Yield the ego motion that a perceiver estimates for each sample of a clip (see `motions`) without poses."""
    for before, now, truth in motions(clip):
        perceiver.reset()
        perceiver(without_poses(before), (EGO_MOTION,))
        yield judged(perceiver(without_poses(now), (EGO_MOTION,)), now, truth)


def motions(clip: Clip) -> Iterator[tuple[RigFrame, RigFrame, GroundTruth]]:
    """Yield for each sample of a clip an earlier frame, its own, and the true motion between them, and nothing else.

    The earlier frame is the latest from which the base has moved by more than `MOVED_M`; where it is slower than that,
    the earliest one that perception still looks back to.
    """
    for number, sample in enumerate(clip.samples):
        before = _pair(clip.frames[: len(clip.early) + number], sample.frame)
        if before is not None:
            yield before, sample.frame, GroundTruth(ego_motion=true_motion(before, sample.frame))


def judged_recorded(perceiver: Perceiver, sample: Sample, tasks: Collection[str]) -> Iterator[JudgedFrame]:
    """Yield what a perceiver says of a recorded frame, and, told no pose, of the motion since the frame before.

    Where there is no depth image, depth is known at the LiDAR's points.
    """
    wanted = tuple(task for task in perceiver.tasks if task in tasks and task != EGO_MOTION)
    if wanted:
        truth = replace(sample.truth, ego_motion=None)
        yield judged(perceiver(sample.frame, wanted), sample.frame, truth, sparse_truth(sample))
    if EGO_MOTION in tasks and sample.previous is not None and sample.truth.ego_motion is not None:
        perceiver.reset()
        perceiver(without_poses(sample.previous), (EGO_MOTION,))
        prediction = perceiver(without_poses(sample.frame), (EGO_MOTION,))
        yield judged(prediction, sample.frame, GroundTruth(ego_motion=sample.truth.ego_motion))


def sparse_truth(sample: Sample) -> dict[str, SparseDepth]:
    """Return what a LiDAR knows of the depth in those cameras that have no depth image."""
    sweep, dense = sample.truth.sweep, sample.truth.cameras
    without = [name for name in sample.frame.present if name not in dense or dense[name].depth is None]
    return {} if sweep is None else sparse_depths(sample.frame, sweep, without)


def without_poses(frame: RigFrame) -> RigFrame:
    """Return a frame of which no pose is known."""
    return replace(frame, world_from_camera={}, world_from_base=None)


def true_motion(before: RigFrame, now: RigFrame) -> EgoMotion:
    """Return how the base has moved from one frame to a later one, both with poses."""
    assert before.world_from_base is not None and now.world_from_base is not None
    return EgoMotion(before.stamp_ns, inverse(before.world_from_base) @ now.world_from_base, np.zeros((6, 6)))


def _pair(earlier: tuple[RigFrame, ...], now: RigFrame) -> RigFrame | None:
    """Return the frame whose motion until now is to be estimated."""
    near = [frame for frame in earlier if 0 < now.stamp_ns - frame.stamp_ns < MAX_PREVIOUS_AGE_NS]
    moved = [frame for frame in near if np.linalg.norm(_translation(frame, now)) > MOVED_M]
    return moved[-1] if moved else next(iter(near), None)


def _translation(before: RigFrame, now: RigFrame) -> np.ndarray:
    return np.asarray(true_motion(before, now).previous_base_from_base[:3, 3])
