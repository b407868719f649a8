# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Maps from above: layers by hand, unknown cells, other grids."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchmetrics import JaccardIndex

from mtl_perception.core import BevMap, Camera, GroundTruth, LabelSpace, Prediction, Rig
from mtl_perception.evaluation.judged import JudgedFrame
from mtl_perception.evaluation.score import ScoreOptions
from mtl_perception.evaluation.scores.bev_map import BevMapScore
from mtl_perception.evaluation.statistics import TaskStatistics
from mtl_perception.resources import config_file

SCORE = BevMapScore(LabelSpace.load(config_file("labels", "default")), ScoreOptions())
FORWARD = np.array([[0.0, 0.0, 1.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0]])
RIG = Rig((Camera("front", 4, 4, np.array([[2.05, 0.0, 1.5], [0.0, 2.05, 1.5], [0.0, 0.0, 1.0]]), FORWARD),))


def bev(layers: Mapping[str, NDArray], origin: tuple[float, float] = (0.0, 0.0), cell_size: float = 0.5) -> BevMap:
    return BevMap(origin, cell_size, {name: np.asarray(layer, np.float32) for name, layer in layers.items()})


def judged(predicted: BevMap | None, truth: BevMap | None) -> JudgedFrame:
    prediction = Prediction(0, {}, "base_link", "odom", None, bev_map=predicted)
    return JudgedFrame(prediction, GroundTruth(bev_map=truth), {}, RIG)


def statistics(*frames: JudgedFrame) -> TaskStatistics:
    rows = [(index, SCORE.frame(frame)) for index, frame in enumerate(frames)]
    return TaskStatistics.of([(index, row) for index, row in rows if row is not None])


def metrics(predicted: BevMap, truth: BevMap) -> dict[str, float]:
    return SCORE.metrics(statistics(judged(predicted, truth)).total())


def random_layers(seed: int) -> dict[str, NDArray]:
    rng = np.random.default_rng(seed)
    return {name: (rng.random((12, 9)) < 0.4).astype(np.float32) for name in ("road", "pavement")}


def test_the_truth_itself_is_perfect() -> None:
    truth = bev(random_layers(0))
    assert metrics(truth, truth)["miou"] == 1.0


def test_a_road_moved_by_one_cell() -> None:
    road = np.zeros((12, 9))
    road[:, 2:6] = 1.0
    layers = {"road": np.roll(road, 1, axis=1), "pavement": 1.0 - road}
    result = SCORE.per_class(statistics(judged(bev(layers), bev({"road": road, "pavement": 1.0 - road}))).total())
    assert result == {"road": {"iou": 3 / 5}, "pavement": {"iou": 1.0}}
    assert metrics(bev(layers), bev({"road": road, "pavement": 1.0 - road}))["miou"] == pytest.approx(4 / 5)


def test_cells_by_hand() -> None:
    truth = bev({"road": [[1, 1, 1, 0, 0, np.nan]], "crossing": [[0, 0, 0, 0, 0, 0]], "floor": [[1, 1, 1, 1, 1, 1]]})
    #                right, at half, too low, wrong, nothing said, void
    predicted = bev({"road": [[0.9, 0.5, 0.49, 0.7, np.nan, 1.0]], "crossing": [[0, 0, 0, 0, 0, 0]]})
    sums = statistics(judged(predicted, truth)).total()
    # Nobody says that there is a crossing; the floor is none of the network's layers.
    assert SCORE.per_class(sums) == {"road": {"iou": 2 / 4}}
    assert SCORE.metrics(sums)["miou"] == 0.5


def test_cells_that_nothing_is_said_about_are_missed() -> None:
    road = np.ones((4, 6))
    assert metrics(bev({"road": np.full((4, 6), np.nan)}), bev({"road": road}))["miou"] == 0.0
    assert metrics(bev({"road": road[:, :2]}), bev({"road": road}))["miou"] == 2 / 6


def test_a_finer_prediction_is_taken_at_the_centres_of_the_true_cells() -> None:
    layers = random_layers(1)
    fine = {name: np.pad(layer.repeat(5, 0).repeat(5, 1), ((10, 0), (0, 3))) for name, layer in layers.items()}
    assert metrics(bev(fine, (-1.0, 0.0), 0.1), bev(layers))["miou"] == 1.0
    # A cell of 0.5 m that begins 0.2 m later still holds the true cell's centre, though not its corner.
    assert metrics(bev(layers, (0.2, 0.2)), bev(layers))["miou"] == 1.0


def test_cells_behind_the_camera_are_not_asked_of_it() -> None:
    # It is 1 m above the ground, looks along x, and sees not quite 45 degrees to each side.
    x, y = np.meshgrid(np.arange(-3.75, 4.0, 0.5), np.arange(-3.75, 4.0, 0.5), indexing="ij")
    seen = (x > 1.0) & (np.abs(y) < x)
    road = (np.random.default_rng(0).random(seen.shape) < 0.5).astype(np.float32)
    road[10, 8] = 1.0  # in view
    truth = bev({"road": road, "crossing": np.where(seen, 0.0, road)}, (-4.0, -4.0))
    predicted = bev({"road": np.where(seen, road, 1.0 - road), "crossing": np.zeros(seen.shape)}, (-4.0, -4.0))
    right, wrong = int((road * seen).sum()), int((~seen).sum())
    assert metrics(predicted, truth) == {"miou": pytest.approx(right / (right + wrong) / 2), "miou_in_view": 1.0}
    predicted.layers["road"][10, 8] = np.nan
    assert metrics(predicted, truth)["miou_in_view"] == pytest.approx((right - 1) / right)
    bare = GroundTruth(bev_map=truth)
    upward = Rig((Camera("up", 4, 4, np.diag([2.0, 2.0, 1.0]), np.eye(4)),))
    frame = JudgedFrame(Prediction(0, {}, "base_link", "odom", None, bev_map=predicted), bare, {}, upward)
    assert np.isnan(SCORE.metrics(statistics(frame).total())["miou_in_view"])


def test_the_mean_is_that_of_torchmetrics() -> None:
    predicted, truth = random_layers(2), random_layers(3)
    each = [
        JaccardIndex(task="binary")(torch.from_numpy(predicted[name]), torch.from_numpy(truth[name]).int()).item()
        for name in truth
    ]
    assert metrics(bev(predicted), bev(truth))["miou"] == pytest.approx(np.mean(each), abs=1e-6)


def test_probabilities_that_are_right_lie_on_the_diagonal() -> None:
    truth = bev({"road": [[1, 1, 1, 0], [np.nan, 0, 0, 1]]})
    predicted = bev({"road": [[0.75, 0.75, 0.75, 0.75], [0.75, 0.0, 0.0, 1.0]]})
    (reliability,) = SCORE.reliability(statistics(judged(predicted, truth)).total())
    assert reliability.predicted[[0, 11, 14]].tolist() == [0.0, 0.75, 1.0]
    assert reliability.observed[[0, 11, 14]].tolist() == [0.0, 0.75, 1.0]
    assert reliability.counts[[0, 11, 14]].tolist() == [2, 4, 1]


def test_frames_that_lack_something_have_no_score() -> None:
    truth = bev(random_layers(0))
    assert SCORE.frame(judged(None, truth)) is None and SCORE.frame(judged(truth, None)) is None
    assert SCORE.frame(judged(truth, bev({"floor": np.ones((12, 9))}))) is None
    void = {name: np.full((12, 9), np.nan) for name in ("road", "pavement")}
    assert np.isnan(metrics(truth, bev(void))["miou"])


def test_halves_give_what_the_whole_gives_also_where_truths_know_other_layers() -> None:
    frames = [judged(bev(random_layers(i)), bev(random_layers(i + 9))) for i in range(4)]
    frames.append(judged(bev(random_layers(4)), bev({"road": random_layers(5)["road"], "floor": np.ones((12, 9))})))
    whole = statistics(*frames)
    halves = TaskStatistics.joined([statistics(*frames[2:]), statistics(*frames[:2])])
    assert SCORE.metrics(halves.total()) == SCORE.metrics(whole.total())
    assert SCORE.metrics(whole.sample(np.arange(5))) == SCORE.metrics(whole.total())
