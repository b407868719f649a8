# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Clearance on a floor: exact to the last bits, of which a walk that depends on them would be another one."""

import numpy as np

from mtl_perception.data.world.indoor.footprint import Footprint
from mtl_perception.data.world.indoor.free_space import CELL_M, FreeSpace

FLOORS = [((0.0, 0.0), (9.0, 6.0)), ((8.0, 2.0), (15.3, 12.7))]


def test_clearance_is_the_distance_to_the_nearest_thing() -> None:
    generator = np.random.default_rng(3)
    low, high = (0.5, 0.5, 0.0, 0.2, 0.3), (14.0, 12.0, 3.0, 0.8, 1.2)
    furniture = [Footprint(*(float(value) for value in generator.uniform(low, high))) for _ in range(12)]
    space = FreeSpace(FLOORS, furniture)
    taken = np.argwhere(space.grid == 0.0)
    free = np.argwhere(space.grid > 0.0)[::97]
    nearest = np.linalg.norm((free[:, None] - taken[None]) * CELL_M, axis=-1).min(axis=1)
    np.testing.assert_allclose(space.grid[tuple(free.T)], nearest - CELL_M / 2, atol=1e-9)
