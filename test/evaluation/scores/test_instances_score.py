# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Average precision of masks: by hand, and against pycocotools."""

import contextlib
import io
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mtl_perception.core import Camera, CameraPrediction, CameraTruth, GroundTruth, LabelSpace, Prediction, Rig
from mtl_perception.evaluation.judged import JudgedCamera, JudgedFrame
from mtl_perception.evaluation.score import ScoreOptions
from mtl_perception.evaluation.scores.instances import HIT, IGNORED, MISS, Findings, average_precision, matched
from mtl_perception.evaluation.scores.panoptic import PanopticScore
from mtl_perception.evaluation.statistics import TaskStatistics
from mtl_perception.resources import config_file

LABELS = LabelSpace.load(config_file("labels", "default"))
SCORE = PanopticScore(LABELS, ScoreOptions())
THINGS = [label.id for label in LABELS.labels if label.name in ("car", "truck", "pedestrian")]
ROAD = LABELS.id_of("road") * 1000
Image = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]


def findings(*rows: tuple[float, int]) -> Findings:
    """Return findings of class 0, each with its score and its outcome at every overlap."""
    score, outcome = zip(*rows, strict=True)
    return Findings(
        np.array(score), np.zeros(len(rows), np.int64), np.repeat(np.array(outcome, np.int8)[:, None], 10, axis=1)
    )


def test_precision_is_read_at_101_recalls() -> None:
    found = findings((0.9, HIT), (0.8, MISS), (0.7, HIT), (0.6, IGNORED), (0.5, MISS))
    # Of 4: precision 1 up to recall 0.25 (26 of the recalls), 2/3 up to 0.5 (25 more), then 0.
    expected = (26 * 1.0 + 25 * 2 / 3) / 101
    assert average_precision(found, 0, 4) == pytest.approx([expected] * 10, abs=1e-15)
    assert np.isnan(average_precision(found, 0, 0)).all()
    assert not average_precision(found, 1, 4).any()


def test_the_order_of_equal_scores_does_not_matter() -> None:
    for rows in ([HIT, MISS], [MISS, HIT]):
        assert average_precision(findings(*((0.5, row) for row in rows)), 0, 1)[0] == 0.5
    twelve = findings(*[(0.5, HIT), (0.5, MISS), (0.25, HIT)] * 12)
    once = findings((0.5, HIT), (0.5, MISS), (0.25, HIT))
    np.testing.assert_array_equal(average_precision(twelve, 0, 36), average_precision(once, 0, 3))


def test_the_surest_finding_takes_the_instance() -> None:
    score, label = np.array([0.3, 0.9]), np.array([0, 0])
    result = matched(score, label, np.array([[0.8], [0.62]]), np.zeros(2))
    # Up to 0.60 the surer one has it, although the other overlaps more; from 0.65 on it is the other's, up to 0.80.
    assert result.outcome.tolist() == [[0, 0, 0, 1, 1, 1, 1, 0, 0, 0], [1, 1, 1, 0, 0, 0, 0, 0, 0, 0]]


def test_what_lies_on_the_unknown_is_ignored_as_far_as_it_does() -> None:
    result = matched(np.ones(1), np.zeros(1, np.int64), np.zeros((1, 0)), np.array([0.7]))
    assert result.outcome.tolist() == [[IGNORED] * 5 + [MISS] * 5]


@pytest.mark.parametrize("seed", range(4))
def test_pycocotools_agrees(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = [_image(rng) for _ in range(6)]
    rows = [(index, SCORE.frame(_frame(*image))) for index, image in enumerate(images)]
    totals = TaskStatistics.of([(index, row) for index, row in rows if row is not None]).total()
    expected = _coco(images)
    own = SCORE.metrics(totals)
    assert 0.05 < own["ap"] < own["ap50"] < 0.95
    assert [own["ap"], own["ap50"]] == pytest.approx(expected, abs=1e-9)


def _image(rng: np.random.Generator) -> Image:
    """Return a predicted map, a true one with an unknown part, and confidences that differ in every segment."""
    truth, predicted = np.full((2, 60, 80), ROAD, np.int32)
    confidence = np.full(truth.shape, 0.5, np.float32)
    for instance in range(1, 11):
        label = int(rng.choice(THINGS))
        top, left, height, width = rng.integers((0, 0, 6, 6), (50, 70, 20, 20))
        truth[top : top + height, left : left + width] = label * 1000 + instance
        down, right, taller, wider = rng.integers(-2, 3, 4)
        top, left = max(top + down, 0), max(left + right, 0)
        here = np.s_[top : top + height + taller, left : left + width + wider]
        if rng.random() < 0.9:
            found = label if rng.random() < 0.9 else int(rng.choice(THINGS))
            predicted[here], confidence[here] = found * 1000 + instance, rng.random()
    truth[:, :12] = -1
    return predicted, truth, confidence


def _frame(predicted: NDArray[np.int32], truth: NDArray[np.int32], confidence: NDArray[np.float32]) -> JudgedFrame:
    height, width = truth.shape
    K = np.array([[float(width), 0, width / 2], [0, float(width), height / 2], [0, 0, 1]])
    camera = Camera("front", width, height, K, np.eye(4))
    colour = np.zeros((height, width, 3), np.uint8)
    prediction = CameraPrediction(camera, 0, None, colour, panoptic=predicted, semantic_confidence=confidence)
    true = CameraTruth(panoptic=truth)
    everything = Prediction(0, {"front": prediction}, "base_link", "odom", None)
    cameras = {"front": JudgedCamera(camera, prediction, true)}
    return JudgedFrame(everything, GroundTruth({"front": true}), cameras, Rig((camera,), "base_link"))


def _coco(images: Sequence[Image]) -> tuple[float, float]:
    """Return AP and AP50 of pycocotools; the unknown is a crowd of each class."""
    annotations: list[dict[str, object]] = []
    results: list[dict[str, object]] = []
    for image, (predicted, truth, confidence) in enumerate(images):
        for segment in np.unique(truth[truth // 1000 != ROAD // 1000]).tolist():
            for label in THINGS if segment < 0 else [segment // 1000]:
                entry = _annotation(image, truth == segment, label)
                annotations.append({**entry, "id": len(annotations) + 1, "iscrowd": int(segment < 0)})
        for segment in np.unique(predicted[predicted // 1000 != ROAD // 1000]).tolist():
            mask = predicted == segment
            entry = _annotation(image, mask, segment // 1000)
            results.append({**entry, "score": float(confidence[mask].astype(np.float64).mean())})
    with contextlib.redirect_stdout(io.StringIO()):
        truth_of_all = COCO()
        truth_of_all.dataset = {
            "info": {},
            "images": [{"id": image, "height": 60, "width": 80} for image in range(len(images))],
            "categories": [{"id": label, "name": LABELS.names[label]} for label in THINGS],
            "annotations": annotations,
        }
        truth_of_all.createIndex()
        evaluation = COCOeval(truth_of_all, truth_of_all.loadRes(results), "segm")
        evaluation.params.recThrs -= 1e-9  # else 7 of 10 is less than its 0.7, which is rounded up
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0]), float(evaluation.stats[1])


def _annotation(image: int, mask: NDArray[np.bool_], label: int) -> dict[str, object]:
    segmentation = coco_masks.encode(np.asfortranarray(mask.astype(np.uint8)))
    area = int(mask.sum())
    return {"image_id": image, "category_id": label, "segmentation": segmentation, "area": area, "bbox": [0, 0, 1, 1]}
