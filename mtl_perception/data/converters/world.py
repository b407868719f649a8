# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A rendered street or room as a recording, with all of its ground truth."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mtl_perception.core.labels import LabelSpace
from mtl_perception.core.transforms import inverse
from mtl_perception.data.converters.recording import Instant, Recording, Shot, level_start
from mtl_perception.data.world import World
from mtl_perception.resources import config_file


def read(
    source: str,
    seed: int = 0,
    seconds: float = 10.0,
    rate_hz: float = 10.0,
    cameras: int | None = None,
    image_size: tuple[int, int] = (256, 192),
) -> Recording:
    """Render a world.

    Args:
        source: "street" or "room".
        seed: which one.
        seconds: for how long, at most the world's own duration.
        rate_hz: images per second of each camera.
        cameras: how many cameras; None: as many as the world has.
        image_size: width and height in pixels.

    Raises:
        ValueError: the kind, the number of cameras, the time or the rate is not one that the world has.
    """
    if seconds <= 0 or rate_hz <= 0:
        raise ValueError(f"seconds {seconds} and rate {rate_hz} must be positive")
    world = World.generate(source, seed, LabelSpace.load(config_file("labels", "default")), image_size, cameras)
    if seconds > world.duration_s:
        raise ValueError(f"a {source} lasts {world.duration_s} s, not {seconds} s")
    times = np.arange(0.0, seconds, 1.0 / rate_hz)
    # A street's coordinates start anywhere; a room's floor is z = 0 and its corner the origin, which is worth keeping.
    start = level_start(world.world_from_base(0.0)) if source == "street" else np.eye(4)
    return Recording(f"world {source} {seed}", tuple(world.rig), len(times), _instants(world, times.tolist()), start)


def _instants(world: World, times: list[float]) -> Iterator[Instant]:
    for seconds in times:
        rendered = world.render(seconds)
        frame = rendered.frame
        shots = []
        for name in frame.present:
            truth = rendered.truth[name]
            world_from_base = frame.world_from_camera[name] @ inverse(world.rig[name].base_from_camera)
            shots.append(
                Shot(
                    name,
                    frame.image_stamps_ns[name],
                    frame.images[name],
                    world_from_base,
                    truth.depth,
                    truth.semantic,
                    truth.motion_mask,
                )
            )
        yield Instant(shots, occupancy=rendered.occupancy)
