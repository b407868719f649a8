# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What `train` does with a configuration of the driving stage."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from mtl_perception.training.driving.clips import render_missing
from mtl_perception.training.driving.config import DrivingStageConfig
from mtl_perception.training.driving.stage import CHECKPOINT, DrivingStage


def run_driving_stage(config: DrivingStageConfig, arguments: argparse.Namespace) -> int:
    """Train, or go on training, print the scores on the clips that are held out, and return 0.

    With `render_only` the clips are rendered, the held-out ones last, and no more: that needs no checkpoint.

    Raises:
        ValueError, OSError: the checkpoint, the clips or a saved state cannot be used.
    """
    cache = arguments.cache or arguments.out / "clips"
    if arguments.render_only:
        render_missing(config.clips, cache, processes=arguments.workers, what="to train on")
        render_missing(config.held_out, cache, processes=arguments.workers, what="held out")
        return 0
    if arguments.start is not None:
        config = config.model_copy(update={"start": str(arguments.start)})
    stage = DrivingStage(config, arguments.out, cache=cache, processes=arguments.workers)
    stage.train()
    _print(stage.evaluate())
    print(f"checkpoint: {arguments.out / CHECKPOINT}")
    return 0


def _print(figures: Mapping[str, Any]) -> None:
    table = Table("held out", "score", "value", "of a constant")
    steering = figures.get("steering")
    if steering is not None:
        table.add_row("steering", "mse, rad^2", f"{steering['mse']:.5f}", f"{steering['mse_of_mean']:.5f}")
    for task, values in figures.get("driving_context", {}).get("tasks", {}).items():
        accuracy, constant = values["balanced_accuracy"], values["balanced_accuracy_of_constant"]
        table.add_row(task, "balanced accuracy", f"{accuracy:.3f}", f"{constant:.3f}")
    Console().print(table)
