# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics as their benchmarks define them, summed over frames before they are divided."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass
class DepthErrors:
    """Depth errors over all measured pixels of all frames (Eigen et al. 2014, section 4.2), without median scaling.

    `farthest` (metres) caps the truth that counts. A pixel that has a truth but no prediction (NaN) counts as if it had
    been predicted at `farthest`: leaving pixels out cannot improve a figure.
    """

    farthest: float
    pixels: int = 0
    absolute_relative: float = 0.0
    squared: float = 0.0
    within_1_25: int = 0

    def add(self, predicted: NDArray, truth: NDArray) -> None:
        """Add one image; both (H, W) metres, NaN or 0 in `truth` means not measured.

        Raises:
            ValueError: the sizes differ.
        """
        if predicted.shape != truth.shape:
            raise ValueError(f"predicted depth is {predicted.shape}, the truth is {truth.shape}")
        measured = np.isfinite(truth) & (truth > 0) & (truth <= self.farthest)
        t = truth[measured].astype(np.float64)
        p = np.nan_to_num(predicted[measured].astype(np.float64), nan=self.farthest)
        self.pixels += t.size
        self.absolute_relative += float((np.abs(p - t) / t).sum())
        self.squared += float(np.square(p - t).sum())
        self.within_1_25 += int((np.maximum(p / t, t / np.maximum(p, 1e-6)) < 1.25).sum())

    def result(self) -> dict[str, float]:
        """Return abs_rel, rmse (m) and delta1; NaN when no pixel was measured."""
        n = self.pixels or np.nan
        return {
            "abs_rel": self.absolute_relative / n,
            "rmse": float(np.sqrt(self.squared / n)),
            "delta1": self.within_1_25 / n,
        }


@dataclass
class Confusion:
    """Confusion matrix of labels: rows are the truth's classes, columns the predicted ones and one for any other."""

    classes: int
    matrix: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        """Start empty."""
        self.matrix = np.zeros((self.classes, self.classes + 1), np.int64)

    def add(self, predicted: NDArray, truth: NDArray) -> None:
        """Add one image of class ids; truth ids that are no class are void, predicted ones are wrong wherever truth is.

        Raises:
            ValueError: the sizes differ.
        """
        if predicted.shape != truth.shape:
            raise ValueError(f"predicted labels are {predicted.shape}, the truth is {truth.shape}")
        known = truth < self.classes
        columns = np.minimum(predicted[known].astype(np.int64), self.classes)
        flat = truth[known].astype(np.int64) * (self.classes + 1) + columns
        self.matrix += np.bincount(flat, minlength=self.matrix.size).reshape(self.matrix.shape)

    def per_class(self) -> NDArray[np.float64]:
        """Return each class's intersection over union; NaN where a class occurs in neither."""
        hits = np.diag(self.matrix[:, :-1]).astype(np.float64)
        union = self.matrix.sum(axis=1) + self.matrix[:, :-1].sum(axis=0) - hits
        return np.divide(hits, union, out=np.full(self.classes, np.nan), where=union > 0)

    def result(self) -> dict[str, float]:
        """Return miou over the classes that occur, and pixel_accuracy."""
        total = self.matrix.sum()
        accuracy = float(np.trace(self.matrix[:, :-1]) / total) if total else float("nan")
        per_class = self.per_class()
        miou = float(np.nanmean(per_class)) if np.isfinite(per_class).any() else float("nan")
        return {"miou": miou, "pixel_accuracy": accuracy}


@dataclass
class BinaryOverlap:
    """Intersection over union of masks."""

    intersection: int = 0
    union: int = 0

    def add(self, predicted: NDArray, truth: NDArray, counted: NDArray | None = None) -> None:
        """Add one pair of boolean arrays of a shape; `counted` says which elements count (default: all)."""
        where = np.ones(truth.shape, dtype=bool) if counted is None else counted
        self.intersection += int((predicted & truth & where).sum())
        self.union += int(((predicted | truth) & where).sum())

    def result(self) -> dict[str, float]:
        """Return iou; NaN when both are empty."""
        return {"iou": self.intersection / self.union if self.union else float("nan")}
