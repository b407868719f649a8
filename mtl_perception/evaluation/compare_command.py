# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The `compare` command: two evaluations beside each other."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from mtl_perception.core import LabelSpace
from mtl_perception.evaluation.comparison import compare_runs
from mtl_perception.evaluation.run import as_json, load_run
from mtl_perception.evaluation.score import Score, ScoreOptions
from mtl_perception.evaluation.scores import all_scores
from mtl_perception.files import write_whole
from mtl_perception.resources import config_file

_WIDTH = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the `compare` command."""
    parser.add_argument("first", type=Path, metavar="A", help="the folder of an evaluation")
    parser.add_argument("second", type=Path, metavar="B", help="the folder of another one")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write compare.json and compare.md there")
    parser.add_argument("--labels", type=Path, metavar="YAML", help="the label space (default: the one of the package)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the bootstrap (default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Compare and print.

    Raises:
        ValueError, OSError: a folder is no evaluation, or they cannot be compared, or a file cannot be written.
    """
    labels = LabelSpace.load(arguments.labels or config_file("labels", "default"))

    def scores(settings: Mapping[str, Any]) -> tuple[Score, ...]:
        known = {name: settings[name] for name in ScoreOptions.__dataclass_fields__ if name in settings}
        return all_scores(labels, ScoreOptions(**known))

    first, second = (load_run(folder, scores) for folder in (arguments.first, arguments.second))
    comparison = compare_runs(first, second, (str(arguments.first), str(arguments.second)), arguments.seed)
    console = Console()
    # What is not read on a terminal need not fit into one.
    comparison.show(console if console.is_terminal else Console(width=_WIDTH))
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        write_whole(arguments.out / "compare.json", as_json(comparison.to_dict()))
        write_whole(arguments.out / "compare.md", comparison.to_markdown())
    return 0
