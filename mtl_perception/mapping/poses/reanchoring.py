# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The map moved along with a corrected trajectory.

Each block hangs on the robot's pose at the time when it was measured, and moves rigidly with it (as the submaps of
Reijgwart et al., "Voxgraph", RA-L 2020, with submaps as small as blocks). All of them are resampled into one surface
again. Blocks that were set aside, since poses may have drifted between two visits, are fused with the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_perception.mapping.config import MapperConfig
from mtl_perception.mapping.fusion.blocks import ATTRIBUTES, BLOCK, VOXELS, pack, unpack
from mtl_perception.mapping.fusion.measured import NEVER_NS
from mtl_perception.mapping.poses import resampling
from mtl_perception.mapping.window.archive import RegionArchive
from mtl_perception.mapping.window.map_blocks import MapBlocks
from mtl_perception.mapping.window.region_file import Region
from mtl_perception.mapping.window.regions import REGION, region_ids
from mtl_perception.mapping.window.set_aside import SetAside

Corrections = Callable[[NDArray[np.int64]], NDArray[np.float64]]
"""Returns new_world_from_old_world (N, 4, 4) at stamps (N,)."""

Anchors = Callable[[NDArray[np.int64]], NDArray[np.int64]]
"""Returns the stamps (N,) of the poses on which blocks hang that were first and last measured at (N, 2)."""

_CUBE = 4 * REGION  # edge in blocks of the cubes that are made one after the other, so that memory is bounded


def anchors_of(seen_ns: NDArray[np.int64], now_ns: int, config: MapperConfig) -> NDArray[np.int64]:
    """Return the stamps (N,) of the poses on which blocks hang that were first and last measured at (N, 2).

    That is the middle between the two if they are of one visit, as they are with `config.revisit_distance`, and else
    the first; `now_ns` for those that were never measured.
    """
    first, last = seen_ns.T
    anchors = first + (last - first) // 2 if config.revisit_distance else first
    return np.where(first == NEVER_NS, now_ns, anchors)


def moved(
    blocks: MapBlocks,
    aside: SetAside,
    corrections: Corrections,
    anchors: Anchors,
    config: MapperConfig,
    to: RegionArchive,
) -> NDArray[np.int32]:
    """Write what becomes of all blocks into an empty archive; return the keys (N, 3) of the new blocks.

    Some 100 MB of memory are used, whatever the size of the map.

    Raises:
        OSError: a part cannot be read or written; the map is unchanged.
        RegionError: a part that was set aside is damaged.
    """
    resampling.prepare()
    aside.flush()
    sources = _Sources(blocks, aside, corrections, anchors, config.voxel_size)
    keys = [np.zeros((0, 3), np.int32)]
    for cube, chosen in sources.by_cube():
        for region in _made(sources, cube, chosen, config.max_weight):
            to.put(region)
            keys.append(region.keys)
    return np.concatenate(keys)


@dataclass(frozen=True, eq=False)
class _Holder:
    """Where the voxels of some blocks are: in memory, a region of the archive, or a part that was set aside."""

    read: Callable[[], dict[str, NDArray]]
    keys: NDArray[np.int32]
    seen_ns: NDArray[np.int64]


class _Sources:
    """All blocks of a map in the order of their places, with where they go.

    Attributes:
        keys: int32 (N, 3).
        seen_ns: int64 (N, 2), when each was first and last measured.
        rotations, translations: (N, 3, 3) and (N, 3), new from old, voxels.
        neighbours: int32 (N, 3, 3, 3), z y x, the blocks around each, -1 where there is none.
    """

    def __init__(
        self, blocks: MapBlocks, aside: SetAside, corrections: Corrections, anchors: Anchors, voxel_size: float
    ) -> None:
        self._holders = list(_holders(blocks, aside))
        counts = [len(holder.keys) for holder in self._holders]
        keys = np.concatenate([np.zeros((0, 3), np.int32), *(holder.keys for holder in self._holders)])
        seen_ns = np.concatenate([np.zeros((0, 2), np.int64), *(holder.seen_ns for holder in self._holders)])
        order = np.lexsort((seen_ns[:, 0], pack(keys)))
        self.keys, self.seen_ns = keys[order], seen_ns[order]
        self._holder = np.repeat(np.arange(len(counts)), counts)[order]
        self._row = np.concatenate([np.zeros(0, np.int64), *(np.arange(count) for count in counts)])[order]
        hang_on = anchors(self.seen_ns)
        stamps, which = np.unique(hang_on, return_inverse=True)
        transforms = corrections(stamps)
        self.rotations = np.ascontiguousarray(transforms[which][:, :3, :3])
        self.translations = np.ascontiguousarray(transforms[which][:, :3, 3] / voxel_size)
        self.neighbours = np.full((len(self.keys), 3, 3, 3), -1, np.int32)
        resampling.find_neighbours(
            pack(self.keys), hang_on, self.keys, self.rotations, self.translations, self.neighbours
        )
        self.neighbours[:, 1, 1, 1] = np.arange(len(self.keys))

    def by_cube(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Give the cubes that blocks come to: the key (3,) of its first block, and which blocks (M,) touch it."""
        middle = (self.keys + 0.5) * BLOCK
        centre = np.einsum("nij,nj->ni", self.rotations, middle) + self.translations
        reach = np.abs(self.rotations).sum(axis=2) * (BLOCK / 2 + resampling.MARGIN)
        low = np.floor((centre - reach) / (BLOCK * _CUBE)).astype(np.int64)
        high = np.floor((centre + reach) / (BLOCK * _CUBE)).astype(np.int64)
        cubes, blocks = [], []
        for step in np.ndindex(*(np.max(high - low, axis=0, initial=0) + 1).tolist()):
            cube = low + step
            touches = np.flatnonzero((cube <= high).all(axis=1))
            cubes.append(pack(cube[touches]))
            blocks.append(touches)
        packed, numbers = np.concatenate(cubes), np.concatenate(blocks)
        order = np.lexsort((numbers, packed))
        packed, numbers = packed[order], numbers[order]
        for part in np.split(np.arange(len(packed)), np.flatnonzero(np.diff(packed)) + 1):
            if len(part):
                yield unpack(packed[part[:1]])[0].astype(np.int64) * _CUBE, numbers[part]

    def voxels(self, chosen: NDArray[np.int64]) -> dict[str, NDArray]:
        """Return the voxels (M, VOXELS, ...) of blocks (M,)."""
        result = {name: np.empty((len(chosen), VOXELS, *shape), kind) for name, (kind, shape) in ATTRIBUTES.items()}
        holders = self._holder[chosen]
        for holder in np.unique(holders).tolist():
            rows = np.flatnonzero(holders == holder)
            found = self._holders[holder].read()
            for name, array in result.items():
                array[rows] = found[name][self._row[chosen[rows]]]
        return result


def _holders(blocks: MapBlocks, aside: SetAside) -> Iterator[_Holder]:
    for region in blocks.regions():
        content = blocks.content_of(region, with_voxels=False)
        if content is not None:
            yield _Holder(_reader(blocks, region), content.keys, content.seen_ns)
    for part in aside.parts:
        yield _Holder(_aside_reader(aside, part.number), part.keys, part.seen_ns)


def _reader(blocks: MapBlocks, region: int) -> Callable[[], dict[str, NDArray]]:
    def read() -> dict[str, NDArray]:
        content = blocks.content_of(region, with_voxels=True)
        if content is None:
            raise OSError("a part of the map could not be read")  # the archive has said which, and why
        return dict(content.voxels)

    return read


def _aside_reader(aside: SetAside, number: int) -> Callable[[], dict[str, NDArray]]:
    return lambda: aside.voxels(number)


def _made(sources: _Sources, cube: NDArray[np.int64], chosen: NDArray[np.int64], max_weight: float) -> list[Region]:
    """Return the regions of a cube, as far as blocks (M,) come to it."""
    around = sources.neighbours[chosen]
    needed = np.unique(around[around >= 0]).astype(np.int64)
    local = np.where(around >= 0, np.searchsorted(needed, around), -1).astype(np.int32)
    voxels = sources.voxels(needed)
    rows = np.full((_CUBE,) * 3, -1, np.int32)
    room = min(_CUBE**3, 27 * len(chosen))
    result = {name: np.zeros((room, VOXELS, *shape), kind) for name, (kind, shape) in ATTRIBUTES.items()}
    result["label"][:] = 255
    share, stamps = np.zeros((room, VOXELS), np.float32), np.full((room, 2), NEVER_NS, np.int64)
    used = resampling.resample(
        sources.keys[chosen],
        local,
        sources.rotations[chosen],
        sources.translations[chosen],
        np.ascontiguousarray(sources.seen_ns[chosen, 0]),
        np.ascontiguousarray(sources.seen_ns[chosen, 1]),
        *(voxels[name] for name in ATTRIBUTES),
        cube.astype(np.int32),
        _CUBE,
        rows,
        *(result[name] for name in ATTRIBUTES),
        share,
        stamps,
        np.zeros(room, np.int64),
    )
    assert 0 <= used <= room
    result = {name: array[:used] for name, array in result.items()}
    resampling.finish(result, share[:used], max_weight)
    z, y, x = np.nonzero(rows >= 0)
    keys = (np.stack([x, y, z], axis=1) + cube).astype(np.int32)
    row_of = rows[z, y, x]
    order = np.lexsort((pack(keys), region_ids(keys)))
    keys, row_of = keys[order], row_of[order]
    regions = region_ids(keys)
    return [
        Region(
            int(regions[part[0]]),
            keys[part],
            stamps[row_of[part]],
            {},
            {name: array[row_of[part]] for name, array in result.items()},
        )
        for part in np.split(np.arange(len(keys)), np.flatnonzero(np.diff(regions)) + 1)
        if len(part)
    ]
