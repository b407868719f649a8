# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Surface normals, by the angle they are off."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mtl_perception.evaluation.judged import JudgedFrame
from mtl_perception.evaluation.score import Better, Histogram, Score
from mtl_perception.evaluation.scores.binning import EqualBins
from mtl_perception.evaluation.scores.images import chosen_vectors, image_pairs
from mtl_perception.evaluation.statistics import FrameStatistics, Totals, ratio

_WITHIN = {"within_11_25": 11.25, "within_22_5": 22.5, "within_30": 30.0}
_ANGLES = np.concatenate([np.arange(450) / 10, np.arange(45.0, 181.0)])
"""The angles in degrees that angles are rounded to for the median."""
_HISTOGRAM = EqualBins(limit=90.0, count=45)
_Vectors = tuple[NDArray, NDArray, NDArray]


class NormalsScore(Score):
    """Angles between predicted and true normals (Fouhey et al. 2013, "Data-Driven 3D Primitives", section 4).

    `mean_deg` and `median_deg` are those of the angles, `within_11_25`, `within_22_5` and `within_30` the shares of
    pixels whose angle is smaller than that, over all pixels of all images with a true normal. A pixel without a
    prediction counts as 180 degrees off.

    The median must add up over frames, so it is that of rounded angles: to the nearest 0.1 degree below 45 degrees, to
    the nearest degree above.
    """

    task: ClassVar[str] = "normals"
    better: ClassVar[dict[str, Better]] = {
        "mean_deg": "lower",
        "median_deg": "lower",
        "within_11_25": "higher",
        "within_22_5": "higher",
        "within_30": "higher",
    }
    key: ClassVar[str] = "mean_deg"

    def frame(self, judged: JudgedFrame) -> FrameStatistics | None:
        """Return the sums over all images with predicted and known normals; None where no pixel has both.

        Raises:
            ValueError: a true image has not the size of its camera.
        """
        sums: dict[str, Any] = {}
        for predicted, truth in image_pairs(judged, "normals"):
            known = np.flatnonzero(~np.isnan(truth[..., 0]))
            angles = _angles(chosen_vectors(predicted, known), chosen_vectors(truth, known))
            if not angles.size:
                continue
            for name, value in _sums(angles).items():
                sums[name] = sums[name] + value if name in sums else value
        return FrameStatistics(sums) if sums else None

    def metrics(self, totals: Totals) -> dict[str, float]:
        """Return mean_deg, median_deg, within_11_25, within_22_5 and within_30."""
        pixels = totals["pixels"]
        return {
            "mean_deg": ratio(totals["degrees"], pixels),
            "median_deg": _median(totals["rounded_counts"]),
            **{name: ratio(totals[name], pixels) for name in _WITHIN},
        }

    def histograms(self, totals: Totals) -> list[Histogram]:
        """Return how the angles are spread."""
        return [_HISTOGRAM.histogram("Angle between predicted and true normal", "deg", totals["angle_counts"])]


def _angles(predicted: _Vectors, truth: _Vectors) -> NDArray[np.float32]:
    """Return the angles (N,) in degrees: exactly 0 between equal vectors, 180 where one is none."""
    (px, py, pz), (tx, ty, tz) = predicted, truth
    cosine = px * tx + py * ty + pz * tz
    sine = np.sqrt(np.square(py * tz - pz * ty) + np.square(pz * tx - px * tz) + np.square(px * ty - py * tx))
    angles: NDArray[np.float32] = np.degrees(np.arctan2(sine, cosine))
    angles[~((sine > 0) | (cosine > 0))] = 180
    return angles


def _sums(angles: NDArray[np.float32]) -> dict[str, Any]:
    # the two roundings agree at 45 degrees, below it the first is smaller
    places = np.minimum(np.rint(angles * np.float32(10)), np.rint(angles) + np.float32(405))
    return {
        "pixels": angles.size,
        "degrees": angles.sum(dtype=np.float64),
        "rounded_counts": np.bincount(places.astype(np.int64), minlength=len(_ANGLES)),
        "angle_counts": _HISTOGRAM.counts(angles),
        **{name: np.count_nonzero(angles < np.float32(limit)) for name, limit in _WITHIN.items()},
    }


def _median(counts: NDArray) -> float:
    """Return the median of angles that are counted; between the two in the middle where their number is even."""
    below = np.cumsum(counts.astype(np.float64))
    if not below[-1]:
        return float("nan")
    lower = np.searchsorted(below, below[-1] / 2, side="left")
    upper = np.searchsorted(below, below[-1] / 2, side="right")
    return float((_ANGLES[lower] + _ANGLES[upper]) / 2)
