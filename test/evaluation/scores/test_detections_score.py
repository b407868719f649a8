# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Boxes: by hand, against nuScenes' own program, and which true boxes count."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtl_perception.core import Box, Camera, CameraTruth, Detection, GroundTruth, LabelSpace, Prediction, Rig, Sweep
from mtl_perception.core.transforms import BODY_FROM_OPTICAL, Transform
from mtl_perception.data.true_boxes import FEWEST_PIXELS
from mtl_perception.evaluation.judged import JudgedFrame
from mtl_perception.evaluation.score import ScoreOptions
from mtl_perception.evaluation.scores.detection_matching import true_boxes
from mtl_perception.evaluation.scores.detections import DetectionsScore
from mtl_perception.evaluation.statistics import TaskStatistics
from mtl_perception.resources import config_file

LABELS = LabelSpace.load(config_file("labels", "default"))
SCORE = DetectionsScore(LABELS, ScoreOptions())
CAR, PEDESTRIAN = LABELS.id_of("car"), LABELS.id_of("pedestrian")
CASES = json.loads((Path(__file__).parent / "nuscenes_devkit_cases.json").read_text())["cases"]
DEVKIT_NAMES = {
    "translation_error": "trans_err",
    "scale_error": "scale_err",
    "orientation_error": "orient_err",
    "velocity_error": "vel_err",
    "attribute_error": "attr_err",
}


def turned(yaw: float, place: Sequence[float] = (0.0, 0.0, 0.0)) -> Transform:
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    pose[:3, 3] = place
    return pose


def rig() -> Rig:
    """Four cameras that together see all around."""
    K = np.array([[40.0, 0.0, 49.5], [0.0, 40.0, 29.5], [0.0, 0.0, 1.0]])
    optical = np.eye(4)
    optical[:3, :3] = BODY_FROM_OPTICAL[:3, :3]
    names = ("front", "left", "back", "right")
    return Rig(tuple(Camera(n, 100, 60, K, turned(i * np.pi / 2, (0, 0, 1)) @ optical) for i, n in enumerate(names)))


def box(
    x: float, y: float, label: str = "car", velocity: Sequence[float] | None = (0.0, 0.0), yaw: float = 0.3, **more: Any
) -> Box:
    known = None if velocity is None else np.array([*velocity, 0.0])
    return Box(turned(yaw, (x, y, 1.0)), (4.0, 2.0, 1.5), label, velocity=known, **more)


def detection(x: float, y: float, score: float = 0.5, label: int = CAR, **changes: Any) -> Detection:
    return replace(Detection(label, score, (x, y, 1.0), (4.0, 2.0, 1.5), 0.3, (0.0, 0.0)), **changes)


def frame(detections: Sequence[Detection] | None, boxes: Sequence[Box] | None, **truth: Any) -> JudgedFrame:
    prediction = Prediction(
        1000, {}, "base_link", "odom", None, detections=None if detections is None else tuple(detections)
    )
    sweep = Sweep(1000, None, boxes=None if boxes is None else tuple(boxes))
    return JudgedFrame(prediction, GroundTruth(**{"sweep": sweep, **truth}), {}, rig())


def statistics(*frames: JudgedFrame) -> TaskStatistics:
    rows = [(index, SCORE.frame(judged)) for index, judged in enumerate(frames)]
    return TaskStatistics.of([(index, row) for index, row in rows if row is not None])


def metrics(*frames: JudgedFrame) -> dict[str, float]:
    return SCORE.metrics(statistics(*frames).total())


def true_and_predicted(case: dict[str, Any]) -> list[JudgedFrame]:
    """Return the frames of one of nuScenes' cases."""
    frames = []
    for content in case["frames"]:
        boxes = [
            Box(
                turned(b["yaw"], b["centre"]),
                b["size"],
                b["label"],
                velocity=b["velocity"] and np.array([*b["velocity"], 0.0]),
            )
            for b in content["true"]
        ]
        found = [Detection(**{**d, "label": LABELS.id_of(d["label"])}) for d in content["predicted"]]
        frames.append(frame(found, boxes))
    return frames


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["seed"]))
def test_the_metrics_are_those_of_nuscenes_own_program(case: dict[str, Any]) -> None:
    total = statistics(*true_and_predicted(case)).total()
    result, per_class = SCORE.metrics(total), SCORE.per_class(total)
    assert result["map"] == pytest.approx(case["map"], abs=1e-6)
    assert result["nds"] == pytest.approx(case["nds"], abs=1e-6)
    for name, theirs in DEVKIT_NAMES.items():
        assert result[name] == pytest.approx(case["tp_errors"][theirs], abs=1e-6)
    assert per_class.keys() == case["per_class"].keys()
    for label, values in case["per_class"].items():
        assert per_class[label]["ap"] == pytest.approx(values["ap"], abs=1e-6)
        for name, theirs in DEVKIT_NAMES.items():
            assert per_class[label][name] == pytest.approx(values[theirs], abs=1e-6)


def test_the_truth_itself_is_perfect() -> None:
    boxes = [box(10, 1, velocity=(3, 4)), box(-8, 2, yaw=-2.0), box(5, 9, "pedestrian")]
    found = [
        detection(10, 1, velocity=(3.0, 4.0)),
        detection(-8, 2, yaw=-2.0),
        detection(5, 9, label=PEDESTRIAN),
    ]
    errors = dict.fromkeys(DEVKIT_NAMES, 0.0)
    assert metrics(frame(found, boxes), frame(found, boxes)) == {"map": 1.0, "nds": 1.0, **errors}


@pytest.mark.parametrize(
    ("changes", "name", "value"),
    [
        ({"centre": (10.3, 1.0, 1.0)}, "translation_error", 0.3),
        ({"centre": (10.0, 1.0, 3.0)}, "translation_error", 0.0),  # only the place on the ground counts
        ({"size": (4.4, 2.2, 1.65)}, "scale_error", 1 - 1 / 1.1**3),
        ({"yaw": 0.3 - np.pi}, "orientation_error", np.pi),
        ({"velocity": (0.0, 0.4)}, "velocity_error", 0.4),
        ({"velocity": (0.0, 0.4)}, "attribute_error", 0.0),  # still standing
        ({"velocity": (0.0, 0.6)}, "attribute_error", 1.0),
    ],
)
def test_an_error_is_what_was_added(changes: dict[str, Any], name: str, value: float) -> None:
    frames = [frame([detection(10, 1, score, **changes)], [box(10, 1)]) for score in (0.9, 0.7, 0.5)]
    result = metrics(*frames)
    assert result[name] == pytest.approx(value, abs=1e-12)
    assert result["map"] == 1.0


def test_a_box_off_by_a_metre_counts_at_two_of_four_distances() -> None:
    result = metrics(frame([detection(11.5, 1)], [box(10, 1)]))
    assert result["map"] == pytest.approx(0.5)
    # mAP weighs 5, the translation error is over 1, the four other errors are 0
    assert result["nds"] == pytest.approx((5 * 0.5 + 4) / 10)


def test_average_precision_by_hand() -> None:
    # Of two cars the surer box is right, the second is wrong, the third right: precision 1 to recall 0.5, 2/3 at 1.
    found = [detection(10, 0, 0.9), detection(30, 9, 0.8), detection(-10, 0, 0.7)]
    result = metrics(frame(found, [box(10, 0), box(-10, 0)]))
    recalls = np.linspace(0, 1, 101)[11:]
    after = 0.5 + (recalls - 0.5) / 0.5 * (2 / 3 - 0.5)  # the wrong box takes precision to 1/2 at recall 1/2
    precision = np.where(recalls < 0.5, 1.0, after)
    assert result["map"] == pytest.approx(np.mean((precision - 0.1) / 0.9), abs=1e-12)


def test_among_equal_scores_the_wrong_box_comes_first() -> None:
    boxes = [box(10, 0)]
    tied = metrics(frame([detection(10, 0, 0.5), detection(30, 9, 0.5)], boxes))["map"]
    assert tied == metrics(frame([detection(10, 0, 0.5), detection(30, 9, 0.6)], boxes))["map"] < 0.9
    assert metrics(frame([detection(10, 0, 0.5), detection(30, 9, 0.4)], boxes))["map"] > 0.99


def test_what_is_not_found_is_an_error_of_one_and_found_twice_is_wrong() -> None:
    assert metrics(frame([], [box(10, 0)])) == {"map": 0.0, "nds": 0.0, **dict.fromkeys(DEVKIT_NAMES, 1.0)}
    rows = SCORE.frame(frame([detection(10, 0, 0.9), detection(10, 0, 0.8)], [box(10, 0)]))
    assert rows is not None and rows.ranked["matched"].tolist() == [[True] * 4, [False] * 4]
    wrong_class = SCORE.frame(frame([detection(10, 0, label=PEDESTRIAN)], [box(10, 0)]))
    assert wrong_class is not None and not wrong_class.ranked["matched"].any()


def test_velocities_that_are_not_known_are_not_scored() -> None:
    result = metrics(frame([detection(10, 0, velocity=(9.0, 9.0))], [box(10, 0, velocity=None)]))
    assert np.isnan(result["velocity_error"]) and np.isnan(result["attribute_error"])
    assert result["nds"] == 1.0  # of mAP and three errors


def test_far_boxes_unknown_names_and_things_that_are_not_detected_do_not_count() -> None:
    boxes = [
        box(9, 3, "furniture"),
        box(49, 0),
        box(51, 0),
        box(41, 3, "pedestrian"),
        box(9, 0, "traffic_cone"),
        box(9, 5, "Van"),
    ]
    found = [detection(51, 0), detection(41, 3, label=PEDESTRIAN), detection(9, 9, label=99)]
    rows = SCORE.frame(frame(found, boxes))
    assert rows is not None and len(rows.ranked["score"]) == 0
    assert rows.sums["true_boxes"][CAR] == 2 and np.sum(rows.sums["true_boxes"]) == 2


def test_hidden_things_do_not_count() -> None:
    image = np.zeros((60, 100), np.int32)
    image.ravel()[:FEWEST_PIXELS] = 7
    image.ravel()[30 : 30 + FEWEST_PIXELS - 1] = 8
    boxes = [box(10, 0, track="7"), box(10, 5, track="8"), box(10, -5, track="9")]
    seen = true_boxes(frame([], boxes, cameras={"front": CameraTruth(instance=image)}), LABELS)
    assert seen is not None and seen.centre[:, :2].tolist() == [[10.0, 0.0]]
    points = np.array([[10.0, 5.0, 1.7], [10.0, 0.0, 1.8]])  # inside the second, just above the first
    sweep = Sweep(1000, None, points=points, boxes=tuple(boxes))
    seen = true_boxes(frame([], boxes, sweep=sweep), LABELS)
    assert seen is not None and seen.centre[:, :2].tolist() == [[10.0, 5.0]]


def test_what_no_camera_looks_at_does_not_count_but_is_wrong_if_predicted() -> None:
    judged = frame([detection(-10, 0)], [box(10, 0), box(-10, 0)])
    judged = replace(judged, prediction=replace(judged.prediction, missing=("back",)))
    rows = SCORE.frame(judged)
    assert rows is not None and rows.sums["true_boxes"][CAR] == 1
    assert rows.ranked["matched"].tolist() == [[False] * 4]


def test_boxes_of_another_stamp_are_moved() -> None:
    then, now = turned(0.0), turned(np.pi / 2, (1.0, 0.0, 0.0))
    sweep = Sweep(1_000_000_000, then, boxes=(box(10, 0, velocity=(2, 0), yaw=0.0),))
    prediction = Prediction(1_500_000_000, {}, "base_link", "odom", now, detections=())
    seen = true_boxes(JudgedFrame(prediction, GroundTruth(sweep=sweep), {}, rig()), LABELS)
    assert seen is not None
    np.testing.assert_allclose(seen.centre, [[0.0, -10.0, 1.0]], atol=1e-12)  # 10 + 0.5 s * 2 m/s - 1, to the right
    np.testing.assert_allclose(seen.velocity, [[0.0, -2.0]], atol=1e-12)
    np.testing.assert_allclose(seen.yaw, [-np.pi / 2])


def test_frames_without_boxes_have_no_score() -> None:
    assert SCORE.frame(frame(None, [])) is None
    assert SCORE.frame(frame([], None)) is None
    assert all(np.isnan(value) for value in metrics(frame([detection(5, 0)], [])).values())


def test_labels_of_before_there_were_names_of_boxes_take_the_suite_s() -> None:
    old = DetectionsScore(replace(LABELS, boxes={}), ScoreOptions())
    rows = old.frame(frame([], [box(9, 5, "Van")]))
    assert rows is not None and rows.sums["true_boxes"][CAR] == 1


def test_no_order_of_frames_or_bags_matters_even_among_equal_scores() -> None:
    frames = true_and_predicted(CASES[0])
    tied = []
    for judged in frames:
        found = tuple(replace(d, score=round(d.score, 1)) for d in judged.prediction.detections or ())
        tied.append(replace(judged, prediction=replace(judged.prediction, detections=found)))
    whole = SCORE.metrics(statistics(*tied).total())
    halves = TaskStatistics.joined([statistics(*tied[3:]), statistics(*tied[:3])])
    assert SCORE.metrics(halves.total()) == whole
    assert SCORE.metrics(statistics(*tied).sample(np.arange(len(tied)))) == whole


def test_the_reliability_of_scores_is_their_precision() -> None:
    found = [detection(10, 0, 0.95), detection(20, 0, 0.93), detection(-10, 0, 0.25)]
    total = statistics(frame(found, [box(10, 0)])).total()
    (reliability,) = SCORE.reliability(total)
    assert reliability.counts.tolist() == [0, 0, 1, 0, 0, 0, 0, 0, 0, 2]
    assert reliability.predicted[9] == pytest.approx(0.94) and reliability.observed[9] == 0.5
    assert SCORE.histograms(total)[0].counts.tolist() == [1] + [0] * 19
