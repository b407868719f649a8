# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The `drive` suite: whether resident memory grows while a robot drives on, and never comes back to where it was."""

from __future__ import annotations

from collections.abc import Callable

from mtl_perception.bench.mapping import Canyon, resident_mb
from mtl_perception.bench.results import Result
from mtl_perception.mapping import Mapper, MapperConfig
from mtl_perception.scenes import SCENES

SUITE = "drive"

_FRAME_M = 2.0  # from frame to frame
_GRAPH_FRAMES = 5  # from one look at the changes of the scene graph to the next


def run_suite(
    size: tuple[int, int], minutes: float, speed: float, *, advanced: Callable[[str], None] = lambda what: None
) -> list[Result]:
    """Drive down a street without end, and compare memory at the end with that when the map's window was full.

    Args:
        size: (width, height) of the images, pixels.
        minutes: of the drive.
        speed: metres a second.
        advanced: gets how far the drive is, in words, after each of its `frames_of`.

    Raises:
        ValueError: the drive ends before the window is full.
    """
    canyon = Canyon(size)
    mapper = Mapper(MapperConfig(**SCENES["street"]), canyon.labels)
    follower = mapper.follow_scene_graph()
    before: float | None = None
    for frame in range(1, frames_of(minutes, speed) + 1):
        mapper.integrate(canyon.look(frame * _FRAME_M))
        if frame % _GRAPH_FRAMES == 0:
            mapper.scene_graph_changes(follower)
            stats = mapper.stats
            if before is None and stats.archived_blocks >= stats.blocks - stats.archived_blocks:
                before = resident_mb()
        advanced(f"{frame * _FRAME_M:.0f} m, {resident_mb():.0f} MB")
    after = resident_mb()
    mapper.close()
    if before is None:
        raise ValueError(f"the map's window is not full after {minutes:g} minutes at {speed:g} m/s")
    kilometres = minutes * 60.0 * speed / 1000.0
    return [Result(SUITE, f"memory_after_{kilometres:.1f}_km", after, "MB", "when the window was full", before)]


def frames_of(minutes: float, speed: float) -> int:
    """Return how many frames a drive has."""
    return int(minutes * 60.0 * speed / _FRAME_M)
