# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The nuScenes detection metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import LabelSpace
from mtl_perception.data.true_boxes import Boxes
from mtl_perception.evaluation.judged import JudgedFrame
from mtl_perception.evaluation.score import Better, Histogram, Reliability, Score, ScoreOptions
from mtl_perception.evaluation.scores.detection_matching import ERRORS, match, predicted_boxes, true_boxes
from mtl_perception.evaluation.statistics import FrameStatistics, Totals
from mtl_perception.resources import config_file

DISTANCES_M = (0.5, 1.0, 2.0, 4.0)
"""How near to a true box's centre a predicted one must be, the nuScenes benchmark's four thresholds."""
ERRORS_AT_M = 2.0
RANGES_M: Mapping[str, float] = {"pedestrian": 40.0, "cyclist": 40.0}
"""Boxes farther from the base than this do not count, true and predicted; other classes: `_RANGE_M`."""
_RANGE_M = 50.0
_RECALLS = np.linspace(0.0, 1.0, 101)
_FIRST = 11  # the first of the recalls above 0.1: lower ones are too noisy to count
_MIN_PRECISION = 0.1
_MAP_WEIGHT = 5
_SCORE_BINS = 10
_ERROR_BINS = 20


class DetectionsScore(Score):
    """Boxes as nuScenes scores them (Caesar et al. 2020, section 3.1.2; the benchmark's detection_cvpr_2019).

    `map` is the average precision over classes and over the centre distances 0.5, 1, 2 and 4 m on the ground, without
    what lies below recall and precision 0.1. Errors are those of boxes matched within 2 m, their cumulative means
    averaged over the recalls above 0.1: `translation_error` (m), `scale_error` (1 - IoU of the sizes),
    `orientation_error` (rad), `velocity_error` (m/s), `attribute_error` (share); 1 where recall stays below 0.1. `nds`
    weighs map with 5 and 1 - min(1, error) of each error with 1.

    Where this differs from the benchmark: classes are the label space's `detection` subset; the only attribute is
    whether a thing moves (faster than 0.5 m/s), known where its velocity is; a class without any true box, or an error
    of a class none of whose true boxes has a velocity, is left out of the means; among equal scores the worse box
    comes first. `true_boxes` tells which boxes count.
    """

    task: ClassVar[str] = "detections"
    better: ClassVar[Mapping[str, Better]] = {"map": "higher", "nds": "higher", **dict.fromkeys(ERRORS, "lower")}
    key: ClassVar[str] = "map"

    def __init__(self, labels: LabelSpace, options: ScoreOptions) -> None:
        """Score predictions with these labels; labels without names of boxes take those of the suite's own."""
        super().__init__(labels, options)
        boxes = labels.boxes or LabelSpace.load(config_file("labels", "default")).boxes
        self._box_labels = replace(labels, boxes=boxes)
        scored = labels.subsets.get("detection", labels.names)
        ranges = [RANGES_M.get(name, _RANGE_M) if name in scored else -1.0 for name in labels.names]
        self._ranges = np.array([*ranges, -1.0])  # the last: of labels that there are not

    def frame(self, judged: JudgedFrame) -> FrameStatistics | None:
        """Return what became of a frame's predicted boxes, and how many true ones there are."""
        detections, true = judged.prediction.detections, true_boxes(judged, self._box_labels)
        if detections is None or true is None:
            return None
        predicted, true = self._in_range(predicted_boxes(detections)), self._in_range(true)
        matches = match(predicted, true, DISTANCES_M, ERRORS_AT_M)
        with_velocity = true.label[~np.isnan(true.velocity).any(axis=-1)]
        return FrameStatistics(
            {
                "true_boxes": np.bincount(true.label, minlength=len(self.labels)),
                "true_velocities": np.bincount(with_velocity, minlength=len(self.labels)),
            },
            {
                "label": predicted.label,
                "score": predicted.score,
                "matched": matches.matched,
                "errors": matches.errors,
            },
        )

    def metrics(self, totals: Totals) -> dict[str, float]:
        """Return mAP, the nuScenes detection score and the five errors."""
        classes = list(self.per_class(totals).values())
        mean_ap = _mean([values["ap"] for values in classes])
        errors = {name: _mean([values[name] for values in classes]) for name in ERRORS}
        known = [max(0.0, 1.0 - error) for error in errors.values() if not np.isnan(error)]
        nds = (_MAP_WEIGHT * mean_ap + sum(known)) / (_MAP_WEIGHT + len(known))
        return {"map": mean_ap, "nds": nds, **errors}

    def per_class(self, totals: Totals) -> dict[str, dict[str, float]]:
        """Return `ap` and the five errors of each class that has true boxes."""
        order = _worst_last(totals.ranked)
        ranked = {name: column[order] for name, column in totals.ranked.items()}
        result = {}
        for label in self.labels.labels:
            true, with_velocity = totals["true_boxes"][label.id], totals["true_velocities"][label.id]
            if true > 0:
                own = ranked["label"] == label.id
                columns = {name: column[own] for name, column in ranked.items()}
                result[label.name] = _class_metrics(columns, float(true), bool(with_velocity > 0))
        return result

    def histograms(self, totals: Totals) -> list[Histogram]:
        """Return how far boxes that match are from the true ones."""
        errors = totals.ranked["errors"][:, 0]
        counts, edges = np.histogram(errors[~np.isnan(errors)], _ERROR_BINS, (0.0, ERRORS_AT_M))
        return [Histogram("Distance of matched boxes", "m", edges, counts.astype(np.int64))]

    def reliability(self, totals: Totals) -> list[Reliability]:
        """Return how often a box of some score is right within 2 m."""
        scores = totals.ranked["score"]
        right = totals.ranked["matched"][:, DISTANCES_M.index(ERRORS_AT_M)]
        bins = np.clip((scores * _SCORE_BINS).astype(np.int64), 0, _SCORE_BINS - 1)
        counts = np.bincount(bins, minlength=_SCORE_BINS)
        divisor = np.where(counts > 0, counts, np.nan)
        return [
            Reliability(
                "Scores of boxes",
                "score",
                "share within 2 m of a true box",
                np.bincount(bins, scores, _SCORE_BINS) / divisor,
                np.bincount(bins, right, _SCORE_BINS) / divisor,
                counts.astype(np.int64),
            )
        ]

    def _in_range(self, boxes: Boxes) -> Boxes:
        known = np.where((boxes.label >= 0) & (boxes.label < len(self.labels)), boxes.label, -1)
        return boxes.chosen(np.hypot(*boxes.centre[:, :2].T) < self._ranges[known])


def _class_metrics(ranked: Mapping[str, NDArray], true: float, with_velocity: bool) -> dict[str, float]:
    """Return `ap` and the errors of one class, whose boxes are ordered by their scores."""
    aps = [_average_precision(matched, true) for matched in ranked["matched"].T]
    hits = ranked["matched"][:, DISTANCES_M.index(ERRORS_AT_M)].astype(bool)
    result = {"ap": float(np.mean(aps))}
    for name, column in zip(ERRORS, ranked["errors"].T, strict=True):
        known = with_velocity or name not in ("velocity_error", "attribute_error")
        result[name] = _error(column, hits, ranked["score"], true) if known else float("nan")
    return result


def _average_precision(matched: NDArray, true: float) -> float:
    if not matched.any():
        return 0.0
    hits = np.cumsum(matched)
    precision = np.interp(_RECALLS, hits / true, hits / np.arange(1, len(hits) + 1), right=0.0)
    return float(np.mean(np.maximum(precision[_FIRST:] - _MIN_PRECISION, 0.0) / (1.0 - _MIN_PRECISION)))


def _error(errors: NDArray, hits: NDArray[np.bool_], scores: NDArray, true: float) -> float:
    """Return the mean over recalls of the cumulative mean of an error.

    As in the benchmark, the mean at a recall is looked up by the score that this recall is reached at.
    """
    recall = np.cumsum(hits) / true
    reached = recall[-1] >= _RECALLS if len(hits) else np.zeros(len(_RECALLS), bool)
    if not hits.any() or not reached[_FIRST:].any():
        return 1.0
    means = _cumulative_mean(errors[hits])
    at = np.interp(_RECALLS[_FIRST:][reached[_FIRST:]], recall, scores)
    return float(np.mean(np.interp(at, scores[hits][::-1], means[::-1])))


def _cumulative_mean(values: NDArray) -> NDArray[np.float64]:
    """Return the mean of the values so far that are known: 0 before the first, and 1 if none is (as the benchmark)."""
    known = ~np.isnan(values)
    if not known.any():
        return np.ones(len(values))
    counts = np.cumsum(known)
    return np.asarray(np.nancumsum(values) / np.maximum(counts, 1))


def _worst_last(ranked: Mapping[str, NDArray]) -> NDArray[np.int64]:
    """Return the order of findings by falling scores; of equal ones by what they are, whatever order they come in."""
    errors = np.nan_to_num(ranked["errors"], nan=np.inf)
    keys: list[Any] = [-errors[:, column] for column in reversed(range(errors.shape[1]))]
    keys += [ranked["matched"][:, column] for column in reversed(range(len(DISTANCES_M)))]
    return np.lexsort([*keys, -ranked["score"]])


def _mean(values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
