# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The regression gate: is a run worse than a baseline by more than is tolerated?"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mtl_perception.evaluation.report.tables import ARROWS, number
from mtl_perception.evaluation.run import read_metrics
from mtl_perception.evaluation.score import Better, Score

_DEFAULT = 0.01
_FORM = re.compile(r"^(?:(?P<task>\w+)(?:\.(?P<metric>\w+))?=)?(?P<amount>[^%=\s]+)(?P<percent>%)?$")


@dataclass(frozen=True)
class Tolerance:
    """How much worse a metric may become.

    Attributes:
        relative: of the baseline's value, where nothing else is said.
        tasks: per task likewise.
        metrics: per (task, metric) whether the amount is relative, and the amount.
    """

    relative: float = _DEFAULT
    tasks: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[tuple[str, str], tuple[bool, float]] = field(default_factory=dict)

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> Tolerance:
        """Read `2%` (of each value), `depth=5%` (of a task's), `depth.abs_rel=0.01` or `depth.abs_rel=3%`.

        What is said of a metric counts before what is said of its task, and that before what is said of all; without
        any of it, 1 % is tolerated. Amounts without % are absolute and need a metric.

        Raises:
            ValueError: an argument has another form; names it.
        """
        everything, tasks, metrics = _DEFAULT, {}, {}
        for argument in arguments:
            found = _FORM.match(argument)
            amount = _amount(found["amount"]) if found else None
            if found is None or amount is None or not (found["percent"] or found["metric"]):
                raise ValueError(f"tolerance '{argument}' is none of '2%', 'depth=5%' and 'depth.abs_rel=0.01'")
            if found["percent"]:
                amount /= 100
            if found["metric"]:
                metrics[found["task"], found["metric"]] = (bool(found["percent"]), amount)
            elif found["task"]:
                tasks[found["task"]] = amount
            else:
                everything = amount
        return cls(everything, tasks, metrics)

    def of(self, task: str, metric: str, baseline: float) -> float:
        """Return by how much the metric may be worse than the baseline."""
        if (task, metric) in self.metrics:
            is_relative, amount = self.metrics[task, metric]
            return amount * abs(baseline) if is_relative else amount
        return self.tasks.get(task, self.relative) * abs(baseline)


@dataclass(frozen=True)
class Regression:
    """What got worse.

    Attributes:
        what: the metric as `task.metric`, or what is missing: `bag street`, `depth`.
        baseline, value: of the metric, None where there is none.
        allowed: how much worse it could have been.
        better: which way is better, None where that is not the question.
        why: in words, where something is missing.
    """

    what: str
    baseline: float | None = None
    value: float | None = None
    allowed: float | None = None
    better: Better | None = None
    why: str = ""


def read_baseline(path: Path) -> dict[str, Any]:
    """Read the metrics.json of a baseline.

    Raises:
        ValueError: it is none; names the file and the key.
        OSError: it cannot be read.
    """
    return read_metrics(path)


def regressions(
    metrics: Mapping[str, Any], baseline: Mapping[str, Any], scores: Iterable[Score], tolerance: Tolerance
) -> list[Regression]:
    """Return what got worse than the baseline by more than is tolerated, and what the run lacks altogether.

    A bag, a task or a metric that the baseline has and the run lacks is a regression too: a figure that nobody sees
    any more cannot get better. Metrics that only inform have no worse; they just have to be there.

    Args:
        metrics: the content of a metrics.json.
        baseline: that of the baseline.
        scores: which way of each metric is better.
        tolerance: how much worse is well enough.

    Raises:
        ValueError: a tolerance names a task or a metric that the baseline does not have.
    """
    _check_names(tolerance, baseline["metrics"])
    better = {score.task: score.better for score in scores}
    found = [
        Regression(f"bag {name}", why=metrics["failed"].get(name, "was not evaluated"))
        for name in baseline["bags"]
        if name not in metrics["bags"]
    ]
    for task, values in baseline["metrics"].items():
        now = metrics["metrics"].get(task)
        if now is None:
            why = metrics.get("left_out", {}).get(task, "was not scored")
            found.append(Regression(task, why=why if isinstance(why, str) else "; ".join(dict.fromkeys(why.values()))))
            continue
        for metric, before in values.items():
            name, way = f"{task}.{metric}", better.get(task, {}).get(metric)
            if metric not in now:
                found.append(Regression(name, before, better=way, why="has no value any more"))
            elif way is not None:
                allowed = tolerance.of(task, metric, before)
                loss = now[metric] - before if way == "lower" else before - now[metric]
                if loss > allowed:
                    found.append(Regression(name, before, now[metric], allowed, way))
    return found


def print_regressions(console: Console, found: Sequence[Regression]) -> None:
    """Print a table of what got worse, or that nothing did."""
    if not found:
        console.print("not worse than the baseline", style="green", highlight=False)
        return
    table = Table(title=f"worse than the baseline: {len(found)}", title_justify="left", title_style="bold red")
    table.add_column("what")
    for name in ("baseline", "now", "change", "allowed"):
        table.add_column(name, justify="right")
    for entry in found:
        what = f"{entry.what} {ARROWS[entry.better]}".strip()
        if entry.why:
            table.add_row(escape(what), number(entry.baseline), "[red]missing", "", escape(entry.why))
            continue
        assert entry.baseline is not None and entry.value is not None
        table.add_row(escape(what), number(entry.baseline), number(entry.value), _change(entry), number(entry.allowed))
    console.print(table)


def _change(entry: Regression) -> str:
    assert entry.baseline is not None and entry.value is not None
    change = entry.value - entry.baseline
    relative = f" ({100 * change / abs(entry.baseline):+.1f} %)" if entry.baseline else ""
    return f"[red]{'+' if change > 0 else '-'}{number(abs(change))}{relative}"


def _amount(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _check_names(tolerance: Tolerance, known: Mapping[str, Mapping[str, float]]) -> None:
    for task in tolerance.tasks:
        if task not in known:
            raise ValueError(f"tolerance '{task}': the baseline has no such task, only {', '.join(known)}")
    for task, metric in tolerance.metrics:
        if metric not in known.get(task, {}):
            raise ValueError(f"tolerance '{task}.{metric}': the baseline has no such metric")
