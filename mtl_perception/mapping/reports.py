# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a map says about itself: what a frame has changed, and how large it is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mtl_perception.mapping.fusion.blocks import Key
from mtl_perception.mapping.surface.meshing import MeshBlock

if TYPE_CHECKING:
    from mtl_perception.mapping.scene import Scene
    from mtl_perception.mapping.volume import Volume


@dataclass(frozen=True, eq=False)
class MapUpdate:
    """What a frame changed.

    Attributes:
        changed_blocks: per block key, its new mesh (never empty).
        removed_blocks: keys of blocks that had a mesh and have none any more.
        moved: whether the whole map has moved with a corrected pose; all that was known of it is then void.
        seconds: per stage, the time it took.
    """

    changed_blocks: dict[Key, MeshBlock]
    removed_blocks: tuple[Key, ...]
    moved: bool
    seconds: dict[str, float]


@dataclass(frozen=True)
class MapStats:
    """Sizes of the map, in memory and on disk together.

    Attributes:
        blocks, vertices, objects, places: what it has.
        rooms: with road segments and junctions.
        tracks: of things that move, those that have not ended.
        archived_blocks: of the blocks, those that are on disk only.
        frames: that were fused.
        evicted_blocks: that went to disk for want of room while they were near enough to stay, each time counted.
        refused_blocks: that a view wanted and did not get, because it needs more than `max_blocks` at once.
        dropped_blocks: that were lost because they could not be written, e.g. to a full disk.
        aside_blocks: on disk, that newer ones have replaced, until the trajectory is corrected.
        damaged_regions: parts of the map that were lost because their files could not be read.
    """

    blocks: int
    archived_blocks: int
    vertices: int
    objects: int
    places: int
    rooms: int
    tracks: int
    frames: int
    evicted_blocks: int
    refused_blocks: int
    dropped_blocks: int
    aside_blocks: int
    damaged_regions: int


def stats_of(volume: Volume, scene: Scene, frames: int, objects: int) -> MapStats:
    """Return the sizes of a map of so many frames and objects, as it was meshed last."""
    blocks, window = volume.blocks, volume.window
    return MapStats(
        blocks=len(blocks),
        archived_blocks=blocks.archive.blocks,
        vertices=blocks.vertices,
        objects=objects,
        places=scene.ground.place_count,
        rooms=scene.ground.region_count,
        tracks=len(scene.tracks.tracks),
        frames=frames,
        evicted_blocks=window.evicted_blocks,
        refused_blocks=window.refused_blocks,
        dropped_blocks=window.dropped_blocks,
        aside_blocks=len(volume.aside),
        damaged_regions=blocks.archive.damaged_regions,
    )


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Note how many seconds a stage takes."""
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start
