# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Scene flow scores: by hand, with known perturbations, and against the benchmark's formulas in double precision."""

import numpy as np
import pytest

from mtl_perception.core import Camera, CameraPrediction, CameraTruth, GroundTruth, LabelSpace, Prediction, Rig
from mtl_perception.evaluation.judged import JudgedCamera, JudgedFrame
from mtl_perception.evaluation.score import ScoreOptions
from mtl_perception.evaluation.scores.scene_flow import SceneFlowScore
from mtl_perception.evaluation.statistics import TaskStatistics
from mtl_perception.rectification import Rectification
from mtl_perception.resources import config_file

SCORE = SceneFlowScore(LabelSpace.load(config_file("labels", "default")), ScoreOptions())
PERFECT = {"epe3d": 0, "accuracy_strict": 1, "accuracy_relaxed": 1, "outliers": 0}
SHAPE = 40, 60


def frame(predicted, truth, native=None) -> JudgedFrame:
    """Return one camera's velocities (H, W, 3) in m/s; `native` is another camera than that of the prediction."""
    height, width = (truth if predicted is None else np.asarray(predicted)).shape[:2]
    K = np.array([[float(width), 0, (width - 1) / 2], [0, float(width), (height - 1) / 2], [0, 0, 1]])
    camera = Camera("front", width, height, K, np.eye(4))
    source = camera if native is None else Rectification.prepare(native, width, height).target
    flows = [None if image is None else np.asarray(image, np.float32) for image in (predicted, truth)]
    prediction = CameraPrediction(source, 0, None, np.zeros((height, width, 3), np.uint8), scene_flow=flows[0])
    known = CameraTruth(scene_flow=flows[1])
    return JudgedFrame(
        Prediction(0, {"front": prediction}, "base_link", "odom", None),
        GroundTruth(cameras={"front": known}),
        {"front": JudgedCamera(native or camera, prediction, known)},
        Rig((native or camera,)),
    )


def statistics(*frames):
    return TaskStatistics.of([(number, SCORE.frame(judged)) for number, judged in enumerate(frames)])


def figures(*frames):
    return SCORE.metrics(statistics(*frames).total())


def along_x(*speeds):
    """Return an image of one row whose points move along x."""
    return np.stack([np.array([speeds], float), np.zeros((1, len(speeds))), np.zeros((1, len(speeds)))], axis=-1)


def traffic(seed=1):
    """Return an image in which a third moves, at up to some 20 m/s, with gaps."""
    rng = np.random.default_rng(seed)
    flow = rng.normal(0, 6, (*SHAPE, 3)) * (rng.random(SHAPE) < 0.33)[..., None]
    flow[:4] = np.nan
    return flow.astype(np.float32)


def test_the_truth_itself_is_perfect():
    expected = {**PERFECT, **{f"{name}_moving": value for name, value in PERFECT.items()}, "coverage": 1}
    assert figures(frame(traffic(), traffic())) == expected


def test_by_hand():
    """Over 0.1 s: errors of 0.04, 0.08, 0.2, 0.5, 0.02 m; the last two stand still, the others move at 10 m/s."""
    truth = along_x(10, 10, 10, 0, 0)
    predicted = along_x(10.4, 9.2, 12, 5, 0.2)
    metrics = figures(frame(predicted, truth))
    assert metrics == pytest.approx(
        {
            "epe3d": (0.04 + 0.08 + 0.2 + 0.5 + 0.02) / 5,
            "accuracy_strict": 2 / 5,
            "accuracy_relaxed": 3 / 5,
            "outliers": 2 / 5,  # 0.2 m is 20 %; 0.5 m
            "epe3d_moving": (0.04 + 0.08 + 0.2) / 3,
            "accuracy_strict_moving": 1 / 3,
            "accuracy_relaxed_moving": 2 / 3,
            "outliers_moving": 1 / 3,
            "coverage": 1.0,
        },
        rel=1e-5,
    )


def test_five_and_ten_percent_are_enough_for_what_is_fast():
    truth = along_x(20, 20, 20, 20)
    metrics = figures(frame(along_x(20.9, 21.9, 22.1, 23.1), truth))  # off by 0.09, 0.19, 0.21 and 0.31 m
    assert metrics["accuracy_strict"] == 1 / 4 and metrics["accuracy_relaxed"] == 2 / 4 and metrics["outliers"] == 2 / 4


@pytest.mark.parametrize(
    ("factor", "strict", "relaxed", "outliers"), [(1.04, 1, 1, 0), (1.09, 0, 1, 0), (1.2, 0, 0, 1)]
)
def test_velocities_times_a_factor(factor, strict, relaxed, outliers):
    truth = np.array(traffic() + np.float32([12, 0, 0]))
    speed = np.linalg.norm(truth.astype(np.float64), axis=-1)
    truth[speed < 11] = np.nan  # slow ones are right to 0.05 m whatever the factor
    metrics = figures(frame(truth * np.float32(factor), truth))
    assert metrics["epe3d"] == pytest.approx((factor - 1) * 0.1 * speed[speed >= 11].mean(), rel=1e-5)
    assert (metrics["accuracy_strict"], metrics["accuracy_relaxed"], metrics["outliers"]) == (strict, relaxed, outliers)


def test_what_is_not_predicted_is_wrong_even_where_nothing_moves():
    truth = along_x(0, 0, 10, 10)
    predicted = along_x(0, np.nan, 10, np.nan)
    metrics = figures(frame(predicted, truth))
    assert metrics["epe3d"] == pytest.approx((0 + 3 + 0 + 4) / 4) and metrics["epe3d_moving"] == pytest.approx(4 / 2)
    assert metrics["accuracy_strict"] == metrics["accuracy_relaxed"] == metrics["outliers"] == 0.5
    assert metrics["coverage"] == 0.5
    as_if = figures(frame(along_x(0, -30, 10, -30), truth))
    assert {**as_if, "coverage": 0.5} == pytest.approx(metrics)


def test_frames_without_flow_are_not_scored_nor_pixels_without_truth():
    assert SCORE.frame(frame(None, traffic())) is None
    assert SCORE.frame(frame(traffic(), None)) is None
    assert SCORE.frame(frame(traffic(), traffic() * np.nan)) is None
    metrics = figures(frame(along_x(3, 50), along_x(3, np.nan)))
    assert metrics["epe3d"] == 0 and metrics["coverage"] == 1


def test_where_nothing_moves_there_are_no_figures_of_what_moves():
    metrics = figures(frame(along_x(0.1, 0), along_x(0.4, 0)))
    assert metrics["epe3d"] == pytest.approx(0.015) and metrics["accuracy_strict"] == 1
    assert all(np.isnan(value) == name.endswith("_moving") for name, value in metrics.items())


def test_as_the_formulas_of_the_benchmark_in_double_precision():
    truth = traffic()
    rng = np.random.default_rng(2)
    predicted = truth + rng.normal(0, 1, truth.shape) * rng.random(SHAPE)[..., None]
    metrics = figures(frame(predicted, truth))
    moving = np.linalg.norm(truth, axis=-1) > 0.5
    p, t = predicted[moving].astype(np.float32).astype(np.float64) * 0.1, truth[moving].astype(np.float64) * 0.1
    error = np.linalg.norm(p - t, axis=1)
    relative = error / np.linalg.norm(t, axis=1)
    assert metrics["epe3d_moving"] == pytest.approx(error.mean(), rel=1e-6)
    assert metrics["accuracy_strict_moving"] == np.mean((error < 0.05) | (relative < 0.05))
    assert metrics["accuracy_relaxed_moving"] == np.mean((error < 0.1) | (relative < 0.1))
    assert metrics["outliers_moving"] == np.mean((error > 0.3) | (relative > 0.1))


def test_the_histograms_count_every_pixel_once():
    rows = statistics(frame(along_x(0, 2.1, 13.1, 40), along_x(0, 0, 10, 10)))
    everything, moving = SCORE.histograms(rows.total())
    assert everything.counts.tolist() == np.histogram([0, 0.21, 0.31, 0.99], everything.edges)[0].tolist()
    assert moving.counts.tolist() == np.histogram([0.31, 0.99], moving.edges)[0].tolist()


def test_halves_joined_are_the_whole():
    rows = [(number, SCORE.frame(frame(traffic(number), traffic(number + 9)))) for number in range(4)]
    whole = TaskStatistics.of(rows)
    halves = TaskStatistics.joined([TaskStatistics.of(rows[3:]), TaskStatistics.of(rows[:3])])
    assert SCORE.metrics(halves.total()) == SCORE.metrics(whole.total())
    assert SCORE.metrics(TaskStatistics.joined([whole] * 12).total()) == SCORE.metrics(whole.total())
    assert SCORE.metrics(whole.sample(np.arange(4))) == pytest.approx(SCORE.metrics(whole.total()), rel=1e-12)


def test_a_distorted_camera_is_scored_at_its_own_pixels():
    K = np.array([[90.0, 0, 59.5], [0, 90.0, 39.5], [0, 0, 1]])
    lens = Camera("front", 120, 80, K, np.eye(4), "plumb_bob", np.array([-0.25, 0.05, 0.001, -0.002, 0.0]))
    truth = np.full((80, 120, 3), np.nan)
    truth[20:60, 30:90] = 7.0, -2.0, 0.5
    metrics = figures(frame(np.broadcast_to([7.0, -2.0, 0.5], (72, 112, 3)), truth, lens))
    assert metrics["epe3d"] < 1e-5 and metrics["coverage"] == 1 and metrics["accuracy_strict_moving"] == 1


def test_a_true_image_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"scene_flow: the truth of camera 'front' has 3 x 3 pixels, the camera 3 x 2"):
        SCORE.frame(frame(np.zeros((2, 3, 3)), np.zeros((3, 3, 3))))
