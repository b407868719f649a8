# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How often things that were given a probability are so: reliability diagrams."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_perception.evaluation.score import Reliability
from mtl_perception.evaluation.statistics import Totals


@dataclass(frozen=True)
class ProbabilityBins:
    """Bins of equal width from 0 to 1 (Guo et al. 2017, section 2; they take 15), as sums that add up over frames."""

    count: int = 15

    def sums(self, probability: NDArray, happened: NDArray[np.bool_]) -> dict[str, NDArray]:
        """Return the sums over values (N,); those without a probability (NaN) are left out."""
        scaled = np.clip(np.nan_to_num(probability, nan=-1.0) * self.count, -1, self.count - 1)
        bins = np.floor(scaled).astype(np.int64) + 1  # bin 0 is dropped
        size = self.count + 1
        return {
            "probability_count": np.bincount(bins, minlength=size)[1:],
            "probability_happened": np.bincount(bins[happened], minlength=size)[1:],
            "probability_sum": np.bincount(bins, np.nan_to_num(probability), minlength=size)[1:],
        }

    def reliability(self, title: str, predicted_name: str, observed_name: str, totals: Totals) -> list[Reliability]:
        """Return the means of what was said and of what was so, bin by bin; nothing if nothing was said."""
        counts = np.asarray(totals["probability_count"], dtype=np.int64)
        if not counts.any():
            return []
        said, happened = (np.asarray(totals[f"probability_{name}"]).astype(np.float64) for name in ("sum", "happened"))
        divisor = np.where(counts > 0, counts, np.nan)
        return [Reliability(title, predicted_name, observed_name, said / divisor, happened / divisor, counts)]
