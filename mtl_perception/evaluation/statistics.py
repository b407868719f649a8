# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What scores are made of: sums, a row a frame, and ranked findings. Merged exactly, whatever the order of merging."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class FrameStatistics:
    """What one frame adds to the scores of one task.

    Attributes:
        sums: per name a number, or an array of always the same shape, that is added up over frames.
        ranked: per name an array with one row a finding, all with the same number of rows (which may be 0): what can
            only be judged when all frames are known, because findings are ranked by their scores.
    """

    sums: Mapping[str, ArrayLike]
    ranked: Mapping[str, NDArray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that everything can be added up.

        Raises:
            ValueError: a sum is not finite, or ranked columns differ in length; names it.
        """
        for name, value in self.sums.items():
            if not np.all(np.isfinite(value)):
                raise ValueError(f"statistics: sum '{name}' is not finite")
        if len({len(column) for column in self.ranked.values()}) > 1:
            raise ValueError(f"statistics: ranked columns {', '.join(self.ranked)} differ in length")


@dataclass(frozen=True, eq=False)
class Totals:
    """Sums over frames, with the findings of all of them.

    Attributes:
        sums: per name an exact number (int or Fraction) or an array of them; floats in a bootstrap sample.
        ranked: per name the findings' rows, frame by frame.
        ranked_frame: (N,) which frame each finding is of: equal numbers, one frame.
        frames: how many frames were added up.
    """

    sums: Mapping[str, Any]
    ranked: Mapping[str, NDArray]
    ranked_frame: NDArray[np.int64]
    frames: int

    def __getitem__(self, name: str) -> Any:
        """Return a sum."""
        return self.sums[name]


class TaskStatistics:
    """The statistics of one task, frame by frame.

    Attributes:
        frames: (R,) int64, which of the bag's frames each row is of; frames without a score have no row.
        sums: per name (R, ...), int64 or float64.
        ranked: per name (N, ...), the findings of all rows.
        ranked_row: (N,) int64, the row that each finding belongs to, ascending.
    """

    def __init__(
        self,
        frames: NDArray[np.int64],
        sums: Mapping[str, NDArray],
        ranked: Mapping[str, NDArray],
        ranked_row: NDArray[np.int64],
    ) -> None:
        """Take the columns as they are."""
        self.frames, self.sums, self.ranked, self.ranked_row = frames, dict(sums), dict(ranked), ranked_row

    @classmethod
    def of(cls, rows: Sequence[tuple[int, FrameStatistics]]) -> TaskStatistics:
        """Make columns of rows, each with the number of its frame.

        Raises:
            ValueError: there is no row, or rows differ in their names or shapes.
        """
        if not rows:
            raise ValueError("statistics: no row")
        first = rows[0][1]
        names, ranked_names = list(first.sums), list(first.ranked)
        for _, row in rows:
            if list(row.sums) != names or list(row.ranked) != ranked_names:
                raise ValueError(f"statistics: rows have {list(row.sums)} and {names}, they must be the same")
        sums = {name: _column([row.sums[name] for _, row in rows]) for name in names}
        ranked = {name: np.concatenate([row.ranked[name] for _, row in rows]) for name in ranked_names}
        counts = [len(row.ranked[ranked_names[0]]) if ranked_names else 0 for _, row in rows]
        return cls(
            np.array([frame for frame, _ in rows], dtype=np.int64),
            sums,
            ranked,
            np.repeat(np.arange(len(rows), dtype=np.int64), counts),
        )

    @classmethod
    def joined(cls, parts: Sequence[TaskStatistics]) -> TaskStatistics:
        """Put the rows of several bags below each other; `frames` keep their numbers within their bags.

        Raises:
            ValueError: there is no part, or their columns differ.
        """
        if not parts:
            raise ValueError("statistics: nothing to join")
        names, ranked_names = parts[0].sums.keys(), parts[0].ranked.keys()
        if any(part.sums.keys() != names or part.ranked.keys() != ranked_names for part in parts):
            raise ValueError("statistics: parts of one task have different columns")
        before = np.cumsum([0, *(len(part) for part in parts)])
        return cls(
            np.concatenate([part.frames for part in parts]),
            {name: np.concatenate([part.sums[name] for part in parts]) for name in names},
            {name: np.concatenate([part.ranked[name] for part in parts]) for name in ranked_names},
            np.concatenate([part.ranked_row + offset for part, offset in zip(parts, before, strict=False)]),
        )

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.frames)

    def total(self) -> Totals:
        """Return the exact sums over all rows: floats are added as fractions, so that no order of merging matters."""
        return Totals({name: _exact_sum(c) for name, c in self.sums.items()}, self.ranked, self.ranked_row, len(self))

    def row(self, row: int) -> Totals:
        """Return one row as if it were all."""
        chosen = np.flatnonzero(self.ranked_row == row)
        ranked = {name: column[chosen] for name, column in self.ranked.items()}
        sums = {name: column[row] for name, column in self.sums.items()}
        return Totals(sums, ranked, np.zeros(len(chosen), np.int64), 1)

    def sample(self, rows: NDArray[np.int64]) -> Totals:
        """Return the sums over a choice of rows, one of which may occur several times (a bootstrap sample)."""
        counts = np.bincount(rows, minlength=len(self)).astype(np.float64)
        sums = {name: np.tensordot(counts, column, axes=(0, 0))[()] for name, column in self.sums.items()}
        if not self.ranked:
            return Totals(sums, {}, np.zeros(0, np.int64), len(rows))
        starts = np.searchsorted(self.ranked_row, np.arange(len(self) + 1))
        lengths = starts[rows + 1] - starts[rows]
        first = np.repeat(starts[rows] - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
        chosen = first + np.arange(lengths.sum())
        ranked = {name: column[chosen] for name, column in self.ranked.items()}
        return Totals(sums, ranked, np.repeat(np.arange(len(rows), dtype=np.int64), lengths), len(rows))


def ratio(numerator: Any, denominator: Any) -> float:
    """Return numerator / denominator, correctly rounded when both are exact; NaN when the denominator is 0."""
    if not denominator:
        return float("nan")
    if isinstance(numerator, (float, np.floating)) or isinstance(denominator, (float, np.floating)):
        return float(numerator) / float(denominator)
    return float(_fraction(numerator) / _fraction(denominator))


def f_score(precision: float, recall: float) -> float:
    """Return the harmonic mean; 0 where nothing is right or nothing was found (precision is NaN then)."""
    if math.isnan(recall):
        return math.nan
    return 2 * precision * recall / (precision + recall) if precision > 0 and recall > 0 else 0.0


def _fraction(value: Any) -> Fraction:
    """Return an exact number as a fraction of Python's own integers: those of NumPy overflow in it."""
    return Fraction(int(value) if isinstance(value, np.integer) else value)


def _column(values: Sequence[ArrayLike]) -> NDArray:
    arrays = [np.asarray(value) for value in values]
    if len({array.shape for array in arrays}) > 1:
        raise ValueError(f"statistics: rows of one sum have the shapes {sorted({a.shape for a in arrays})}")
    column = np.stack(arrays)
    return column.astype(np.float64 if np.issubdtype(column.dtype, np.floating) else np.int64)


def _exact_sum(column: NDArray) -> Any:
    if column.dtype == np.int64:
        total = column.sum(axis=0)
        return int(total) if column.ndim == 1 else total
    if column.ndim == 1:
        return sum(map(Fraction, column.tolist()), Fraction(0))
    flat = column.reshape(len(column), -1)
    sums = np.empty(flat.shape[1], dtype=object)
    for index in range(flat.shape[1]):
        sums[index] = sum(map(Fraction, flat[:, index].tolist()), Fraction(0))
    return sums.reshape(column.shape[1:])
