# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Occupancy from above has everything in its place."""

import numpy as np
import pytest

from mtl_perception.core import FREE, UNOBSERVED, LabelSpace, Occupancy, VoxelGrid
from mtl_perception.drawing.occupancy import UNOBSERVED_COLOUR, occupancy_from_above
from mtl_perception.resources import config_file


@pytest.fixture
def labels() -> LabelSpace:
    return LabelSpace.load(config_file("labels", "default"))


def test_occupancy_has_x_up_and_y_left(labels):
    grid = VoxelGrid((-8.0, -8.0, -1.0), 0.5, (32, 32, 4))
    voxels = np.full(grid.shape, UNOBSERVED, np.uint8)
    voxels[28:32, 28:32, 1] = labels.id_of("car")  # ahead and to the left
    voxels[28:32, 28:32, 3] = FREE
    picture = occupancy_from_above(Occupancy(grid, voxels, np.zeros(grid.shape, np.float32)), labels, width=320)
    blue = (picture[..., 2] > 100) & (picture[..., 0] < 40) & (picture[..., 1] < 60)
    rows, columns = np.nonzero(blue[:320])
    assert 0 < rows.mean() < 60 and 30 < columns.mean() < 90
    assert tuple(picture[300, 40]) == UNOBSERVED_COLOUR
