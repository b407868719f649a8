# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What driver, vehicle and traffic do: classification accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.scene_classes import SCENE_CLASSES
from mtl_perception.evaluation.judged import JudgedFrame
from mtl_perception.evaluation.score import Better, Reliability, Score
from mtl_perception.evaluation.scores.probabilities import ProbabilityBins
from mtl_perception.evaluation.statistics import FrameStatistics, Totals, ratio

_BINS = ProbabilityBins()


class DrivingContextScore(Score):
    """The share of right classes, over the scene-level tasks of AIDE (Yang et al. 2023, section 5.1) together.

    `accuracy` counts every task of every frame that is known and was predicted; a task has its own `accuracy`, and its
    `balanced_accuracy`: the mean over its true classes of the share of each that was found, which always guessing the
    most frequent class does not raise.
    """

    task: ClassVar[str] = "driving_context"
    better: ClassVar[Mapping[str, Better]] = {"accuracy": "higher"}
    key: ClassVar[str] = "accuracy"

    def frame(self, judged: JudgedFrame) -> FrameStatistics | None:
        """Return per task which class was predicted where which is true, and the probabilities by bins.

        Raises:
            ValueError: a true class is none of its task's.
        """
        predicted, truth = judged.prediction.driving_context, judged.truth.driving_context
        tasks = [task for task in SCENE_CLASSES if predicted.get(task) and task in truth]
        if not tasks:
            return None
        counts = {task: np.zeros((len(names), len(names) + 1), np.int64) for task, names in SCENE_CLASSES.items()}
        said, right = [], []
        for task in tasks:
            names = SCENE_CLASSES[task]
            if truth[task] not in names:
                raise ValueError(f"driving_context: true {task} is '{truth[task]}', expected one of {', '.join(names)}")
            likeliest = max(sorted(predicted[task]), key=lambda name: predicted[task][name])
            found = names.index(likeliest) if likeliest in names else len(names)  # the last column: none of them
            counts[task][names.index(truth[task]), found] = 1
            said.append(predicted[task][likeliest])
            right.append(likeliest == truth[task])
        return FrameStatistics({**counts, **_BINS.sums(np.array(said), np.array(right))})

    def metrics(self, totals: Totals) -> dict[str, float]:
        """Return accuracy."""
        right = sum(_right(totals[task]).sum().item() for task in SCENE_CLASSES)
        return {"accuracy": ratio(right, sum(totals[task].sum().item() for task in SCENE_CLASSES))}

    def per_class(self, totals: Totals) -> dict[str, dict[str, float]]:
        """Return accuracy and balanced_accuracy of every task that there is truth for."""
        result = {}
        for task in SCENE_CLASSES:
            right, true = _right(totals[task]).tolist(), totals[task].sum(axis=1).tolist()
            shares = [ratio(hits, count) for hits, count in zip(right, true, strict=True) if count]
            if shares:
                result[task] = {
                    "accuracy": ratio(sum(right), sum(true)),
                    "balanced_accuracy": ratio(sum(shares), len(shares)),
                }
        return result

    def reliability(self, totals: Totals) -> list[Reliability]:
        """Return how often classes of some probability are right."""
        return _BINS.reliability("Driving context", "probability of the class", "share that is right", totals)


def _right(confusion: NDArray[Any]) -> NDArray[Any]:
    return np.diagonal(confusion)
