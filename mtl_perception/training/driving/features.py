# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the frozen encoder makes of clips: computed once, kept in a file a clip, read by every run."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from mtl_perception.core import Sample
from mtl_perception.core.frame import GESTURE_JOINTS, POSTURE_JOINTS
from mtl_perception.core.scene_classes import SCENE_CLASSES
from mtl_perception.data.processes import Workers
from mtl_perception.network import MultiTaskNetwork
from mtl_perception.pipeline import Perceiver
from mtl_perception.training.driving.config import ClipsConfig
from mtl_perception.training.driving.sequences import render_clips

UNKNOWN_CLASS = -1
_FORMAT = 1
"""Changes when the same settings give other files."""


@dataclass(frozen=True, eq=False)
class ClipFeatures:
    """T frames of one rig with a driver.

    Attributes:
        outside: float16 (T, N, C, h, w), the coarsest level of the outside images.
        cabin: float16 (T, S, C, h, w), that of the cabin's images.
        posture: float32 (T, 26, 3) metres, NaN for a joint that is not seen.
        gestures: float32 (T, 42, 3) likewise.
        seconds: float64 (T,), when the frames were taken.
        steering: float32 (T,) radians, left positive; NaN unknown.
        classes: int8 (T, 4), numbers of classes in the order of `SCENE_CLASSES`; `UNKNOWN_CLASS` unknown.
    """

    outside: NDArray[np.float16]
    cabin: NDArray[np.float16]
    posture: NDArray[np.float32]
    gestures: NDArray[np.float32]
    seconds: NDArray[np.float64]
    steering: NDArray[np.float32]
    classes: NDArray[np.int8]

    def __len__(self) -> int:
        """Return T."""
        return len(self.seconds)

    def save(self, path: Path) -> None:
        """Write the file whole or not at all."""
        temporary = path.with_name(f".{path.stem}.{os.getpid()}.npz")
        np.savez(temporary, **{field.name: getattr(self, field.name) for field in fields(self)})
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> ClipFeatures:
        """Read what `save` wrote."""
        with np.load(path) as file:
            return cls(**{field.name: file[field.name] for field in fields(cls)})


def clip_features(perceiver: Perceiver, samples: Sequence[Sample]) -> ClipFeatures:
    """Return what a perceiver's encoder makes of the frames of one rig, each with a driver.

    Raises:
        ValueError: a frame has no driver.
    """
    outside, cabin = [], []
    for sample in samples:
        if sample.cabin is None:
            raise ValueError(f"frame {sample.frame.stamp_ns}: there is no driver")
        seen, inside, _ = perceiver.encode(sample.frame, sample.cabin)
        assert inside is not None  # there is a driver
        outside.append(seen.half().cpu().numpy())
        cabin.append(inside[0].half().cpu().numpy())
    drivers = [sample.cabin for sample in samples if sample.cabin is not None]
    truths = [sample.truth for sample in samples]
    first_ns = samples[0].frame.stamp_ns
    return ClipFeatures(
        np.stack(outside),
        np.stack(cabin),
        np.stack([_joints(driver.posture, POSTURE_JOINTS) for driver in drivers]),
        np.stack([_joints(driver.gestures, GESTURE_JOINTS) for driver in drivers]),
        np.array([(sample.frame.stamp_ns - first_ns) * 1e-9 for sample in samples]),
        np.array([np.nan if truth.steering is None else truth.steering for truth in truths], np.float32),
        np.array([_numbers(truth.driving_context) for truth in truths], np.int8),
    )


def cached_features(
    perceiver: Perceiver, config: ClipsConfig, folder: Path, *, checkpoint: Path, processes: int = 1
) -> list[ClipFeatures]:
    """Return the features of all clips; those that are not in the folder yet are rendered, shown by a progress bar.

    What is there is found by the encoder's weights and the settings, so an interrupted call goes on, and another
    checkpoint with the same encoder finds it, too.

    Args:
        perceiver: of the checkpoint.
        config: the clips.
        folder: where they are kept.
        checkpoint: from which other processes load the perceiver.
        processes: how many render; 1: this one.

    Raises:
        ValueError: the settings make no sense, see `render_clips`.
        OSError: a file cannot be written.
    """
    place = folder / feature_key(perceiver.network, config)
    place.mkdir(parents=True, exist_ok=True)
    seeds = range(config.first_seed, config.first_seed + config.worlds)
    missing = [seed for seed in seeds if not _path(place, seed, config.clips_per_world - 1).is_file()]
    with tqdm(total=len(seeds), initial=len(seeds) - len(missing), desc="clips", unit="world", disable=None) as bar:
        if processes > 1 and len(missing) > 1:
            make = partial(_WorldEncoder.of_checkpoint, checkpoint, config, place)
            with Workers(make, min(processes, len(missing))) as workers:
                for _ in workers.in_order(missing):
                    bar.update()
        elif missing:
            encode = _WorldEncoder(perceiver, config, place)
            for seed in missing:
                encode(seed)
                bar.update()
    return [ClipFeatures.load(_path(place, seed, clip)) for seed in seeds for clip in range(config.clips_per_world)]


def feature_key(network: MultiTaskNetwork, config: ClipsConfig) -> str:
    """Return the name of what an encoder's weights make of worlds of such settings, whatever their number."""
    digest = hashlib.sha256(json.dumps([_FORMAT, config.model_dump(exclude={"worlds", "first_seed"})]).encode())
    for name, tensor in _encoder_state(network):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def class_counts(clips: Sequence[ClipFeatures]) -> Mapping[str, dict[str, int]]:
    """Return per task how many frames are of each of its classes, absent ones included."""
    result = {}
    for column, (task, names) in enumerate(SCENE_CLASSES.items()):
        found = Counter(int(number) for clip in clips for number in clip.classes[:, column])
        result[task] = {name: found[number] for number, name in enumerate(names)}
    return result


class _WorldEncoder:
    """Renders and encodes the clips of a seed; the last clip's file appears last."""

    def __init__(self, perceiver: Perceiver, config: ClipsConfig, folder: Path) -> None:
        self._perceiver, self._config, self._folder = perceiver, config, folder

    @classmethod
    def of_checkpoint(cls, checkpoint: Path, config: ClipsConfig, folder: Path) -> _WorldEncoder:
        torch.set_num_threads(1)
        return cls(Perceiver.from_checkpoint(checkpoint), config, folder)

    def __call__(self, seed: int) -> int:
        for clip, samples in enumerate(render_clips(self._config, seed, self._perceiver.labels)):
            clip_features(self._perceiver, samples).save(_path(self._folder, seed, clip))
        return seed


def _path(folder: Path, seed: int, clip: int) -> Path:
    return folder / f"{seed:07d}_{clip}.npz"


def _encoder_state(network: MultiTaskNetwork) -> Iterator[tuple[str, torch.Tensor]]:
    for name, tensor in sorted(network.state_dict().items()):
        if name.startswith(("encoder.", "neck.")):
            yield name, tensor


def _joints(joints: NDArray[np.floating] | None, count: int) -> NDArray[np.float32]:
    return np.full((count, 3), np.nan, np.float32) if joints is None else joints.astype(np.float32)


def _numbers(truth: Mapping[str, str]) -> list[int]:
    return [names.index(truth[task]) if task in truth else UNKNOWN_CLASS for task, names in SCENE_CLASSES.items()]
