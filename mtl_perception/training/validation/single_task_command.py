# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The `single-task` command: trains single-task networks beside the multi-task one, and compares their figures."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from mtl_perception.files import write_whole
from mtl_perception.resources import config_file
from mtl_perception.training.trainer import STATE
from mtl_perception.training.validation.command import validate
from mtl_perception.training.validation.single_task import (
    Comparison,
    SingleTaskConfig,
    SingleTaskRun,
    compared,
    comparison_text,
    planned,
)
from mtl_perception.training.validation.tables import number
from mtl_perception.training.validation.worlds import RIG_MARK


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the `single-task` command."""
    parser.add_argument("--config", default="single_task", help="a file of config/training, or a path")
    parser.add_argument("--out", type=Path, default=Path("single_task_out"), help="folder of the runs")
    parser.add_argument("--list", action="store_true", help="only tell which runs there are, and how far they are")
    parser.add_argument("--only", nargs="+", default=None, help="make these runs only, by their tasks")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the recordings")
    parser.add_argument("--cache", type=Path, default=None, help="folder of rendered worlds (default: below --out)")
    parser.add_argument("--worlds", type=int, default=16, help="unseen worlds of each kind and rig to measure on")


def run(arguments: argparse.Namespace) -> int:
    """List the runs, or make those that are not finished, and tell what is known so far; return 0.

    The comparison is printed, and written to `single_task.md` and `single_task.json` in the folder of the runs.

    An interrupted run goes on where it was.

    Raises:
        ValueError: the configuration is wrong, or there is no such run.
        OSError, FloatingPointError: as `Trainer`.
    """
    console = Console()
    runs = planned(SingleTaskConfig.load(config_file("training", arguments.config)), arguments.out)
    wanted = {run.name for run in runs} if arguments.only is None else set(arguments.only)
    for name in sorted(wanted - {run.name for run in runs}):
        raise ValueError(f"there is no run '{name}', there are {', '.join(dict.fromkeys(run.name for run in runs))}")
    if not arguments.list:
        cache = arguments.cache or arguments.out / "worlds"

        def measure(checkpoint: Path, tasks: tuple[str, ...]) -> dict[str, Any]:
            worlds, data, clips = arguments.worlds, arguments.data, cache / "held_out"
            return validate(checkpoint, worlds=worlds, tasks=tasks, recordings="validation", data=data, cache=clips)[0]

        for one in runs:
            if one.name in wanted:
                console.print(f"{one.name}, seed {one.seed}: {_state(one)}")
                one.perform(arguments.data, cache, measure)
    print_runs(console, runs)
    finished = [(one, report) for one in runs if (report := one.report()) is not None]
    rows = [row for row in compared(finished) if RIG_MARK not in row.data]
    print_comparison(console, rows)
    if rows:
        write_whole(arguments.out / "single_task.md", comparison_text(runs, rows))
        write_whole(arguments.out / "single_task.json", json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return 0


def print_runs(console: Console, runs: list[SingleTaskRun]) -> None:
    """Print which runs there are, and how far they are."""
    table = Table("network", "trained for", "seed", "steps", "state")
    for one in runs:
        tasks = ", ".join(one.config.tasks or ())
        table.add_row(one.name, tasks, str(one.seed), str(one.config.steps), _state(one))
    console.print(table)


def print_comparison(console: Console, rows: list[Comparison]) -> None:
    """Print the figures of the multi-task network beside those of the single-task ones."""
    if not rows:
        return
    table = Table("data", "task", "metric", "multi-task", "single-task", "gain")
    for row in rows:
        style = "green" if row.gain > 0 else "red" if row.gain < 0 else None
        figures = number(row.multi), number(row.single), f"{row.gain:+.3f}"
        table.add_row(row.data, row.task, row.metric, *figures, style=style)
    console.print(table)


def _state(one: SingleTaskRun) -> str:
    if one.report() is not None:
        return "finished"
    return "interrupted" if (one.folder / STATE).exists() else "not begun"
