# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The 2D grid of any height band, from the voxels of the blocks between two heights above the ground.

A column of voxels is projected as octomap_server projects OctoMap's: it is occupied where a surface crosses it within
the band, else free where anything of it within the band was seen to be free, else unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_perception.mapping.config import MapperConfig
from mtl_perception.mapping.fusion.blocks import BLOCK, unpack
from mtl_perception.mapping.ground.ground_grid import FREE, OCCUPIED, UNSEEN, GridMap, GroundGrid
from mtl_perception.mapping.slices.free_air import FreeAir
from mtl_perception.mapping.window.map_blocks import MapBlocks
from mtl_perception.mapping.window.regions import REGION

_NEAR_SURFACE = np.float32(np.sqrt(3.0) / 2)  # voxels; as far may a surface through a voxel be from its centre

Bounds = tuple[float, float, float, float]
"""A rectangle of the world: least x, least y, greatest x, greatest y, metres."""


@dataclass(frozen=True)
class Area:
    """Which cells are asked for.

    Attributes:
        bounds: the rectangle that they cover; None: all that has blocks.
        margin: cells more on each side of the rectangle.
        centre: (x, y), metres: of all that has blocks, a square around it, where all has more than `max_grid_cells`.
    """

    bounds: Bounds | None
    margin: int = 0
    centre: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, eq=False)
class GroundHeights:
    """How high the ground is, as the 2D grid knows it.

    Attributes:
        corner: int64 (2,), index of cell [0, 0], x y; cell (i, j) begins at (i, j) * resolution.
        resolution: metres.
        heights: float32 (H, W) in the world, metres; NaN where it has not been seen.
        usual: metres; for where it has not been seen.
    """

    corner: NDArray[np.int64]
    resolution: float
    heights: NDArray[np.float32]
    usual: float

    @classmethod
    def of(cls, grid: GroundGrid, otherwise: float) -> GroundHeights:
        """Return what a grid knows, and `otherwise`, metres, if it has seen nothing."""
        usual = otherwise if np.isnan(grid.ground_height) else grid.ground_height
        return cls(grid.corner, grid.resolution, grid.layer("ground"), usual)

    def at(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the heights (H, W) at all pairs of coordinates x (W,) and y (H,), metres."""
        column = np.floor(x / self.resolution).astype(np.int64) - self.corner[0]
        row = np.floor(y / self.resolution).astype(np.int64) - self.corner[1]
        rows, columns = self.heights.shape
        found = np.full((len(y), len(x)), self.usual)
        inside = np.ix_((row >= 0) & (row < rows), (column >= 0) & (column < columns))
        seen = self.heights[np.ix_(row[inside[0].ravel()], column[inside[1].ravel()])]
        found[inside] = np.where(np.isnan(seen), self.usual, seen)
        return found


def cell_edge(config: MapperConfig) -> float:
    """Return the edge of a cell, metres: as many voxels as come nearest to `config.grid_resolution`."""
    return _voxels_a_cell(config) * config.voxel_size


def band_grid(
    blocks: MapBlocks,
    air: FreeAir,
    ground: GroundHeights,
    config: MapperConfig,
    band: tuple[float, float],
    area: Area,
) -> GridMap:
    """Return what is within a height band. It costs as much as the blocks within the band and the area.

    Args:
        blocks: of the map.
        air: what of the rest is free.
        ground: its heights.
        config: of the map.
        band: metres above the ground, least and most; both belong to it.
        area: what is asked for.

    Raises:
        ValueError: the band's or the area's ends are in the wrong order, or it has more than `config.max_grid_cells`.
    """
    if not band[0] <= band[1]:
        raise ValueError(f"the band from {band[0]} to {band[1]} m is empty")
    resolution = cell_edge(config)
    low, high = _cells(blocks, area, config)
    if (low >= high).any():
        return GridMap((0.0, 0.0), resolution, np.zeros((0, 0), np.int8))
    # A voxel reaches half its edge beyond its lattice point, so do cells.
    middles = [(np.arange(low[axis], high[axis]) + 0.5) * resolution - config.voxel_size / 2 for axis in (0, 1)]
    columns = _Columns(low, ground.at(*middles), config, band)
    heights = np.array([columns.ground.min() + band[0], columns.ground.max() + band[1]])
    lowest, highest = np.floor(heights / config.voxel_size).astype(np.int64) + [-1, 1]  # of voxels, whatever is rounded
    width = _voxels_a_cell(config)
    first, last = np.append(low * width, lowest) // BLOCK, np.append(high * width - 1, highest) // BLOCK
    for keys, voxels in blocks.within(first, last):
        columns.add(keys, voxels)
    for keys in air.within(first, last):
        columns.add_air(keys[~blocks.have(keys)])
    x, y = (low * resolution - config.voxel_size / 2).tolist()
    return GridMap((x, y), resolution, columns.grid())


def _voxels_a_cell(config: MapperConfig) -> int:
    return max(1, round(config.grid_resolution / config.voxel_size))


def _cells(blocks: MapBlocks, area: Area, config: MapperConfig) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices (2,), x y, of the first cell of an area and of the one after the last."""
    edge, half_voxel = cell_edge(config), config.voxel_size / 2
    if area.bounds is not None:
        least, most = np.array(area.bounds[:2]), np.array(area.bounds[2:])
        if not (least <= most).all():
            raise ValueError(f"the area from {least.tolist()} to {most.tolist()} m is empty")
        low = np.floor((least + half_voxel) / edge).astype(np.int64) - area.margin
        high = np.ceil((most + half_voxel) / edge).astype(np.int64) + area.margin
        if np.prod(high - low) > config.max_grid_cells:
            raise ValueError(f"{np.prod(high - low)} cells are asked for, max_grid_cells is {config.max_grid_cells}")
        return low, high
    regions = unpack(np.array(blocks.regions(), np.int64))[:, :2].astype(np.int64)
    if not len(regions):
        return np.zeros(2, np.int64), np.zeros(2, np.int64)
    voxels, width = REGION * BLOCK, _voxels_a_cell(config)
    low, high = regions.min(axis=0) * voxels // width, -(-(regions.max(axis=0) + 1) * voxels // width)
    if np.prod(high - low) > config.max_grid_cells:
        half = int(np.sqrt(config.max_grid_cells)) // 2
        centre = np.floor(np.array(area.centre) / edge).astype(np.int64)
        low, high = np.maximum(low, centre - half), np.minimum(high, centre + half)
    return low, high


class _Columns:
    """What is known of the cells of a grid."""

    def __init__(
        self,
        low: NDArray[np.int64],
        ground: NDArray[np.float64],
        config: MapperConfig,
        band: tuple[float, float],
    ) -> None:
        """Begin with nothing seen in cells of which [0, 0] has index `low` and which have the ground at (H, W)."""
        self.ground = ground
        self._low, self._width, self._config, self._band = low, _voxels_a_cell(config), config, band
        self._surface = np.zeros(ground.size, dtype=bool)
        self._free = np.zeros(ground.size, dtype=bool)

    def add(self, keys: NDArray[np.int32], voxels: Mapping[str, NDArray]) -> None:
        """Add blocks (N, 3) with voxels (N, VOXELS)."""
        cell, inside = self._cells_of(keys)
        z = keys[:, 2, None] * BLOCK + np.arange(BLOCK)
        above = z[:, :, None, None] * self._config.voxel_size - self._ground_of(cell)[:, None]
        in_band = inside[:, None] & (above >= self._band[0]) & (above <= self._band[1])
        shape = (len(keys), BLOCK, BLOCK, BLOCK)  # z y x
        seen = in_band & (voxels["weight"].reshape(shape) >= self._config.min_weight)
        distance = voxels["tsdf"].reshape(shape) * np.float32(self._config.truncation_voxels)
        self._surface[cell[(seen & (np.abs(distance) <= _NEAR_SURFACE)).any(axis=1)]] = True
        self._free[cell[(seen & (distance > _NEAR_SURFACE)).any(axis=1)]] = True

    def add_air(self, keys: NDArray[np.int32]) -> None:
        """Add blocks (N, 3) that are free."""
        cell, inside = self._cells_of(keys)
        low = ((keys[:, 2] * BLOCK) * self._config.voxel_size)[:, None, None] - self._ground_of(cell)
        high = low + (BLOCK - 1) * self._config.voxel_size
        self._free[cell[inside & (low <= self._band[1]) & (high >= self._band[0])]] = True

    def grid(self) -> NDArray[np.int8]:
        """Return the cells (H, W): 100 occupied, 0 free, -1 not seen."""
        data = np.where(self._surface, OCCUPIED, np.where(self._free, FREE, UNSEEN))
        return data.astype(np.int8).reshape(self.ground.shape)

    def _cells_of(self, keys: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the flat cells (N, 8, 8), y x, of the columns of blocks (N, 3), and which are inside the grid."""
        rows, columns = self.ground.shape
        voxels = keys[:, :2, None].astype(np.int64) * BLOCK + np.arange(BLOCK)
        cells = voxels // self._width - self._low[:, None]
        x, y = cells[:, 0, None, :], cells[:, 1, :, None]
        inside = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
        return np.where(inside, y * columns + x, 0), inside

    def _ground_of(self, cells: NDArray[np.int64]) -> NDArray[np.float64]:
        return self.ground.reshape(-1)[cells]
