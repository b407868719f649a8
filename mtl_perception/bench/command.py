# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The `bench` command."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from mtl_perception.bench.describe import comma_separated, image_size, positive, report_console
from mtl_perception.bench.network import SUITE, run_suite
from mtl_perception.bench.results import Result, write_results
from mtl_perception.network import NetworkConfig
from mtl_perception.resources import config_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the `bench` command."""
    parser.add_argument("--suite", choices=(SUITE,), default=SUITE, help="what to measure (default: %(default)s)")
    parser.add_argument(
        "--presets",
        type=comma_separated,
        default=("maestro", "full"),
        metavar="A,B",
        help="files of config/networks, by name or path (default: maestro,full)",
    )
    parser.add_argument("--out", type=Path, default=Path("bench.json"), help="the file to write (default: %(default)s)")
    parser.add_argument("--cameras", type=positive, default=6, metavar="N", help="images (default: %(default)s)")
    parser.add_argument(
        "--size", type=image_size, default=(640, 480), metavar="WxH", help="size of the images (default: 640x480)"
    )
    parser.add_argument("--repeats", type=positive, default=5, metavar="N", help="timed rounds (default: %(default)s)")
    parser.add_argument("--threads", type=positive, metavar="N", help="of torch (default: torch's own choice)")


def run(arguments: argparse.Namespace) -> int:
    """Measure, print a table, and write the file; return 0."""
    # All of them first, so that a wrong name does not cost the measurement before it.
    configs = [NetworkConfig.load(config_file("networks", preset)) for preset in arguments.presets]
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    console = report_console()
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("", total=len(configs) * (1 + arguments.repeats))
        results = run_suite(
            configs,
            cameras=arguments.cameras,
            size=arguments.size,
            repeats=arguments.repeats,
            advanced=lambda what: progress.update(bar, description=what, advance=1),
        )
    write_results(arguments.out, results, torch.get_num_threads())
    _print(console, results)
    console.print(f"written to {arguments.out}", highlight=False, soft_wrap=True)
    return 0


def _print(console: Console, results: list[Result]) -> None:
    table = Table(box=box.SIMPLE)
    for column in ("name", "ours", "reference", "its value", "ratio"):
        table.add_column(column, justify="left" if column in ("name", "reference") else "right")
    for result in results:
        ours, theirs = f"{result.value:.3f} {result.unit}", f"{result.reference_value:.3f} {result.unit}"
        table.add_row(result.name, ours, result.reference, theirs, f"{result.ratio:.3f}")
    console.print(table)
