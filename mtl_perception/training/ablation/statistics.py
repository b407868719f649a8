# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Means with intervals over seeds, and what an interval says of a claim."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

CONFIDENCE = 0.95

Relation = Literal["better", "equal", "not_worse"]
"""What a claim says of the difference, first variant minus second, positive where the first is better: it is above 0;
it is within plus or minus the margin; it is above minus the margin."""
Verdict = Literal["holds", "reversed", "undecided", "not run"]


@dataclass(frozen=True)
class Interval:
    """A mean over `count` seeds with its interval; the bounds are infinite where one seed or none says nothing."""

    mean: float
    low: float
    high: float
    count: int


def interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Return the mean and its interval by Student's t, for independent and nearly normal values.

    Raises:
        ValueError: a value is not finite.
    """
    if not all(math.isfinite(value) for value in values):
        raise ValueError("an interval of values that are not finite")
    count = len(values)
    if count == 0:
        return Interval(math.nan, -math.inf, math.inf, 0)
    mean = float(np.mean(values))
    if count == 1:
        return Interval(mean, -math.inf, math.inf, 1)
    error = float(np.std(values, ddof=1)) / math.sqrt(count)
    reach = float(stats.t.ppf(0.5 + confidence / 2, count - 1)) * error
    return Interval(mean, mean - reach, mean + reach, count)


def paired_difference(first: Sequence[float], second: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Return the mean of first minus second with its interval; item k of both is of the same seed and data order.

    What a seed does to both alike (its data, the encoder's first weights) drops out, so this interval is narrower than
    what the two variants' own intervals suggest.

    Raises:
        ValueError: they differ in length, or a value is not finite.
    """
    if len(first) != len(second):
        raise ValueError(f"paired differences of {len(first)} and {len(second)} values")
    return interval([a - b for a, b in zip(first, second, strict=True)], confidence)


def verdict(difference: Interval, relation: Relation, margin: float = 0.0) -> Verdict:
    """Say what an interval alone says of a claim; the mean has no part in it.

    `better`: holds where all of the interval is above 0, reversed where all of it is below. `equal`: holds where all of
    it is within plus or minus the margin (two one-sided tests, Schuirmann 1987, each at half of 1 - confidence),
    reversed where all of it is outside on one side. `not_worse`: holds where all of it is above minus the margin,
    reversed where all of it is below that. All else is undecided.
    """
    if difference.count < 2:
        return "undecided" if difference.count else "not run"
    if relation == "equal":
        if -margin < difference.low and difference.high < margin:
            return "holds"
        return "reversed" if difference.low > margin or difference.high < -margin else "undecided"
    bound = -margin if relation == "not_worse" else 0.0
    if difference.low > bound:
        return "holds"
    return "reversed" if difference.high < bound else "undecided"
