# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The `describe` command: parameters, FLOPs, activations and latency of a network, as tables."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from mtl_perception.bench.description import Description, describe
from mtl_perception.files import write_whole
from mtl_perception.network.config import SCENE_TASKS, NetworkConfig
from mtl_perception.network.example import example_batch, example_cabin, history_of, previous_of
from mtl_perception.network.multi_task import MultiTaskNetwork
from mtl_perception.resources import config_file

REPORT_WIDTH = 120


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the `describe` command."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--preset", default="nano", help="a file of config/networks, by name (default: %(default)s)")
    which.add_argument("--network", type=Path, metavar="YAML", help="a network configuration of your own instead")
    parser.add_argument("--cameras", type=positive, default=1, metavar="N", help="images (default: %(default)s)")
    parser.add_argument(
        "--size", type=image_size, default=(640, 480), metavar="WxH", help="size of the images (default: 640x480)"
    )
    parser.add_argument("--tasks", type=comma_separated, metavar="A,B", help="(default: all that the network has)")
    parser.add_argument("--repeats", type=positive, default=3, metavar="N", help="timed passes (default: %(default)s)")
    parser.add_argument("--depth", type=positive, default=1, metavar="N", help="2: also the modules' own modules")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")


def run(arguments: argparse.Namespace) -> int:
    """Measure, print the tables, write the file when asked to; return 0."""
    config = NetworkConfig.load(config_file("networks", str(arguments.network or arguments.preset)))
    tasks = arguments.tasks or config.tasks
    batch = example_batch(config, arguments.cameras, arguments.size)
    torch.manual_seed(0)
    network = MultiTaskNetwork(config).eval()
    cabin = example_cabin(config, batch) if set(tasks) & set(SCENE_TASKS) else None
    with torch.inference_mode():
        first = network(batch, tasks, cabin=cabin)
    description = describe(
        network,
        batch,
        tasks,
        previous_of(batch, first),
        repeats=arguments.repeats,
        depth=arguments.depth,
        history=history_of(first),
        cabin=cabin,
    )
    height, width = batch.images.shape[-2:]
    setting = f"{arguments.cameras} x {width}x{height}, {torch.get_num_threads()} threads, float32"
    _print(description, config.preset, setting)
    if arguments.json is not None:
        facts = {
            "preset": config.preset,
            "cameras": arguments.cameras,
            "input_size": [width, height],
            "threads": torch.get_num_threads(),
            "repeats": arguments.repeats,
        }
        content = {**facts, **dataclasses.asdict(description)}
        write_whole(arguments.json, json.dumps(content, indent=2, allow_nan=False) + "\n")
    return 0


def positive(text: str) -> int:
    """Return a whole number from 1.

    Raises:
        ValueError: it is not one.
    """
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def positive_number(text: str) -> float:
    """Return a number above 0.

    Raises:
        ValueError: it is not one.
    """
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError(text)
    return number


def image_size(text: str) -> tuple[int, int]:
    """Return (width, height) of a text such as 640x480.

    Raises:
        ValueError: it is not one.
    """
    width, height = text.lower().split("x")
    return positive(width), positive(height)


def comma_separated(text: str) -> tuple[str, ...]:
    """Return the words between the commas.

    Raises:
        ValueError: there is none.
    """
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    if not words:
        raise ValueError(text)
    return words


def report_console() -> Console:
    """Return a console that does not cut tables short when its output goes into a file or a pipe."""
    return Console(width=None if sys.stdout.isatty() else REPORT_WIDTH)


def _print(description: Description, preset: str, setting: str) -> None:
    modules = _table(f"{preset}: modules ({setting})", "module", "parameters", "GFLOPs", "activations", "ms", "share")
    for row in description.modules:
        share = f"{100 * row.share:.1f} %"
        costs = _parameters(row.parameters), *_costs(row.flops, row.activation_bytes, row.seconds)
        modules.add_row(row.name, *costs, share)
    modules.add_section()
    whole = _costs(description.flops, description.activation_bytes, description.seconds)
    modules.add_row("all", _parameters(description.parameters), *whole, "100.0 %")
    tasks = _table(f"{preset}: one task alone", "task", "GFLOPs", "of all", "ms", "of all")
    for task in description.tasks:
        part = task.flops / max(description.flops, 1), task.seconds / description.seconds
        gflops, _, milliseconds = _costs(task.flops, 0, task.seconds)
        tasks.add_row(task.name, gflops, f"{100 * part[0]:.0f} %", milliseconds, f"{100 * part[1]:.0f} %")
    console = report_console()
    console.print(modules)
    console.print(tasks)
    console.print(
        "FLOPs: matrix products, convolutions and attention only; a multiply-add is 2. A module's row includes all "
        "inside it. Activations: outputs of the innermost modules. Latency: median.",
        style="dim",
    )


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", no_wrap=True)
    return table


def _parameters(count: int) -> str:
    return f"{count / 1e6:.3f} M"


def _costs(flops: int, activation_bytes: int, seconds: float) -> tuple[str, str, str]:
    return f"{flops / 1e9:.3f}", f"{activation_bytes / 2**20:.1f} MiB", f"{1000 * seconds:.1f}"
