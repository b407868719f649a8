# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Classes of driver, vehicle and traffic: by hand, and against torchmetrics."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torchmetrics import Accuracy

from mtl_perception.core import Camera, GroundTruth, LabelSpace, Prediction, Rig
from mtl_perception.core.scene_classes import SCENE_CLASSES, TRAFFIC_CONTEXTS, VEHICLE_BEHAVIOURS
from mtl_perception.evaluation.judged import JudgedFrame
from mtl_perception.evaluation.score import ScoreOptions
from mtl_perception.evaluation.scores.driving_context import DrivingContextScore
from mtl_perception.evaluation.statistics import TaskStatistics, Totals
from mtl_perception.resources import config_file

SCORE = DrivingContextScore(LabelSpace.load(config_file("labels", "default")), ScoreOptions())
RIG = Rig((Camera("front", 4, 4, np.diag([2.0, 2.0, 1.0]), np.eye(4)),))


def judged(predicted: Mapping[str, str], truth: Mapping[str, str], sure: float = 0.8) -> JudgedFrame:
    context = {}
    for task, name in predicted.items():
        names = SCENE_CLASSES[task]
        rest = (1.0 - sure) / (len(names) - 1)
        context[task] = {**dict.fromkeys(names, rest), name: sure}
    prediction = Prediction(0, {}, "base_link", "odom", None, driving_context=context)
    return JudgedFrame(prediction, GroundTruth(driving_context=truth), {}, RIG)


def total(*frames: JudgedFrame) -> Totals:
    return statistics(*frames).total()


def statistics(*frames: JudgedFrame) -> TaskStatistics:
    rows = [(index, SCORE.frame(frame)) for index, frame in enumerate(frames)]
    return TaskStatistics.of([(index, row) for index, row in rows if row is not None])


def test_the_truth_itself_is_perfect() -> None:
    frames = [
        judged(truth, truth)
        for index in range(7)
        for truth in [{task: names[index % len(names)] for task, names in SCENE_CLASSES.items()}]
    ]
    assert SCORE.metrics(total(*frames)) == {"accuracy": 1.0}
    assert SCORE.per_class(total(*frames)) == {
        task: {"accuracy": 1.0, "balanced_accuracy": 1.0} for task in SCENE_CLASSES
    }


def test_by_hand() -> None:
    parking, turning = VEHICLE_BEHAVIOURS[:2]
    jam, waiting = TRAFFIC_CONTEXTS[:2]
    frames = [
        judged({"vehicle_behaviour": parking, "traffic_context": jam}, {"vehicle_behaviour": parking}),
        judged({"vehicle_behaviour": parking}, {"vehicle_behaviour": parking, "traffic_context": jam}),
        judged({"vehicle_behaviour": parking}, {"vehicle_behaviour": parking}),
        judged({"vehicle_behaviour": parking}, {"vehicle_behaviour": turning}),
        judged({"traffic_context": jam}, {"traffic_context": waiting}),
    ]
    # What only one of truth and prediction speaks of does not count.
    assert SCORE.metrics(total(*frames)) == {"accuracy": 3 / 5}
    assert SCORE.per_class(total(*frames)) == {
        "vehicle_behaviour": {"accuracy": 3 / 4, "balanced_accuracy": 1 / 2},  # one class always, one never
        "traffic_context": {"accuracy": 0.0, "balanced_accuracy": 0.0},
    }


@pytest.mark.parametrize("task", list(SCENE_CLASSES))
def test_accuracies_are_those_of_torchmetrics(task: str) -> None:
    names = SCENE_CLASSES[task]
    predicted, truth = np.random.default_rng(0).integers(0, len(names), (2, 60))
    frames = [judged({task: names[p]}, {task: names[t]}) for p, t in zip(predicted, truth, strict=True)]
    result = SCORE.per_class(total(*frames))[task]
    pair = torch.from_numpy(predicted), torch.from_numpy(truth)
    micro = Accuracy(task="multiclass", num_classes=len(names), average="micro")(*pair).item()
    macro = Accuracy(task="multiclass", num_classes=len(names), average="macro")(*pair).item()
    assert result["accuracy"] == pytest.approx(micro, abs=1e-6)
    assert result["balanced_accuracy"] == pytest.approx(macro, abs=1e-6)


def test_a_class_that_the_task_does_not_have_is_wrong_if_predicted_and_refused_if_true() -> None:
    frame = judged({"traffic_context": "traffic jam"}, {"traffic_context": "traffic jam"})
    frame.prediction.driving_context["traffic_context"]["flying"] = 0.9  # type: ignore[index]
    assert SCORE.metrics(total(frame)) == {"accuracy": 0.0}
    with pytest.raises(ValueError, match="driving_context: true traffic_context is 'flying', expected one of traffic"):
        SCORE.frame(judged({"traffic_context": "waiting"}, {"traffic_context": "flying"}))


def test_probabilities_are_set_beside_how_often_they_are_right() -> None:
    jam, waiting = TRAFFIC_CONTEXTS[:2]
    frames = [judged({"traffic_context": jam}, {"traffic_context": true}, sure=0.75) for true in [jam] * 3 + [waiting]]
    (reliability,) = SCORE.reliability(total(*frames))
    assert reliability.counts[11] == 4 == reliability.counts.sum()
    assert reliability.predicted[11] == 0.75 and reliability.observed[11] == 0.75


def test_frames_that_lack_something_have_no_score() -> None:
    assert SCORE.frame(judged({}, {"traffic_context": "waiting"})) is None
    assert SCORE.frame(judged({"traffic_context": "waiting"}, {})) is None
    assert SCORE.frame(judged({"traffic_context": "waiting"}, {"weather": "rain"})) is None


def test_halves_give_what_the_whole_gives() -> None:
    rng = np.random.default_rng(3)
    frames = [
        judged(
            {task: names[rng.integers(len(names))] for task, names in SCENE_CLASSES.items()},
            {task: names[rng.integers(len(names))] for task, names in SCENE_CLASSES.items()},
        )
        for _ in range(10)
    ]
    whole = statistics(*frames)
    halves = TaskStatistics.joined([statistics(*frames[4:]), statistics(*frames[:4])])
    assert SCORE.metrics(halves.total()) == SCORE.metrics(whole.total())
    assert SCORE.per_class(halves.total()) == SCORE.per_class(whole.total())
    assert SCORE.per_class(whole.sample(np.arange(10))) == SCORE.per_class(whole.total())
