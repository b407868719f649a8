# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Depth, as Eigen et al. score it."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mtl_perception.evaluation.judged import JudgedCamera, JudgedFrame
from mtl_perception.evaluation.score import Better, Histogram, Reliability, Score
from mtl_perception.evaluation.scores.binning import DeviationBins, EqualBins, OctaveBins
from mtl_perception.evaluation.scores.compiled import LANES, add_depths
from mtl_perception.evaluation.scores.images import true_image
from mtl_perception.evaluation.statistics import FrameStatistics, Totals, ratio

_BANDS = np.array([5.0, 10.0, 20.0, 40.0, 80.0], np.float32)
_BAND_NAMES = ("0-5 m", "5-10 m", "10-20 m", "20-40 m", "40-80 m", "over 80 m")
_WITHIN = np.array([1.25, 1.25**2, 1.25**3], np.float32)
_RELATIVE = EqualBins(limit=1.0, count=50)
_DEVIATION = DeviationBins(OctaveBins(first=-6, last=5))


class DepthScore(Score):
    """Errors of depth images (Eigen et al. 2014, "Depth Map Prediction from a Single Image ...", section 4.2).

    With prediction p and truth t in metres: abs_rel is the mean of |p - t| / t, sq_rel of (p - t)^2 / t (metres), rmse
    the root of the mean of (p - t)^2 (metres), rmse_log the same of log p - log t (natural logarithm), delta1 to
    delta3 the share of pixels with max(p / t, t / p) < 1.25, 1.25^2, 1.25^3. `coverage`, the share of true pixels that
    have a prediction, only informs.

    Truth nearer than `min_depth` or farther than `max_depth` of the options is not scored, nor is what is unknown or
    shows no surface. Predictions are moved into these limits, as the code of the KITTI benchmark's followers does. A
    pixel without a prediction counts as predicted at `max_depth`. Dense truth is used where there is any, else the
    places whose depth is known. With `median_scaling` each image's predictions are first multiplied by the ratio of
    the medians of truth and prediction, over pixels that have both (Zhou et al. 2017, "Unsupervised Learning of Depth
    and Ego-Motion from Video", section 4.1).

    All pixels of all images count alike; Eigen et al. do so, too, but many followers average the figures of images.
    """

    task: ClassVar[str] = "depth"
    better: ClassVar[dict[str, Better]] = {
        "abs_rel": "lower",
        "sq_rel": "lower",
        "rmse": "lower",
        "rmse_log": "lower",
        "delta1": "higher",
        "delta2": "higher",
        "delta3": "higher",
    }
    key: ClassVar[str] = "abs_rel"

    def frame(self, judged: JudgedFrame) -> FrameStatistics | None:
        """Return the sums of all images with predicted and known depth; None where no pixel has both in the limits.

        Raises:
            ValueError: a true image has not the size of its camera.
        """
        sums: dict[str, Any] = {}
        for camera in judged.cameras.values():
            for name, value in (self._camera(camera) or {}).items():
                sums[name] = sums[name] + value if name in sums else value
        return FrameStatistics(sums) if sums else None

    def metrics(self, totals: Totals) -> dict[str, float]:
        """Return abs_rel, sq_rel, rmse, rmse_log, delta1 to delta3 and coverage."""
        pixels = totals["pixels"].sum()
        return {
            "abs_rel": ratio(totals["absolute_relative"].sum(), pixels),
            "sq_rel": ratio(totals["squared_relative"], pixels),
            "rmse": math.sqrt(ratio(totals["squared"].sum(), pixels)),
            "rmse_log": math.sqrt(ratio(totals["squared_log"], pixels)),
            **{f"delta{power}": ratio(totals["within"][power - 1], pixels) for power in (1, 2, 3)},
            "coverage": ratio(totals["predicted"], pixels),
        }

    def per_class(self, totals: Totals) -> dict[str, dict[str, float]]:
        """Return abs_rel and rmse per band of true distance; the far end belongs to a band."""
        return {
            name: {
                "abs_rel": ratio(totals["absolute_relative"][band], totals["pixels"][band]),
                "rmse": math.sqrt(ratio(totals["squared"][band], totals["pixels"][band])),
            }
            for band, name in enumerate(_BAND_NAMES)
            if totals["pixels"][band]
        }

    def histograms(self, totals: Totals) -> list[Histogram]:
        """Return how relative errors are spread."""
        return [_RELATIVE.histogram("Relative depth error", "1", totals["relative_counts"])]

    def reliability(self, totals: Totals) -> list[Reliability]:
        """Return stated standard deviations beside the errors made, both as root mean squares."""
        return _DEVIATION.reliability("Standard deviation of depth", "m", totals)

    def _camera(self, camera: JudgedCamera) -> dict[str, Any] | None:
        known = _known(camera)
        if known is None:
            return None
        predicted, truth, deviation = (
            np.ascontiguousarray([] if image is None else image, dtype=np.float32).ravel() for image in known
        )
        nearest, farthest = np.float32(self.options.min_depth), np.float32(self.options.max_depth)
        scale = np.float32(1)
        if self.options.median_scaling:
            scored = (truth >= nearest) & (truth <= farthest) & (predicted > 0)
            scale = _median_ratio(predicted[scored], truth[scored])
        counts = np.zeros((LANES, len(_BAND_NAMES)), np.int64)
        sums = np.zeros((3, *counts.shape))
        within = np.zeros(len(_WITHIN), np.int64)
        relative_counts = np.zeros((LANES, _RELATIVE.count), np.int64)
        deviation_counts = np.zeros((LANES, _DEVIATION.bins.count), np.int64)
        deviation_sums = np.zeros((2, *deviation_counts.shape))
        quotients, *space = np.empty((7, truth.size), np.float32)
        scored_pixels, predicted_pixels = add_depths(
            truth,
            predicted,
            deviation,
            scale,
            (nearest, farthest),
            _BANDS,
            _WITHIN,
            _RELATIVE.count,
            _DEVIATION.bins.first,
            counts,
            sums,
            within,
            relative_counts,
            deviation_counts,
            deviation_sums,
            quotients,
            tuple(space),
            space[2].view(np.int32),
            np.zeros(truth.size, np.uint8),
        )
        if not scored_pixels:
            return None
        absolute_relative, squared, squared_relative = sums.sum(axis=1)
        variance, squared_error = deviation_sums.sum(axis=1)
        return {
            "pixels": counts.sum(axis=0),
            "absolute_relative": absolute_relative,
            "squared": squared,
            "squared_relative": squared_relative.sum(),
            # NumPy has a logarithm of many numbers at once
            "squared_log": np.square(np.log(quotients[:scored_pixels])).sum(dtype=np.float64),
            "within": within,
            "relative_counts": relative_counts.sum(axis=0),
            "deviation_count": deviation_counts.sum(axis=0),
            "deviation_variance": variance,
            "deviation_squared_error": squared_error,
            "predicted": predicted_pixels,
        }


def _known(camera: JudgedCamera) -> tuple[NDArray, NDArray, NDArray | None] | None:
    """Return predicted depth, true depth and the predicted standard deviation, of equal shapes; None if one lacks."""
    truth = true_image(camera, "depth")
    if truth is not None:
        predicted, deviation = camera.predicted("depth"), camera.predicted("depth_std")
    elif camera.sparse_depth is not None:
        truth, pixels = camera.sparse_depth.depth, camera.sparse_depth.pixels
        predicted, deviation = camera.predicted_at("depth", pixels), camera.predicted_at("depth_std", pixels)
    else:
        return None
    return None if predicted is None else (predicted, truth, deviation)


def _median_ratio(predicted: NDArray, truth: NDArray) -> np.float32:
    return np.float32(np.median(truth) / np.median(predicted)) if len(truth) else np.float32(1)
