# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The heads of driving on clips that were not trained on, with the scores that `evaluate` has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mtl_perception.core import Camera, GroundTruth, LabelSpace, Prediction, Rig, Steering
from mtl_perception.core.scene_classes import SCENE_CLASSES
from mtl_perception.evaluation.judged import JudgedFrame
from mtl_perception.evaluation.score import Score, ScoreOptions
from mtl_perception.evaluation.scores.driving_context import DrivingContextScore
from mtl_perception.evaluation.scores.steering import SteeringScore
from mtl_perception.evaluation.statistics import FrameStatistics, TaskStatistics
from mtl_perception.network.driving.driving_tasks import DrivingTasks
from mtl_perception.training.driving.features import ClipFeatures, class_counts
from mtl_perception.training.driving.heads import run_heads
from mtl_perception.training.driving.moments import moments

_NO_RIG = Rig((Camera("none", 1, 1, np.eye(3), np.eye(4)),))  # these scores look at no camera


@torch.inference_mode()
def held_out_figures(driving: DrivingTasks, clips: Sequence[ClipFeatures], labels: LabelSpace) -> dict[str, Any]:
    """Return the scores over all frames of all clips, each with the past that its clip has.

    Steering has, beside its error, that of the mean angle; a task with classes has, beside its balanced accuracy, that
    of always saying the same, and how many frames are of each class.
    """
    steering, context = SteeringScore(labels, ScoreOptions()), DrivingContextScore(labels, ScoreOptions())
    rows: dict[str, list[tuple[int, FrameStatistics]]] = {steering.task: [], context.task: []}
    for number, judged in enumerate(frame for clip in clips for frame in _judged(driving, clip)):
        for score in (steering, context):
            row = score.frame(judged)
            if row is not None:
                rows[score.task].append((number, row))
    figures: dict[str, Any] = {"frames": sum(len(clip) for clip in clips), "clips": len(clips)}
    for score in (steering, context):
        if rows[score.task]:
            figures[score.task] = _figures(score, rows[score.task])
    counts = class_counts(clips)
    for task, values in figures.get(context.task, {}).get("tasks", {}).items():
        present = sum(count > 0 for count in counts[task].values())
        values["balanced_accuracy_of_constant"] = 1.0 / present
        values["frames"] = dict(counts[task])
    return figures


def _judged(driving: DrivingTasks, clip: ClipFeatures) -> list[JudgedFrame]:
    output = run_heads(driving, moments([(clip, number) for number in range(len(clip))]))
    deviations = (0.5 * output["steering_log_variance"]).exp()
    probabilities = {task: logits.softmax(dim=1) for task, logits in output["scene_logits"].items()}
    result = []
    for number in range(len(clip)):
        prediction = Prediction(
            stamp_ns=round(clip.seconds[number] * 1e9),
            cameras={},
            base_frame="",
            world_frame="",
            world_from_base=None,
            steering=Steering(float(output["steering"][number]), float(deviations[number])),
            driving_context={
                task: dict(zip(SCENE_CLASSES[task], rows[number].tolist(), strict=True))
                for task, rows in probabilities.items()
            },
        )
        true = {
            task: SCENE_CLASSES[task][clip.classes[number, column]]
            for column, task in enumerate(SCENE_CLASSES)
            if clip.classes[number, column] >= 0
        }
        angle = float(clip.steering[number])
        truth = GroundTruth(steering=angle if angle == angle else None, driving_context=true)
        result.append(JudgedFrame(prediction, truth, {}, _NO_RIG))
    return result


def _figures(score: Score, rows: list[tuple[int, FrameStatistics]]) -> dict[str, Any]:
    totals = TaskStatistics.of(rows).total()
    tasks = {name: dict(values) for name, values in score.per_class(totals).items()}
    return {**score.metrics(totals), **({"tasks": tasks} if tasks else {})}
