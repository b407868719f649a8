# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Clips of consecutive frames of made-up streets: outside cameras, the driver, and what is true of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from mtl_perception.core import LabelSpace, Sample
from mtl_perception.data.datasets import mixed_conditions
from mtl_perception.data.world import World
from mtl_perception.data.world.conditions import Conditions
from mtl_perception.data.world.street.driving import Drive
from mtl_perception.training.driving.config import ClipsConfig

_CANDIDATES_HZ = 10.0


def render_clips(
    config: ClipsConfig, seed: int, labels: LabelSpace, numbers: Iterable[int] | None = None
) -> Iterator[list[Sample]]:
    """Yield the clips of the street of a seed, frame after frame, with what is true of the drive alone.

    The same settings, seed and number give the same bytes, however many clips there are.

    Args:
        config: the settings.
        seed: of the street.
        labels: the label space of the world; no image depends on it.
        numbers: which clips, from 0 on; None: all.

    Raises:
        ValueError: a clip is longer than the drive.
    """
    generator = np.random.default_rng([seed, 6])
    conditions = mixed_conditions(generator) if generator.random() < config.difficult else Conditions()
    world = World.generate(
        "street",
        seed,
        labels,
        cameras=config.rigs[seed % len(config.rigs)],
        image_size=(config.width, config.height),
        duration_s=config.world_seconds,
        conditions=conditions,
        vary_rig=True,
        cabin=True,
    )
    assert isinstance(world.motion, Drive)  # it is a street
    starts = clip_starts(config, world.motion, generator)
    for number in range(len(starts)) if numbers is None else numbers:
        yield [world.drive(starts[number] + frame / config.rate_hz) for frame in range(config.frames)]


def clip_starts(config: ClipsConfig, drive: Drive, generator: np.random.Generator) -> list[float]:
    """Draw when the clips of a drive begin, in seconds.

    With `seek_rare` a class of vehicle or traffic that occurs in the drive is drawn first, then a moment at which it is
    true: most of a drive is forward moving in smooth traffic. The clip ends soon after that moment, as what is learnt
    is what is true at a clip's later frames. Else all times are equally likely.

    Raises:
        ValueError: a clip is longer than the drive.
    """
    length = (config.frames - 1) / config.rate_hz
    latest = config.world_seconds - length
    if latest < 0:
        raise ValueError(f"a clip takes {length:g} s, but the drive only {config.world_seconds:g} s")
    if not config.seek_rare:
        return [float(time) for time in generator.uniform(0.0, latest, config.clips_per_world)]
    times = np.arange(0.0, config.world_seconds, 1.0 / _CANDIDATES_HZ)
    moments: dict[str, list[float]] = {}
    for time in times:
        for name in (drive.vehicle_behaviour(float(time)), drive.traffic_context(float(time))):
            moments.setdefault(name, []).append(float(time))
    names = sorted(moments)
    starts = []
    for _ in range(config.clips_per_world):
        moment = generator.choice(moments[names[generator.integers(len(names))]])
        starts.append(float(np.clip(moment - generator.uniform(0.5, 1.0) * length, 0.0, latest)))
    return starts
