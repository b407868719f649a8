# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The `validate` command: what a checkpoint is worth, measured through the `Perceiver` that the node runs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mtl_perception.core import FREE, UNOBSERVED, Camera, Rig, RigFrame
from mtl_perception.core.transforms import BODY_FROM_OPTICAL
from mtl_perception.data.occupancy import occupancy_from_depth
from mtl_perception.data.world import World
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
    K = np.loadtxt(folder / "camera-intrinsics.txt")
    rig = Rig((Camera("camera", 640, 480, K, BODY_FROM_OPTICAL),))
    paths = [p for p in sorted(folder.glob("frame-*.color.jpg")) if int(p.name[6:12]) >= RGBD_FIRST_ID]
    for stamp, path in enumerate(track(paths[::every], description="recorded room: depth", transient=True)):
        prediction = perceiver(_single(rig, stamp, _rgb(path)), ("depth",)).cameras["camera"]
        assert prediction.depth is not None
        millimetres = _read(str(path).replace(".color.jpg", ".depth.png"), cv2.IMREAD_UNCHANGED)
        truth = np.where((millimetres > 0) & (millimetres < 65535), millimetres / 1000.0, np.nan)
        errors.add(cv2.resize(prediction.depth, (640, 480), interpolation=cv2.INTER_LINEAR), truth)
    return {"rgbd_room.depth": {**errors.result(), "frames": len(paths[::every])}}


def validate_camvid(perceiver: Perceiver, folder: Path, every: int) -> dict[str, Any]:
    """Semantics on CamVid's validation images: 11 classes, void ignored, scored at 480x360.

    The network chooses among all its classes; one that CamVid does not have (a wall, say) is simply wrong.
    """
    candidates = perceiver.labels.candidates("camvid")[:11]
    to_camvid = np.full(256, 255, np.uint8)
    for camvid_id, classes in enumerate(candidates):
        to_camvid[np.flatnonzero(classes)] = camvid_id
    confusion = Confusion(11)
    K = np.array([[480.0, 0, 239.5], [0, 480.0, 179.5], [0, 0, 1]])  # not known; a usual lens
    rig = Rig((Camera("camera", 480, 360, K, BODY_FROM_OPTICAL),))
    paths = sorted((folder / "val").glob("*.jpg"))[::every]
    for stamp, path in enumerate(track(paths, description="CamVid: semantics", transient=True)):
        prediction = perceiver(_single(rig, stamp, _rgb(path)), ("semantic",)).cameras["camera"]
        assert prediction.semantic is not None
        labels = cv2.resize(to_camvid[prediction.semantic], (480, 360), interpolation=cv2.INTER_NEAREST)
        confusion.add(labels, _read(str(folder / "val_labels" / f"{path.stem}.png"), cv2.IMREAD_UNCHANGED))
    names = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")
    per_class = {name: round(float(v), 4) for name, v in zip(names, confusion.per_class(), strict=True)}
    return {"camvid.semantic": {**confusion.result(), "images": len(paths), "per_class": per_class}}


def validate_streets(perceiver: Perceiver, worlds: int) -> dict[str, Any]:
    """Depth, motion mask and occupancy on rendered streets of unseen seeds, four cameras, 0.2 s between frames.

    Occupancy counts the voxels that the truth observes (those that a camera ray reaches); `iou_above_ground` only those
    more than half a metre above the road.
    """
    depth, motion, occupancy, above = DepthErrors(farthest=80.0), BinaryOverlap(), BinaryOverlap(), BinaryOverlap()
    frames = worlds * FRAMES_PER_WORLD
    pairs = track(_street_pairs(perceiver, worlds), total=frames, description="rendered streets", transient=True)
    for world, seconds in pairs:
        perceiver.reset()
        perceiver(world.render(seconds - GAP_S).frame, ("motion_mask",))
        rendered = world.render(seconds)
        prediction = perceiver(rendered.frame)
        views = []
        for name, camera in prediction.cameras.items():
            truth = rendered.truth[name]
            size = (world.rig[name].width, world.rig[name].height)
            assert camera.depth is not None and camera.motion_mask is not None
            surface = np.where(np.isfinite(truth.depth), truth.depth, np.nan)
            depth.add(cv2.resize(camera.depth, size, interpolation=cv2.INTER_LINEAR), surface)
            mask = cv2.resize(camera.motion_mask, size, interpolation=cv2.INTER_NEAREST)
            motion.add(mask > 0, truth.motion_mask > 0)
            views.append((world.rig[name], np.where(np.isnan(truth.depth), np.inf, truth.depth), truth.semantic))
        assert prediction.occupancy is not None
        truth_labels = occupancy_from_depth(perceiver.grid, views).labels
        occupied, observed = truth_labels < FREE, truth_labels != UNOBSERVED
        occupancy.add(prediction.occupancy.occupied, occupied, observed)
        height = perceiver.grid.centres()[..., 2] > 0.5
        above.add(prediction.occupancy.occupied, occupied, observed & height)
    return {
        "streets.depth": depth.result(),
        "streets.motion_mask": motion.result(),
        "streets.occupancy": {**occupancy.result(), "iou_above_ground": above.result()["iou"]},
        "streets": {"worlds": worlds, "first_seed": FIRST_UNSEEN_SEED, "frames": frames},
    }


def _street_pairs(perceiver: Perceiver, worlds: int) -> Iterator[tuple[World, float]]:
    for seed in range(FIRST_UNSEEN_SEED, FIRST_UNSEEN_SEED + worlds):
        world = World.generate("street", seed, perceiver.labels, (320, 240))
        for seconds in np.linspace(1.0, world.duration_s - 1.0, FRAMES_PER_WORLD):
            yield world, float(seconds)


def _single(rig: Rig, stamp: int, image: NDArray[np.uint8]) -> RigFrame:
    name = rig.names[0]
    return RigFrame(rig, stamp, {name: image}, {name: stamp}, {}, None)


def _rgb(path: Path) -> NDArray[np.uint8]:
    return cv2.cvtColor(_read(str(path), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB).astype(np.uint8)


def _read(path: str, flags: int) -> NDArray:
    image = cv2.imread(path, flags)
    if image is None:
        raise ValueError(f"{path} is not an image")
    return image


def _print(figures: dict[str, Any]) -> None:
    table = Table("what", "metric", "value")
    for what, metrics in figures.items():
        for metric, value in metrics.items():
            table.add_row(what, metric, json.dumps(value) if isinstance(value, dict) else f"{value:.4g}")
    Console().print(table)
