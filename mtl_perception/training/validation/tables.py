# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The figures of a validation as a table on the console."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from mtl_perception.core.scene_classes import SCENE_CLASSES
from mtl_perception.training.validation.worlds import RIG_MARK

HEADLINES: Mapping[str, tuple[str, ...]] = {
    "depth": ("abs_rel", "rmse", "delta1"),
    "semantic": ("miou", "pixel_accuracy"),
    "panoptic": ("pq", "sq", "rq"),
    "edges": ("ods_f",),
    "normals": ("mean_deg", "median_deg", "within_11_25"),
    "motion_mask": ("iou", "precision", "recall"),
    "scene_flow": ("epe3d", "epe3d_moving", "accuracy_relaxed_moving"),
    "ego_motion": ("translation_error_percent", "rpe", "rpe_rotation_deg"),
    "occupancy": ("iou", "miou"),
    "occupancy_above_ground": ("iou",),
    "bev_map": ("miou", "miou_in_view"),
    "detections": ("map", "nds"),
    "steering": ("mae_deg", "mse", "mse_of_mean"),
    "driving_context": ("accuracy", *(f"{task}_balanced_accuracy" for task in SCENE_CLASSES)),
}
"""Per task the metrics that are usually told."""
_ARROWS = {"higher": "↑", "lower": "↓", "": ""}
_STYLES = {"yes": "green", "no": "red", "undecided": "yellow"}


class FigureRow(NamedTuple):
    """One metric, as text.

    Attributes:
        data, task: what it is of.
        name: of the metric, as JSON has it.
        metric: the same for people, with an arrow to where it is better.
        value, interval: the value and its 95 % interval, which may be "".
        baseline, beats: that of the constant prediction, and whether the network is better; "" where there is none.
        is_key: whether it is the task's key metric.
    """

    data: str
    task: str
    name: str
    metric: str
    value: str
    interval: str
    baseline: str
    beats: str
    is_key: bool


def figure_rows(figures: Mapping[str, Any]) -> Iterator[FigureRow]:
    """Yield all metrics of a report's figures."""
    for data, tasks in figures.items():
        for task, entry in tasks.items():
            for name, metric in entry["metrics"].items():
                spread = metric.get("interval")
                yield FigureRow(
                    data,
                    task,
                    name,
                    f"{name} {_ARROWS[metric['better']]}".strip(),
                    number(metric["value"]),
                    "" if spread is None else f"{number(spread[0])} to {number(spread[1])}",
                    number(metric["baseline"]) if "baseline" in metric else "",
                    metric.get("beats_baseline", ""),
                    name == entry["key"],
                )


def number(value: float) -> str:
    """Return a figure with as many digits as mean something."""
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def print_figures(console: Console, report: Mapping[str, Any]) -> None:
    """Print a line a metric: the usual ones, of all but single rigs. The JSON has everything."""
    table = Table(title=f"{report['checkpoint']['name']}, {report['seconds']:.0f} s", title_justify="left")
    for column in ("data", "task", "metric"):
        table.add_column(column, no_wrap=True)
    for column in ("value", "95 % interval", "constant"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("beats it")
    before: tuple[str, str] = "", ""
    for row in headlines(report["figures"]):
        if before[0] and row.data != before[0]:
            table.add_section()
        data = row.data if row.data != before[0] else ""
        task = row.task if (row.data, row.task) != before else ""
        beats = f"[{_STYLES[row.beats]}]{row.beats}[/]" if row.beats else ""
        style = "bold" if row.is_key else None
        table.add_row(data, task, row.metric, row.value, row.interval, row.baseline, beats, style=style)
        before = row.data, row.task
    console.print(table)


def headlines(figures: Mapping[str, Any]) -> Iterator[FigureRow]:
    """Yield the metrics that are usually told, of all data but the parts for single rigs."""
    for row in figure_rows({data: tasks for data, tasks in figures.items() if RIG_MARK not in data}):
        if row.name in HEADLINES.get(row.task, ()):
            yield row
