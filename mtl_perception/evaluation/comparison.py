# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Two runs beside each other: is the second one better, or does it only look like it?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mtl_perception.evaluation.bootstrap import (
    FEWEST_ROWS,
    Interval,
    Rows,
    interval,
    resampled,
    resamples_for,
    rows_of_bags,
    sampled_metrics,
)
from mtl_perception.evaluation.report.markdown import markdown_table
from mtl_perception.evaluation.report.tables import ARROWS, between, number, readable
from mtl_perception.evaluation.run import RunResult
from mtl_perception.evaluation.score import Better, Score
from mtl_perception.evaluation.statistics import TaskStatistics

Verdict = Literal["better", "worse", "same", "undecided", ""]

_COLOURS: dict[Verdict, str] = {"better": "green", "worse": "red", "same": "", "undecided": "yellow", "": ""}


@dataclass(frozen=True)
class MetricComparison:
    """One metric of two runs.

    Attributes:
        task, metric: as in metrics.json.
        first, second: the values; NaN where a run does not have it.
        interval: in which the difference second - first lies with 95 %; None where that cannot be told.
        better: which way, None for what only informs.
        paired: whether both runs scored the same frames.
    """

    task: str
    metric: str
    first: float
    second: float
    interval: Interval | None
    better: Better | None
    paired: bool

    @property
    def difference(self) -> float:
        """second - first."""
        return self.second - self.first

    @property
    def verdict(self) -> Verdict:
        """Whether the second run is better: decided only if the interval is above or below 0, or nothing differs."""
        if self.better is None or math.isnan(self.difference):
            return ""
        if self.difference == 0 and self.interval in (None, (0.0, 0.0)):
            return "same"
        if self.interval is None or self.interval[0] <= 0 <= self.interval[1]:
            return "undecided"
        return "better" if (self.interval[0] > 0) == (self.better == "higher") else "worse"


@dataclass(frozen=True)
class Comparison:
    """Two runs, metric by metric.

    Attributes:
        names: what the runs are called.
        metrics: in the order of the scores.
        only: per run what it alone has scored.
    """

    names: tuple[str, str]
    metrics: tuple[MetricComparison, ...]
    only: tuple[tuple[str, ...], tuple[str, ...]]

    def to_dict(self) -> dict[str, Any]:
        """Return the content of compare.json."""
        return {
            "runs": list(self.names),
            "metrics": {
                task: {entry.metric: _entry(entry) for entry in self.metrics if entry.task == task}
                for task in dict.fromkeys(entry.task for entry in self.metrics)
            },
            "only": {"first": list(self.only[0]), "second": list(self.only[1])},
        }

    def to_markdown(self) -> str:
        """Return the content of compare.md."""
        rows = [
            (
                readable(entry.task),
                f"{entry.metric} {ARROWS[entry.better]}".strip(),
                number(entry.first),
                number(entry.second),
                _signed(entry.difference),
                between(entry.interval),
                "yes" if entry.paired else "no",
                entry.verdict,
            )
            for entry in self.metrics
        ]
        head = ("task", "metric", "A:", "B:", "B - A:", "95 % interval of B - A", "same frames", "B is")
        parts = ["# Comparison", f"A: {self.names[0]}, B: {self.names[1]}", markdown_table(head, rows)]
        parts += [
            f"Scored in {name} only: {', '.join(map(readable, tasks))}"
            for name, tasks in zip(self.names, self.only, strict=True)
            if tasks
        ]
        return "\n\n".join(parts) + "\n"

    def show(self, console: Console) -> None:
        """Print the table."""
        table = Table(title=escape(f"A: {self.names[0]}   B: {self.names[1]}"), title_justify="left")
        for name in ("task", "metric"):
            table.add_column(name, no_wrap=True)
        for name in ("A", "B", "B - A"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("95 % interval")
        table.add_column("B is", no_wrap=True)
        task = ""
        for entry in self.metrics:
            if task and entry.task != task:
                table.add_section()
            name = readable(entry.task) if entry.task != task else ""
            task = entry.task
            colour = _COLOURS[entry.verdict]
            table.add_row(
                name,
                f"{entry.metric} {ARROWS[entry.better]}".strip(),
                number(entry.first),
                number(entry.second),
                _signed(entry.difference),
                between(entry.interval),
                f"[{colour}]{entry.verdict}" if colour else entry.verdict,
            )
        console.print(table)
        for name, tasks in zip(self.names, self.only, strict=True):
            if tasks:
                console.print(escape(f"scored in {name} only: {', '.join(map(readable, tasks))}"), highlight=False)


def compare_runs(first: RunResult, second: RunResult, names: tuple[str, str], seed: int = 0) -> Comparison:
    """Compare two runs that were scored alike.

    Where both have scored the same frames of the same bags (names and stamps), each bootstrap sample takes the same
    frames of both: what makes a frame difficult then cancels. Else frames are drawn of each run by itself. Either way
    blocks of neighbouring frames are drawn, see `mtl_perception.evaluation.bootstrap`. A difference is decided if its
    95 % interval does not contain 0; of twenty metrics that do not differ, one is expected to be "decided" by chance.

    Args:
        first: the one to compare with.
        second: the one in question.
        names: what to call them.
        seed: of the drawing.

    Raises:
        ValueError: the runs were scored with different settings of the scores.
    """
    options = [run.scores[0].options if run.scores else None for run in (first, second)]
    if options[0] != options[1]:
        raise ValueError(f"the runs were scored differently: {options[0]} and {options[1]}")
    found: list[MetricComparison] = []
    for score in first.scores:
        if score.task in first.statistics and score.task in second.statistics:
            found += _task(first, second, score, seed)
    only = (
        tuple(task for task in first.statistics if task not in second.statistics),
        tuple(task for task in second.statistics if task not in first.statistics),
    )
    return Comparison(names, tuple(found), only)


def _task(first: RunResult, second: RunResult, score: Score, seed: int) -> list[MetricComparison]:
    runs = (first, second)
    values = [run.metrics()["metrics"].get(score.task, {}) for run in runs]
    paired = _keys(first, score.task) == _keys(second, score.task)
    samples = _differences(runs, score, paired, seed)
    names = dict.fromkeys([*values[0], *values[1]])
    names = {name: None for name in [score.key, *names] if name in names}
    return [
        MetricComparison(
            score.task,
            name,
            values[0].get(name, math.nan),
            values[1].get(name, math.nan),
            interval(samples[name]) if name in samples else None,
            score.better.get(name),
            paired,
        )
        for name in names
    ]


def _differences(runs: Sequence[RunResult], score: Score, paired: bool, seed: int) -> dict[str, NDArray[np.float64]]:
    """Return per metric the second run's minus the first run's, on each bootstrap sample."""
    statistics = [run.statistics[score.task] for run in runs]
    if min(len(entry) for entry in statistics) < FEWEST_ROWS:
        return {}
    rng = np.random.default_rng(seed)
    count = min(resamples_for(entry) for entry in statistics)
    draws = [resampled(_groups(runs[0], score.task), count, rng)]
    draws.append(draws[0] if paired else resampled(_groups(runs[1], score.task), count, rng))
    before, after = (sampled_metrics(entry, score, drawn) for entry, drawn in zip(statistics, draws, strict=True))
    return {name: after[name] - before[name] for name in before if name in after}


def _parts(run: RunResult, task: str) -> list[TaskStatistics]:
    return [bag.statistics[task] for bag in run.bags if task in bag.statistics]


def _groups(run: RunResult, task: str) -> list[Rows]:
    return rows_of_bags(_parts(run, task))


def _keys(run: RunResult, task: str) -> list[tuple[str, list[int]]]:
    """Return what each row of the task is of: the bag, and the stamps of its frames."""
    return [
        (bag.name, bag.stamps_ns[bag.statistics[task].frames].tolist()) for bag in run.bags if task in bag.statistics
    ]


def _entry(entry: MetricComparison) -> dict[str, Any]:
    return {
        "first": _or_none(entry.first),
        "second": _or_none(entry.second),
        "difference": _or_none(entry.difference),
        "interval": None if entry.interval is None else list(entry.interval),
        "better": entry.better,
        "verdict": entry.verdict or None,
        "paired": entry.paired,
    }


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _signed(value: float) -> str:
    return number(value) if not math.isfinite(value) or value <= 0 else f"+{number(value)}"
