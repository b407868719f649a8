# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Rows of statistics to figures: values with 95 % intervals, beside those of a prediction that is always the same."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mtl_perception.evaluation.bootstrap import interval, intervals, resamples_for, sampled_metrics
from mtl_perception.evaluation.judged import JudgedFrame
from mtl_perception.evaluation.score import Score
from mtl_perception.evaluation.statistics import FrameStatistics, TaskStatistics

Row = tuple[int, FrameStatistics]
Beats = Literal["yes", "no", "undecided"]

FEWEST_WORLDS = 5
"""With fewer worlds nothing is said about how far figures would differ on others."""
_WITHOUT_MEANING = ("ate", "kitti_translation_percent", "kitti_rotation_deg_per_m")  # of single pairs of frames
_DIGITS = 5


class Tally:
    """Gathers, task by task, what frames add to the scores.

    Attributes:
        rows: per task, the number of the world (or of the recorded frame) with what a frame adds.
    """

    def __init__(self, scores: Sequence[Score]) -> None:
        """Gather for these scores."""
        self._scores = scores
        self.rows: dict[str, list[Row]] = {score.task: [] for score in scores}

    def add(self, number: int, frame: JudgedFrame) -> dict[str, float]:
        """Add a frame; return the key metric of each task that can be scored on it."""
        values = {}
        for score in self._scores:
            row = score.frame(frame)
            if row is not None:
                self.rows[score.task].append((number, row))
                metrics = score.metrics(TaskStatistics.of([(0, row)]).row(0))
                values[score.task] = metrics.get(score.key, math.nan)
        return values


def world_figures(score: Score, rows: Sequence[Row], baseline: Sequence[Row], seed: int = 0) -> dict[str, Any]:
    """Return the figures of a task on worlds, as JSON has them.

    Intervals are those of a bootstrap over worlds: the frames of one world show nearly the same. Whether the baseline
    is beaten is told by the interval of the difference on the same worlds; without one, by the values.

    Args:
        score: the task's.
        rows: what the network's frames add, each with the number of its world.
        baseline: the same of the constant prediction; empty where there is none.
        seed: of the drawing.
    """
    statistics = TaskStatistics.of(rows)
    figures = _values(score, statistics)
    worlds = np.unique(statistics.frames)
    generator = np.random.default_rng(seed)
    draws = [generator.choice(worlds, len(worlds)) for _ in range(resamples_for(statistics))]
    enough = len(worlds) >= FEWEST_WORLDS
    sampled = sampled_metrics(statistics, score, _rows_of(statistics, draws)) if enough else {}
    _add_intervals(figures, {name: interval(values) for name, values in sampled.items()})
    if baseline:
        other = TaskStatistics.of(baseline)
        sampled_other = sampled_metrics(other, score, _rows_of(other, draws)) if enough else {}
        differences = {name: interval(values - sampled_other[name]) for name, values in sampled.items()}
        _compare(figures, _values(score, other), differences)
    return {"frames": len(rows), "worlds": len(worlds), **figures}


def recorded_figures(score: Score, rows: Sequence[Row]) -> dict[str, Any]:
    """Return the figures of a task on a recording, with intervals of a bootstrap over blocks of frames."""
    statistics = TaskStatistics.of(rows)
    figures = _values(score, statistics)
    _add_intervals(figures, intervals(statistics, [np.arange(len(statistics))], score))
    return {"frames": len(rows), **figures}


def _values(score: Score, statistics: TaskStatistics) -> dict[str, Any]:
    totals = statistics.total()
    metrics = {
        name: {"value": round(value, _DIGITS), "better": score.better.get(name, "")}
        for name, value in score.metrics(totals).items()
        if math.isfinite(value) and name not in _WITHOUT_MEANING
    }
    per_class = {
        name: {metric: round(value, _DIGITS) for metric, value in values.items() if math.isfinite(value)}
        for name, values in score.per_class(totals).items()
    }
    return {"key": score.key, "metrics": metrics, "per_class": per_class}


def _add_intervals(figures: Mapping[str, Any], found: Mapping[str, tuple[float, float] | None]) -> None:
    for name, entry in figures["metrics"].items():
        spread = found.get(name)
        if spread is not None:
            entry["interval"] = [round(end, _DIGITS) for end in spread]


def _compare(
    figures: Mapping[str, Any], baseline: Mapping[str, Any], differences: Mapping[str, tuple[float, float] | None]
) -> None:
    for name, entry in figures["metrics"].items():
        other = baseline["metrics"].get(name)
        if other is not None and entry["better"]:
            entry["baseline"] = other["value"]
            difference = differences.get(name) or (entry["value"] - other["value"],) * 2
            entry["beats_baseline"] = _beats(difference, entry["better"])


def _beats(difference: tuple[float, float], better: str) -> Beats:
    low, high = difference if better == "higher" else (-difference[1], -difference[0])
    if low > 0:
        return "yes"
    return "no" if high <= 0 else "undecided"


def _rows_of(statistics: TaskStatistics, draws: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    """Return the rows that choices of worlds have; a world without rows adds none."""
    rows = {int(world): np.flatnonzero(statistics.frames == world) for world in np.unique(statistics.frames)}
    nothing = np.zeros(0, np.int64)
    return [np.concatenate([rows.get(int(world), nothing) for world in draw]) for draw in draws]
