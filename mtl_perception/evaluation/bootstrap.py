# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How far metrics would differ had other frames been recorded: the bootstrap over frames, in blocks.

Neighbouring frames of a recording show nearly the same; drawn one by one they would pretend to be more evidence than
they are. So whole blocks of frames that follow each other are drawn (circular block bootstrap, Politis and Romano 1992)
until each bag has as many as it had, with blocks of n^(1/3) frames, the order that Hall, Horowitz and Jing (1995) find
best for spreads. The bags themselves are kept: intervals speak of recordings like these, not of other places.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mtl_perception.evaluation.score import Score
from mtl_perception.evaluation.statistics import TaskStatistics, Totals

Rows = NDArray[np.int64]
Interval = tuple[float, float]

FEWEST_ROWS = 8
"""With fewer frames nothing is said about the spread."""
_CONFIDENCE = 0.95
_RESAMPLES = 1000
_RANKED_RESAMPLES = 200
_MOST_FINDINGS = 40_000_000  # that are ranked anew, over all resamples
_FEWEST_RESAMPLES = 50
_AT_ONCE = 50


def intervals(statistics: TaskStatistics, groups: Sequence[Rows], score: Score, seed: int = 0) -> dict[str, Interval]:
    """Return the 95 % interval of each metric; metrics that too few frames define are left out.

    Args:
        statistics: of one task.
        groups: the rows of each bag, in the order of time.
        score: the task's.
        seed: of the drawing.
    """
    if len(statistics) < FEWEST_ROWS:
        return {}
    draws = resampled(groups, resamples_for(statistics), np.random.default_rng(seed))
    found = {name: interval(values) for name, values in sampled_metrics(statistics, score, draws).items()}
    return {name: value for name, value in found.items() if value is not None}


def resampled(groups: Sequence[Rows], resamples: int, rng: np.random.Generator) -> list[Rows]:
    """Return choices of rows: of each group as many as it has, drawn as blocks of neighbours."""
    return [np.concatenate([_drawn(group, rng) for group in groups]) for _ in range(resamples)]


def resamples_for(statistics: TaskStatistics) -> int:
    """Return how often to resample: 1000 times, ranked findings 200 times, and less often where they are very many."""
    if not statistics.ranked:
        return _RESAMPLES
    affordable = _MOST_FINDINGS // max(1, len(statistics.ranked_row))
    return max(_FEWEST_RESAMPLES, min(_RANKED_RESAMPLES, affordable))


def sampled_metrics(statistics: TaskStatistics, score: Score, draws: Sequence[Rows]) -> dict[str, NDArray[np.float64]]:
    """Return per metric its value on each choice of rows, NaN where it is not defined there."""
    values = [score.metrics(totals) for totals in _totals(statistics, draws)]
    names = {name: None for sample in values for name in sample}
    return {name: np.array([sample.get(name, math.nan) for sample in values], dtype=np.float64) for name in names}


def interval(values: NDArray[np.float64]) -> Interval | None:
    """Return the percentile interval; None where the metric is not defined on most samples."""
    defined = values[np.isfinite(values)]
    if 2 * len(defined) <= len(values):
        return None
    tail = 50 * (1 - _CONFIDENCE)
    low, high = np.percentile(defined, [tail, 100 - tail])
    return float(low), float(high)


def rows_of_bags(parts: Iterable[TaskStatistics]) -> list[Rows]:
    """Return which rows of the joined statistics are of each bag, in the order of time."""
    groups, before = [], 0
    for part in parts:
        groups.append(before + np.argsort(part.frames, kind="stable").astype(np.int64))
        before += len(part)
    return groups


def _drawn(group: Rows, rng: np.random.Generator) -> Rows:
    count = len(group)
    block = math.ceil(count ** (1 / 3) - 1e-9)
    starts = rng.integers(0, count, size=math.ceil(count / block))
    places = (starts[:, None] + np.arange(block)).ravel()[:count] % count
    return group[places]


def _totals(statistics: TaskStatistics, draws: Sequence[Rows]) -> Iterable[Totals]:
    """As `TaskStatistics.sample` of each choice; sums of many choices at once are one product of matrices."""
    if statistics.ranked:
        yield from (statistics.sample(rows) for rows in draws)
        return
    columns: Mapping[str, NDArray] = {
        name: column.reshape(len(statistics), -1).astype(np.float64) for name, column in statistics.sums.items()
    }
    nothing = np.zeros(0, np.int64)
    for first in range(0, len(draws), _AT_ONCE):
        some = draws[first : first + _AT_ONCE]
        counts = np.stack([np.bincount(rows, minlength=len(statistics)) for rows in some]).astype(np.float64)
        sums = {name: counts @ column for name, column in columns.items()}
        for index, rows in enumerate(some):
            shaped = {name: sums[name][index].reshape(c.shape[1:])[()] for name, c in statistics.sums.items()}
            yield Totals(shaped, {}, nothing, len(rows))
