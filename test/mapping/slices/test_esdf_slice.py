# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Distances to the nearest obstacle, against all pairs of cells, and in a room."""

import numpy as np
import pytest

from mtl_perception.mapping import GridMap, Mapper, MapperConfig
from mtl_perception.mapping.slices.esdf_slice import esdf_of


def distances(data: np.ndarray, resolution: float, most: float) -> np.ndarray:
    """Distances of all cells, from their definition."""
    cells = np.stack(np.nonzero(np.ones(data.shape)), axis=1)
    occupied = data.reshape(-1) == 100
    apart = np.linalg.norm(cells[:, None] - cells[None], axis=2)
    outside = apart[:, occupied].min(axis=1, initial=np.inf)
    inside = apart[:, ~occupied].min(axis=1, initial=np.inf)
    result = np.where(occupied, -1, 1) * np.minimum((np.where(occupied, inside, outside) - 0.5) * resolution, most)
    return np.where(data.reshape(-1) == -1, np.nan, result).reshape(data.shape)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_equals_all_pairs_of_cells(share):
    random = np.random.default_rng(0)
    data = random.choice(np.array([-1, 0, 100], np.int8), (30, 40), p=[(1 - share) / 3, (1 - share) * 2 / 3, share])
    found = esdf_of(GridMap((1.0, 2.0), 0.25, data), 0.5, 2.0)
    np.testing.assert_allclose(found.data, distances(data, 0.25, 2.0), rtol=1e-6)
    assert (
        found.origin == (1.0, 2.0)
        and found.resolution == 0.25
        and found.data.dtype == np.float32
        and found.height == 0.5
    )


def test_the_margin_is_left_out_but_its_obstacles_count():
    data = np.zeros((9, 12), np.int8)
    data[0, 5] = 100
    found = esdf_of(GridMap((0.0, 0.0), 1.0, data), 0.5, 20.0, margin=2)
    assert found.data.shape == (5, 8) and found.origin == (2.0, 2.0)
    assert found.data[0, 3] == pytest.approx(1.5)


def test_a_room(walk, labels):
    mapper = Mapper(MapperConfig(), labels)
    for frame in walk:
        mapper.integrate(frame)
    bounds = (1.0, -0.2, 2.9, 0.2)
    low, high = mapper.esdf_slice(0.2, 0.7, bounds), mapper.esdf_slice(1.0, 1.3, bounds)
    near = mapper.esdf_slice(1.0, 1.3, (2.0, -0.2, 2.3, 0.2))  # the wall, 3 m ahead, is beyond the bounds
    row = low.data.shape[0] // 2
    for field, surface in ((low, 2.0), (high, 3.0), (near, 3.0)):
        x = field.origin[0] + (np.arange(field.data.shape[1]) + 0.5) * field.resolution
        before = (x < surface - 0.2) & (x > 1.2)
        np.testing.assert_allclose(field.data[min(row, len(field.data) - 1)][before], surface - x[before], atol=0.1)
    assert np.isnan(mapper.esdf_slice(0.2, 0.7).data).any()
