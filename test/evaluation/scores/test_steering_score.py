# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The steering angle: errors by hand, and what doing nothing would have cost."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics import MeanAbsoluteError, MeanSquaredError

from mtl_perception.core import Camera, GroundTruth, LabelSpace, Prediction, Rig, Steering
from mtl_perception.evaluation.judged import JudgedFrame
from mtl_perception.evaluation.score import ScoreOptions
from mtl_perception.evaluation.scores.steering import SteeringScore
from mtl_perception.evaluation.statistics import TaskStatistics
from mtl_perception.resources import config_file

SCORE = SteeringScore(LabelSpace.load(config_file("labels", "default")), ScoreOptions())
RIG = Rig((Camera("front", 4, 4, np.diag([2.0, 2.0, 1.0]), np.eye(4)),))
TRUE = (0.25, -0.5, 0.125, 0.0)


def judged(angle: float | None, true: float | None, std: float = 0.1) -> JudgedFrame:
    steering = None if angle is None else Steering(angle, std)
    prediction = Prediction(0, {}, "base_link", "odom", None, steering=steering)
    return JudgedFrame(prediction, GroundTruth(steering=true), {}, RIG)


def statistics(*frames: JudgedFrame) -> TaskStatistics:
    rows = [(index, SCORE.frame(frame)) for index, frame in enumerate(frames)]
    return TaskStatistics.of([(index, row) for index, row in rows if row is not None])


def test_the_truth_itself_is_perfect() -> None:
    result = SCORE.metrics(statistics(*(judged(angle, angle) for angle in TRUE)).total())
    assert result["mse"] == 0.0 and result["mae_deg"] == 0.0


def test_an_offset_gives_its_square() -> None:
    result = SCORE.metrics(statistics(*(judged(angle - 0.25, angle) for angle in TRUE)).total())
    assert result["mse"] == 0.0625
    assert result["mae_deg"] == pytest.approx(np.degrees(0.25), abs=1e-12)


def test_what_straight_on_and_the_mean_would_cost() -> None:
    result = SCORE.metrics(statistics(*(judged(0.0, angle) for angle in TRUE)).total())
    assert result["mse_of_zero"] == result["mse"] == (0.0625 + 0.25 + 0.015625) / 4
    assert result["mse_of_mean"] == np.var(TRUE)


def test_errors_are_those_of_torchmetrics() -> None:
    rng = np.random.default_rng(0)
    predicted, true = rng.normal(0, 0.2, (2, 50))
    result = SCORE.metrics(statistics(*map(judged, predicted.tolist(), true.tolist())).total())
    pair = torch.from_numpy(predicted), torch.from_numpy(true)
    assert result["mse"] == pytest.approx(MeanSquaredError()(*pair).item(), rel=1e-6)
    assert result["mae_deg"] == pytest.approx(np.degrees(MeanAbsoluteError()(*pair).item()), rel=1e-6)


def test_stated_deviations_are_set_beside_the_errors() -> None:
    frames = [judged(error, 0.0, std=0.1) for error in (0.1, -0.1)] + [judged(0.02, 0.0, std=0.01)]
    total = statistics(*frames).total()
    (reliability,) = SCORE.reliability(total)
    filled = reliability.counts > 0
    assert reliability.counts[filled].tolist() == [1, 2]
    np.testing.assert_allclose(reliability.predicted[filled], [0.01, 0.1], rtol=1e-6)
    np.testing.assert_allclose(reliability.observed[filled], [0.02, 0.1], rtol=1e-6)
    assert SCORE.histograms(total)[0].counts.sum() == 3


def test_frames_that_lack_something_have_no_score() -> None:
    assert SCORE.frame(judged(None, 0.1)) is None and SCORE.frame(judged(0.1, None)) is None


def test_halves_give_what_the_whole_gives_to_the_last_bit() -> None:
    rng = np.random.default_rng(1)
    frames = [judged(*pair) for pair in rng.normal(0, 0.2, (40, 2)).tolist()]
    whole = statistics(*frames).total()
    halves = TaskStatistics.joined([statistics(*frames[23:]), statistics(*frames[:23])])
    assert SCORE.metrics(halves.total()) == SCORE.metrics(whole)
    twelve = TaskStatistics.joined([statistics(*frames)] * 12)
    assert SCORE.metrics(twelve.total()) == SCORE.metrics(whole)
    sample = SCORE.metrics(statistics(*frames).sample(np.arange(40)))
    assert sample == pytest.approx(SCORE.metrics(whole))
