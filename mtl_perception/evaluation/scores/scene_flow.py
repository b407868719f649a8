# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How what the pixels show moves through space."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mtl_perception.evaluation.judged import JudgedFrame
from mtl_perception.evaluation.score import Better, Histogram, Score
from mtl_perception.evaluation.scores.binning import EqualBins
from mtl_perception.evaluation.scores.images import chosen, chosen_vectors, image_pairs
from mtl_perception.evaluation.statistics import FrameStatistics, Totals, ratio

_INTERVAL = np.float32(0.1)  # seconds
_MOVING_SPEED = np.float32(0.5)  # m/s
_MISSING_SPEED = np.float32(30)  # m/s
_METRICS = {
    "epe3d": "end_point_error",
    "accuracy_strict": "strict",
    "accuracy_relaxed": "relaxed",
    "outliers": "outliers",
}
_HISTOGRAM = EqualBins(limit=1.0, count=50)
_Vectors = tuple[NDArray, NDArray, NDArray]


class SceneFlowScore(Score):
    """Errors of the displacement of points (Liu et al. 2019, "FlowNet3D", section 6; Gu et al. 2019, "HPLFlowNet").

    Predictions and truth are velocities over ground; benchmarks have the displacement between two LiDAR sweeps, so
    both are taken over 0.1 s, whatever the time between the images. `epe3d` is the mean length of the difference
    (metres); `accuracy_strict` the share of pixels whose error is below 0.05 m or 5 % of the true displacement,
    `accuracy_relaxed` below 0.1 m or 10 %, `outliers` above 0.3 m or 10 %. Names that end in `_moving` are the same
    over the pixels that truly move faster than 0.5 m/s. `coverage`, the share of true pixels that have a prediction,
    only informs.

    The flow of the benchmarks contains the motion of the sensor, so that nearly all points have a displacement that
    errors can be related to. Over ground most of the world has none: what does not move faster than 0.5 m/s is an
    outlier above 0.3 m alone. (For the accuracies this makes no difference: 10 % of so little is less than 0.05 m.)

    A pixel that has a true flow but no prediction is an outlier and not accurate, and its error is that of a prediction
    of 30 m/s against the true direction: its true displacement and 3 m.
    """

    task: ClassVar[str] = "scene_flow"
    better: ClassVar[dict[str, Better]] = {
        "epe3d": "lower",
        "accuracy_strict": "higher",
        "accuracy_relaxed": "higher",
        "outliers": "lower",
        "epe3d_moving": "lower",
        "accuracy_strict_moving": "higher",
        "accuracy_relaxed_moving": "higher",
        "outliers_moving": "lower",
    }
    key: ClassVar[str] = "epe3d"

    def frame(self, judged: JudgedFrame) -> FrameStatistics | None:
        """Return the sums over all images with predicted and known flow; None where no pixel has both.

        Raises:
            ValueError: a true image has not the size of its camera.
        """
        sums: dict[str, Any] = {}
        for predicted, truth in image_pairs(judged, "scene_flow"):
            known = np.flatnonzero(np.isfinite(truth[..., 0]))
            if not known.size:
                continue
            for name, value in _sums(chosen_vectors(predicted, known), chosen_vectors(truth, known)).items():
                sums[name] = sums[name] + value if name in sums else value
        return FrameStatistics(sums) if sums else None

    def metrics(self, totals: Totals) -> dict[str, float]:
        """Return epe3d, accuracy_strict, accuracy_relaxed and outliers, the same of what moves, and coverage."""
        still, moving = totals["pixels"]
        everywhere = {name: ratio(totals[sums].sum(), still + moving) for name, sums in _METRICS.items()}
        where_moving = {f"{name}_moving": ratio(totals[sums][1], moving) for name, sums in _METRICS.items()}
        return {**everywhere, **where_moving, "coverage": ratio(totals["predicted"].sum(), still + moving)}

    def histograms(self, totals: Totals) -> list[Histogram]:
        """Return how the errors are spread, of all and of what moves."""
        still, moving = totals["error_counts"]
        return [
            _HISTOGRAM.histogram("Scene flow error over 0.1 s", "m", still + moving),
            _HISTOGRAM.histogram("Scene flow error over 0.1 s of what moves", "m", moving),
        ]


def _sums(predicted: _Vectors, truth: _Vectors) -> dict[str, Any]:
    """Return sums over what stands still and what moves, each (2, ...), of velocities."""
    (px, py, pz), (tx, ty, tz) = predicted, truth
    displacement = _length(tx, ty, tz) * _INTERVAL
    error = _length(px - tx, py - ty, pz - tz) * _INTERVAL
    missing = ~np.isfinite(error)
    np.copyto(error, displacement + _MISSING_SPEED * _INTERVAL, where=missing)
    moving = displacement > _MOVING_SPEED * _INTERVAL
    groups = np.flatnonzero(~moving), np.flatnonzero(moving)
    tenth = np.float32(0.1) * displacement
    marks = {
        "predicted": ~missing,
        "strict": (error < np.float32(0.05)) | (error < np.float32(0.05) * displacement),
        "relaxed": (error < np.float32(0.1)) | (error < tenth),
        "outliers": (error > np.float32(0.3)) | ((error > tenth) & moving),
    }
    errors = [chosen(error, group) for group in groups]
    return {
        "pixels": np.array([len(group) for group in groups]),
        "end_point_error": np.array([group.sum(dtype=np.float64) for group in errors]),
        "error_counts": np.stack([_HISTOGRAM.counts(group) for group in errors]),
        **{name: np.array([np.count_nonzero(chosen(mark, g)) for g in groups]) for name, mark in marks.items()},
    }


def _length(x: NDArray, y: NDArray, z: NDArray) -> NDArray[np.float32]:
    return np.sqrt(np.square(x) + np.square(y) + np.square(z))
