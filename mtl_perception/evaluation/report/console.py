# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The metrics as a table on the console."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mtl_perception.evaluation.report.tables import between, metric_rows, number, readable, reasons

if TYPE_CHECKING:
    from mtl_perception.evaluation.run import RunResult


def print_metrics(console: Console, run: RunResult) -> None:
    """Print a line a metric, then what was left out and why."""
    metrics = run.metrics()
    table = Table(title=f"{metrics['frames']} frames of {len(metrics['bags'])} bag(s)", title_justify="left")
    table.add_column("task")
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("unit")
    table.add_column("95 % interval")
    for task, rows in metric_rows(run).items():
        for index, row in enumerate(rows):
            name = readable(task) if index == 0 else ""
            metric = f"{row.metric} {row.arrow}".strip()
            style = "bold" if row.is_key else None
            last = index == len(rows) - 1
            table.add_row(
                name, metric, number(row.value), row.unit, between(row.interval), style=style, end_section=last
            )
    console.print(table)
    for task, bag, why in reasons(metrics["left_out"]):
        where = f" ({bag})" if bag else ""
        console.print(escape(f"{readable(task)}{where} left out: {why}"), style="dim", highlight=False, soft_wrap=True)
