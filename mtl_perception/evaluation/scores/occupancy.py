# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Occupancy as semantic scene completion scores it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import FREE, LabelSpace, Occupancy, VoxelGrid
from mtl_perception.evaluation.judged import JudgedFrame
from mtl_perception.evaluation.score import Better, Reliability, Score, ScoreOptions
from mtl_perception.evaluation.scores.probabilities import ProbabilityBins
from mtl_perception.evaluation.statistics import FrameStatistics, Totals, ratio

_BINS = ProbabilityBins()


class OccupancyScore(Score):
    """Voxels of all frames together, where the truth observes them (its visibility mask, as Occ3D, Tian et al. 2023).

    `iou` is that of what is occupied, whatever it is; `miou` the mean over the classes that occur in truth or
    prediction, free voxels counting against a class that is predicted there (SSCNet, Song et al. 2017, section 5;
    SemanticKITTI, Behley et al. 2019, section 6). What is truly occupied by something of unknown class counts for
    `iou` alone.

    The prediction is taken at the centres of the true voxels. Where it says nothing (not observed, or outside of its
    grid) it counts as not occupied: an occupied voxel that is left out is missed, a free one is right.
    """

    task: ClassVar[str] = "occupancy"
    better: ClassVar[Mapping[str, Better]] = {"iou": "higher", "miou": "higher"}
    key: ClassVar[str] = "iou"

    def __init__(self, labels: LabelSpace, options: ScoreOptions) -> None:
        """Score predictions with these labels."""
        super().__init__(labels, options)
        self._unlabelled, self._empty = len(labels), len(labels) + 1
        self._kinds = np.full(256, self._unlabelled, dtype=np.uint16)  # per label, the row and column of the matrix
        self._kinds[: len(labels)] = np.arange(len(labels))
        self._kinds[FREE:] = self._empty

    def frame(self, judged: JudgedFrame) -> FrameStatistics | None:
        """Return how often which label was predicted where which is true, and the probabilities by bins."""
        predicted, truth = judged.prediction.occupancy, judged.truth.occupancy
        if predicted is None or truth is None:
            return None
        observed = truth.observed
        labels, probability = (values[observed] for values in _at(truth.grid, predicted))
        true_kinds, predicted_kinds = self._kinds[truth.labels[observed]], self._kinds[labels]
        size = self._empty + 1
        counts = np.bincount(true_kinds * size + predicted_kinds, minlength=size * size)
        return FrameStatistics(
            {"confusion": counts.reshape(size, size), **_BINS.sums(probability, true_kinds != self._empty)}
        )

    def metrics(self, totals: Totals) -> dict[str, float]:
        """Return iou and miou."""
        confusion = totals["confusion"]
        both = confusion[: self._empty, : self._empty].sum().item()
        either = confusion.sum().item() - confusion[self._empty, self._empty].item()
        ious = [values["iou"] for values in self.per_class(totals).values()]
        return {"iou": ratio(both, either), "miou": ratio(sum(ious), len(ious))}

    def per_class(self, totals: Totals) -> dict[str, dict[str, float]]:
        """Return the iou of every class that occurs."""
        confusion = np.delete(totals["confusion"], self._unlabelled, axis=0)
        trues, predictions = confusion.sum(axis=1).tolist(), confusion.sum(axis=0).tolist()
        result = {}
        for label in self.labels.labels:
            both = confusion[label.id, label.id].item()
            either = trues[label.id] + predictions[label.id] - both
            if either:
                result[label.name] = {"iou": ratio(both, either)}
        return result

    def reliability(self, totals: Totals) -> list[Reliability]:
        """Return how often voxels of some probability are occupied."""
        return _BINS.reliability("Occupancy", "predicted probability", "share that is occupied", totals)


def _at(grid: VoxelGrid, occupancy: Occupancy) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return labels and probability of the voxels that the centres of another grid lie in; outside `FREE` and NaN."""
    if occupancy.grid == grid:
        return occupancy.labels, occupancy.probability
    places, inside = _places(grid, occupancy.grid)
    labels = np.where(inside, occupancy.labels.ravel()[places], np.uint8(FREE))
    return labels, np.where(inside, occupancy.probability.ravel()[places], np.float32(np.nan))


@lru_cache(maxsize=8)
def _places(grid: VoxelGrid, source: VoxelGrid) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return per voxel of a grid the flat index of the source's voxel at its centre, and whether there is one."""
    indices, inside = source.indices(grid.centres())
    return np.ravel_multi_index(tuple(np.moveaxis(indices, -1, 0)), source.shape), inside
