# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Depth scores: by hand, with known perturbations, and against torchmetrics."""

import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.regression import mean_absolute_percentage_error, mean_squared_error

from mtl_perception.core import (
    Camera,
    CameraPrediction,
    CameraTruth,
    GroundTruth,
    LabelSpace,
    Prediction,
    Rig,
    pixel_rays,
)
from mtl_perception.evaluation.judged import JudgedCamera, JudgedFrame, SparseDepth
from mtl_perception.evaluation.score import ScoreOptions
from mtl_perception.evaluation.scores.depth import DepthScore
from mtl_perception.evaluation.statistics import FrameStatistics, TaskStatistics
from mtl_perception.rectification import Rectification
from mtl_perception.resources import config_file

LABELS = LabelSpace.load(config_file("labels", "default"))
SCORE = DepthScore(LABELS, ScoreOptions())
SCALING = DepthScore(LABELS, ScoreOptions(median_scaling=True))
PERFECT = {"abs_rel": 0, "sq_rel": 0, "rmse": 0, "rmse_log": 0, "delta1": 1, "delta2": 1, "delta3": 1, "coverage": 1}
SHAPE = 40, 60
UNKNOWN, SKY = np.nan, np.inf


def camera_of(shape, model="", distortion=()):
    height, width = shape
    K = np.array([[1.2 * width, 0, (width - 1) / 2], [0, 1.2 * width, (height - 1) / 2], [0, 0, 1.0]])
    return Camera("front", width, height, K, np.eye(4), model, np.array(distortion))


def frame(predicted, truth=None, std=None, sparse=None, native=None) -> JudgedFrame:
    """Return what one camera predicted, at its own size unless `native` is another camera."""
    predicted = None if predicted is None else np.asarray(predicted, np.float32)
    source = camera_of((truth if predicted is None else predicted).shape)
    native = native or source
    prediction = CameraPrediction(
        source if native is source else Rectification.prepare(native, source.width, source.height).target,
        0,
        None,
        np.zeros((source.height, source.width, 3), np.uint8),
        depth=predicted,
        depth_std=None if std is None else np.asarray(std, np.float32),
    )
    known = CameraTruth(depth=None if truth is None else np.asarray(truth, np.float32))
    return JudgedFrame(
        Prediction(0, {"front": prediction}, "base_link", "odom", None),
        GroundTruth(cameras={"front": known}),
        {"front": JudgedCamera(native, prediction, known, sparse)},
        Rig((native,)),
    )


def total(*frames, score=SCORE):
    return TaskStatistics.of([(number, score.frame(judged)) for number, judged in enumerate(frames)]).total()


def figures(*frames, score=SCORE):
    return score.metrics(total(*frames, score=score))


def scene(seed=1):
    """Return depth from 1 to 79 m with gaps and sky."""
    depth = np.random.default_rng(seed).uniform(1, 79, SHAPE).astype(np.float32)
    depth[:5] = SKY
    depth[20, 10:30] = UNKNOWN
    return depth


def test_the_truth_itself_is_perfect():
    truth = scene()
    truth[30, :3] = 0.1, 80.0, 79.99
    without_sky = np.where(np.isfinite(truth), truth, np.nan)
    assert figures(frame(without_sky, truth)) == PERFECT
    assert figures(frame(without_sky, truth), score=SCALING) == PERFECT
    pixels = np.argwhere(np.isfinite(truth))[:, ::-1].astype(np.float32)
    sparse = SparseDepth(pixels, truth[np.isfinite(truth)])
    assert figures(frame(without_sky, sparse=sparse)) == PERFECT


def test_by_hand():
    metrics = figures(frame([[5.0, 2.0], [30.0, 7.0]], [[4.0, 4.0], [10.0, 7.0]]))
    assert metrics == pytest.approx(
        {
            "abs_rel": (1 / 4 + 2 / 4 + 20 / 10) / 4,
            "sq_rel": (1 / 4 + 4 / 4 + 400 / 10) / 4,
            "rmse": math.sqrt((1 + 4 + 400) / 4),
            "rmse_log": math.sqrt((math.log(1.25) ** 2 + math.log(2) ** 2 + math.log(3) ** 2) / 4),
            "delta1": 1 / 4,  # 5 / 4 is not below 1.25
            "delta2": 2 / 4,
            "delta3": 2 / 4,  # 2 is above 1.25 ** 3
            "coverage": 1.0,
        },
        rel=1e-6,
    )


@pytest.mark.parametrize(("factor", "deltas"), [(1.1, (1, 1, 1)), (0.7, (0, 1, 1)), (1.7, (0, 0, 1))])
def test_depth_times_a_factor(factor, deltas):
    truth = np.random.default_rng(2).uniform(1, 40, SHAPE).astype(np.float32)
    metrics = figures(frame(truth * np.float32(factor), truth))
    off = abs(factor - 1)
    assert metrics["abs_rel"] == pytest.approx(off, rel=1e-6)
    assert metrics["sq_rel"] == pytest.approx(off**2 * truth.mean(dtype=np.float64), rel=1e-6)
    assert metrics["rmse"] == pytest.approx(off * np.sqrt(np.mean(truth.astype(np.float64) ** 2)), rel=1e-6)
    assert metrics["rmse_log"] == pytest.approx(abs(math.log(factor)), rel=1e-6)
    assert (metrics["delta1"], metrics["delta2"], metrics["delta3"]) == deltas


def test_median_scaling_undoes_a_factor_per_image():
    truth = scene(), scene(2)
    frames = [frame(truth[0] * np.float32(1.1), truth[0]), frame(truth[1] / 4, truth[1])]
    assert figures(*frames)["abs_rel"] > 0.3
    metrics = figures(*frames, score=SCALING)
    assert metrics["abs_rel"] < 1e-6 and metrics["rmse"] < 1e-4 and metrics["delta1"] == 1


def test_median_scaling_is_that_of_pixels_with_both_and_comes_before_the_limits():
    predicted = [[1.0, 2.0, 3.0, np.nan, 100.0]]
    truth = [[10.0, 20.0, 30.0, 40.0, np.nan]]
    metrics = figures(frame(predicted, truth), score=SCALING)
    assert metrics["abs_rel"] == pytest.approx((80 - 40) / 40 / 4) and metrics["coverage"] == 3 / 4


def test_what_is_not_predicted_counts_as_far_away():
    truth = [[5.0, 10.0, UNKNOWN, SKY]]
    metrics = figures(frame([[np.nan, 10.0, 3.0, 3.0]], truth))
    assert metrics["abs_rel"] == pytest.approx(75 / 5 / 2) and metrics["delta1"] == 0.5 and metrics["coverage"] == 0.5
    assert metrics == {**figures(frame([[80.0, 10.0, 3.0, 3.0]], truth)), "coverage": 0.5}


def test_limits_choose_the_truth_and_hold_the_prediction():
    score = DepthScore(LABELS, ScoreOptions(min_depth=1.0, max_depth=20.0))
    predicted = [[0.2, -4.0, 90.0, np.inf, 5.0, 5.0]]
    truth = [[1.0, 2.0, 10.0, 20.0, 0.9, 20.1]]
    metrics = figures(frame(predicted, truth), score=score)
    assert metrics["abs_rel"] == pytest.approx((0 + 1 / 2 + 10 / 10 + 0) / 4)
    assert metrics["coverage"] == 1.0


def test_frames_without_truth_or_prediction_are_not_scored():
    nothing = np.full(SHAPE, np.nan)
    assert SCORE.frame(frame(None, scene())) is None
    assert SCORE.frame(frame(scene())) is None
    assert SCORE.frame(frame(scene(), nothing)) is None
    assert SCORE.frame(frame(scene(), sparse=SparseDepth(np.zeros((0, 2)), np.zeros(0)))) is None


def test_dense_truth_goes_before_single_places():
    sparse = SparseDepth(np.array([[1, 0]], np.float32), np.array([7.0], np.float32))
    assert figures(frame([[2.0, 2.0]], [[2.0, 2.0]], sparse=sparse))["abs_rel"] == 0


def test_bands_of_distance():
    score = DepthScore(LABELS, ScoreOptions(max_depth=100.0))
    bands = score.per_class(total(frame([[1.0, 6.0, 12.0, 90.0]], [[2.0, 5.0, 10.0, 90.0]]), score=score))
    assert list(bands) == ["0-5 m", "5-10 m", "over 80 m"]
    assert bands["0-5 m"] == pytest.approx({"abs_rel": (1 / 2 + 1 / 5) / 2, "rmse": 1.0})
    assert bands["5-10 m"] == pytest.approx({"abs_rel": 0.2, "rmse": 2.0}) and bands["over 80 m"]["abs_rel"] == 0


def test_the_histogram_counts_every_pixel_once():
    histogram = SCORE.histograms(total(frame([[10.0, 10.5, 13.1, 50.0]], [[10.0, 10.0, 10.0, 10.0]])))[0]
    assert histogram.edges[[0, -1]].tolist() == [0, 1] and len(histogram.counts) == len(histogram.edges) - 1
    expected = np.histogram([0.0, 0.05, 0.31, 0.999], histogram.edges)[0]
    assert histogram.counts.tolist() == expected.tolist()


def test_stated_deviations_beside_the_errors_made():
    """Errors drawn with the stated deviation agree with it, bin by bin; a boaster's do not."""
    rng = np.random.default_rng(3)
    truth = np.full((300, 300), 40.0)
    std = np.exp(rng.uniform(np.log(0.1), np.log(4.0), truth.shape))
    predicted = truth + std * rng.normal(size=truth.shape)
    honest = SCORE.reliability(total(frame(predicted, truth, std)))[0]
    filled = honest.counts > 0
    assert honest.counts.sum() == truth.size and filled.sum() in (11, 12)
    np.testing.assert_allclose(honest.observed[filled], honest.predicted[filled], rtol=0.06)
    assert np.isnan(honest.observed[~filled]).all()
    boaster = SCORE.reliability(total(frame(predicted, truth, std / 4)))[0]
    filled = boaster.counts > 0
    np.testing.assert_allclose(boaster.observed[filled], 4 * boaster.predicted[filled], rtol=0.06)


def test_deviations_are_not_needed_and_gaps_in_them_are_left_out():
    truth = scene()
    assert SCORE.reliability(total(frame(truth, truth))) == []
    std = np.where(np.arange(SHAPE[1]) < 30, 1.0, np.nan) * np.ones(SHAPE)
    with_gaps = total(frame(truth + 1, truth, std), frame(truth, truth))
    reliability = SCORE.reliability(with_gaps)[0]
    assert reliability.counts.sum() == np.isfinite(truth[:, :30]).sum()
    filled = reliability.counts > 0
    assert reliability.predicted[filled] == [1.0] and reliability.observed[filled] == pytest.approx([1.0], abs=1e-5)


def test_halves_joined_are_the_whole_and_copies_change_nothing():
    rng = np.random.default_rng(4)
    frames = [frame(scene(seed) * rng.uniform(0.8, 1.3, SHAPE), scene(seed), np.ones(SHAPE)) for seed in range(4)]
    rows = [(number, SCORE.frame(judged)) for number, judged in enumerate(frames)]
    whole = TaskStatistics.of(rows)
    halves = TaskStatistics.joined([TaskStatistics.of(rows[2:]), TaskStatistics.of(rows[:2])])
    expected = SCORE.metrics(whole.total())
    assert SCORE.metrics(halves.total()) == expected
    assert SCORE.metrics(TaskStatistics.joined([whole] * 12).total()) == expected
    assert SCORE.metrics(whole.sample(np.arange(4))) == pytest.approx(expected, rel=1e-12)
    assert SCORE.metrics(whole.row(1)) == pytest.approx(figures(frames[1]), rel=1e-12)


def test_two_cameras_are_scored_over_all_their_pixels():
    one, other = frame([[1.0, 3.0]], [[1.0, 2.0]]), frame([[np.nan, 4.0]], [[np.nan, 2.0]])
    both = JudgedFrame(
        one.prediction, one.truth, {"left": one.cameras["front"], "right": other.cameras["front"]}, one.rig
    )
    assert figures(both)["abs_rel"] == pytest.approx((0 + 0.5 + 1.0) / 3)


def test_as_torchmetrics_has_it():
    truth = scene()
    predicted = np.random.default_rng(5).normal(1, 0.2, SHAPE) * truth
    metrics = figures(frame(predicted, truth))
    known = np.isfinite(truth)
    p, t = torch.tensor(np.clip(predicted[known], 0.1, 80)).double(), torch.tensor(truth[known]).double()
    expected = {
        "abs_rel": mean_absolute_percentage_error(p, t),
        "sq_rel": mean_squared_error(p / t.sqrt(), t / t.sqrt()),
        "rmse": mean_squared_error(p, t, squared=False),
        "rmse_log": mean_squared_error(p.log(), t.log(), squared=False),
    }
    assert {name: metrics[name] for name in expected} == pytest.approx(
        {name: float(value) for name, value in expected.items()}, rel=1e-5
    )


def test_a_distorted_camera_is_scored_at_its_own_pixels():
    """A wall that is seen through a bending lens: the rectified prediction of it is right at every pixel it reaches."""
    lens = camera_of((80, 120), "plumb_bob", [-0.25, 0.05, 0.001, -0.002, 0.0])
    target = Rectification.prepare(lens, 112, 72).target

    def wall(camera):
        return (1.0 / (0.1 + 0.03 * pixel_rays(camera)[..., 0])).astype(np.float32)

    truth = np.full((80, 120), np.nan, np.float32)
    points = np.stack(np.meshgrid(np.arange(30, 90), np.arange(20, 60)), axis=-1).reshape(-1, 2)
    truth[points[:, 1], points[:, 0]] = wall(lens)[points[:, 1], points[:, 0]]
    dense = figures(frame(wall(target), truth, native=lens))
    sparse = SparseDepth(points.astype(np.float32), truth[points[:, 1], points[:, 0]])
    single = figures(frame(wall(target), sparse=sparse, native=lens))
    assert dense["abs_rel"] < 1e-3 and dense["coverage"] == 1.0
    assert single == pytest.approx(dense, rel=1e-3, abs=1e-6)


def test_a_true_image_of_another_size_is_refused():
    judged = frame(np.ones((2, 3)), np.ones((2, 3)))
    camera = judged.cameras["front"]
    wrong = JudgedCamera(camera.camera, camera.prediction, CameraTruth(depth=np.ones((3, 3), np.float32)))
    with pytest.raises(ValueError, match=r"depth: the truth of camera 'front' has 3 x 3 pixels, the camera 3 x 2"):
        SCORE.frame(JudgedFrame(judged.prediction, judged.truth, {"front": wrong}, judged.rig))


def test_what_is_added_up_is_finite_whatever_is_predicted():
    wild = np.array([[np.inf, -np.inf, 0.0, 1e30, np.nan, 1e-30]])
    statistics = SCALING.frame(frame(wild, np.full((1, 6), 5.0), np.array([[np.inf, 0, -1, 1e30, np.nan, 1]])))
    assert isinstance(statistics, FrameStatistics)
