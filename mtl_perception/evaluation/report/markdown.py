# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The report as Markdown: the tables, without pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mtl_perception.evaluation.report.tables import between, facts, metric_rows, number, readable, reasons

if TYPE_CHECKING:
    from mtl_perception.evaluation.run import RunResult


def report_markdown(run: RunResult) -> str:
    """Return the report's tables: metrics with their intervals, per class, per bag, run time, what was left out."""
    metrics = run.metrics()
    return "\n\n".join(part for part in _parts(run, metrics) if part) + "\n"


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; cells that are numbers by their head (marked with a final ':') are aligned to the right."""
    lines = [
        "| " + " | ".join(name.removesuffix(":") for name in head) + " |",
        "| " + " | ".join("---:" if name.endswith(":") else "---" for name in head) + " |",
    ]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _parts(run: RunResult, metrics: dict) -> Iterable[str]:
    yield "# Evaluation"
    checkpoint = metrics["checkpoint"] or {}
    network = f"checkpoint {checkpoint.get('name')}, preset {checkpoint.get('preset')}; " if checkpoint else ""
    yield f"{network}bags: {len(metrics['bags'])}, frames: {metrics['frames']}"
    if metrics["failed"]:
        yield "## Failed bags\n\n" + markdown_table(("bag", "why"), metrics["failed"].items())
    rows = [
        (readable(row.task), f"{row.metric} {row.arrow}".strip(), number(row.value), row.unit, between(row.interval))
        for table in metric_rows(run).values()
        for row in table
    ]
    yield "## Metrics"
    yield markdown_table(("task", "metric", "value:", "unit", "95 % interval"), rows)
    yield "↑ higher is better, ↓ lower is better. Intervals: bootstrap over blocks of frames."
    for task, classes in metrics["per_class"].items():
        names = list(dict.fromkeys(name for values in classes.values() for name in values))
        body = [(name, *(number(values.get(metric)) for metric in names)) for name, values in classes.items()]
        yield f"### {readable(task).capitalize()} per class"
        yield markdown_table(("class", *(f"{name}:" for name in names)), body)
    if "per_bag" in metrics:
        keys = {score.task: score.key for score in run.scores if score.task in metrics["metrics"]}
        body = [
            (bag, *(number(values.get(task, {}).get(key)) for task, key in keys.items()))
            for bag, values in metrics["per_bag"].items()
        ]
        yield "## Per bag"
        yield markdown_table(("bag", *(f"{readable(task)} {key}:" for task, key in keys.items())), body)
    yield "## Ground truth"
    yield markdown_table(("task", "from"), ((readable(t), "; ".join(s)) for t, s in metrics["truth"].items()))
    if metrics["left_out"]:
        body = [(readable(task), bag or "all", why) for task, bag, why in reasons(metrics["left_out"])]
        yield "## Left out\n\n" + markdown_table(("task", "bag", "why"), body)
    if metrics["dropped"]:
        yield "## Frames not used\n\n" + markdown_table(
            ("why", "frames:"), ((why, str(count)) for why, count in metrics["dropped"].items())
        )
    for name, runtime in run.runtime()["bags"].items():
        yield f"## Run time of {name}\n\n" + markdown_table(("", "value"), facts(runtime))
    if metrics["settings"]:
        yield "## Settings\n\n" + markdown_table(("", "value"), facts(metrics["settings"]))


def _cell(text: str) -> str:
    return " ".join(str(text).replace("|", "\\|").split())
