# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Scores while frames are still coming: their metrics so far at any moment, their exact statistics at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.evaluation.judged import JudgedFrame
from mtl_perception.evaluation.score import Score
from mtl_perception.evaluation.statistics import FrameStatistics, TaskStatistics, Totals


class RunningScores:
    """Adds up what each frame gives. Memory grows with every frame, by some kilobytes a task."""

    def __init__(self, scores: Sequence[Score]) -> None:
        """Begin without a frame."""
        self._scores = tuple(scores)
        self._rows: dict[str, list[tuple[int, FrameStatistics]]] = {score.task: [] for score in scores}
        self._sums = {score.task: _RunningSums() for score in scores}

    def add(self, index: int, judged: JudgedFrame) -> dict[str, float]:
        """Score frame number `index`; return, per task that it could be scored for, the key metric of this frame.

        Raises:
            ValueError: prediction and truth do not fit together; nothing of the frame is added then.
        """
        rows = {score.task: row for score in self._scores if (row := score.frame(judged)) is not None}
        values = {}
        for score in self._scores:
            row = rows.get(score.task)
            if row is not None:
                self._rows[score.task].append((index, row))
                self._sums[score.task].add(row)
                values[score.task] = score.metrics(TaskStatistics.of([(0, row)]).row(0)).get(score.key, np.nan)
        return values

    def metrics(self) -> dict[str, dict[str, float]]:
        """Return the metrics so far by task; without those that the data so far does not define.

        Sums are rounded here; `statistics` has them exactly.
        """
        found = {}
        for score in self._scores:
            if not self._rows[score.task]:
                continue
            if type(score).bag is Score.bag:
                totals = self._sums[score.task].totals()
            else:
                totals = TaskStatistics.of(score.bag(self._rows[score.task])).total()
            values = {name: float(value) for name, value in score.metrics(totals).items() if np.isfinite(value)}
            if values:
                found[score.task] = values
        return found

    def statistics(self) -> dict[str, TaskStatistics]:
        """Return the statistics of all frames so far by task."""
        rows = {score.task: score.bag(self._rows[score.task]) for score in self._scores if self._rows[score.task]}
        return {task: TaskStatistics.of(of_task) for task, of_task in rows.items() if of_task}


class _RunningSums:
    """The sums of one task over all frames so far."""

    def __init__(self) -> None:
        self._sums: dict[str, Any] = {}
        self._ranked: dict[str, list[NDArray]] = {}
        self._lengths: list[int] = []
        self._frames = 0

    def add(self, row: FrameStatistics) -> None:
        for name, value in row.sums.items():
            self._sums[name] = self._sums.get(name, 0.0) + np.asarray(value, dtype=np.float64)
        for name, column in row.ranked.items():
            self._ranked.setdefault(name, []).append(column)
        self._lengths.append(len(next(iter(row.ranked.values()), ())))
        self._frames += 1

    def totals(self) -> Totals:
        # Joined once, so that the next call has only what has come since to join.
        self._ranked = {name: [np.concatenate(columns)] for name, columns in self._ranked.items()}
        ranked: Mapping[str, NDArray] = {name: columns[0] for name, columns in self._ranked.items()}
        frame = np.repeat(np.arange(self._frames, dtype=np.int64), self._lengths)
        return Totals(self._sums, ranked, frame, self._frames)
