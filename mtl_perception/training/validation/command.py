# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The `validate` command: what a checkpoint is worth, measured through the `Perceiver` that the node runs."""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mtl_perception.core.scene_classes import SCENE_CLASSES
from mtl_perception.files import write_whole
from mtl_perception.network import load_checkpoint, save_checkpoint
from mtl_perception.pipeline import Perceiver
from mtl_perception.resources import checkpoint_file, default_checkpoint
from mtl_perception.training.validation.clips import FIRST_UNSEEN_SEED, SCORED_FRAMES, ClipStore, held_out
from mtl_perception.training.validation.pictures import Shot
from mtl_perception.training.validation.recordings import OUT_OF_DISTRIBUTION, VALIDATION, validate_recording
from mtl_perception.training.validation.tables import print_figures
from mtl_perception.training.validation.worlds import Findings, validate_worlds

KINDS = ("street", "indoor")
RIGS = ("surround4", "mono")
RECORDINGS = {"none": (), "validation": VALIDATION, "all": (*VALIDATION, *OUT_OF_DISTRIBUTION)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the `validate` command."""
    parser.add_argument(
        "checkpoint", nargs="?", type=Path, help="a file, or one of the package by its name (default: nano)"
    )
    parser.add_argument("--worlds", type=int, default=16, help="unseen worlds of each kind and rig (default: 16)")
    parser.add_argument("--kinds", type=_names, default=KINDS, help="of the worlds (default: street,indoor)")
    parser.add_argument("--rigs", type=_names, default=RIGS, help="of the worlds (default: surround4,mono)")
    parser.add_argument("--tasks", type=_names, default=None, help="default: all that the checkpoint is trained for")
    parser.add_argument(
        "--recordings",
        choices=RECORDINGS,
        default="all",
        help="validation: the held-out parts of those that are trained on; all: others, too (default)",
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the recordings")
    parser.add_argument("--every", type=int, default=1, help="use every n-th recorded frame only, for a quick look")
    parser.add_argument("--cache", type=Path, default=None, help="folder that keeps rendered frames for the next time")
    parser.add_argument("--device", default="cpu", help="as torch names it (default: cpu)")
    parser.add_argument("--out", type=Path, default=None, help="write figures to this JSON, and pictures beside it")
    parser.add_argument("--store", type=Path, default=None, help="write the checkpoint with these figures in its card")


def run(arguments: argparse.Namespace) -> int:
    """Measure, print a table, and store the figures where asked to; return 0.

    Raises:
        ValueError: the checkpoint is none, does not do a task, or a number makes no sense.
        OSError: a file cannot be read or written.
    """
    if arguments.worlds < 0 or arguments.every < 1:
        raise ValueError(f"--worlds {arguments.worlds} must not be negative, --every {arguments.every} not below 1")
    if arguments.out is not None and not arguments.out.suffix:
        raise ValueError(f"--out {arguments.out} must have an ending, such as .json: its pictures' folder has none")
    path = checkpoint_file(arguments.checkpoint) if arguments.checkpoint else default_checkpoint()
    console = Console()
    report, shots = validate(
        path,
        worlds=arguments.worlds,
        kinds=arguments.kinds,
        rigs=arguments.rigs,
        tasks=arguments.tasks,
        recordings=arguments.recordings,
        data=arguments.data,
        every=arguments.every,
        cache=arguments.cache,
        device=arguments.device,
        console=console,
    )
    print_figures(console, report)
    if arguments.out is not None:
        write_report(arguments.out, report, shots)
    if arguments.store is not None:
        checkpoint = load_checkpoint(path)
        card = {**checkpoint.card, "validation": report}
        save_checkpoint(arguments.store, checkpoint.network, checkpoint.labels, checkpoint.trained_tasks, card)
    return 0


def validate(
    checkpoint: Path,
    *,
    worlds: int,
    kinds: Collection[str] = KINDS,
    rigs: Collection[str] = RIGS,
    tasks: Collection[str] | None = None,
    recordings: str = "all",
    data: Path = Path("../shared/data"),
    every: int = 1,
    cache: Path | None = None,
    device: str = "cpu",
    image_size: tuple[int, int] | None = None,
    console: Console | None = None,
) -> tuple[dict[str, Any], list[Shot]]:
    """Return a checkpoint's figures, as JSON has them, and pictures of its best and worst frames.

    Args:
        checkpoint: the file.
        worlds: how many of each kind and rig, none of them in any training.
        kinds, rigs: of the worlds; a rig is a name in config/rigs or a YAML file.
        tasks: of the network; None: all that it is trained for.
        recordings: one of `RECORDINGS`.
        data: folder of the recordings; those that are not there are left out, and named in the report.
        every: use every n-th recorded frame only.
        cache: folder that keeps the rendered frames; None: they are thrown away.
        device: as torch names it.
        image_size: of the worlds' cameras, width and height in pixels; None: the rigs' own.
        console: shows how far it is.

    Raises:
        ValueError, OSError: as `run`.
    """
    began = time.perf_counter()
    perceiver = Perceiver(load_checkpoint(checkpoint), device=device)
    wanted = tuple(task for task in perceiver.tasks if tasks is None or task in tasks)
    for task in sorted(set(tasks or ()) - set(wanted)):
        raise ValueError(f"task '{task}': {perceiver.tasks_left_out.get(task, 'there is no such task')}")
    driving = bool({"steering", *SCENE_CLASSES} & set(wanted))
    plans = held_out(tuple(kinds), tuple(rigs), worlds, driving=driving, image_size=image_size)
    findings, missing = [], []
    with tempfile.TemporaryDirectory() as temporary, _progress(console) as progress:
        if plans:
            store = ClipStore(cache or Path(temporary), perceiver.labels, perceiver.grid)
            bar = progress.add_task("worlds", total=2 * len(plans))
            findings.append(validate_worlds(perceiver, plans, store, wanted, partial(progress.advance, bar)))
        for recorded in RECORDINGS[recordings]:
            if not (data / recorded.folder).exists():
                missing.append(recorded.name)
                continue
            bar = progress.add_task(recorded.name, total=None)
            advanced = partial(progress.update, bar, advance=1)
            findings.append(validate_recording(perceiver, recorded, data, wanted, every, advanced))
    report = {
        "checkpoint": {
            "name": checkpoint.name,
            "sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
            "preset": perceiver.preset,
            "tasks": list(wanted),
            "parameters": sum(parameter.numel() for parameter in perceiver.network.parameters()),
        },
        "settings": {
            "worlds": worlds,
            "kinds": list(kinds),
            "rigs": list(rigs),
            "first_seed": FIRST_UNSEEN_SEED,
            "scored_frames_per_world": SCORED_FRAMES,
            "image_size": image_size,
            "recordings": recordings,
            "recordings_missing": missing,
            "every": every,
            "device": device,
        },
        "versions": _versions(),
        "seconds": round(time.perf_counter() - began, 1),
        "figures": _joined(findings),
    }
    return report, [shot for finding in findings for shot in finding.shots]


def write_report(path: Path, report: Mapping[str, Any], shots: Collection[Shot]) -> None:
    """Write figures as JSON, and the pictures to a folder of that name beside it.

    Raises:
        OSError: they cannot be written.
    """
    folder = path.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    for shot in shots:
        (folder / shot.file_name).write_bytes(shot.jpeg)
    content = {**report, "pictures": [shot.facts() for shot in shots]}
    write_whole(path, json.dumps(content, indent=1) + "\n")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.replace(",", " ").split() if name)


@contextmanager
def _progress(console: Console | None) -> Iterator[Progress]:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=console is None) as progress:
        yield progress


def _versions() -> dict[str, str]:
    return {
        "mtl_perception": version("mtl_perception"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
    }


def _joined(findings: Collection[Findings]) -> dict[str, Any]:
    return {data: figures for finding in findings for data, figures in finding.figures.items()}
