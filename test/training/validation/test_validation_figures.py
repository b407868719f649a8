# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Figures have intervals over worlds, and say by the difference on the same worlds whether a constant is beaten."""

import numpy as np
import pytest

from mtl_perception.core import LabelSpace
from mtl_perception.evaluation.score import ScoreOptions
from mtl_perception.evaluation.scores.steering import SteeringScore
from mtl_perception.evaluation.statistics import FrameStatistics
from mtl_perception.resources import config_file
from mtl_perception.training.validation.figures import Row, recorded_figures, world_figures

SCORE = SteeringScore(LabelSpace.load(config_file("labels", "default")), ScoreOptions())


def rows_of(errors: list[float], frames: int = 2) -> list[Row]:
    """Return rows of worlds, each of whose frames is off by that world's error (radians)."""
    rows = []
    for world, error in enumerate(errors):
        sums = {
            "frames": 1,
            "squared_error": error * error,
            "absolute_error_deg": float(np.degrees(abs(error))),
            "angle": 0.0,
            "squared_angle": 0.0,
        }
        rows += [(world, FrameStatistics(sums))] * frames
    return rows


def test_the_interval_spans_what_other_worlds_would_have_given() -> None:
    figures = world_figures(SCORE, rows_of([0.0, 0.0, 0.0, 0.3, 0.3, 0.3]), [])
    entry = figures["metrics"]["mse"]
    assert (figures["frames"], figures["worlds"]) == (12, 6)
    assert entry["value"] == pytest.approx(0.045)
    # The share of bad worlds among six draws is binomial: in 95 % of the draws from 1/6 to 5/6 of them.
    assert entry["interval"] == pytest.approx([0.015, 0.075], abs=1e-6)
    assert figures == world_figures(SCORE, rows_of([0.0, 0.0, 0.0, 0.3, 0.3, 0.3]), [])


def test_more_frames_of_the_same_worlds_make_no_interval_narrower() -> None:
    few, many = (
        world_figures(SCORE, rows_of([0.0, 0.1, 0.2, 0.3, 0.4], frames), [])["metrics"]["mae_deg"] for frames in (1, 20)
    )
    assert few == many


def test_few_worlds_have_no_interval() -> None:
    assert "interval" not in world_figures(SCORE, rows_of([0.0, 0.1, 0.2, 0.3]), [])["metrics"]["mse"]


@pytest.mark.parametrize(
    ("errors", "beats"),
    [
        ([0.1, 0.1, 0.2, 0.2, 0.3, 0.3], "yes"),  # the worlds differ much, but in each one the network is better
        ([0.1, 0.9, 0.1, 0.9, 0.1, 0.7], "undecided"),
        ([0.9, 0.9, 0.9, 0.9, 0.9, 0.9], "no"),
    ],
)
def test_the_difference_on_the_same_worlds_decides(errors: list[float], beats: str) -> None:
    constant = rows_of([0.2, 0.2, 0.3, 0.3, 0.4, 0.4] if beats == "yes" else [0.5] * 6)
    entry = world_figures(SCORE, rows_of(errors), constant)["metrics"]["mae_deg"]
    assert entry["beats_baseline"] == beats


def test_recorded_frames_are_compared_with_themselves() -> None:
    errors = [0.1 if number % 2 else 0.3 for number in range(40)]
    own = [(number, row) for number, (_, row) in enumerate(rows_of(errors, 1))]
    constant = [(number, row) for number, (_, row) in enumerate(rows_of([error + 0.05 for error in errors], 1))]
    # On every frame the network is better; the first has no prediction of it, which must not shift the others.
    entry = recorded_figures(SCORE, own[1:], constant)["metrics"]["mae_deg"]
    assert entry["beats_baseline"] == "yes" and "interval" in entry
    assert entry["baseline"] == pytest.approx(entry["value"] + np.degrees(0.05), abs=1e-4)
    alone = recorded_figures(SCORE, own, constant[1:])["metrics"]["mae_deg"]
    assert alone["beats_baseline"] == "yes"


def test_without_intervals_the_values_decide() -> None:
    entry = world_figures(SCORE, rows_of([0.1]), rows_of([0.2]))["metrics"]["mse"]
    assert (entry["value"], entry["baseline"], entry["beats_baseline"]) == (0.01, 0.04, "yes")
