# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Panoptic quality: by hand, with what is unknown, and against torchmetrics."""

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike, NDArray
from torchmetrics.functional.detection import panoptic_quality

from mtl_perception.core import Camera, CameraPrediction, CameraTruth, GroundTruth, LabelSpace, Prediction, Rig
from mtl_perception.evaluation.judged import JudgedCamera, JudgedFrame
from mtl_perception.evaluation.score import ScoreOptions
from mtl_perception.evaluation.scores.panoptic import PanopticScore
from mtl_perception.evaluation.statistics import FrameStatistics, TaskStatistics, Totals
from mtl_perception.resources import config_file

LABELS = LabelSpace.load(config_file("labels", "default"))
SCORE = PanopticScore(LABELS, ScoreOptions())
ROAD, PAVEMENT, CAR, TRUCK, PEDESTRIAN = (
    1000 * LABELS.id_of(name) for name in ("road", "pavement", "car", "truck", "pedestrian")
)
VOID = -1


def frame(predicted: ArrayLike | None, truth: ArrayLike | None, confidence: ArrayLike | None = None) -> JudgedFrame:
    """Return one camera's image, predicted at its own size."""
    height, width = np.asarray(truth if predicted is None else predicted).shape
    K = np.array([[float(width), 0, width / 2], [0, float(width), height / 2], [0, 0, 1]])
    camera = Camera("front", width, height, K, np.eye(4))
    prediction = CameraPrediction(
        camera,
        0,
        None,
        np.zeros((height, width, 3), np.uint8),
        panoptic=None if predicted is None else np.asarray(predicted, np.int32),
        semantic_confidence=None if confidence is None else np.asarray(confidence, np.float32),
    )
    true = CameraTruth(panoptic=None if truth is None else np.asarray(truth, np.int32))
    cameras = {"front": JudgedCamera(camera, prediction, true)}
    everything = Prediction(0, {"front": prediction}, "base_link", "odom", None)
    return JudgedFrame(everything, GroundTruth({"front": true}), cameras, Rig((camera,), "base_link"))


def statistics(predicted: ArrayLike, truth: ArrayLike, confidence: ArrayLike | None = None) -> FrameStatistics:
    result = SCORE.frame(frame(predicted, truth, confidence))
    assert result is not None
    return result


def total(*rows: FrameStatistics) -> Totals:
    return TaskStatistics.of(list(enumerate(rows))).total()


def stretches(*lengths_and_ids: tuple[int, int]) -> NDArray[np.int32]:
    """Return an image of one row."""
    return np.repeat([[value for _, value in lengths_and_ids]], [length for length, _ in lengths_and_ids], axis=1)


def scene(rng: np.random.Generator, moved: bool) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return a true map of rectangles on stuff, with unknown parts, and one in which they lie elsewhere or are gone."""
    truth, predicted = np.full((2, 40, 60), ROAD)
    truth[25:], predicted[22:] = PAVEMENT, PAVEMENT
    for instance in range(1, 9):
        label = rng.choice([CAR, TRUCK, PEDESTRIAN])
        top, left, height, width = rng.integers((0, 0, 4, 4), (34, 54, 12, 16))
        truth[top : top + height, left : left + width] = label + instance
        down, right = rng.integers(-2, 3, 2) * moved
        top, left = max(top + down, 0), max(left + right, 0)
        if not moved or rng.random() < 0.8:
            other = rng.choice([CAR, TRUCK]) if moved and rng.random() < 0.2 else label
            predicted[top : top + height, left : left + width] = other + instance
    if moved:
        truth[5:15, 30:50] = VOID
    return predicted, truth


def test_the_truth_itself_is_perfect() -> None:
    _, truth = scene(np.random.default_rng(0), moved=False)
    totals = total(statistics(truth, truth, np.full(truth.shape, 0.3)), statistics(truth[::-1], truth[::-1]))
    metrics = SCORE.metrics(totals)
    assert metrics == dict.fromkeys(("pq", "sq", "rq", "pq_things", "pq_stuff", "ap", "ap50"), 1.0)
    assert SCORE.per_class(totals)["road"] == {"pq": 1.0, "sq": 1.0, "rq": 1.0}
    assert set(SCORE.per_class(totals)["car"].values()) == {1.0}


def test_the_value_by_hand() -> None:
    truth = stretches((10, ROAD), (8, CAR + 1), (4, CAR + 2), (6, PAVEMENT))
    predicted = stretches((12, ROAD), (6, CAR + 7), (4, TRUCK + 1), (6, PAVEMENT))
    totals = total(statistics(predicted, truth))
    assert SCORE.per_class(totals) == {
        "road": {"pq": 10 / 12, "sq": 10 / 12, "rq": 1.0},
        "pavement": {"pq": 1.0, "sq": 1.0, "rq": 1.0},
        # One car with 6 of 8 pixels, one missed.
        "car": {"pq": 0.75 / 1.5, "sq": 0.75, "rq": 1 / 1.5, "ap": pytest.approx(6 / 10 * 51 / 101), "ap50": 51 / 101},
        "truck": {"pq": 0.0, "sq": 0.0, "rq": 0.0},
    }
    metrics = SCORE.metrics(totals)
    assert metrics["pq_things"] == 0.25 and metrics["pq_stuff"] == pytest.approx(11 / 12)
    assert metrics["pq"] == pytest.approx((10 / 12 + 1.0 + 0.5 + 0.0) / 4)
    assert metrics["sq"] == pytest.approx((10 / 12 + 1.0 + 0.75 + 0.0) / 4)
    assert metrics["rq"] == pytest.approx((1.0 + 1.0 + 1 / 1.5 + 0.0) / 4)


def test_stripes_moved_by_a_pixel_keep_what_still_overlaps() -> None:
    # Cars 4 wide on a road of 4 on both sides; moved by one, 3 of 5 pixels are in common.
    truth = stretches((4, ROAD), (4, CAR + 1), (4, ROAD)).repeat(3, axis=0)
    totals = total(statistics(np.roll(truth, 1, axis=1), truth))
    per_class = SCORE.per_class(totals)
    assert per_class["car"]["pq"] == 3 / 5 and per_class["car"]["ap50"] == 1.0
    assert per_class["car"]["ap"] == pytest.approx(3 / 10)  # at 0.50, 0.55 and 0.60
    assert per_class["road"]["pq"] == 7 / 9


def test_one_half_in_common_is_no_match() -> None:
    totals = total(statistics(stretches((3, CAR + 1), (3, ROAD)), stretches((2, CAR + 1), (2, ROAD), (2, CAR + 2))))
    assert SCORE.per_class(totals)["car"]["pq"] == pytest.approx((2 / 3) / 1.5)
    half = total(statistics(stretches((4, CAR + 1), (2, ROAD)), stretches((2, CAR + 1), (4, ROAD))))
    assert SCORE.per_class(half)["car"]["pq"] == SCORE.per_class(half)["road"]["pq"] == 0.0
    assert SCORE.per_class(half)["car"]["ap50"] == 1.0  # COCO asks for one half, not more


def test_where_the_truth_is_unknown_there_is_no_error() -> None:
    truth = stretches((6, ROAD), (4, CAR + 1), (10, VOID))
    predicted = stretches((6, ROAD), (8, CAR + 1), (6, TRUCK + 1))
    metrics = SCORE.metrics(total(statistics(predicted, truth)))
    assert (metrics["pq"], metrics["sq"], metrics["rq"]) == (1.0, 1.0, 1.0)
    # By more than half on what is unknown: no false alarm. By half: one.
    truth = stretches((6, ROAD), (5, PAVEMENT), (9, VOID))
    for on_void, expected in ((6, False), (5, True)):
        predicted = stretches((6, ROAD), (5, CAR + 1), (on_void, CAR + 1), (9 - on_void, ROAD))
        assert ("car" in SCORE.per_class(total(statistics(predicted, truth)))) == expected


def test_what_is_not_predicted_is_missed() -> None:
    truth = stretches((6, ROAD), (4, CAR + 1))
    totals = total(statistics(np.full(truth.shape, VOID), truth))
    assert SCORE.metrics(totals) == dict.fromkeys(("pq", "sq", "rq", "pq_things", "pq_stuff", "ap", "ap50"), 0.0)
    assert SCORE.frame(frame(None, truth)) is None and SCORE.frame(frame(truth, None)) is None
    unknown = SCORE.metrics(total(statistics(truth, np.full(truth.shape, VOID))))
    assert all(np.isnan(value) for value in unknown.values())


def test_halves_and_copies_give_what_the_whole_gives() -> None:
    rng = np.random.default_rng(4)
    rows = [statistics(*scene(rng, moved=True), np.round(rng.random((40, 60)))) for _ in range(6)]
    whole = TaskStatistics.of(list(enumerate(rows)))
    halves = [TaskStatistics.of(list(enumerate(part))) for part in (rows[3:], rows[:3])]
    expected = SCORE.metrics(whole.total())
    assert 0.2 < expected["pq"] < 0.9 and 0.02 < expected["ap"] < expected["ap50"] < 0.9
    assert SCORE.metrics(TaskStatistics.joined(halves).total()) == expected
    assert SCORE.metrics(TaskStatistics.joined([whole] * 12).total()) == expected
    assert SCORE.metrics(whole.sample(np.arange(6))) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_torchmetrics_agrees(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = [scene(rng, moved=True) for _ in range(4)]
    totals = total(*(statistics(predicted, truth) for predicted, truth in images))
    predicted, target = (torch.from_numpy(np.stack(maps)) for maps in zip(*images, strict=True))
    things = {label.id for label in LABELS.labels if label.thing}
    stuff = set(range(len(LABELS))) - things
    void = len(LABELS)
    pairs = [
        torch.stack([torch.where(maps < 0, void, maps // 1000), torch.where(maps < 0, 0, maps % 1000)], dim=-1)
        for maps in (predicted, target)
    ]
    # There is no unknown pixel in these predictions: torchmetrics excuses them, panopticapi and this suite do not.
    expected = panoptic_quality(pairs[0], pairs[1], things, stuff, return_sq_and_rq=True)
    own = SCORE.metrics(totals)
    assert [own["pq"], own["sq"], own["rq"]] == pytest.approx(expected.flatten().tolist(), abs=1e-6)
