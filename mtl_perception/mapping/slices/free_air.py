# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which blocks that have no voxels are known to be free: voxels are only kept around surfaces.

A block is free once a camera has seen all of it and nothing in it or before it. What is in a block later gives it
voxels, and these then say what is free: nothing is ever taken back here, and the order of the frames is of no matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numba import types
from numpy.typing import NDArray

from mtl_perception.core.compiled import compiled
from mtl_perception.core.transforms import Transform, inverse
from mtl_perception.mapping.config import MapperConfig
from mtl_perception.mapping.fusion.blocks import BLOCK, unpack
from mtl_perception.mapping.fusion.views import DepthView
from mtl_perception.mapping.window.regions import REGION, block_keys, places_in, places_of, region_ids

_TILE = 8  # pixels along the edge of a tile
_Floats = types.Array(types.float32, 2, "C")
_Counts = types.Array(types.int64, 2, "C")
_Doubles = types.Array(types.float64, 2, "C")
_Keys = types.Array(types.int64, 1, "C")
_NEAREST = (_Floats, types.int64, _Floats, _Counts)
_SEEN = (
    *(_Keys, _Keys, _Doubles, _Doubles, types.float64, types.float64),
    *(types.int64, types.int64, types.int64, _Floats, _Counts, _Keys),
)


class FreeAir:
    """The blocks that were seen to be empty. Each region of 4x4x4 blocks takes some 140 bytes."""

    def __init__(self, config: MapperConfig) -> None:
        """Know of none."""
        nearest_of_tiles.compile(_NEAREST)
        empty_blocks.compile(_SEEN)
        self._edge = BLOCK * config.voxel_size
        self._max_depth = config.max_depth
        self._masks: dict[int, int] = {}  # per region, which of its blocks

    def integrate(self, view: DepthView, low: NDArray[np.float64], high: NDArray[np.float64]) -> None:
        """Add what a view sees; all that it reaches is between two corners (3,), metres in the world."""
        height, width = view.depth.shape
        shape = -(-height // _TILE), -(-width // _TILE)
        nearest, valid = np.empty(shape, np.float32), np.empty(shape, np.int64)
        nearest_of_tiles(view.depth, _TILE, nearest, valid)
        first = np.floor(low / self._edge).astype(np.int64)
        count = np.floor(high / self._edge).astype(np.int64) - first + 1
        found = np.empty(np.prod(count), np.int64)
        number = empty_blocks(
            first,
            count,
            np.ascontiguousarray(view.K, dtype=np.float64),
            np.ascontiguousarray(inverse(view.world_from_camera)[:3], dtype=np.float64),
            self._edge,
            self._max_depth,
            height,
            width,
            _TILE,
            nearest,
            valid,
            found,
        )
        if number:
            self._add(unpack(found[:number]))

    def within(self, first: NDArray[np.int64], last: NDArray[np.int64]) -> Iterator[NDArray[np.int32]]:
        """Give those blocks, as keys (N, 3), that lie between two keys (3,), which belong to them."""
        low, high = first // REGION, last // REGION
        if np.prod(high - low + 1) < len(self._masks):
            axes = [np.arange(a, b + 1) for a, b in zip(low.tolist(), high.tolist(), strict=True)]
            inside = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
            regions = [region for region in region_ids(inside * REGION).tolist() if region in self._masks]
        else:
            known = np.array(sorted(self._masks), np.int64)
            of_known = unpack(known)
            regions = known[((of_known >= low) & (of_known <= high)).all(axis=1)].tolist()
        for region in regions:
            keys = block_keys(region)[places_in(self._masks[region])]
            yield keys[((keys >= first) & (keys <= last)).all(axis=1)]

    def move(self, corrections: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> None:
        """Move with the world; `corrections` returns new_world_from_old_world (N, 4, 4) around places (N, 3)."""
        masks, self._masks = self._masks, {}
        self._add_moved(masks, corrections)

    def merge(self, state: dict[str, NDArray], self_from_other: Transform) -> None:
        """Add what another map knew, whose `state` is given."""
        masks = dict(zip(state["regions"].tolist(), state["blocks"].tolist(), strict=True))
        self._add_moved(masks, lambda points: np.broadcast_to(self_from_other, (len(points), 4, 4)))

    def has(self, keys: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Return for blocks (N, 3) whether they are known to be free."""
        masks = [self._masks.get(region, 0) for region in region_ids(keys).tolist()]
        return np.array([mask >> place & 1 for mask, place in zip(masks, places_of(keys).tolist(), strict=True)], bool)

    def state(self) -> dict[str, NDArray]:
        """Return all that is known: `regions` int64 (N,), in order, and `blocks` uint64 (N,), a bit a block."""
        regions = sorted(self._masks)
        masks = np.array([self._masks[region] for region in regions], np.uint64)
        return {"regions": np.array(regions, np.int64), "blocks": masks}

    def restore(self, state: dict[str, NDArray]) -> None:
        """Know what `state` gave."""
        self._masks = dict(zip(state["regions"].tolist(), state["blocks"].tolist(), strict=True))

    def _add_moved(
        self, masks: dict[int, int], corrections: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    ) -> None:
        """Add the blocks in which the centres of others come to lie."""
        keys = [block_keys(region)[places_in(masks[region])] for region in sorted(masks)]
        if keys:
            centres = (np.concatenate(keys).astype(np.float64) + 0.5) * self._edge
            transforms = corrections(centres)
            centres = np.einsum("nij,nj->ni", transforms[:, :3, :3], centres) + transforms[:, :3, 3]
            self._add(np.floor(centres / self._edge).astype(np.int32))

    def _add(self, keys: NDArray[np.int32]) -> None:
        regions = region_ids(keys)
        order = np.argsort(regions, kind="stable")
        regions, bits = regions[order], np.uint64(1) << places_of(keys[order]).astype(np.uint64)
        first = np.flatnonzero(np.diff(regions, prepend=regions[0] - 1))
        masks = np.bitwise_or.reduceat(bits, first)
        for region, mask in zip(regions[first].tolist(), masks.tolist(), strict=True):
            self._masks[region] = self._masks.get(region, 0) | mask


@compiled
def nearest_of_tiles(depth, tile, nearest, valid):  # type: ignore[no-untyped-def]
    """Find the smallest depth of each tile of an image, and how many of its pixels have one.

    Args:
        depth: (H, W) metres, NaN where nothing is measured.
        tile: pixels along a tile's edge.
        nearest: (rows, columns) of tiles, set to metres; infinite where nothing is measured.
        valid: likewise, set.
    """
    height, width = depth.shape
    rows, columns = nearest.shape
    for row in range(rows):
        for column in range(columns):
            least, count = np.float32(np.inf), 0
            for i in range(row * tile, min((row + 1) * tile, height)):
                for j in range(column * tile, min((column + 1) * tile, width)):
                    value = depth[i, j]
                    if value == value:
                        count += 1
                        least = min(least, value)
            nearest[row, column] = least
            valid[row, column] = count


@compiled
def empty_blocks(  # type: ignore[no-untyped-def]
    first, count, K, camera_from_world, edge, max_depth, height, width, tile, nearest, valid, found
):
    """Find the blocks that a camera sees all of, with nothing in them or before them.

    Half of the pixels that a block covers must have a depth, and all those that have must be farther than the block.

    Args:
        first: (3,), least key; blocks are looked at in a box from there on.
        count: (3,), how many along each axis.
        K: (3, 3) intrinsics.
        camera_from_world: (3, 4).
        edge: of a block, metres.
        max_depth: metres; what reaches farther is not known to be free.
        height, width: of the image, pixels.
        tile: pixels along a tile's edge.
        nearest, valid: what `nearest_of_tiles` finds.
        found: with room for all blocks of the box; set to packed keys.

    Returns:
        How many keys were found.
    """
    number = 0
    for i in range(count[0]):
        for j in range(count[1]):
            for k in range(count[2]):
                left, right, top, bottom, far = np.inf, -np.inf, np.inf, -np.inf, -np.inf
                for corner in range(8):
                    x = (first[0] + i + (corner & 1)) * edge
                    y = (first[1] + j + (corner >> 1 & 1)) * edge
                    z = (first[2] + k + (corner >> 2)) * edge
                    away = _row(camera_from_world, 2, x, y, z)
                    far = max(far, away)
                    if not 1e-3 < away <= max_depth:
                        far = np.inf
                        break
                    across, down = _row(camera_from_world, 0, x, y, z), _row(camera_from_world, 1, x, y, z)
                    u = (K[0, 0] * across + K[0, 1] * down) / away + K[0, 2]
                    v = (K[1, 0] * across + K[1, 1] * down) / away + K[1, 2]
                    left, right, top, bottom = min(left, u), max(right, u), min(top, v), max(bottom, v)
                if far == np.inf or left < 0 or top < 0 or right > width - 1 or bottom > height - 1:
                    continue
                pixels, measured, is_free = 0, 0, True
                for row in range(np.int64(top) // tile, np.int64(bottom) // tile + 1):
                    for column in range(np.int64(left) // tile, np.int64(right) // tile + 1):
                        is_free &= nearest[row, column] >= far
                        measured += valid[row, column]
                        pixels += (min((row + 1) * tile, height) - row * tile) * (
                            min((column + 1) * tile, width) - column * tile
                        )
                    if not is_free:
                        break
                if is_free and 2 * measured >= pixels:
                    key_x, key_y, key_z = first[0] + i, first[1] + j, first[2] + k
                    found[number] = ((key_x + (1 << 20)) << 42) | ((key_y + (1 << 20)) << 21) | (key_z + (1 << 20))
                    number += 1
    return number


@compiled
def _row(transform, row, x, y, z):  # type: ignore[no-untyped-def]
    return transform[row, 0] * x + transform[row, 1] * y + transform[row, 2] * z + transform[row, 3]
