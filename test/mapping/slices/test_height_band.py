# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The 2D grid of any height band: of scenes, and against a computation voxel by voxel."""

import math

import numpy as np
import pytest

from mtl_perception.mapping import BLOCK, GridMap, Mapper, MapperConfig
from mtl_perception.mapping.slices.free_air import FreeAir
from mtl_perception.mapping.slices.height_band import Area, GroundHeights, band_grid, cell_edge
from mtl_perception.mapping.window.archive import RegionArchive
from mtl_perception.mapping.window.map_blocks import MapBlocks

FLAT = GroundHeights(np.zeros(2, np.int64), 0.1, np.zeros((0, 0), np.float32), 0.0)


def at(grid: GridMap, x: float, y: float) -> int:
    column, row = (math.floor((value - low) / grid.resolution) for value, low in zip((x, y), grid.origin, strict=True))
    return int(grid.data[row, column])


@pytest.fixture
def mapper(walk, labels):
    """The map of a floor, a wall 3 m ahead, and a piece of furniture 0.8 m high before it."""
    result = Mapper(MapperConfig(), labels)
    for frame in walk:
        result.integrate(frame)
    return result


def test_a_band_shows_what_is_between_its_heights(mapper):
    low, high, above = (mapper.occupancy_band(*band) for band in ((0.2, 0.7), (1.0, 1.3), (4.0, 5.0)))
    assert at(low, 2.0, 0.0) == 100 and at(high, 2.0, 0.0) == 0  # the furniture's front, and the air over it
    assert at(low, 3.0, 1.0) == at(high, 3.0, 1.0) == 100  # the wall
    assert at(low, 1.8, 0.0) == at(high, 1.8, 0.0) == 0
    assert at(low, 3.15, 1.0) == at(high, 3.15, 1.0) == -1  # inside of the wall
    assert (above.data == -1).all()
    assert set(np.unique(low.data)) == {-1, 0, 100}


def test_heights_are_above_the_ground_wherever_it_is(scene, frame, labels):
    scene.box("floor", (-1, -3, -0.1), (2, 3, 0)).box("floor", (2, -3, 0.9), (6, 3, 1.0))  # a stage, 1 m high
    scene.box("furniture", (3, -0.5, 1), (3.5, 0.5, 1.5))  # on it
    mapper = Mapper(MapperConfig(), labels)
    for step in range(4):
        mapper.integrate(frame(scene.look((0.1 * step, 0, 2.2), pitch=0.4), stamp_ns=step, base=(0.1 * step, 0, 0)))
    low, high = mapper.occupancy_band(0.1, 0.4), mapper.occupancy_band(1.1, 1.4)
    assert at(low, 3.0, 0.0) == 100 and at(high, 3.0, 0.0) != 100
    assert at(low, 2.6, 0.0) == 0  # the stage itself is ground


def random_map(seed: int) -> tuple[MapBlocks, FreeAir, GroundHeights, MapperConfig]:
    """Some blocks with random voxels, others that are free, a part of each in the archive, and rough ground."""
    random = np.random.default_rng(seed)
    config = MapperConfig(voxel_size=0.1, grid_resolution=random.choice([0.05, 0.1, 0.2, 0.3]), max_blocks=1000)
    blocks = MapBlocks(config, RegionArchive(config.voxel_size, config.max_depth))
    keys = np.unique(random.integers(-6, 6, (200, 3)) // [1, 1, 2], axis=0).astype(np.int32)
    rows = blocks.store.activate(keys)
    blocks.store.voxels["tsdf"][rows] = random.uniform(-1, 1, (len(keys), BLOCK**3))
    blocks.store.voxels["weight"][rows] = random.choice([0.0, 1.0], (len(keys), BLOCK**3), p=[0.9, 0.1])
    blocks.note(keys, keys, 0)
    for region in blocks.resident[::3].tolist():
        blocks.send_away(region)
    air = FreeAir(config)
    air._add(np.unique(random.integers(-6, 6, (100, 3)) // [1, 1, 2], axis=0).astype(np.int32))
    heights = random.uniform(-0.5, 0.5, (30, 40)).astype(np.float32)
    heights[random.random(heights.shape) < 0.3] = np.nan
    return blocks, air, GroundHeights(np.array([-10, -20]), 0.2371, heights, -0.2), config


def voxel_by_voxel(blocks, air, ground, config, band, grid: GridMap) -> np.ndarray:
    """What the cells of a grid are, from their definition."""
    result = np.full(grid.data.shape, -1)
    rows, columns = grid.data.shape
    everything = np.full(3, -100), np.full(3, 100)
    contents = [(key, voxels, n) for keys, voxels in blocks.within(*everything) for n, key in enumerate(keys.tolist())]
    known = {tuple(key) for key, _, _ in contents}
    free = [(key, None, 0) for keys in air.within(*everything) for key in keys.tolist() if tuple(key) not in known]
    for key, voxels, number in [*free, *contents]:
        for place, (z, y, x) in enumerate(np.ndindex(BLOCK, BLOCK, BLOCK)):
            x, y, z = ((BLOCK * k + step) * config.voxel_size for k, step in zip(key, (x, y, z), strict=True))
            column, row = (
                round_down((x - grid.origin[0]) / grid.resolution),
                round_down((y - grid.origin[1]) / grid.resolution),
            )
            if not (0 <= column < columns and 0 <= row < rows):
                continue
            middle = [
                low + (cell + 0.5) * grid.resolution for low, cell in zip(grid.origin, (column, row), strict=True)
            ]
            i, j = (
                math.floor(value / ground.resolution) - int(c) for value, c in zip(middle, ground.corner, strict=True)
            )
            inside = 0 <= j < ground.heights.shape[0] and 0 <= i < ground.heights.shape[1]
            height = ground.heights[j, i] if inside else np.nan
            above = z - (ground.usual if np.isnan(height) else float(height))
            if not band[0] <= above <= band[1]:
                continue
            if voxels is None:
                result[row, column] = max(result[row, column], 0)
            elif voxels["weight"][number, place] >= config.min_weight:
                distance = voxels["tsdf"][number, place] * config.truncation_voxels
                if abs(distance) <= math.sqrt(3) / 2:
                    result[row, column] = 100
                elif distance > 0:
                    result[row, column] = max(result[row, column], 0)
    return result


def round_down(value: float) -> int:
    return math.floor(value + 1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_computation_voxel_by_voxel(seed):
    blocks, air, ground, config = random_map(seed)
    for band, bounds in (((0.12, 0.87), None), ((-0.33, 0.41), (-2.0, -3.0, 1.5, 0.7))):
        grid = band_grid(blocks, air, ground, config, band, Area(bounds))
        assert np.array_equal(grid.data, voxel_by_voxel(blocks, air, ground, config, band, grid))
        assert {-1, 0, 100} == set(np.unique(grid.data))


def test_bounds_and_their_margin_cut_out_of_the_whole():
    blocks, air, ground, config = random_map(0)
    band, bounds = (0.12, 0.87), (-2.0, -3.0, 1.5, 0.7)
    whole, part, wider = (
        band_grid(blocks, air, ground, config, band, area) for area in (Area(None), Area(bounds), Area(bounds, 4))
    )
    column, row = (round((part.origin[axis] - whole.origin[axis]) / whole.resolution) for axis in (0, 1))
    rows, columns = part.data.shape
    assert np.array_equal(part.data, whole.data[row : row + rows, column : column + columns])
    assert np.array_equal(part.data, wider.data[4:-4, 4:-4])
    assert part.origin[0] <= -2.0 < part.origin[0] + part.resolution
    assert part.origin[1] + rows * part.resolution >= 0.7 > part.origin[1] + (rows - 1) * part.resolution


def test_a_map_with_more_cells_than_allowed_is_shown_around_the_robot():
    blocks, air, ground, config = random_map(0)
    config = config.model_copy(update={"max_grid_cells": 400})
    grid = band_grid(blocks, air, ground, config, (0.0, 1.0), Area(None, centre=(1.0, -1.0)))
    assert grid.data.size <= 400
    centre = [low + size * grid.resolution / 2 for low, size in zip(grid.origin, grid.data.shape[::-1], strict=True)]
    assert centre == pytest.approx([1.0, -1.0], abs=2 * cell_edge(config))
    with pytest.raises(ValueError, match="cells are asked for, max_grid_cells is 400"):
        band_grid(blocks, air, ground, config, (0.0, 1.0), Area((-50.0, -50.0, 50.0, 50.0)))


@pytest.mark.parametrize(
    ("band", "bounds", "text"),
    [
        ((1.0, 0.5), None, "band from 1.0 to 0.5 m is empty"),
        ((0.0, 1.0), (1.0, 0.0, 0.0, 1.0), "area from .* is empty"),
    ],
)
def test_what_is_in_the_wrong_order_is_refused(band, bounds, text):
    blocks, air, _, config = random_map(0)
    with pytest.raises(ValueError, match=text):
        band_grid(blocks, air, FLAT, config, band, Area(bounds))


def test_an_empty_map_has_no_cells(labels):
    assert Mapper(MapperConfig(), labels).occupancy_band(0.0, 1.0).data.shape == (0, 0)
