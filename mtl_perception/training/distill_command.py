# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The `distill` command: a student learns from pretrained models, on a bag without labels."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from rich.console import Console
from rich.table import Table

DEPTH_HELP = "depth estimation model of transformers: hub id or folder, safetensors"
SEGMENTATION_HELP = "semantic (or mask) segmentation model of transformers: hub id or folder, safetensors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the `distill` command."""
    parser.add_argument("--bag", type=Path, required=True, help="the bag: folder, .mcap or .db3")
    parser.add_argument("--depth-teacher", required=True, metavar="MODEL", help=DEPTH_HELP)
    parser.add_argument(
        "--depth-is",
        choices=("auto", "metres", "inverse"),
        default="auto",
        help="what the depth teacher gives: metres, or inverse depth up to scale and shift (default: auto, as its "
        "configuration tells; a dpt model with a metric head does not tell)",
    )
    parser.add_argument("--segmentation-teacher", required=True, metavar="MODEL", help=SEGMENTATION_HELP)
    parser.add_argument(
        "--student",
        default="",
        help="what learns: a checkpoint (file or hub id), or a preset with random weights "
        "(default: the checkpoint that comes with the package)",
    )
    parser.add_argument("--labels", default="default", help="label space of a preset (default: default)")
    parser.add_argument(
        "--classes",
        default="default",
        help="what the segmentation teacher's classes are: a file of config/teacher_classes, by name or path, or a "
        "data set that the label space knows (default: default, for models of Cityscapes and ADE20k)",
    )
    parser.add_argument("--frames", type=_count, default=500, help="label at most so many frames (default: 500)")
    parser.add_argument("--steps", type=_count, default=1000, help="steps of training (default: 1000)")
    parser.add_argument(
        "--frames-per-step", type=_count, default=2, help="frames, of all cameras, in a step (default: 2)"
    )
    parser.add_argument("--device", default="cpu", help="of the teachers, as torch names it (default: cpu)")
    parser.add_argument(
        "--out", type=Path, default=Path("distill_out"), help="folder of the run (default: distill_out)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Distil, or go on with it; print first and last figures; return 0."""
    from mtl_perception.training.distillation.student import RESULT, Request, distil

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    logging.getLogger("mtl_perception").setLevel(logging.INFO)
    card = distil(
        Request(
            bag=arguments.bag,
            depth_teacher=arguments.depth_teacher,
            segmentation_teacher=arguments.segmentation_teacher,
            out=arguments.out,
            student=arguments.student,
            labels=arguments.labels,
            classes=arguments.classes,
            frames=arguments.frames,
            steps=arguments.steps,
            frames_per_step=arguments.frames_per_step,
            device=arguments.device,
            depth_is=arguments.depth_is,
        )
    )
    table = Table("against the teachers", "first", "last", title=f"measured on {card['measured_on']}")
    for name in card["first"]:
        table.add_row(name, f"{card['first'][name]:.3f}", f"{card['last'][name]:.3f}")
    console = Console()
    console.print(table)
    console.print(f"licence: {card['licence']}", soft_wrap=True)
    console.print(f"run it: python -m mtl_perception up --checkpoint {arguments.out / RESULT}", soft_wrap=True)
    return 0


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than one")
    return value
