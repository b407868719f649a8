# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Figures on recordings: the validation parts of those that are trained on, and others that no training sees."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mtl_perception.data.datasets import RecordingDataset
from mtl_perception.data.recordings import open_recording
from mtl_perception.evaluation.score import ScoreOptions
from mtl_perception.pipeline import Perceiver
from mtl_perception.training.validation.baselines import BASELINES
from mtl_perception.training.validation.figures import Tally, recorded_figures
from mtl_perception.training.validation.judging import EGO_MOTION, judged_recorded, scores_for, sparse_truth
from mtl_perception.training.validation.pictures import Shots
from mtl_perception.training.validation.worlds import Findings, constant_for

RGBD_FIRST_ID = 700
"""Of the recorded room's frames, those before are trained on."""


@dataclass(frozen=True)
class RecordedData:
    """A recording that is validated on.

    Attributes:
        name: in the figures.
        kind, folder: as `open_recording` has them; the folder is below that of all recordings.
        tasks: of the network that it has a truth for.
        options: of the recording's kind.
        max_depth: farther truth is not scored, metres.
    """

    name: str
    kind: str
    folder: str
    tasks: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)
    max_depth: float = 80.0


VALIDATION = (
    RecordedData("rgbd_room", "rgbd", "rgbd_room", ("depth",), {"first": RGBD_FIRST_ID}, max_depth=10.0),
    RecordedData("camvid", "camvid", "street_labels", ("semantic",), {"split": "val"}),
)
"""The parts that are held out of recordings that trainings take: depth in a room, and semantics of streets (the data's
classes, void ignored; a network chooses among all its own, and one that the data does not have is simply wrong)."""

OUT_OF_DISTRIBUTION = (
    RecordedData("nuscenes_0061", "nuscenes", "nuscenes/scene_0061_keyframe", ("depth", "detections")),
    RecordedData("nuscenes_0103", "nuscenes", "nuscenes/scene_0103_keyframes", ("detections", "ego_motion")),
    RecordedData("ddad", "ddad", "ddad/scene_01", ("depth", "detections")),
    RecordedData("kitti_tracking", "kitti", "kitti/tracking", ("depth", "detections")),
    RecordedData("kitti_odometry", "kitti", "kitti/odometry_sequence", ("ego_motion",)),
    RecordedData("rgbd_open3d", "rgbd", "rgbd_small/open3d_rgbd", ("depth",), max_depth=10.0),
    RecordedData("rgbd_3dmatch", "rgbd", "rgbd_small/rgbd_nvblox_3dmatch/3dmatch/seq-01", ("depth",), max_depth=10.0),
)
"""Places and cameras of which nothing is trained on; depth from LiDAR where there is no depth camera."""


def validate_recording(
    perceiver: Perceiver,
    data: RecordedData,
    folder: Path,
    tasks: Collection[str],
    every: int = 1,
    advanced: Callable[..., None] = lambda total: None,
) -> Findings:
    """Return figures on every n-th frame of a recording below `folder`, for those of the tasks that it has truth for.

    Raises:
        ValueError, OSError: it cannot be read; names the file.
    """
    wanted = [task for task in data.tasks if task in tasks]
    if not wanted:
        return Findings({}, [])
    scores = scores_for(perceiver, ScoreOptions(max_depth=data.max_depth), wanted)
    recording = RecordingDataset(open_recording(data.kind, folder / data.folder, **data.options))
    tally, shots = Tally(scores), Shots(data.name, scores, perceiver.labels)
    constant = constant_for(perceiver, scores[0])
    chosen: Sequence[int] = range(0, len(recording), every)
    # One after the other: for ego motion frames are shown without poses, which the other tasks would look back to.
    others = [task for task in wanted if task != EGO_MOTION]
    parts = [part for part in (others, [EGO_MOTION]) if set(part) & set(wanted)]
    total = (len(parts) + 1) * len(chosen)
    for part in parts:
        perceiver.reset()
        for index in chosen:
            for frame in judged_recorded(perceiver, recording[index], part):
                if frame.truth.ego_motion is None:
                    constant.learn(frame)
                else:
                    constant.learn_motion(frame)
                shots.consider(frame, tally.add(index, frame), f"{data.name}, frame {index}")
            advanced(total=total)
    baseline = Tally([score for score in scores if score.task in BASELINES])
    for index in chosen:
        sample = recording[index]
        truth = sample.truth if EGO_MOTION in wanted else replace(sample.truth, ego_motion=None)
        baseline.add(index, constant.judged(sample.frame, truth, sparse_truth(sample)))
        advanced(total=total)
    figures = {
        score.task: {
            **recorded_figures(score, rows, baseline.rows.get(score.task, [])),
            "constant": BASELINES.get(score.task, ""),
        }
        for score in scores
        if (rows := tally.rows[score.task])
    }
    return Findings({data.name: figures} if figures else {}, shots.shots())
