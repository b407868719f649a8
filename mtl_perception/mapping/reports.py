# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a map says about itself: what a frame has changed, and how large it is."""

from __future__ import annotations

from dataclasses import dataclass

from mtl_perception.mapping.fusion.blocks import Key
from mtl_perception.mapping.surface.meshing import MeshBlock


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
