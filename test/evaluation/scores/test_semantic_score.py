# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Semantic scores: by hand, with the ids of datasets, and against torchmetrics."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike
from torchmetrics.classification import MulticlassCalibrationError, MulticlassJaccardIndex

from mtl_perception.core import Camera, CameraPrediction, CameraTruth, GroundTruth, LabelSpace, Prediction, Rig
from mtl_perception.evaluation.judged import JudgedCamera, JudgedFrame
from mtl_perception.evaluation.score import ScoreOptions
from mtl_perception.evaluation.scores.semantic import SemanticScore
from mtl_perception.evaluation.statistics import FrameStatistics, TaskStatistics, Totals
from mtl_perception.resources import config_file

LABELS = LabelSpace.load(config_file("labels", "default"))
SCORE = SemanticScore(LABELS, ScoreOptions())
SKY, ROAD, PAVEMENT, BUILDING, POLE, CAR, TRUCK, WALL = (
    LABELS.id_of(name) for name in ("sky", "road", "pavement", "building", "pole", "car", "truck", "wall")
)
VOID = 255
CAMVID_SKY, CAMVID_BUILDING, CAMVID_CAR, CAMVID_VOID = 0, 1, 8, 11


def frame(
    predicted: ArrayLike | None, truth: ArrayLike | None, dataset: str = "", confidence: ArrayLike | None = None
) -> JudgedFrame:
    """Return one camera's image, predicted at its own size."""
    height, width = np.asarray(truth if predicted is None else predicted).shape
    K = np.array([[float(width), 0, width / 2], [0, float(width), height / 2], [0, 0, 1]])
    camera = Camera("front", width, height, K, np.eye(4))
    prediction = CameraPrediction(
        camera,
        0,
        None,
        np.zeros((height, width, 3), np.uint8),
        semantic=None if predicted is None else np.asarray(predicted, np.uint8),
        semantic_confidence=None if confidence is None else np.asarray(confidence, np.float32),
    )
    true = CameraTruth(semantic=None if truth is None else np.asarray(truth, np.uint8))
    cameras = {"front": JudgedCamera(camera, prediction, true)}
    everything = Prediction(0, {"front": prediction}, "base_link", "odom", None)
    return JudgedFrame(everything, GroundTruth({"front": true}, dataset), cameras, Rig((camera,), "base_link"))


def statistics(*args: Any, **kwargs: Any) -> FrameStatistics:
    result = SCORE.frame(frame(*args, **kwargs))
    assert result is not None
    return result


def total(*rows: FrameStatistics) -> Totals:
    return TaskStatistics.of(list(enumerate(rows))).total()


def test_the_truth_itself_is_perfect() -> None:
    truth = np.random.default_rng(1).integers(0, len(LABELS), (30, 40))
    totals = total(statistics(truth, truth, confidence=np.ones(truth.shape)))
    assert SCORE.metrics(totals) == {"miou": 1.0, "pixel_accuracy": 1.0, "ece": 0.0}
    per_class = SCORE.per_class(totals)
    assert set(per_class) == set(LABELS.names)
    assert all(values == {"iou": 1.0, "accuracy": 1.0} for values in per_class.values())


def test_stripes_moved_by_a_pixel_lose_a_column_at_each_border() -> None:
    # Stripes 4 wide: road, pavement, road, pavement; moved to the right by one, the first column repeated.
    truth = np.repeat([[ROAD, PAVEMENT, ROAD, PAVEMENT]], 4, axis=1).repeat(5, axis=0)
    moved = np.concatenate([truth[:, :1], truth[:, :-1]], axis=1)
    totals = total(statistics(moved, truth))
    # Columns 4 and 12 are taken for road, column 8 for pavement: road 7 of 10, pavement 6 of 9.
    metrics = SCORE.metrics(totals)
    assert metrics["pixel_accuracy"] == 13 / 16
    assert metrics["miou"] == pytest.approx((7 / 10 + 6 / 9) / 2, abs=1e-15)
    assert np.isnan(metrics["ece"]) and SCORE.reliability(totals) == []
    assert SCORE.per_class(totals) == {
        "road": {"iou": 0.7, "accuracy": 7 / 8},
        "pavement": {"iou": 6 / 9, "accuracy": 6 / 8},
    }


def test_void_does_not_count_and_what_is_not_predicted_is_wrong() -> None:
    truth = np.array([[ROAD, ROAD, VOID, PAVEMENT]])
    totals = total(statistics(np.array([[ROAD, VOID, SKY, PAVEMENT]]), truth))
    assert SCORE.metrics(totals)["pixel_accuracy"] == 2 / 3
    assert SCORE.per_class(totals) == {
        "road": {"iou": 0.5, "accuracy": 0.5},
        "pavement": {"iou": 1.0, "accuracy": 1.0},
    }


def test_a_class_that_is_only_predicted_counts_in_the_mean() -> None:
    totals = total(statistics(np.array([[ROAD, CAR]]), np.array([[ROAD, ROAD]])))
    assert SCORE.per_class(totals) == {"road": {"iou": 0.5, "accuracy": 0.5}, "car": {"iou": 0.0}}
    assert SCORE.metrics(totals)["miou"] == 0.25


def test_nothing_comes_of_nothing() -> None:
    image = np.full((2, 3), ROAD)
    assert SCORE.frame(frame(None, image)) is None and SCORE.frame(frame(image, None)) is None
    only_void = SCORE.metrics(total(statistics(image, np.full((2, 3), VOID))))
    assert all(np.isnan(value) for value in only_void.values())


def test_truth_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="semantic: the truth of camera 'front'"):
        SCORE.frame(frame(np.zeros((2, 3)), np.zeros((3, 3))))


def test_an_id_of_a_dataset_takes_every_class_that_it_may_stand_for() -> None:
    truth = np.array([[CAMVID_CAR, CAMVID_CAR, CAMVID_CAR, CAMVID_BUILDING, CAMVID_SKY, CAMVID_VOID]])
    totals = total(statistics(np.array([[CAR, TRUCK, SKY, TRUCK, WALL, CAR]]), truth, "camvid"))
    # CamVid's cars: 2 of 3 found, one more where a building is. CamVid has no walls: no class's false positive.
    assert SCORE.per_class(totals) == {
        "car": {"iou": 2 / 4, "accuracy": 2 / 3},
        "building": {"iou": 0.0, "accuracy": 0.0},
        "sky": {"iou": 0.0, "accuracy": 0.0},
    }
    assert SCORE.metrics(totals)["pixel_accuracy"] == 2 / 5


def test_a_class_that_only_a_vague_id_has_is_wrong_where_the_truth_is_exact() -> None:
    building, building_fence_or_wall = 1, 11  # of SHIFT; both count as buildings
    truth = np.array([[building, building_fence_or_wall]])
    totals = total(statistics(np.array([[WALL, WALL]]), truth, "shift"))
    assert SCORE.per_class(totals) == {"building": {"iou": 0.5, "accuracy": 0.5}}


def test_an_unknown_dataset_is_named() -> None:
    with pytest.raises(ValueError, match="mapping from the truth's dataset 'moon'"):
        statistics(np.zeros((1, 1)), np.zeros((1, 1)), "moon")


def test_bags_with_different_labels_add_up() -> None:
    own = statistics(np.array([[CAR, TRUCK]]), np.array([[CAR, CAR]]))
    camvid = statistics(np.array([[TRUCK, SKY]]), np.array([[CAMVID_CAR, CAMVID_CAR]]), "camvid")
    parts = [TaskStatistics.of([(0, row)]) for row in (own, camvid)]
    joined = TaskStatistics.joined(parts).total()
    assert SCORE.metrics(joined) == pytest.approx(SCORE.metrics(total(own, camvid)), rel=0.0, nan_ok=True)
    assert SCORE.per_class(joined)["car"] == {"iou": 0.5, "accuracy": 0.5}


def test_halves_and_copies_give_what_the_whole_gives() -> None:
    rng = np.random.default_rng(2)
    predicted, truth = rng.integers(0, 5, (2, 6, 20, 30))
    confidence = rng.random((6, 20, 30), np.float32)
    rows = [statistics(*images[:2], confidence=images[2]) for images in zip(predicted, truth, confidence, strict=True)]
    whole = TaskStatistics.of(list(enumerate(rows)))
    halves = [TaskStatistics.of(list(enumerate(part))) for part in (rows[3:], rows[:3])]
    expected = SCORE.metrics(whole.total())
    assert SCORE.metrics(TaskStatistics.joined(halves).total()) == expected
    assert SCORE.metrics(TaskStatistics.joined([whole] * 12).total()) == expected
    everything_once = whole.sample(np.arange(6))
    assert SCORE.metrics(everything_once) == pytest.approx(expected, rel=1e-12)


def test_confidences_are_held_against_what_is_right() -> None:
    truth = np.array([[ROAD, ROAD, ROAD, ROAD, VOID, ROAD]])
    predicted = np.array([[ROAD, CAR, ROAD, ROAD, ROAD, VOID]])
    totals = total(statistics(predicted, truth, confidence=np.array([[0.25, 0.25, 1.0, 1.0, 1.0, 0.0]])))
    (diagram,) = SCORE.reliability(totals)
    assert diagram.counts.tolist() == [0, 0, 0, 2, *[0] * 10, 2]
    assert (diagram.predicted[3], diagram.observed[3]) == (0.25, 0.5)
    assert (diagram.predicted[14], diagram.observed[14]) == (1.0, 1.0)
    assert np.isnan(diagram.predicted[[0, 13]]).all()
    assert SCORE.metrics(totals)["ece"] == (0.25 * 2 + 0.0) / 4


def test_torchmetrics_agrees() -> None:
    rng = np.random.default_rng(3)
    classes = len(LABELS)
    probability = rng.dirichlet(np.full(classes, 0.3), (24, 32)).astype(np.float32)
    truth = np.where(rng.random((24, 32)) < 0.5, probability.argmax(axis=2), rng.integers(0, classes, (24, 32)))
    truth[rng.random(truth.shape) < 0.1] = VOID
    predicted, target = torch.from_numpy(probability.reshape(-1, classes)), torch.from_numpy(truth.ravel())
    own = SCORE.metrics(total(statistics(probability.argmax(axis=2), truth, confidence=probability.max(axis=2))))
    jaccard = MulticlassJaccardIndex(classes, average="macro", ignore_index=VOID)
    calibration = MulticlassCalibrationError(classes, n_bins=15, norm="l1", ignore_index=VOID)
    assert own["miou"] == pytest.approx(float(jaccard(predicted, target)), abs=1e-6)
    assert own["ece"] == pytest.approx(float(calibration(predicted, target)), abs=1e-5)
