# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Rendered clips as files: one each, rendered once, for every encoder that is ever to look at them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mtl_perception.core import Camera, LabelSpace, Rig, RigFrame, Sample
from mtl_perception.core.frame import CabinFrame
from mtl_perception.core.ground_truth import GroundTruth
from mtl_perception.core.outside_files import read_npz
from mtl_perception.data.processes import Workers
from mtl_perception.resources import config_file
from mtl_perception.training.driving.config import ClipsConfig
from mtl_perception.training.driving.sequences import render_clips

_FORMAT = 1
"""Changes when the same settings give other files."""

_CAMERA = ("name", "distortion_model", "frame_id", "K", "base_from_camera", "distortion")
_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1)  # the quickest


def clips_key(config: ClipsConfig) -> str:
    """Return a digest of all that a clip depends on but its seed and its number, however many there are of each."""
    settings = config.model_dump(exclude={"worlds", "first_seed", "clips_per_world"})
    rigs = [config_file("rigs", rig).read_text() for rig in config.rigs]
    return hashlib.sha256(json.dumps([_FORMAT, settings, rigs]).encode()).hexdigest()[:16]


def clip_paths(config: ClipsConfig, cache: Path) -> dict[tuple[int, int], Path]:
    """Return the file of each clip by its world's seed and its number, in order."""
    folder = cache / f"driving_clips_{clips_key(config)}"
    seeds = range(config.first_seed, config.first_seed + config.worlds)
    return {
        (seed, number): folder / f"{seed:07d}_{number}.npz"
        for seed in seeds
        for number in range(config.clips_per_world)
    }


def render_missing(config: ClipsConfig, cache: Path, *, processes: int = 1, what: str = "rendered") -> list[Path]:
    """Render the clips that are not there yet, shown by a progress bar, and return the files of all, in order.

    An interrupted call goes on where it was.

    Args:
        config: the clips.
        cache: where they are kept, in a folder named after the settings.
        processes: how many render; 1: this one.
        what: the progress bar's name.

    Raises:
        ValueError: the settings make no sense, see `render_clips`.
        OSError: a file cannot be written.
    """
    paths = clip_paths(config, cache)
    next(iter(paths.values())).parent.mkdir(parents=True, exist_ok=True)
    missing: dict[int, list[int]] = {}
    for (seed, number), path in paths.items():
        if not path.is_file():
            missing.setdefault(seed, []).append(number)
    there = len(paths) - sum(len(numbers) for numbers in missing.values())
    with tqdm(total=len(paths), initial=there, desc=what, unit="clip", disable=None) as bar:
        make = partial(_WorldRenderer, config, cache)
        if processes > 1 and len(missing) > 1:
            with Workers(make, min(processes, len(missing))) as workers:
                for count in workers.in_order(missing.items()):
                    bar.update(count)
        elif missing:
            render = make()
            for task in missing.items():
                bar.update(render(task))
    return list(paths.values())


def save_clip(path: Path, samples: Sequence[Sample]) -> None:
    """Write frames of one rig with a driver, and what is true of the drive; `path` is there when all of it is.

    Images are kept as PNGs of all frames below each other, which loses nothing.

    Args:
        path: ends in .npz.
        samples: all with the same cameras, each of which has an image in every frame.

    Raises:
        ValueError: a frame lacks the driver, a joint's place, a pose or the steering angle.
        KeyError: a frame lacks an image.
    """
    first, drivers = samples[0], [sample.cabin for sample in samples if sample.cabin is not None]
    if len(drivers) < len(samples):
        raise ValueError(f"clip from {first.frame.stamp_ns}: there is not a driver in every frame")
    rig, views = first.frame.rig, tuple(drivers[0].images)
    stored: dict[str, NDArray] = {
        "base_frame": np.array(rig.base_frame),
        "world_frame": np.array(first.frame.world_frame),
        "views": np.array(views, np.str_),
        "tasks": np.array(list(first.truth.driving_context), np.str_),
        "stamp_ns": np.array([sample.frame.stamp_ns for sample in samples]),
        "world_from_base": _stack(sample.frame.world_from_base for sample in samples),
        "posture": _stack(driver.posture for driver in drivers),
        "gestures": _stack(driver.gestures for driver in drivers),
        "steering": _stack(sample.truth.steering for sample in samples),
        "classes": np.array([list(sample.truth.driving_context.values()) for sample in samples], np.str_),
    }
    for number, camera in enumerate(rig):
        stored |= {f"camera{number}_{key}": np.asarray(getattr(camera, key)) for key in _CAMERA}
        stored[f"camera{number}_images"] = _png(sample.frame.images[camera.name] for sample in samples)
        stored[f"camera{number}_stamps_ns"] = np.array([s.frame.image_stamps_ns[camera.name] for s in samples])
        stored[f"camera{number}_poses"] = _stack(s.frame.world_from_camera.get(camera.name) for s in samples)
    for number, view in enumerate(views):
        stored[f"view{number}_images"] = _png(driver.images[view] for driver in drivers)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.npz")
    np.savez(temporary, **stored)  # type: ignore[arg-type]
    temporary.replace(path)


def load_clip(path: Path) -> list[Sample]:
    """Return what `save_clip` wrote, to the last bit.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError, KeyError: the file is damaged.
    """
    stored = read_npz(path)
    count = len(stored["stamp_ns"])
    cameras: list[Camera] = []
    images: list[NDArray[np.uint8]] = []
    while f"camera{len(cameras)}_name" in stored:
        values = {key: stored[f"camera{len(cameras)}_{key}"] for key in _CAMERA}
        images.append(_frames(stored[f"camera{len(cameras)}_images"], count))
        height, width = images[-1].shape[1:3]
        texts = {key: str(value) for key, value in values.items() if value.dtype.kind == "U"}
        cameras.append(Camera(**{**values, **texts}, width=width, height=height))  # type: ignore[arg-type]
    rig = Rig(tuple(cameras), str(stored["base_frame"]))
    views = {str(view): _frames(stored[f"view{n}_images"], count) for n, view in enumerate(stored["views"])}
    samples = []
    for row in range(count):
        frame = RigFrame(
            rig,
            int(stored["stamp_ns"][row]),
            {camera.name: images[n][row] for n, camera in enumerate(rig)},
            {camera.name: int(stored[f"camera{n}_stamps_ns"][row]) for n, camera in enumerate(rig)},
            {camera.name: stored[f"camera{n}_poses"][row] for n, camera in enumerate(rig)},
            stored["world_from_base"][row],
            str(stored["world_frame"]),
        )
        cabin = CabinFrame(
            {view: shown[row] for view, shown in views.items()}, stored["posture"][row], stored["gestures"][row]
        )
        classes = {str(t): str(c) for t, c in zip(stored["tasks"], stored["classes"][row], strict=True)}
        truth = GroundTruth(steering=float(stored["steering"][row]), driving_context=classes)
        samples.append(Sample(frame, truth, cabin=cabin))
    return samples


class _WorldRenderer:
    """Renders some clips of a seed and returns how many."""

    def __init__(self, config: ClipsConfig, cache: Path) -> None:
        self._config, self._paths = config, clip_paths(config, cache)
        # Neither images nor classes of the drive depend on it.
        self._labels = LabelSpace.load(config_file("labels", "default"))

    def __call__(self, task: tuple[int, Sequence[int]]) -> int:
        seed, numbers = task
        for number, samples in zip(numbers, render_clips(self._config, seed, self._labels, numbers), strict=True):
            save_clip(self._paths[seed, number], samples)
        return len(numbers)


def _stack(values: Iterable[NDArray | float | None]) -> NDArray:
    """Return one row a frame.

    Raises:
        ValueError: one is missing.
    """
    rows = list(values)
    if any(row is None for row in rows):
        raise ValueError("every frame of a clip needs poses, the driver's joints and a steering angle")
    return np.stack([np.asarray(row) for row in rows])


def _png(images: Iterable[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return images (H, W, 3), one below the other, as the bytes of a PNG."""
    return cv2.imencode(".png", np.concatenate(list(images)), _PNG)[1]


def _frames(png: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """Return the images (T, H, W, 3) of `_png`, which took red for blue as this does."""
    below = cv2.imdecode(png, cv2.IMREAD_COLOR)
    if below is None:
        raise ValueError("an image is damaged")
    return below.reshape(count, -1, *below.shape[1:]).astype(np.uint8, copy=False)
