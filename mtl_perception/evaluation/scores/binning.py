# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Bins that errors and stated uncertainties are counted in. Fast: they see every pixel of every frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_perception.evaluation.score import Histogram, Reliability
from mtl_perception.evaluation.statistics import Totals


@dataclass(frozen=True)
class EqualBins:
    """`count` bins of equal width from 0 to `limit`; what is larger is in the last."""

    limit: float
    count: int

    @property
    def edges(self) -> NDArray[np.float64]:
        """(count + 1,) ascending, from 0 to the limit."""
        return np.linspace(0.0, self.limit, self.count + 1)

    def counts(self, values: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return how many of the values (N,), none negative or NaN, fall into each bin: (count,)."""
        scaled = values * np.float32(self.count / self.limit)
        np.minimum(scaled, np.float32(self.count - 1), out=scaled)
        return np.bincount(scaled.astype(np.int64), minlength=self.count)

    def histogram(self, title: str, unit: str, counts: NDArray) -> Histogram:
        """Return counts in these bins (their sums over frames) as a histogram."""
        return Histogram(f"{title} (last bin: and more)", unit, self.edges, counts.astype(np.int64))


@dataclass(frozen=True)
class OctaveBins:
    """Two bins an octave, from 2^first to 2^last: up to the middle between two powers of two, and from there.

    What is smaller is in the first bin, what is larger in the last. The bin is read off the bits of a float32 (exponent
    and first bit of the fraction), which is exact and several times as fast as a logarithm.
    """

    first: int
    last: int

    @property
    def count(self) -> int:
        """The number of bins."""
        return 2 * (self.last - self.first)

    def index(self, values: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the bin of each value (N,), none negative or NaN."""
        halves = np.ascontiguousarray(values, dtype=np.float32).view(np.int32) >> 22
        return np.clip(halves - 2 * (127 + self.first), 0, self.count - 1).astype(np.int64)


@dataclass(frozen=True)
class DeviationBins:
    """Predicted standard deviations against the errors that were made, as sums that add up over frames."""

    bins: OctaveBins

    def sums(self, deviation: NDArray[np.float32], squared_error: NDArray[np.float32]) -> dict[str, NDArray]:
        """Return the sums of one image; both (N,), in a unit and in its square, without NaN."""
        index, count = self.bins.index(deviation), self.bins.count
        return {
            "deviation_count": np.bincount(index, minlength=count),
            "deviation_variance": np.bincount(index, np.square(deviation), minlength=count),
            "deviation_squared_error": np.bincount(index, squared_error, minlength=count),
        }

    def reliability(self, title: str, unit: str, totals: Totals) -> list[Reliability]:
        """Return root mean squares per bin: of what was stated, and of the errors made. Empty if nothing was stated."""
        counts = np.asarray(totals["deviation_count"], dtype=np.int64)
        if not counts.any():
            return []
        stated, made = (np.sqrt(_means(totals[f"deviation_{name}"], counts)) for name in ("variance", "squared_error"))
        stated_name, made_name = f"predicted standard deviation ({unit})", f"root mean square error ({unit})"
        return [Reliability(title, stated_name, made_name, stated, made, counts)]


def _means(sums: NDArray, counts: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(sums.astype(np.float64), counts, out=np.full(len(counts), np.nan), where=counts > 0)
