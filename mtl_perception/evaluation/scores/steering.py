# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The steering angle, as PilotNet-like regressors are scored: mean squared error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from mtl_perception.evaluation.judged import JudgedFrame
from mtl_perception.evaluation.score import Better, Histogram, Reliability, Score
from mtl_perception.evaluation.scores.binning import DeviationBins, EqualBins, OctaveBins
from mtl_perception.evaluation.statistics import FrameStatistics, Totals, ratio

_ERRORS = EqualBins(limit=10.0, count=20)  # degrees
_DEVIATIONS = DeviationBins(OctaveBins(first=-10, last=0))  # radians


class SteeringScore(Score):
    """Squared error of the steering angle over all frames: `mse` in rad^2 (Udacity's challenge 2 takes its root).

    `mae_deg` is the mean absolute error in degrees. To compare with, `mse_of_zero` and `mse_of_mean` are the errors
    that driving straight on, and always steering by the mean of the true angles, would have had.
    """

    task: ClassVar[str] = "steering"
    better: ClassVar[Mapping[str, Better]] = {"mse": "lower", "mae_deg": "lower"}
    key: ClassVar[str] = "mae_deg"

    def frame(self, judged: JudgedFrame) -> FrameStatistics | None:
        """Return the errors of one frame, and what moments need."""
        predicted, true = judged.prediction.steering, judged.truth.steering
        if predicted is None or true is None:
            return None
        error = float(predicted.angle) - float(true)
        degrees = float(np.degrees(abs(error)))
        deviation, squared = np.array([predicted.std], np.float32), np.array([error * error], np.float32)
        return FrameStatistics(
            {
                "frames": 1,
                "squared_error": error * error,
                "absolute_error_deg": degrees,
                "angle": float(true),
                "squared_angle": float(true) ** 2,
                "error_counts": _ERRORS.counts(np.array([degrees], np.float32)),
                **_DEVIATIONS.sums(deviation, squared),
            }
        )

    def metrics(self, totals: Totals) -> dict[str, float]:
        """Return mse, mae_deg, mse_of_zero and mse_of_mean."""
        frames, angle, squared = totals["frames"], totals["angle"], totals["squared_angle"]
        return {
            "mse": ratio(totals["squared_error"], frames),
            "mae_deg": ratio(totals["absolute_error_deg"], frames),
            "mse_of_zero": ratio(squared, frames),
            "mse_of_mean": max(0.0, ratio(squared * frames - angle * angle, frames * frames)),
        }

    def histograms(self, totals: Totals) -> list[Histogram]:
        """Return how large the errors are."""
        return [_ERRORS.histogram("Error of the steering angle", "deg", totals["error_counts"])]

    def reliability(self, totals: Totals) -> list[Reliability]:
        """Return the stated standard deviations beside the errors that were made."""
        return _DEVIATIONS.reliability("Steering angle", "rad", totals)
