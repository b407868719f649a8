# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The `train` command."""

from __future__ import annotations

import argparse
from pathlib import Path

from mtl_perception.core import LabelSpace
from mtl_perception.resources import config_file
from mtl_perception.training.config import TrainingConfig
from mtl_perception.training.distillation.teacher_trainer import TeacherTrainer
from mtl_perception.training.driving.command import run_driving_stage
from mtl_perception.training.driving.config import DrivingStageConfig, is_driving_stage
from mtl_perception.training.progress_metrics import ProgressMetrics
from mtl_perception.training.trainer import Trainer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the `train` command."""
    parser.add_argument("--config", default="nano", help="a file of config/training, by name or path (default: nano)")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the recordings")
    parser.add_argument("--out", type=Path, default=Path("training_out"), help="folder of the run")
    parser.add_argument(
        "--cache", type=Path, default=None, help="folder of rendered worlds, shared by runs (default: OUT/worlds)"
    )
    parser.add_argument(
        "--start", type=Path, help="driving stage: the checkpoint to add its tasks to (default: the configuration's)"
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        help="driving stage: processes that render and encode clips (default: %(default)s)",
    )
    parser.add_argument(
        "--render-only",
        action="store_true",
        help="driving stage: render the clips into --cache and do not train, which needs no checkpoint yet",
    )


def run(arguments: argparse.Namespace) -> int:
    """Train, or go on training, until the configured number of steps; return 0.

    With several processes, start it by `accelerate launch -m mtl_perception train ...`.
    """
    path = config_file("training", arguments.config)
    if is_driving_stage(path):
        return run_driving_stage(DrivingStageConfig.load(path), arguments)
    if arguments.render_only:
        raise ValueError(f"--render-only is for the driving stage, which {path} does not configure")
    if arguments.start is not None:
        raise ValueError(f"--start is for the driving stage; here the key `start` of {path} names a checkpoint")
    config = TrainingConfig.load(path)
    cache = arguments.cache or arguments.out / "worlds"
    if config.teacher is not None:
        TeacherTrainer(config, arguments.data, arguments.out, cache=cache).train()
        return 0
    validate = _metrics(config, cache) if config.validate_every else None
    Trainer(config, arguments.data, arguments.out, cache=cache, validate=validate).train()
    return 0


def _metrics(config: TrainingConfig, cache: Path) -> ProgressMetrics:
    last = config.stages[-1]
    labels = LabelSpace.load(config_file("labels", config.labels))
    return ProgressMetrics(labels, cache / "held_out", config.validation_worlds, (last.width, last.height))
