# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The command line: `python -m mtl_perception <command>`.

Each command is a module with `add_arguments(parser)` and `run(arguments) -> exit code`. Only the module of the command
that was asked for is imported, so `--help` is instant and needs neither ROS nor torch.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

USAGE_ERROR = 2  # as argparse does
FAILURE = 1
INTERRUPTED = 130  # 128 + SIGINT, as shells do


@dataclass(frozen=True)
class Command:
    """A command's name, the module that does it, and what it does in one line.

    `environment` holds variables that are set before that module is imported, unless they are set already.
    """

    name: str
    module: str
    help: str
    environment: Mapping[str, str] = field(default_factory=dict)


COMMANDS = (
    Command("up", "mtl_perception.running.up", "run perception and mapping, on live topics or on a bag"),
    Command("demo", "mtl_perception.running.demo", "run everything on a bag, or on a world that it renders"),
    Command(
        "world", "mtl_perception.data.world.command", "render a made-up street or interior to a bag, with its truth"
    ),
    Command("world-pictures", "mtl_perception.running.world_pictures", "show what such worlds look like, seed by seed"),
    Command("convert", "mtl_perception.data.recordings.command", "turn a recording of another kind into a bag"),
    Command("merge", "mtl_perception.mapping.merging.command", "merge the saved maps of two robots into one"),
    Command(
        "evaluate",
        "mtl_perception.evaluation.command",
        "judge a checkpoint by replaying bags, one or hundreds",
        {"GOMP_SPINCOUNT": "1000"},  # torch's threads must not keep cores busy that others could use while they wait
    ),
    Command("compare", "mtl_perception.evaluation.compare_command", "compare two evaluations, with intervals"),
    Command("train", "mtl_perception.training.train", "train the network, or continue a training"),
    Command("validate", "mtl_perception.training.validation.command", "measure a checkpoint on validation data"),
    Command("card", "mtl_perception.training.validation.card_command", "write a checkpoint's model card"),
    Command(
        "single-task",
        "mtl_perception.training.validation.single_task_command",
        "train a network for each task alone, and compare them with the one for all",
    ),
    Command("distill", "mtl_perception.training.distill_command", "learn from pretrained models on an unlabelled bag"),
    Command("ablate", "mtl_perception.training.ablation.command", "try what each part of the network is good for"),
    Command("describe", "mtl_perception.bench.describe", "show what a network costs, by module and by task"),
    Command("export", "mtl_perception.running.export", "write a checkpoint as an ONNX file, and check it"),
    Command(
        "parameters",
        "mtl_perception.ros.parameters_command",
        "show the parameters of all nodes, or write docs/parameters.md",
    ),
    Command("bench", "mtl_perception.bench.command", "compare run times, and write them to bench.json"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 1 when the command failed, 2 when it was called wrongly."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    parser = _parser(asked_for=next((word for word in arguments if not word.startswith("-")), ""))
    parsed = parser.parse_args(arguments)
    try:
        return int(parsed.run(parsed))
    except KeyboardInterrupt:
        # Under `python -m`, CPython dies of SIGINT, whatever the exit code, once an interruption has met code that an
        # exec of text runs (rosbags and dataclasses do so), unless another exec of text goes well after it.
        exec("")
        return INTERRUPTED
    except (ValueError, OSError, ModuleNotFoundError) as error:
        # These carry a text for the user; anything else is a defect and shows where it happened.
        if parsed.traceback:
            traceback.print_exc()
        print(f"mtl_perception {parsed.command}: {_in_one_line(error)}", file=sys.stderr)
        return FAILURE


def _parser(asked_for: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mtl_perception",
        description="Camera images in; depth, semantics, motion, occupancy and a map out.",
    )
    parser.add_argument("--traceback", action="store_true", help="also show where in the code an error came from")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    for command in COMMANDS:
        description = command.help[0].upper() + command.help[1:] + "."
        subparser = commands.add_parser(command.name, help=command.help, description=description)
        if command.name == asked_for:
            for name, value in command.environment.items():
                os.environ.setdefault(name, value)
            module = importlib.import_module(command.module)
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
    return parser


def _in_one_line(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"the Python module '{error.name}' is missing: run 'make setup', or source your ROS 2 workspace"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__
