# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Batches of moments: frames of clips with their past, the past and the inputs thinned out as they may be in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mtl_perception.core.scene_classes import SCENE_CLASSES
from mtl_perception.network.driving.driving_tasks import DRIVER_TASKS, HISTORY_FRAMES
from mtl_perception.network.driving.streams import CabinBatch
from mtl_perception.training.driving.features import ClipFeatures


@dataclass(frozen=True)
class Moments:
    """B moments. Rows of `outside` are the cameras of all frames: first those of the moments, then those of the past.

    Attributes:
        outside: (N, C, h, w), the coarsest level.
        frame_index: (N,) int64: 0..B - 1 the moments, then the frames of the past one after the other.
        twist: (F, 6) of all these frames, see `ClipFeatures`.
        past: (B, T) int64, the frames of each moment's past, oldest first, counted as in `frame_index`; -1 none.
        age: (B, T) seconds before the moment; 0 where there is none.
        cabin_maps: (B, S, C, h, w).
        cabin: which views there are, and joints; its images are empty.
        steering: (B,) radians; NaN unknown.
        classes: (B, 4) int64, in the order of `SCENE_CLASSES`.
    """

    outside: Tensor
    frame_index: Tensor
    twist: Tensor
    past: Tensor
    age: Tensor
    cabin_maps: Tensor
    cabin: CabinBatch
    steering: Tensor
    classes: Tensor

    def __len__(self) -> int:
        """Return B."""
        return len(self.steering)

    @property
    def num_frames(self) -> int:
        """How many frames there are, moments and past together."""
        return len(self.twist)


@dataclass(frozen=True)
class Thinning:
    """How often, in training, something is missing that a vehicle in use may lack, too.

    Attributes:
        short_past: share of moments whose past begins anywhere, as in the first frames of a drive.
        lost_frame: share of frames of the past that are lost.
        slower: share of moments at half the frame rate.
        fewer_cameras: share of moments that see through some of the rig's cameras only.
        no_view: share of cabin views that are missing.
        no_joints: share of moments without joints.
        joint_noise_m: standard deviation of the joints' coordinates.
        lost_joint: share of joints that are not found.
        no_motion: share of frames of which it is not known how the rig has moved.
        other_driver: share of moments whose driver is not the clip's own, where there are others: what a driver does
            has nothing to do with the street.
    """

    short_past: float = 0.4
    lost_frame: float = 0.1
    slower: float = 0.25
    fewer_cameras: float = 0.5
    no_view: float = 0.15
    no_joints: float = 0.3
    joint_noise_m: float = 0.01
    lost_joint: float = 0.05
    no_motion: float = 0.1
    other_driver: float = 0.8


def random_moments(
    clips: Sequence[ClipFeatures],
    count: int,
    generator: np.random.Generator,
    thinning: Thinning,
    drivers: Sequence[ClipFeatures] = (),
) -> Moments:
    """Draw moments, who drives, and what of each is missing; `drivers` are further ones, without a street."""
    draws = drawn(clips, count, generator, thinning, drivers)
    chosen = [(clips[draw.clip], draw.frame) for draw in draws]
    driving = [
        own if draw.driver is None else (drivers[draw.driver[0]], draw.driver[1])
        for own, draw in zip(chosen, draws, strict=True)
    ]
    return moments(chosen, generator, thinning, driving)


class Draw(NamedTuple):
    """A moment that was drawn: the number of its clip and of the frame, and of another driver and its moment."""

    clip: int
    frame: int
    driver: tuple[int, int] | None

    def __str__(self) -> str:
        """Return it in words, e.g. "clip 3:17, driver 120:4"."""
        driver = "" if self.driver is None else f", driver {self.driver[0]}:{self.driver[1]}"
        return f"clip {self.clip}:{self.frame}{driver}"


def drawn(
    clips: Sequence[ClipFeatures],
    count: int,
    generator: np.random.Generator,
    thinning: Thinning,
    drivers: Sequence[ClipFeatures] = (),
) -> list[Draw]:
    """Return the moments that `random_moments` draws."""
    chosen = _frames(clips, count, generator)
    if not drivers:
        return [Draw(clip, frame, None) for clip, frame in chosen]
    others = _frames(drivers, count, generator)
    exchanged = generator.random(count) < thinning.other_driver
    return [
        Draw(clip, frame, other if exchange else None)
        for (clip, frame), other, exchange in zip(chosen, others, exchanged, strict=True)
    ]


def _frames(clips: Sequence[ClipFeatures], count: int, generator: np.random.Generator) -> list[tuple[int, int]]:
    chosen = []
    for _ in range(count):
        number = int(generator.integers(len(clips)))
        chosen.append((number, int(generator.integers(len(clips[number])))))
    return chosen


def moments(
    chosen: Sequence[tuple[ClipFeatures, int]],
    generator: np.random.Generator | None = None,
    thinning: Thinning | None = None,
    driving: Sequence[tuple[ClipFeatures, int]] | None = None,
) -> Moments:
    """Collate frames of clips with their past.

    Args:
        chosen: clips and frame numbers in them.
        generator: draws what is missing; needed for thinning.
        thinning: how much is missing; None: nothing.
        driving: whose cabin and driver's classes each moment has; None: the clips' own.
    """
    driving = chosen if driving is None else driving
    if thinning is None or generator is None:
        pasts = [list(range(max(0, now - HISTORY_FRAMES), now)) for _, now in chosen]
        cameras = [np.arange(clip.outside.shape[1]) for clip, _ in chosen]
    else:
        pasts = [_thinned_past(now, generator, thinning) for _, now in chosen]
        cameras = [_some_cameras(clip.outside.shape[1], generator, thinning) for clip, _ in chosen]
    frames = [(row, now) for row, (_, now) in enumerate(chosen)]
    past = np.full((len(chosen), max(1, *(len(numbers) for numbers in pasts))), -1, np.int64)
    age = np.zeros(past.shape, np.float32)
    for row, ((clip, now), numbers) in enumerate(zip(chosen, pasts, strict=True)):
        first = past.shape[1] - len(numbers)
        past[row, first:] = np.arange(len(frames), len(frames) + len(numbers))
        age[row, first:] = clip.seconds[now] - clip.seconds[numbers]
        frames += [(row, number) for number in numbers]
    maps = [chosen[row][0].outside[number, cameras[row]] for row, number in frames]
    index = np.repeat(np.arange(len(frames)), [len(each) for each in maps])
    twist = np.stack([chosen[row][0].twist[number] for row, number in frames])
    if thinning is not None and generator is not None:
        twist[generator.random(len(twist)) < thinning.no_motion] = np.nan
    cabin_maps, cabin = _cabins(driving, generator, thinning)
    classes = np.stack([clip.classes[now] for clip, now in chosen])
    of_driver = [task in DRIVER_TASKS for task in SCENE_CLASSES]
    classes[:, of_driver] = np.stack([clip.classes[now][of_driver] for clip, now in driving])
    return Moments(
        outside=torch.from_numpy(np.concatenate(maps)).float(),
        frame_index=torch.from_numpy(index),
        twist=torch.from_numpy(twist),
        past=torch.from_numpy(past),
        age=torch.from_numpy(age),
        cabin_maps=cabin_maps,
        cabin=cabin,
        steering=torch.tensor([float(clip.steering[now]) for clip, now in chosen]),
        classes=torch.from_numpy(classes).long(),
    )


def _thinned_past(now: int, generator: np.random.Generator, thinning: Thinning) -> list[int]:
    stride = 2 if generator.random() < thinning.slower else 1
    longest = (
        int(generator.integers(HISTORY_FRAMES + 1)) if generator.random() < thinning.short_past else HISTORY_FRAMES
    )
    numbers = range(now - stride * longest, now, stride)
    return [number for number in numbers if number >= 0 and generator.random() >= thinning.lost_frame]


def _some_cameras(count: int, generator: np.random.Generator, thinning: Thinning) -> np.ndarray:
    if count == 1 or generator.random() >= thinning.fewer_cameras:
        return np.arange(count)
    return np.sort(generator.permutation(count)[: generator.integers(1, count)])


def _cabins(
    driving: Sequence[tuple[ClipFeatures, int]], generator: np.random.Generator | None, thinning: Thinning | None
) -> tuple[Tensor, CabinBatch]:
    maps = np.stack([clip.cabin[now] for clip, now in driving])
    posture = np.stack([clip.posture[now] for clip, now in driving])
    gestures = np.stack([clip.gestures[now] for clip, now in driving])
    views = np.ones(maps.shape[:2], bool)
    joints = np.ones(len(driving), bool)
    if thinning is not None and generator is not None:
        views &= generator.random(views.shape) >= thinning.no_view
        joints &= generator.random(len(joints)) >= thinning.no_joints
        for points in (posture, gestures):
            points += generator.normal(0.0, thinning.joint_noise_m, points.shape)
            points[generator.random(points.shape[:2]) < thinning.lost_joint] = np.nan
    return torch.from_numpy(maps).float(), CabinBatch(
        images=torch.zeros(len(driving), maps.shape[1], 3, 0, 0),
        valid=torch.from_numpy(views),
        posture=torch.from_numpy(posture),
        gestures=torch.from_numpy(gestures),
        joints_valid=torch.from_numpy(joints),
    )
