# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Occupancy: voxels by hand, moved slabs, other grids."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchmetrics import JaccardIndex

from mtl_perception.core import (
    FREE,
    UNLABELLED,
    UNOBSERVED,
    Camera,
    GroundTruth,
    LabelSpace,
    Occupancy,
    Prediction,
    Rig,
    VoxelGrid,
)
from mtl_perception.evaluation.judged import JudgedFrame
from mtl_perception.evaluation.score import ScoreOptions
from mtl_perception.evaluation.scores.occupancy import OccupancyScore
from mtl_perception.evaluation.statistics import TaskStatistics, Totals
from mtl_perception.resources import config_file

LABELS = LabelSpace.load(config_file("labels", "default"))
SCORE = OccupancyScore(LABELS, ScoreOptions())
ROAD, CAR, WALL = (LABELS.id_of(name) for name in ("road", "car", "wall"))
RIG = Rig((Camera("front", 4, 4, np.diag([2.0, 2.0, 1.0]), np.eye(4)),))
GRID = VoxelGrid((0.0, 0.0, 0.0), 0.5, (8, 6, 4))


def occupancy(labels: NDArray, grid: VoxelGrid = GRID, probability: float | NDArray | None = None) -> Occupancy:
    values = labels < FREE if probability is None else np.broadcast_to(np.asarray(probability), labels.shape)
    return Occupancy(grid, labels.astype(np.uint8), np.asarray(values, np.float32))


def judged(predicted: Occupancy | None, truth: Occupancy | None) -> JudgedFrame:
    prediction = Prediction(0, {}, "base_link", "odom", None, occupancy=predicted)
    return JudgedFrame(prediction, GroundTruth(occupancy=truth), {}, RIG)


def statistics(*frames: JudgedFrame) -> TaskStatistics:
    rows = [(index, SCORE.frame(frame)) for index, frame in enumerate(frames)]
    return TaskStatistics.of([(index, row) for index, row in rows if row is not None])


def total(predicted: NDArray, truth: NDArray) -> Totals:
    return statistics(judged(occupancy(predicted), occupancy(truth))).total()


def scene(seed: int) -> NDArray:
    """Return a grid of everything that can be true of a voxel."""
    return np.random.default_rng(seed).choice([ROAD, CAR, WALL, UNLABELLED, FREE, FREE, UNOBSERVED], GRID.shape)


def test_the_truth_itself_is_perfect() -> None:
    truth = occupancy(scene(0))
    sums = statistics(judged(truth, truth)).total()
    assert SCORE.metrics(sums) == {"iou": 1.0, "miou": 1.0}
    assert SCORE.per_class(sums) == {name: {"iou": 1.0} for name in ("road", "car", "wall")}


def test_a_slab_moved_by_one_voxel() -> None:
    truth = np.full(GRID.shape, FREE)
    truth[2:6] = CAR  # 4 voxels thick
    predicted = np.roll(truth, 1, axis=0)
    assert SCORE.metrics(total(predicted, truth)) == {"iou": 3 / 5, "miou": 3 / 5}


def test_by_hand() -> None:
    truth = np.full(GRID.shape, UNOBSERVED)
    predicted = np.full(GRID.shape, CAR)  # where the truth is not observed nothing counts
    #                   right  class  missed unseen free  false  free unseen  unlabelled x 2
    truth.ravel()[:8] = [ROAD, ROAD, CAR, CAR, FREE, FREE, FREE, UNLABELLED]
    predicted.ravel()[:8] = [ROAD, CAR, FREE, UNOBSERVED, FREE, CAR, UNOBSERVED, WALL]
    sums = total(predicted, truth)
    # Occupied: 5 in truth, 3 of them found, 1 found besides. Wall is where no class is known: it counts for iou only.
    assert SCORE.metrics(sums) == {"iou": 3 / 6, "miou": (1 / 2 + 0 / 4) / 2}
    assert SCORE.per_class(sums) == {"road": {"iou": 1 / 2}, "car": {"iou": 0.0}}


def test_leaving_voxels_out_is_no_better_than_calling_them_free() -> None:
    truth, predicted = scene(1), np.where(scene(2) == UNOBSERVED, FREE, scene(2))
    holes = np.where(np.random.default_rng(3).random(GRID.shape) < 0.3, UNOBSERVED, predicted)
    free = np.where(holes == UNOBSERVED, FREE, holes)
    assert SCORE.metrics(total(holes, truth)) == SCORE.metrics(total(free, truth))
    nothing = np.full(GRID.shape, UNOBSERVED)
    assert SCORE.metrics(total(nothing, truth)) == {"iou": 0.0, "miou": 0.0}


def test_a_finer_prediction_is_taken_at_the_centres_of_the_true_voxels() -> None:
    labels = scene(4)
    fine = VoxelGrid((-1.0, 0.0, 0.0), 0.1, (50, 30, 20))
    detailed = np.full(fine.shape, WALL)
    detailed[10:] = labels.repeat(5, 0).repeat(5, 1).repeat(5, 2)
    prediction = occupancy(detailed, fine)
    assert SCORE.metrics(statistics(judged(prediction, occupancy(labels))).total()) == {"iou": 1.0, "miou": 1.0}


def test_voxels_outside_of_the_prediction_are_missed() -> None:
    truth = np.full(GRID.shape, ROAD)
    short = VoxelGrid(GRID.origin, 0.5, (2, 6, 4))
    sums = statistics(judged(occupancy(truth[:2], short), occupancy(truth))).total()
    assert SCORE.metrics(sums) == {"iou": 2 / 8, "miou": 2 / 8}
    assert SCORE.reliability(sums)[0].counts.sum() == 2 * 6 * 4


def test_the_means_are_those_of_torchmetrics() -> None:
    rng = np.random.default_rng(5)
    truth, predicted = rng.integers(0, 3, (2, *GRID.shape))
    kinds = np.array([ROAD, CAR, FREE])
    jaccard = JaccardIndex(task="multiclass", num_classes=3, average="none")
    expected = jaccard(torch.from_numpy(predicted), torch.from_numpy(truth)).tolist()
    per_class = SCORE.per_class(total(kinds[predicted], kinds[truth]))
    assert per_class["road"]["iou"] == pytest.approx(expected[0], abs=1e-6)
    assert per_class["car"]["iou"] == pytest.approx(expected[1], abs=1e-6)
    binary = JaccardIndex(task="binary")(torch.from_numpy(predicted < 2), torch.from_numpy(truth < 2)).item()
    assert SCORE.metrics(total(kinds[predicted], kinds[truth]))["iou"] == pytest.approx(binary, abs=1e-6)


def test_probabilities_that_are_right_lie_on_the_diagonal() -> None:
    truth = np.full(GRID.shape, FREE)
    truth.ravel()[:48] = CAR  # a quarter of 192
    frame = judged(occupancy(truth, probability=0.25), occupancy(truth))
    (reliability,) = SCORE.reliability(statistics(frame).total())
    assert reliability.counts.tolist() == [0, 0, 0, 192] + [0] * 11
    assert reliability.predicted[3] == 0.25 and reliability.observed[3] == 0.25
    assert np.isnan(reliability.observed[4])


def test_frames_that_lack_something_have_no_score() -> None:
    truth = occupancy(scene(0))
    assert SCORE.frame(judged(None, truth)) is None and SCORE.frame(judged(truth, None)) is None
    unknown = np.full(GRID.shape, UNOBSERVED)
    assert all(np.isnan(value) for value in SCORE.metrics(total(scene(0), unknown)).values())


def test_halves_give_what_the_whole_gives() -> None:
    frames = [judged(occupancy(scene(i), probability=0.1 * i), occupancy(scene(i + 9))) for i in range(4)]
    whole = statistics(*frames)
    halves = TaskStatistics.joined([statistics(*frames[2:]), statistics(*frames[:2])])
    assert SCORE.metrics(halves.total()) == SCORE.metrics(whole.total())
    assert SCORE.metrics(whole.sample(np.arange(4))) == SCORE.metrics(whole.total())
    assert SCORE.metrics(whole.row(1)) == SCORE.metrics(statistics(frames[1]).total())
