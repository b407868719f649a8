# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Scores of surface normals: by hand, with known rotations, and against the arc cosine in double precision."""

import numpy as np
import pytest

from mtl_perception.core import Camera, CameraPrediction, CameraTruth, GroundTruth, LabelSpace, Prediction, Rig
from mtl_perception.evaluation.judged import JudgedCamera, JudgedFrame
from mtl_perception.evaluation.score import ScoreOptions
from mtl_perception.evaluation.scores.normals import NormalsScore
from mtl_perception.evaluation.statistics import TaskStatistics
from mtl_perception.rectification import Rectification
from mtl_perception.resources import config_file

SCORE = NormalsScore(LabelSpace.load(config_file("labels", "default")), ScoreOptions())
PERFECT = {"mean_deg": 0, "median_deg": 0, "within_11_25": 1, "within_22_5": 1, "within_30": 1}
SHAPE = 40, 60


def frame(predicted, truth, native=None) -> JudgedFrame:
    """Return one camera's normals (H, W, 3); `native` is another camera than that of the prediction."""
    height, width = (truth if predicted is None else predicted).shape[:2]
    K = np.array([[float(width), 0, (width - 1) / 2], [0, float(width), (height - 1) / 2], [0, 0, 1]])
    camera = Camera("front", width, height, K, np.eye(4))
    source = camera if native is None else Rectification.prepare(native, width, height).target
    normals = [None if image is None else image.astype(np.float32) for image in (predicted, truth)]
    prediction = CameraPrediction(source, 0, None, np.zeros((height, width, 3), np.uint8), normals=normals[0])
    known = CameraTruth(normals=normals[1])
    return JudgedFrame(
        Prediction(0, {"front": prediction}, "base_link", "odom", None),
        GroundTruth(cameras={"front": known}),
        {"front": JudgedCamera(native or camera, prediction, known)},
        Rig((native or camera,)),
    )


def figures(*frames):
    rows = [(number, SCORE.frame(judged)) for number, judged in enumerate(frames)]
    return SCORE.metrics(TaskStatistics.of(rows).total())


def scattered(seed=1, shape=SHAPE):
    normals = np.random.default_rng(seed).normal(size=(*shape, 3))
    return (normals / np.linalg.norm(normals, axis=-1, keepdims=True)).astype(np.float32)


def turned(*degrees):
    """Return an image of one row, each normal at an angle to the axis towards the camera, and one of that axis."""
    angles = np.radians(np.array([degrees]))
    tilted = np.stack([np.sin(angles), np.zeros_like(angles), -np.cos(angles)], axis=-1)
    return tilted, np.broadcast_to([0.0, 0.0, -1.0], tilted.shape)


def test_the_truth_itself_is_perfect():
    truth = scattered()
    truth[3, 4:9] = np.nan
    assert figures(frame(truth, truth)) == PERFECT
    flat = np.broadcast_to(truth[:1, :1], truth.shape)
    assert figures(frame(flat * np.float32(1.0001), flat)) == pytest.approx(PERFECT, abs=1e-4)


def test_by_hand():
    metrics = figures(frame(*turned(0, 10, 11.5, 25, 140)))
    assert metrics == pytest.approx(
        {
            "mean_deg": (10 + 11.5 + 25 + 140) / 5,
            "median_deg": 11.5,
            "within_11_25": 2 / 5,
            "within_22_5": 3 / 5,
            "within_30": 4 / 5,
        },
        rel=1e-6,
    )


@pytest.mark.parametrize("degrees", [0.3, 10.0, 22.4, 44.9, 45.0, 46.0, 90.0, 179.0])
def test_all_normals_turned_by_the_same_angle(degrees):
    metrics = figures(frame(*turned(*[degrees] * 20)))
    assert metrics["mean_deg"] == pytest.approx(degrees, rel=1e-5) and metrics["median_deg"] == degrees
    assert metrics["within_11_25"] == (degrees < 11.25) and metrics["within_30"] == (degrees < 30)


def test_the_median_is_that_of_all_pixels_of_all_frames():
    assert figures(frame(*turned(1, 2, 3)), frame(*turned(8, 10)))["median_deg"] == 3
    assert figures(frame(*turned(1, 2)), frame(*turned(8, 10)))["median_deg"] == (2 + 8) / 2
    rng = np.random.default_rng(2)
    many = rng.gamma(2.0, 6.0, 2001)
    assert figures(frame(*turned(*many)))["median_deg"] == pytest.approx(np.median(many), abs=0.05)


def test_what_is_not_predicted_counts_as_the_opposite():
    predicted, truth = turned(5, 5, 5, 5)
    predicted[0, 1], predicted[0, 2] = np.nan, 0
    metrics = figures(frame(predicted, truth))
    assert metrics["mean_deg"] == pytest.approx((5 + 180 + 180 + 5) / 4, rel=1e-6) and metrics["within_30"] == 0.5
    assert figures(frame(-truth, truth)) == {
        "mean_deg": 180,
        "median_deg": 180,
        "within_11_25": 0,
        "within_22_5": 0,
        "within_30": 0,
    }


def test_frames_without_normals_are_not_scored_nor_pixels_without_truth():
    truth = scattered()
    assert SCORE.frame(frame(None, truth)) is None
    assert SCORE.frame(frame(truth, None)) is None
    assert SCORE.frame(frame(truth, truth * np.nan)) is None
    predicted, true = turned(0, 40)
    true = np.array(true)
    true[0, 1] = np.nan
    assert figures(frame(predicted, true)) == PERFECT


def test_as_the_arc_cosine_has_it():
    predicted, truth = scattered(3), scattered(4)
    angles = np.degrees(np.arccos(np.clip((predicted.astype(np.float64) * truth).sum(axis=-1), -1, 1)))
    metrics = figures(frame(predicted, truth))
    assert metrics["mean_deg"] == pytest.approx(angles.mean(), rel=1e-6)
    assert metrics["median_deg"] == pytest.approx(np.median(angles), abs=0.5)
    assert metrics["within_22_5"] == (angles < 22.5).mean() and metrics["within_30"] == (angles < 30).mean()


def test_the_histogram_counts_every_pixel_once():
    statistics = TaskStatistics.of([(0, SCORE.frame(frame(*turned(0, 3, 3, 89, 120))))])
    histogram = SCORE.histograms(statistics.total())[0]
    assert histogram.counts.tolist() == np.histogram([0, 3, 3, 89, 89.9], histogram.edges)[0].tolist()


def test_halves_joined_are_the_whole():
    rows = [(number, SCORE.frame(frame(scattered(number), scattered(number + 9)))) for number in range(4)]
    whole = TaskStatistics.of(rows)
    halves = TaskStatistics.joined([TaskStatistics.of(rows[3:]), TaskStatistics.of(rows[:3])])
    assert SCORE.metrics(halves.total()) == SCORE.metrics(whole.total())
    assert SCORE.metrics(TaskStatistics.joined([whole] * 12).total()) == SCORE.metrics(whole.total())
    assert SCORE.metrics(whole.sample(np.arange(4))) == pytest.approx(SCORE.metrics(whole.total()), rel=1e-12)


def test_a_distorted_camera_is_scored_at_its_own_pixels():
    """A wall's normal is the same at all pixels, however the lens bends the image."""
    K = np.array([[90.0, 0, 59.5], [0, 90.0, 39.5], [0, 0, 1]])
    lens = Camera("front", 120, 80, K, np.eye(4), "plumb_bob", np.array([-0.25, 0.05, 0.001, -0.002, 0.0]))
    wall = np.broadcast_to(scattered(shape=(1, 1)), (80, 120, 3)).copy()
    wall[:20], wall[60:], wall[:, :30], wall[:, 90:] = np.nan, np.nan, np.nan, np.nan
    metrics = figures(frame(np.broadcast_to(wall[40, 60], (72, 112, 3)), wall, lens))
    assert metrics["mean_deg"] < 1e-3 and metrics["within_11_25"] == 1


def test_a_true_image_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"normals: the truth of camera 'front' has 3 x 3 pixels, the camera 3 x 2"):
        SCORE.frame(frame(scattered(shape=(2, 3)), scattered(shape=(3, 3))))
