# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Motion mask scores: by hand, with known perturbations, and against torchmetrics."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import binary_jaccard_index, binary_precision, binary_recall

from mtl_perception.core import Camera, CameraPrediction, CameraTruth, GroundTruth, LabelSpace, Prediction, Rig
from mtl_perception.evaluation.judged import JudgedCamera, JudgedFrame
from mtl_perception.evaluation.score import ScoreOptions
from mtl_perception.evaluation.scores.motion_mask import MotionMaskScore
from mtl_perception.evaluation.statistics import TaskStatistics
from mtl_perception.rectification import Rectification
from mtl_perception.resources import config_file

SCORE = MotionMaskScore(LabelSpace.load(config_file("labels", "default")), ScoreOptions())


def frame(predicted, truth, native=None) -> JudgedFrame:
    """Return one camera's masks of 0 and 1; `native` is another camera than that of the prediction."""
    height, width = (truth if predicted is None else np.asarray(predicted)).shape
    K = np.array([[float(width), 0, (width - 1) / 2], [0, float(width), (height - 1) / 2], [0, 0, 1]])
    camera = Camera("front", width, height, K, np.eye(4))
    source = camera if native is None else Rectification.prepare(native, width, height).target
    masks = [None if mask is None else np.asarray(mask).astype(np.uint8) * 255 for mask in (predicted, truth)]
    prediction = CameraPrediction(source, 0, None, np.zeros((height, width, 3), np.uint8), motion_mask=masks[0])
    known = CameraTruth(motion_mask=masks[1])
    return JudgedFrame(
        Prediction(0, {"front": prediction}, "base_link", "odom", None),
        GroundTruth(cameras={"front": known}),
        {"front": JudgedCamera(native or camera, prediction, known)},
        Rig((native or camera,)),
    )


def total(*frames):
    return TaskStatistics.of([(number, SCORE.frame(judged)) for number, judged in enumerate(frames)]).total()


def figures(*frames):
    return SCORE.metrics(total(*frames))


def square(top=10, left=20, size=8):
    mask = np.zeros((40, 60), bool)
    mask[top : top + size, left : left + size] = True
    return mask


def test_the_truth_itself_is_perfect():
    assert figures(frame(square(), square())) == {"iou": 1, "iou_static": 1, "precision": 1, "recall": 1}


def test_by_hand():
    metrics = figures(frame([[1, 1, 1, 0, 0, 0, 0]], [[1, 0, 0, 1, 0, 0, 0]]))
    assert metrics == {"iou": 1 / 4, "iou_static": 3 / 6, "precision": 1 / 3, "recall": 1 / 2}


def test_a_mask_that_is_shifted_by_a_pixel():
    assert figures(frame(square(left=21), square()))["iou"] == (8 * 7) / (8 * 9)


def test_frames_count_by_their_pixels():
    """Not the mean of 1 and 0."""
    frames = frame([[1, 1, 1]], [[1, 1, 1]]), frame([[0, 0]], [[1, 0]])
    assert figures(*frames)["iou"] == 3 / 4


def test_where_nothing_moves_and_nothing_was_said_to_there_is_no_figure():
    still = np.zeros((4, 5), bool)
    metrics = figures(frame(still, still))
    assert np.isnan(metrics["iou"]) and metrics["iou_static"] == 1
    assert figures(frame(~still, still)) == pytest.approx(
        {"iou": 0, "iou_static": 0, "precision": 0, "recall": np.nan}, nan_ok=True
    )


def test_frames_without_mask_or_truth_are_not_scored():
    assert SCORE.frame(frame(None, square())) is None
    assert SCORE.frame(frame(square(), None)) is None


def test_what_moves_beyond_the_mask_is_missed():
    """The rectified image is cut to what shows the scene, so that it lacks the corners of a bent one."""
    lens = Camera(
        "front",
        120,
        80,
        np.array([[90.0, 0, 59.5], [0, 90.0, 39.5], [0, 0, 1]]),
        np.eye(4),
        "plumb_bob",
        np.array([-0.25, 0.05, 0.001, -0.002, 0.0]),
    )
    everything = np.ones((72, 112), bool)
    judged = frame(everything, np.ones((80, 120), bool), lens)
    reached = np.count_nonzero(judged.cameras["front"].predicted("motion_mask"))
    assert 0.6 < reached / 9600 < 1.0
    assert figures(judged)["iou"] == reached / 9600


def test_halves_joined_are_the_whole():
    rng = np.random.default_rng(1)
    rows = [(n, SCORE.frame(frame(rng.random((20, 30)) > 0.5, rng.random((20, 30)) > 0.7))) for n in range(6)]
    whole = TaskStatistics.of(rows)
    halves = TaskStatistics.joined([TaskStatistics.of(rows[3:]), TaskStatistics.of(rows[:3])])
    assert SCORE.metrics(halves.total()) == SCORE.metrics(whole.total())
    assert SCORE.metrics(whole.sample(np.arange(6))) == pytest.approx(SCORE.metrics(whole.total()))


def test_as_torchmetrics_has_it():
    rng = np.random.default_rng(2)
    predicted, truth = rng.random((2, 40, 60)) > np.array([0.6, 0.8])[:, None, None]
    metrics = figures(frame(predicted, truth))
    p, t = torch.tensor(predicted).int(), torch.tensor(truth).int()
    assert metrics["iou"] == pytest.approx(float(binary_jaccard_index(p, t)))
    assert metrics["iou_static"] == pytest.approx(float(binary_jaccard_index(1 - p, 1 - t)))
    assert metrics["precision"] == pytest.approx(float(binary_precision(p, t)))
    assert metrics["recall"] == pytest.approx(float(binary_recall(p, t)))


def test_a_true_mask_of_another_size_is_refused():
    with pytest.raises(
        ValueError, match=r"motion_mask: the truth of camera 'front' has 3 x 3 pixels, the camera 3 x 2"
    ):
        SCORE.frame(frame(np.ones((2, 3), bool), np.ones((3, 3), bool)))
