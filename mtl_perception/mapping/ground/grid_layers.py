# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The layers of a 2D grid: what each cell holds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mtl_perception.mapping.ground.cell_moves import moved

TILE = 16
"""Cells along the edge of a tile. Tile (x, y) has the cells from (x, y) * TILE on."""

Rectangle = tuple[int, int, int, int]
"""Cells from column and row to before column and row, counted from the world's origin: x0, y0, x1, y1."""

LEAD_BITS = 3
"""The lowest bits of a cell's ground vote are by how much its class leads; the bits above are the class's number."""
MOST_LEAD = (1 << LEAD_BITS) - 1

MOST_EVIDENCE, LEAST_EVIDENCE = 15, -6

_LAYERS: dict[str, tuple[str, float]] = {
    "evidence": ("int8", 0),  # of an obstacle: there is one where it is above 0
    "walls": ("int8", 0),  # of a wall, likewise
    "seen": ("bool", False),  # whether an obstacle or free space was ever seen
    "ground": ("float32", np.nan),  # height in the world, metres; NaN where not seen
    "ground_vote": ("uint8", 0),  # which class of what lies low leads, and by how much
}
"""What each cell holds: type, and value where nothing was seen."""

LAYER_TYPES = {name: dtype for name, (dtype, _) in _LAYERS.items()}
"""The types of the layers."""

_GROWTH = 4 * TILE  # cells by which a grid grows


def empty_layers(low: NDArray[np.int64], high: NDArray[np.int64]) -> dict[str, NDArray]:
    """Return layers (H, W) of the cells from `low` to `high` (2,), x y, of which nothing is known."""
    return {name: np.full((high - low)[::-1], fill, dtype) for name, (dtype, fill) in _LAYERS.items()}


def layers_between(
    layers: dict[str, NDArray], corner: NDArray[np.int64], low: NDArray[np.int64], high: NDArray[np.int64]
) -> dict[str, NDArray]:
    """Return what layers, which begin at cell `corner`, hold in the cells from `low` to `high` (2,), x y."""
    return {name: moved(layers[name], corner, low, high, fill) for name, (_, fill) in _LAYERS.items()}


def grown(low: NDArray[np.int64], high: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the corners of a grid that has the cells from `low` to `high` (2,), x y, and some to spare."""
    return low // _GROWTH * _GROWTH, -(-high // _GROWTH) * _GROWTH


def centred(centre: NDArray[np.float64], resolution: float) -> NDArray[np.int64]:
    """Return a corner that a grid may have, near a place (2,), x y, metres."""
    return np.floor(centre / resolution).astype(np.int64) // _GROWTH * _GROWTH
