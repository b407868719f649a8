# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The tables of a report, whatever they are written in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mtl_perception.evaluation.bootstrap import Interval
from mtl_perception.evaluation.score import Better

if TYPE_CHECKING:
    from mtl_perception.evaluation.run import RunResult

ARROWS: Mapping[Better | None, str] = {"higher": "↑", "lower": "↓", None: ""}
"""Which way is better."""

_MOST_NAMES = 8
_UNITS = {
    ("depth", "rmse"): "m",
    ("depth", "sq_rel"): "m",
    ("scene_flow", "epe3d"): "m",
    ("scene_flow", "epe3d_moving"): "m",
    ("ego_motion", "ate"): "m",
    ("ego_motion", "rpe"): "m",
    ("detections", "translation_error"): "m",
    ("detections", "orientation_error"): "rad",
    ("detections", "velocity_error"): "m/s",
    ("steering", "mse"): "rad²",
    ("map", "accuracy"): "m",
    ("map", "completeness"): "m",
}


@dataclass(frozen=True)
class MetricRow:
    """One metric of one task.

    Attributes:
        task, metric: as in metrics.json.
        value: over all bags.
        interval: in which it lies with 95 %, or None.
        better: which way, None for what only informs.
        is_key: whether frames are ranked by it.
    """

    task: str
    metric: str
    value: float
    interval: Interval | None
    better: Better | None
    is_key: bool

    @property
    def unit(self) -> str:
        """The unit of the value, "" where it has none."""
        if self.metric.endswith("_deg_per_m"):
            return "°/m"
        if self.metric.endswith("_deg"):
            return "°"
        return "%" if self.metric.endswith("_percent") else _UNITS.get((self.task, self.metric), "")

    @property
    def arrow(self) -> str:
        """Which way is better, as a sign."""
        return ARROWS[self.better]


def metric_rows(run: RunResult) -> dict[str, list[MetricRow]]:
    """Return per scored task a row a metric, the key metric first."""
    values = run.metrics()["metrics"]
    tables = {}
    for score in run.scores:
        if score.task not in values:
            continue
        spread = run.intervals.get(score.task, {})
        rows = [
            MetricRow(score.task, name, value, spread.get(name), score.better.get(name), name == score.key)
            for name, value in values[score.task].items()
        ]
        tables[score.task] = sorted(rows, key=lambda row: not row.is_key)
    return tables


def number(value: float | None) -> str:
    """Return a number with four digits that count, "–" for none."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        digits = 3 if value == 0 else max(0, 3 - math.floor(math.log10(abs(value))))
        return f"{value:.{min(digits, 4)}f}"
    return f"{value:.2e}"


def between(interval: Interval | None) -> str:
    """Return an interval as text, "" for none."""
    return "" if interval is None else f"{number(interval[0])} … {number(interval[1])}"


def readable(name: str) -> str:
    """Return a task's or key's name as words."""
    return name.replace("_", " ")


def facts(content: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return nested settings or measurements as names with texts, e.g. ("stage ms, read", "3.1")."""
    found: list[tuple[str, str]] = []
    for key, value in content.items():
        name = f"{prefix}, {readable(str(key))}" if prefix else readable(str(key))
        if isinstance(value, Mapping):
            found.extend(facts(value, name))
        elif isinstance(value, bool) or value is None:
            found.append((name, {True: "yes", False: "no", None: "–"}[value]))
        elif isinstance(value, int):
            found.append((name, f"{value:,}".replace(",", " ")))
        elif isinstance(value, float):
            found.append((name, number(value)))
        elif isinstance(value, (list, tuple)):
            found.append((name, ", ".join(map(str, value)) or "–"))
        else:
            found.append((name, str(value)))
    return found


def reasons(left_out: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return what was left out as (task, bags, why); bags are "" where it holds for all of them."""
    found: list[tuple[str, str, str]] = []
    for task, why in left_out.items():
        if not isinstance(why, Mapping):
            found.append((task, "", why))
            continue
        for reason in dict.fromkeys(why.values()):
            bags = [bag for bag, own in why.items() if own == reason]
            found.append((task, ", ".join(bags) if len(bags) <= _MOST_NAMES else f"{len(bags)} bags", reason))
    return found
