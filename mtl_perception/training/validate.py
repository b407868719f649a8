# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The `validate` command: what a checkpoint is worth, measured through the `Perceiver` that the node runs."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mtl_perception.core import UNOBSERVED
from mtl_perception.data.datasets import WorldDataset
from mtl_perception.data.recordings import open_recording
from mtl_perception.data.world.conditions import Conditions
from mtl_perception.evaluation.judged import JudgedFrame, judged
from mtl_perception.evaluation.score import Score, ScoreOptions
from mtl_perception.evaluation.scores.depth import DepthScore
from mtl_perception.evaluation.scores.motion_mask import MotionMaskScore
from mtl_perception.evaluation.scores.occupancy import OccupancyScore
from mtl_perception.evaluation.scores.semantic import SemanticScore
from mtl_perception.evaluation.statistics import FrameStatistics, TaskStatistics
from mtl_perception.network import load_checkpoint, save_checkpoint
from mtl_perception.pipeline import Perceiver
from mtl_perception.resources import default_checkpoint

FIRST_UNSEEN_SEED = 1_000_000
GAP_S = 0.2
FRAMES_PER_WORLD = 4
RGBD_FIRST_ID = 700

Row = tuple[int, FrameStatistics]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the `validate` command."""
    parser.add_argument("checkpoint", nargs="?", type=Path, default=None, help="default: the one of the package")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the recordings")
    parser.add_argument("--worlds", type=int, default=16, help="rendered streets of unseen seeds (default: 16)")
    parser.add_argument("--every", type=int, default=1, help="use every n-th recorded frame only, for a quick look")
    parser.add_argument("--store", type=Path, default=None, help="write the checkpoint with these figures in its card")


def run(arguments: argparse.Namespace) -> int:
    """Measure, print a table, and store the figures when asked to; return 0."""
    path = arguments.checkpoint or default_checkpoint()
    perceiver = Perceiver(load_checkpoint(path))
    figures: dict[str, Any] = {}
    figures |= validate_room(perceiver, arguments.data / "rgbd_room", arguments.every)
    figures |= validate_camvid(perceiver, arguments.data / "street_labels", arguments.every)
    figures |= validate_streets(perceiver, arguments.worlds)
    _print(figures)
    if arguments.store is not None:
        checkpoint = load_checkpoint(path)
        card = {**checkpoint.card, "validation": figures}
        save_checkpoint(arguments.store, checkpoint.network, checkpoint.labels, checkpoint.trained_tasks, card)
    return 0


def validate_room(perceiver: Perceiver, folder: Path, every: int) -> dict[str, Any]:
    """Metric depth on the held-out frames of the RGB-D recording (ids from 700), at its 640x480."""
    score = DepthScore(perceiver.labels, ScoreOptions(max_depth=10.0))
    recording = open_recording("rgbd", folder, first=RGBD_FIRST_ID)
    rows = []
    for index in track(range(0, len(recording), every), description="recorded room: depth", transient=True):
        sample = recording.sample(index)
        rows.append(_scored(score, index, judged(perceiver(sample.frame, ("depth",)), sample.frame, sample.truth)))
    return {"rgbd_room.depth": {**_metrics(score, rows), "frames": len(rows)}}


def validate_camvid(perceiver: Perceiver, folder: Path, every: int) -> dict[str, Any]:
    """Semantics on CamVid's validation images: its classes, void ignored, scored at 480x360.

    The network chooses among all its classes; one that CamVid does not have (a wall, say) is simply wrong.
    """
    score = SemanticScore(perceiver.labels, ScoreOptions())
    recording = open_recording("camvid", folder, split="val")
    rows = []
    for index in track(range(0, len(recording), every), description="CamVid: semantics", transient=True):
        sample = recording.sample(index)
        rows.append(_scored(score, index, judged(perceiver(sample.frame, ("semantic",)), sample.frame, sample.truth)))
    totals = TaskStatistics.of(rows).total()
    per_class = {name: round(values["iou"], 4) for name, values in score.per_class(totals).items()}
    return {"camvid.semantic": {**_metrics(score, rows), "images": len(rows), "per_class": per_class}}


def validate_streets(perceiver: Perceiver, worlds: int) -> dict[str, Any]:
    """Depth, motion mask and occupancy on rendered streets of unseen seeds, four cameras, 0.2 s between frames.

    Occupancy counts the voxels that the truth observes (those that a camera ray reaches); `iou_above_ground` only those
    more than half a metre above the road.
    """
    labels, options = perceiver.labels, ScoreOptions()
    scores: tuple[Score, ...] = (
        DepthScore(labels, options),
        MotionMaskScore(labels, options),
        OccupancyScore(labels, options),
    )
    above = OccupancyScore(labels, options)
    low = perceiver.grid.centres()[..., 2] <= 0.5
    streets = WorldDataset(
        labels,
        ("street",),
        first_seed=FIRST_UNSEEN_SEED,
        worlds=worlds,
        samples_per_world=FRAMES_PER_WORLD,
        worlds_at_once=1,
        image_size=(320, 240),
        conditions=lambda _: Conditions(),
        gap_s=(GAP_S, GAP_S),
        grid=perceiver.grid,
    )
    rows: dict[str, list[Row]] = {score.task: [] for score in scores}
    rows_above: list[Row] = []
    for index in track(range(len(streets)), description="rendered streets", transient=True):
        sample = streets[index]
        assert sample.previous is not None and sample.truth.occupancy is not None
        perceiver.reset()
        perceiver(sample.previous, ("motion_mask",))
        both = judged(perceiver(sample.frame), sample.frame, sample.truth)
        for score in scores:
            rows[score.task].append(_scored(score, index, both))
        seen = sample.truth.occupancy
        high = replace(seen, labels=np.where(low, np.uint8(UNOBSERVED), seen.labels))
        rows_above.append(_scored(above, index, replace(both, truth=replace(both.truth, occupancy=high))))
    figures: dict[str, Any] = {f"streets.{score.task}": _metrics(score, rows[score.task]) for score in scores}
    figures["streets.occupancy"]["iou_above_ground"] = _metrics(above, rows_above)["iou"]
    return figures | {"streets": {"worlds": worlds, "first_seed": FIRST_UNSEEN_SEED, "frames": len(streets)}}


def _scored(score: Score, index: int, both: JudgedFrame) -> Row:
    row = score.frame(both)
    assert row is not None  # the data have a truth for the task, and the network is asked for it
    return index, row


def _metrics(score: Score, rows: list[Row]) -> dict[str, float]:
    metrics = score.metrics(TaskStatistics.of(rows).total())
    return {name: value for name, value in metrics.items() if np.isfinite(value)}


def _print(figures: dict[str, Any]) -> None:
    table = Table("what", "metric", "value")
    for what, metrics in figures.items():
        for metric, value in metrics.items():
            table.add_row(what, metric, json.dumps(value) if isinstance(value, dict) else f"{value:.4g}")
    Console().print(table)
