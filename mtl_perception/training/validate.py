# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The `validate` command: what a checkpoint is worth, measured through the `Perceiver` that the node runs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mtl_perception.core import UNKNOWN, Camera
from mtl_perception.data.datasets import WorldDataset
from mtl_perception.data.recordings import open_recording
from mtl_perception.data.world.conditions import Conditions
from mtl_perception.evaluation.metrics import BinaryOverlap, Confusion, DepthErrors
from mtl_perception.network import load_checkpoint, save_checkpoint
from mtl_perception.pipeline import Perceiver
from mtl_perception.resources import default_checkpoint

FIRST_UNSEEN_SEED = 1_000_000
GAP_S = 0.2
FRAMES_PER_WORLD = 4
RGBD_FIRST_ID = 700


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
    errors = DepthErrors(farthest=10.0)
    recording = open_recording("rgbd", folder, first=RGBD_FIRST_ID)
    (camera,) = recording.rig
    indices = range(0, len(recording), every)
    for index in track(indices, description="recorded room: depth", transient=True):
        sample = recording.sample(index)
        prediction = perceiver(sample.frame, ("depth",)).cameras[camera.name]
        truth = sample.truth.cameras[camera.name].depth
        assert prediction.depth is not None and truth is not None
        errors.add(_resized(prediction.depth, camera, cv2.INTER_LINEAR), truth)
    return {"rgbd_room.depth": {**errors.result(), "frames": len(indices)}}


def validate_camvid(perceiver: Perceiver, folder: Path, every: int) -> dict[str, Any]:
    """Semantics on CamVid's validation images: 11 classes, void ignored, scored at 480x360.

    The network chooses among all its classes; one that CamVid does not have (a wall, say) is simply wrong.
    """
    candidates = perceiver.labels.candidates("camvid")[:11]
    to_camvid = np.full(256, UNKNOWN, np.uint8)
    for camvid_id, classes in enumerate(candidates):
        to_camvid[np.flatnonzero(classes)] = camvid_id
    confusion = Confusion(11)
    recording = open_recording("camvid", folder, split="val")
    (camera,) = recording.rig
    indices = range(0, len(recording), every)
    for index in track(indices, description="CamVid: semantics", transient=True):
        sample = recording.sample(index)
        prediction = perceiver(sample.frame, ("semantic",)).cameras[camera.name]
        truth = sample.truth.cameras[camera.name].semantic
        assert prediction.semantic is not None and truth is not None
        confusion.add(_resized(to_camvid[prediction.semantic], camera, cv2.INTER_NEAREST), truth)
    names = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")
    per_class = {name: round(float(v), 4) for name, v in zip(names, confusion.per_class(), strict=True)}
    return {"camvid.semantic": {**confusion.result(), "images": len(indices), "per_class": per_class}}


def validate_streets(perceiver: Perceiver, worlds: int) -> dict[str, Any]:
    """Depth, motion mask and occupancy on rendered streets of unseen seeds, four cameras, 0.2 s between frames.

    Occupancy counts the voxels that the truth observes (those that a camera ray reaches); `iou_above_ground` only those
    more than half a metre above the road.
    """
    depth, motion, occupancy, above = DepthErrors(farthest=80.0), BinaryOverlap(), BinaryOverlap(), BinaryOverlap()
    height = perceiver.grid.centres()[..., 2] > 0.5
    streets = WorldDataset(
        perceiver.labels,
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
    for index in track(range(len(streets)), description="rendered streets", transient=True):
        sample = streets[index]
        assert sample.previous is not None and sample.truth.occupancy is not None
        perceiver.reset()
        perceiver(sample.previous, ("motion_mask",))
        prediction = perceiver(sample.frame)
        for name, camera in prediction.cameras.items():
            truth = sample.truth.cameras[name]
            assert camera.depth is not None and camera.motion_mask is not None
            assert truth.depth is not None and truth.motion_mask is not None
            surface = np.where(np.isfinite(truth.depth), truth.depth, np.nan)
            depth.add(_resized(camera.depth, sample.frame.rig[name], cv2.INTER_LINEAR), surface)
            mask = _resized(camera.motion_mask, sample.frame.rig[name], cv2.INTER_NEAREST)
            motion.add(mask > 0, truth.motion_mask > 0)
        assert prediction.occupancy is not None
        occupied, observed = sample.truth.occupancy.occupied, sample.truth.occupancy.observed
        occupancy.add(prediction.occupancy.occupied, occupied, observed)
        above.add(prediction.occupancy.occupied, occupied, observed & height)
    return {
        "streets.depth": depth.result(),
        "streets.motion_mask": motion.result(),
        "streets.occupancy": {**occupancy.result(), "iou_above_ground": above.result()["iou"]},
        "streets": {"worlds": worlds, "first_seed": FIRST_UNSEEN_SEED, "frames": len(streets)},
    }


def _resized(image: NDArray, camera: Camera, interpolation: int) -> NDArray:
    """Return a predicted image at the size of the camera's own."""
    return cv2.resize(image, (camera.width, camera.height), interpolation=interpolation)


def _print(figures: dict[str, Any]) -> None:
    table = Table("what", "metric", "value")
    for what, metrics in figures.items():
        for metric, value in metrics.items():
            table.add_row(what, metric, json.dumps(value) if isinstance(value, dict) else f"{value:.4g}")
    Console().print(table)
