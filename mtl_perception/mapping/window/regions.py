# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Regions: cubes of REGION x REGION x REGION blocks that enter and leave memory as one.

A region is named by one integer, what `pack` makes of its key; the key times REGION is the key of its first block.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mtl_perception.mapping.fusion.blocks import pack, unpack

REGION = 4
"""Blocks along a region's edge. A block has one of 64 places in its region, so a set of blocks is a 64-bit mask."""
PLACES = REGION**3


def region_ids(keys: NDArray) -> NDArray[np.int64]:
    """Return the regions (...) that blocks with keys (..., 3) lie in."""
    return pack(np.asarray(keys) // REGION)


def distinct_regions(keys: NDArray) -> NDArray[np.int64]:
    """Return the regions that blocks with keys (N, 3) lie in, in order, each once."""
    return np.unique(region_ids(keys))


def block_keys(region: int) -> NDArray[np.int32]:
    """Return the keys (PLACES, 3) of all blocks that a region has room for, in the order of their places."""
    return unpack(np.array(region)) * np.int32(REGION) + _STEPS


def places_of(keys: NDArray) -> NDArray[np.int64]:
    """Return the places (N,) of blocks with keys (N, 3) in their regions; ordered as `pack` orders the keys."""
    return np.asarray(keys, dtype=np.int64) % REGION @ np.array([REGION * REGION, REGION, 1])


def mask_of(places: NDArray) -> int:
    """Return a set of places (N,) as the bits of one integer."""
    bits = np.zeros(PLACES, dtype=bool)
    bits[places] = True
    return int.from_bytes(np.packbits(bits, bitorder="little").tobytes(), "little")


def places_in(mask: int) -> NDArray[np.int64]:
    """Return the places (N,), in order, that `mask_of` made an integer of."""
    octets = np.frombuffer(mask.to_bytes(PLACES // 8, "little"), np.uint8)
    return np.flatnonzero(np.unpackbits(octets, bitorder="little")).astype(np.int64)


def distances(regions: NDArray[np.int64], point: NDArray[np.float64], edge: float) -> NDArray[np.float64]:
    """Return how far (N,) regions (N,) of an edge in metres are from a point (3,), by their nearest points, metres."""
    low = unpack(regions) * edge
    return np.asarray(np.linalg.norm(point - np.clip(point, low, low + edge), axis=1))


class RegionIndex:
    """A set of regions that is asked for those in a box: each cell of a coarse grid lists its own."""

    def __init__(self, region_edge: float, cell_edge: float) -> None:
        """Make an empty set; boxes of about `cell_edge` metres are found fastest."""
        self._region_edge = region_edge
        self._regions_a_cell = max(1, round(cell_edge / region_edge))
        self._cells: dict[int, set[int]] = {}

    def add(self, region: int) -> None:
        """Add a region."""
        self._cells.setdefault(self._cell(region), set()).add(region)

    def remove(self, region: int) -> None:
        """Remove a region that is in the set."""
        cell = self._cell(region)
        self._cells[cell].remove(region)
        if not self._cells[cell]:
            del self._cells[cell]

    def near(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return, in order, at least all regions of the set that touch the box between two points (3,), metres."""
        cell_edge = self._region_edge * self._regions_a_cell
        first, last = np.floor(low / cell_edge).astype(int), np.floor(high / cell_edge).astype(int)
        axes = [np.arange(a, b + 1) for a, b in zip(first.tolist(), last.tolist(), strict=True)]
        cells = pack(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3))
        found = [region for cell in cells.tolist() for region in self._cells.get(cell, ())]
        return np.sort(np.array(found, dtype=np.int64))

    def _cell(self, region: int) -> int:
        return int(pack(unpack(np.array(region)) // self._regions_a_cell))


_STEPS = np.stack(np.unravel_index(np.arange(PLACES), (REGION, REGION, REGION)), axis=1).astype(np.int32)
