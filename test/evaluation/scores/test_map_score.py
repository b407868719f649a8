# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Map scores from sums that are known; where the sums come from is tested with `MapReference`."""

import math

import pytest

from mtl_perception.core import LabelSpace
from mtl_perception.evaluation.score import ScoreOptions
from mtl_perception.evaluation.scores.map import MapScore
from mtl_perception.evaluation.statistics import FrameStatistics, TaskStatistics
from mtl_perception.resources import config_file

SURFACE = {
    "map_points": 200,
    "map_within": 150,
    "map_distance": 8.0,
    "reference_points": 400,
    "reference_measured": 400,
    "reference_within": 200,
    "reference_distance": 100.0,
    "surface_points": 400,
    "surface_within": 200,
    "labelled": 100,
    "label_hits": 90,
}
NOTHING_MAPPED = dict.fromkeys(SURFACE, 0) | {
    "map_distance": 0.0,
    "reference_distance": 0.0,
    "reference_points": 400,
    "surface_points": 400,
}
LIDAR = dict.fromkeys(SURFACE, 0) | {
    "map_distance": 0.0,
    "reference_points": 100,
    "reference_measured": 100,
    "reference_within": 80,
    "reference_distance": 7.0,
}


@pytest.fixture(scope="module")
def metrics():
    score = MapScore(LabelSpace.load(config_file("labels", "default")), ScoreOptions())

    def of(*sums):
        parts = [TaskStatistics.of([(0, FrameStatistics(row))]) for row in sums]
        return score.metrics(TaskStatistics.joined(parts).total())

    return of


def test_a_surface_by_hand(metrics):
    assert metrics(SURFACE) == {
        "accuracy": 0.04,
        "completeness": 0.25,
        "precision": 0.75,
        "recall": 0.5,
        "f1": pytest.approx(2 * 0.75 * 0.5 / 1.25),
        "label_accuracy": 0.9,
    }


def test_an_empty_map_finds_nothing_and_has_no_distances(metrics):
    found = metrics(NOTHING_MAPPED)
    assert (found["recall"], found["f1"]) == (0.0, 0.0)
    assert all(math.isnan(found[name]) for name in ("accuracy", "completeness", "precision", "label_accuracy"))


def test_a_cloud_defines_recall_and_completeness_only(metrics):
    found = metrics(LIDAR)
    assert (found["recall"], found["completeness"]) == (0.8, 0.07)
    assert all(math.isnan(found[name]) for name in ("accuracy", "precision", "f1", "label_accuracy"))


def test_bags_are_merged_by_their_points(metrics):
    """An empty map counts in full, and a cloud does not touch the F-score, which needs both directions."""
    merged = metrics(SURFACE, NOTHING_MAPPED, LIDAR)
    assert merged == metrics(LIDAR, SURFACE, NOTHING_MAPPED)
    assert merged["recall"] == pytest.approx((200 + 0 + 80) / 900)
    assert merged["completeness"] == pytest.approx(107.0 / 500)
    assert merged["f1"] == pytest.approx(2 * 0.75 * 0.25 / (0.75 + 0.25))
    assert merged["accuracy"] == 0.04


def test_nothing_right_is_an_f_score_of_zero(metrics):
    assert metrics(SURFACE | {"map_within": 0, "surface_within": 0})["f1"] == 0.0
