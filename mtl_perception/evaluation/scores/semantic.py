# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Semantic labels, as Cityscapes and PASCAL VOC score them: intersection over union of all pixels, class by class."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import LabelSpace
from mtl_perception.evaluation.judged import JudgedFrame
from mtl_perception.evaluation.score import Better, Reliability, Score
from mtl_perception.evaluation.scores.compiled import LANES, add_labels
from mtl_perception.evaluation.scores.images import true_image
from mtl_perception.evaluation.statistics import FrameStatistics, Totals, ratio

CONFIDENCE_BINS = 15
"""As many as in the paper."""
_IDS = 256
_VOID = -1


class SemanticScore(Score):
    """Semantic labels: miou and pixel_accuracy, iou and accuracy a class, and the calibration of the confidences.

    The measures are those of Cityscapes (Cordts et al. 2016, section 4.1) and Long et al. 2015 (section 5): a class's
    iou is TP / (TP + FP + FN) over all pixels of all images whose truth is known; `miou` is the mean over the classes
    that occur in truth or prediction, `pixel_accuracy` the part of the pixels that is right, a class's `accuracy` the
    part of its own pixels that is right. A pixel without a prediction is wrong. `ece` is the expected calibration error
    over 15 bins of equal width (Guo et al. 2017, equation 3), of the pixels that have a label and a confidence.

    A dataset's own id may stand for several classes of the label space. All of them are right then, and the id counts
    under the name of the first: cars and trucks that CamVid does not tell apart are `car`, in truth and prediction.
    A wrong prediction counts as the class of the dataset's first id that it may stand for; a class that the dataset
    does not have is no false positive of any class, but wrong. So these are the figures of the dataset's own benchmark,
    and bags with labels of different datasets can be added up.
    """

    task: ClassVar[str] = "semantic"
    better: ClassVar[Mapping[str, Better]] = {"miou": "higher", "pixel_accuracy": "higher", "ece": "lower"}
    key: ClassVar[str] = "miou"

    def frame(self, judged: JudgedFrame) -> FrameStatistics | None:
        """Return the confusion matrix (true classes, predicted classes and none of them), and confidences by bins.

        Raises:
            ValueError: the label space does not know the truth's dataset, or an image of truth has not its camera's
                size.
        """
        cells = _cells(self.labels, judged.truth.dataset)
        classes = len(self.labels)
        confusion = np.zeros(classes * (classes + 1), np.int64)
        shape = LANES, CONFIDENCE_BINS
        pixels, right, confidences = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape)
        found = False
        for camera in judged.cameras.values():
            predicted, truth = camera.predicted("semantic"), true_image(camera, "semantic")
            if predicted is None or truth is None:
                continue
            found = True
            add_labels(
                _flat(truth, np.uint8),
                _flat(predicted, np.uint8),
                _flat(camera.predicted("semantic_confidence"), np.float32),
                cells,
                classes,
                confusion,
                pixels,
                right,
                confidences,
            )
        if not found:
            return None
        return FrameStatistics(
            {
                "confusion": confusion.reshape(classes, classes + 1),
                "confidence_pixels": pixels.sum(axis=0),
                "confidence_right": right.sum(axis=0),
                "confidence_sum": confidences.sum(axis=0),
            }
        )

    def metrics(self, totals: Totals) -> dict[str, float]:
        """Return miou, pixel_accuracy and ece."""
        ious = [values["iou"] for values in self.per_class(totals).values()]
        right, pixels = np.trace(totals["confusion"]).item(), totals["confusion"].sum().item()
        gaps = [abs(total - hits) for total, hits, _ in _bins(totals)]
        return {
            "miou": ratio(sum(ious), len(ious)),
            "pixel_accuracy": ratio(right, pixels),
            "ece": ratio(sum(gaps), sum(count for _, _, count in _bins(totals))),
        }

    def per_class(self, totals: Totals) -> dict[str, dict[str, float]]:
        """Return iou and accuracy of every class that occurs; accuracy only where it occurs in the truth."""
        confusion = totals["confusion"]
        trues, predictions = confusion.sum(axis=1).tolist(), confusion.sum(axis=0).tolist()
        result = {}
        for label in self.labels.labels:
            right, true = confusion[label.id, label.id].item(), trues[label.id]
            either = true + predictions[label.id] - right
            if either:
                result[label.name] = {"iou": ratio(right, either)}
            if true:
                result[label.name]["accuracy"] = ratio(right, true)
        return result

    def reliability(self, totals: Totals) -> list[Reliability]:
        """Return how often labels are right beside how sure the network is of them; nothing without confidences."""
        counts = totals["confidence_pixels"].astype(np.int64)
        if not counts.any():
            return []
        stated = np.array([ratio(total, count) for total, _, count in _bins(totals)])
        right = np.array([ratio(hits, count) for _, hits, count in _bins(totals)])
        return [Reliability("semantic confidence", "confidence", "part that is right", stated, right, counts)]


def _flat(image: NDArray | None, kind: type[np.generic]) -> NDArray:
    return np.ascontiguousarray([] if image is None else image, dtype=kind).ravel()


def _bins(totals: Totals) -> list[tuple[Any, Any, Any]]:
    """Return per bin the sum of the confidences, the right pixels, and all."""
    names = ("confidence_sum", "confidence_right", "confidence_pixels")
    return list(zip(*(totals[name].tolist() for name in names), strict=True))


@lru_cache(maxsize=16)
def _cells(labels: LabelSpace, dataset: str) -> NDArray[np.int64]:
    """Return, for every true id * 256 + predicted id, the place in the confusion matrix; -1 if truth is void."""
    classes = len(labels)
    true_class, column = _own(classes) if dataset == "" else _of_dataset(labels, dataset)
    cells = np.full((_IDS, _IDS), classes, np.int64)  # the last column: no class of the dataset
    cells[:, :classes] = column
    cells += true_class[:, None] * (classes + 1)
    cells[true_class == _VOID] = _VOID
    return cells.ravel()


def _own(classes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    true_class = np.full(_IDS, _VOID)
    true_class[:classes] = np.arange(classes)
    return true_class, np.tile(np.arange(classes), (_IDS, 1))


def _of_dataset(labels: LabelSpace, dataset: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return per true id its class (256,), and per true id and predicted class (256, n) the column."""
    if dataset not in labels.datasets:
        raise ValueError(f"semantic: label space '{labels.name}' has no mapping from the truth's dataset '{dataset}'")
    right = labels.candidates(dataset)
    true_class = np.full(_IDS, _VOID)
    for source, names in labels.datasets[dataset].items():
        true_class[source] = labels.id_of(names[0])
    occurs = right.any(axis=0)
    counted_as = np.where(occurs, true_class[right.argmax(axis=0)], len(labels))
    column = np.tile(counted_as, (_IDS, 1))
    # Not a candidate of this id, but of another one that has the same class: wrong all the same.
    column[column == true_class[:, None]] = len(labels)
    return true_class, np.where(right, true_class[:, None], column)
