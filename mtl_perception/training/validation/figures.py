# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Rows of statistics to figures: values with 95 % intervals, beside those of a prediction that is always the same."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mtl_perception.evaluation.bootstrap import FEWEST_ROWS, interval, resampled, resamples_for, sampled_metrics
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
    worlds = np.unique(statistics.frames)
    generator = np.random.default_rng(seed)
    draws: list[NDArray[np.int64]] = []
    if len(worlds) >= FEWEST_WORLDS:
        draws = [generator.choice(worlds, len(worlds)) for _ in range(resamples_for(statistics))]
    figures = _figures(score, statistics, _rows_of(statistics, draws))
    if baseline:
        other = TaskStatistics.of(baseline)
        _compare(figures, _figures(score, other, _rows_of(other, draws)))
    return {"frames": len(rows), "worlds": len(worlds), **figures.content}


def recorded_figures(score: Score, rows: Sequence[Row], baseline: Sequence[Row], seed: int = 0) -> dict[str, Any]:
    """Return the same on a recording, with intervals of a bootstrap over blocks of frames."""
    statistics = TaskStatistics.of(rows)
    draws: list[NDArray[np.int64]] = []
    if len(rows) >= FEWEST_ROWS:
        generator = np.random.default_rng(seed)
        draws = resampled([np.arange(len(rows))], resamples_for(statistics), generator)
    figures = _figures(score, statistics, draws)
    if baseline:
        scored = set(statistics.frames.tolist())
        other = TaskStatistics.of([row for row in baseline if row[0] in scored] or baseline)
        paired = np.array_equal(other.frames, statistics.frames)  # else the draws are not of the same frames
        _compare(figures, _figures(score, other, draws if paired else []))
    return {"frames": len(rows), **figures.content}


@dataclass(frozen=True, eq=False)
class _Figures:
    """Figures as JSON has them, and each metric's values on samples of the bootstrap."""

    content: dict[str, Any]
    samples: Mapping[str, NDArray[np.float64]]


def _figures(score: Score, statistics: TaskStatistics, draws: Sequence[NDArray[np.int64]]) -> _Figures:
    totals = statistics.total()
    samples = sampled_metrics(statistics, score, draws) if draws else {}
    metrics: dict[str, dict[str, Any]] = {}
    for name, value in score.metrics(totals).items():
        if math.isfinite(value) and name not in _WITHOUT_MEANING:
            metrics[name] = {"value": round(value, _DIGITS), "better": score.better.get(name, "")}
            spread = interval(samples[name]) if name in samples else None
            if spread is not None:
                metrics[name]["interval"] = [round(end, _DIGITS) for end in spread]
    per_class = {
        name: {metric: round(value, _DIGITS) for metric, value in values.items() if math.isfinite(value)}
        for name, values in score.per_class(totals).items()
    }
    return _Figures({"key": score.key, "metrics": metrics, "per_class": per_class}, samples)


def _compare(figures: _Figures, baseline: _Figures) -> None:
    for name, entry in figures.content["metrics"].items():
        other = baseline.content["metrics"].get(name)
        if other is not None and entry["better"]:
            spread = None
            if name in figures.samples and name in baseline.samples:
                spread = interval(figures.samples[name] - baseline.samples[name])
            entry["baseline"] = other["value"]
            entry["beats_baseline"] = _beats(spread or (entry["value"] - other["value"],) * 2, entry["better"])


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
