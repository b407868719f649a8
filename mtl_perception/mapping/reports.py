# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a map says about itself: what a frame or another map has changed, how large it is, and how long it takes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mtl_perception.core.transforms import Transform
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


@dataclass(frozen=True, eq=False)
class Alignment:
    """Where another map was found to lie in this one, and what speaks for it.

    Attributes:
        self_from_other: the transform.
        objects: of how many things of this map one of the other's comes within half a metre.
        agreement: 0..1, of the upright surface of one map of which the other knows something, the share that is
            surface there, too; the rest is seen free space there.
        agreement_of_things: the same of the surface of things alone.
        surface: square metres of it that agree.
        residual: metres, root of the mean squared distance between both surfaces, where they are near each other.
    """

    self_from_other: Transform
    objects: int
    agreement: float
    agreement_of_things: float
    surface: float
    residual: float

    def __str__(self) -> str:
        """Return it in words."""
        x, y, z = self.self_from_other[:3, 3].tolist()
        yaw = np.rad2deg(np.arctan2(self.self_from_other[1, 0], self.self_from_other[0, 0]))
        return (
            f"x {x:.2f} y {y:.2f} z {z:.2f} m, yaw {yaw:.1f} degrees ({self.objects} objects and {self.surface:.1f} m2 "
            f"agree, {self.agreement:.0%}, of things {self.agreement_of_things:.0%}; "
            f"{100 * self.residual:.1f} cm apart)"
        )


@dataclass(frozen=True, eq=False)
class MergeReport:
    """What has come of the map of another robot.

    Attributes:
        self_from_other: where it lies in this map.
        alignment: what speaks for that, where it was estimated; None where it was given.
        frames: of which it was made.
        robots: the letters of the agents that were added, in the other map's order.
        objects: per id of an object in the other map, its id here. Those that are one with an object of this map have
            its id; of two with one id here, the other map had the thing twice.
        known_objects: those ids of `objects` that this map had before.
        new_blocks: that this map did not have.
        shared_blocks: that both had; they are fused.
        cells_left_out: of the other map's 2D grid, that are beyond the bounded grid of this one. Places and regions
            were found in them all the same.
        unnumbered_things: that are told from no others because all numbers for that are taken.
    """

    self_from_other: Transform
    alignment: Alignment | None
    frames: int
    robots: tuple[str, ...]
    objects: Mapping[int, int]
    known_objects: tuple[int, ...]
    new_blocks: int
    shared_blocks: int
    cells_left_out: int
    unnumbered_things: int


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
    return MapStats(
        **volume.sizes(),
        objects=objects,
        places=scene.ground.place_count,
        rooms=scene.ground.region_count,
        tracks=len(scene.tracks.tracks),
        frames=frames,
    )


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Note how long a block takes."""
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start
