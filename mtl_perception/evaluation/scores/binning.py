# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Bins that errors and stated uncertainties are counted in. Fast: they see every pixel of every frame."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.evaluation.score import Histogram, Reliability
from mtl_perception.evaluation.statistics import Totals


class Places:
    """Which of `count` bins each of many values is in, to count and to add up over bins what belongs to the values.

    Neighbouring pixels are often in the same bin, and adding to one sum again and again must wait for the addition
    before. So sums are made in four lanes, which is more than twice as fast.
    """

    _LANES = 4

    def __init__(self, index: NDArray[np.uint8], count: int) -> None:
        """Take bins 0 to count - 1, (N,); at most 64 bins."""
        self.index, self.count = index, count

    def counts(self) -> NDArray[np.int64]:
        """Return how many values each bin has: (count,)."""
        counts = cv2.calcHist([self.index.reshape(1, -1)], [0], None, [self.count], [0, self.count])
        return counts[:, 0].astype(np.int64)

    def sums(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the sum over each bin of values (N,): (count,)."""
        lanes = np.bincount(self._in_lanes, values, minlength=self._LANES * self.count)
        return lanes.reshape(self._LANES, self.count).sum(axis=0)

    @cached_property
    def _in_lanes(self) -> NDArray[np.int64]:
        index = self.index.copy()
        for lane in range(1, self._LANES):
            index[lane :: self._LANES] += np.uint8(lane * self.count)
        return index.astype(np.int64)


@dataclass(frozen=True)
class EqualBins:
    """At most 64 bins (`count`) of equal width from 0 to `limit`; what is larger is in the last."""

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
        return Places(scaled.astype(np.uint8), self.count).counts()

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

    def places(self, values: NDArray[np.float32]) -> Places:
        """Return the bins of values (N,), none negative or NaN."""
        halves = np.ascontiguousarray(values, dtype=np.float32).view(np.int32) >> 22
        return Places(np.clip(halves - 2 * (127 + self.first), 0, self.count - 1).astype(np.uint8), self.count)


@dataclass(frozen=True)
class DeviationBins:
    """Predicted standard deviations against the errors that were made, as sums that add up over frames."""

    bins: OctaveBins

    def sums(self, deviation: NDArray[np.float32], squared_error: NDArray[np.float32]) -> dict[str, NDArray]:
        """Return the sums of one image; both (N,), in a unit and in its square, without NaN."""
        places = self.bins.places(deviation)
        return {
            "deviation_count": places.counts(),
            "deviation_variance": places.sums(np.square(deviation)),
            "deviation_squared_error": places.sums(squared_error),
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
