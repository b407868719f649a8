# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the frozen encoder makes of clips: computed once, kept in a file a clip, read by every run."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from mtl_perception.core import Sample
from mtl_perception.core.frame import GESTURE_JOINTS, POSTURE_JOINTS, CabinFrame
from mtl_perception.core.outside_files import read_npz
from mtl_perception.core.scene_classes import SCENE_CLASSES
from mtl_perception.data.processes import Workers
from mtl_perception.network import MultiTaskNetwork
from mtl_perception.pipeline import Perceiver
from mtl_perception.training.driving.clips import clip_paths, clips_key, load_clip, render_missing
from mtl_perception.training.driving.config import ClipsConfig

Task = TypeVar("Task")

UNKNOWN_CLASS = -1
_FORMAT = 2
"""Changes when the same settings give other files."""


@dataclass(frozen=True, eq=False)
class ClipFeatures:
    """T frames of one rig with a driver.

    Attributes:
        outside: float16 (T, N, C, h, w), the coarsest level of the outside images.
        cabin: float16 (T, S, C, h, w), that of the cabin's images.
        posture: float32 (T, 26, 3) metres, NaN for a joint that is not seen.
        gestures: float32 (T, 42, 3) likewise.
        twist: float32 (T, 6), how the base moved per second since the frame before, as the network tells; NaN unknown.
        seconds: float64 (T,), when the frames were taken.
        steering: float32 (T,) radians, left positive; NaN unknown.
        classes: int8 (T, 4), numbers of classes in the order of `SCENE_CLASSES`; `UNKNOWN_CLASS` unknown.
    """

    outside: NDArray[np.float16]
    cabin: NDArray[np.float16]
    posture: NDArray[np.float32]
    gestures: NDArray[np.float32]
    twist: NDArray[np.float32]
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
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged; names it.
        """
        stored = read_npz(path)
        missing = [field.name for field in fields(cls) if field.name not in stored]
        if missing:
            raise ValueError(f"{path} is damaged: it has no {missing[0]}")
        return cls(**{field.name: stored[field.name] for field in fields(cls)})


def clip_features(perceiver: Perceiver, samples: Sequence[Sample]) -> ClipFeatures:
    """Return what a perceiver's encoder makes of the frames of one rig, each with a driver.

    Raises:
        ValueError: a frame has no driver.
    """
    outside, cabin, twists = [], [], []
    perceiver.reset()
    for sample in samples:
        if sample.cabin is None:
            raise ValueError(f"frame {sample.frame.stamp_ns}: there is no driver")
        seen, inside, _, twist = perceiver.encode(sample.frame, sample.cabin)
        assert inside is not None  # there is a driver
        outside.append(seen.half().cpu().numpy())
        cabin.append(inside[0].half().cpu().numpy())
        twists.append(np.full(6, np.nan) if twist is None else twist[0].cpu().numpy())
    drivers = [sample.cabin for sample in samples if sample.cabin is not None]
    truths = [sample.truth for sample in samples]
    first_ns = samples[0].frame.stamp_ns
    return ClipFeatures(
        np.stack(outside),
        np.stack(cabin),
        *joints_of(drivers),
        np.stack(twists).astype(np.float32),
        np.array([(sample.frame.stamp_ns - first_ns) * 1e-9 for sample in samples]),
        np.array([np.nan if truth.steering is None else truth.steering for truth in truths], np.float32),
        class_numbers([truth.driving_context for truth in truths]),
    )


def cached_features(
    perceiver: Perceiver, config: ClipsConfig, folder: Path, *, checkpoint: Path, processes: int = 1
) -> list[ClipFeatures]:
    """Return the features of all clips, shown by progress bars.

    Clips that are not there yet are rendered, once for all checkpoints. Features are found by the encoder's weights and
    the settings: an interrupted call goes on, and another checkpoint with the same encoder finds them, too.

    Args:
        perceiver: of the checkpoint.
        config: the clips.
        folder: where clips and features are kept.
        checkpoint: from which other processes load the perceiver.
        processes: how many render and encode; 1: this one.

    Raises:
        ValueError: the settings make no sense, see `render_clips`.
        OSError: a file cannot be written.
    """
    place = folder / f"driving_features_{feature_key(perceiver.network, config)}"
    place.mkdir(parents=True, exist_ok=True)
    features = {place / clip.name: clip for clip in clip_paths(config, folder).values()}
    missing = [path for path in features if not path.is_file()]
    if missing:
        render_missing(config, folder, processes=processes)
    bar = tqdm(total=len(features), initial=len(features) - len(missing), desc="encoded", unit="clip", disable=None)
    in_others = partial(_ClipEncoder.of_checkpoint, checkpoint)
    encode_all(
        [(features[path], path) for path in missing], partial(_ClipEncoder, perceiver), in_others, processes, bar
    )
    return [ClipFeatures.load(path) for path in features]


def encode_all(
    tasks: Sequence[Task],
    make: Callable[[], Callable[[Task], object]],
    make_in_others: Callable[[], Callable[[Task], object]],
    processes: int,
    bar: tqdm,
) -> None:
    """Do tasks here, by what `make` returns, or in several processes by what `make_in_others` does; move the bar on."""
    with bar:
        if processes > 1 and len(tasks) > 1:
            with Workers(make_in_others, min(processes, len(tasks))) as workers:
                for _ in workers.in_order(tasks):
                    bar.update()
        elif tasks:
            work = make()
            for task in tasks:
                work(task)
                bar.update()


def feature_key(network: MultiTaskNetwork, config: ClipsConfig) -> str:
    """Return the name of what an encoder's weights make of clips of such settings, whatever their number."""
    return encoder_key(network, clips_key(config))


def encoder_key(network: MultiTaskNetwork, settings: str) -> str:
    """Return a digest of an encoder's weights and of what else the features depend on."""
    digest = hashlib.sha256(json.dumps([_FORMAT, settings]).encode())
    for name, tensor in _encoder_state(network):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def joints_of(drivers: Sequence[CabinFrame]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return `posture` and `gestures` of `ClipFeatures`."""
    posture = np.stack([_joints(driver.posture, POSTURE_JOINTS) for driver in drivers])
    return posture, np.stack([_joints(driver.gestures, GESTURE_JOINTS) for driver in drivers])


def class_numbers(truths: Sequence[Mapping[str, str]]) -> NDArray[np.int8]:
    """Return `classes` of `ClipFeatures`, from the classes' names by task."""
    return np.array(
        [
            [names.index(truth[task]) if task in truth else UNKNOWN_CLASS for task, names in SCENE_CLASSES.items()]
            for truth in truths
        ],
        np.int8,
    )


def class_counts(clips: Sequence[ClipFeatures]) -> Mapping[str, dict[str, int]]:
    """Return per task how many frames are of each of its classes, absent ones included."""
    result = {}
    for column, (task, names) in enumerate(SCENE_CLASSES.items()):
        found = Counter(int(number) for clip in clips for number in clip.classes[:, column])
        result[task] = {name: found[number] for number, name in enumerate(names)}
    return result


class _ClipEncoder:
    """Makes the file of a clip's features from that of the clip."""

    def __init__(self, perceiver: Perceiver) -> None:
        self._perceiver = perceiver

    @classmethod
    def of_checkpoint(cls, checkpoint: Path) -> _ClipEncoder:
        torch.set_num_threads(1)
        return cls(Perceiver.from_checkpoint(checkpoint))

    def __call__(self, task: tuple[Path, Path]) -> Path:
        clip, path = task
        clip_features(self._perceiver, load_clip(clip)).save(path)
        return path


def _encoder_state(network: MultiTaskNetwork) -> Iterator[tuple[str, torch.Tensor]]:
    for name, tensor in sorted(network.state_dict().items()):
        if name.startswith(("encoder.", "neck.", "motion.alignment.", "motion.ego_motion.")):
            yield name, tensor


def _joints(joints: NDArray[np.floating] | None, count: int) -> NDArray[np.float32]:
    return np.full((count, 3), np.nan, np.float32) if joints is None else joints.astype(np.float32)
