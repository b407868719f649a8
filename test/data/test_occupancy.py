# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Occupancy from depth: a wall in front of a camera."""

import numpy as np
import pytest

from mtl_perception.core import FREE, UNKNOWN, UNLABELLED, UNOBSERVED, Camera, VoxelGrid
from mtl_perception.core.transforms import BODY_FROM_OPTICAL
from mtl_perception.data.occupancy import occupancy_from_depth

GRID = VoxelGrid(origin=(0.0, -2.0, -2.0), voxel_size=0.5, shape=(20, 8, 8))
CAMERA = Camera("front", 64, 48, np.array([[32.0, 0, 31.5], [0, 32.0, 23.5], [0, 0, 1]]), BODY_FROM_OPTICAL)
AXIS = (4, 4)  # the voxels at y, z = 0..0.5


def test_wall_is_occupied_free_before_and_unobserved_behind() -> None:
    occupancy = occupancy_from_depth(GRID, [(CAMERA, np.full((48, 64), 4.2), np.full((48, 64), 3, np.uint8))])
    along = occupancy.labels[(slice(None), *AXIS)]
    assert along[8] == 3, "the wall at 4.2 m lies in voxel 8"
    assert (along[1:7] == FREE).all()
    assert (along[9:] == UNOBSERVED).all()
    assert along[7] == UNOBSERVED, "within one voxel of the wall nothing is said"
    assert occupancy.probability[(8, *AXIS)] == 1 and occupancy.probability[(3, *AXIS)] == 0
    assert occupancy.probability[(15, *AXIS)] == 0.5


def test_sky_is_free_all_along_and_unknown_depth_says_nothing() -> None:
    sky = occupancy_from_depth(GRID, [(CAMERA, np.full((48, 64), np.inf), None)])
    assert (sky.labels[(slice(1, None), *AXIS)] == FREE).all() and not sky.occupied.any()
    nothing = occupancy_from_depth(GRID, [(CAMERA, np.full((48, 64), np.nan), None)])
    assert (nothing.labels == UNOBSERVED).all()


def test_label_is_that_of_most_points_and_known_ones_go_first() -> None:
    labels = np.full((48, 64), UNKNOWN, np.uint8)
    labels[:, ::4] = 7
    labels[::4, 1::4] = 5
    occupancy = occupancy_from_depth(GRID, [(CAMERA, np.full((48, 64), 4.2), labels)])
    assert occupancy.labels[(8, *AXIS)] == 7
    without = occupancy_from_depth(GRID, [(CAMERA, np.full((48, 64), 4.2), None)])
    assert without.labels[(8, *AXIS)] == UNLABELLED and without.occupied[(8, *AXIS)]


def test_a_wall_that_one_camera_sees_stays_when_another_looks_through() -> None:
    wall, sky = np.full((48, 64), 4.2), np.full((48, 64), np.inf)
    occupancy = occupancy_from_depth(GRID, [(CAMERA, wall, None), (CAMERA, sky, None)])
    assert occupancy.occupied[(8, *AXIS)]
    assert occupancy.labels[(12, *AXIS)] == FREE


def test_no_view_leaves_all_unobserved() -> None:
    assert (occupancy_from_depth(GRID, []).labels == UNOBSERVED).all()


@pytest.mark.parametrize("depth_shape, label_shape", [((10, 10), None), ((48, 64), (10, 10))])
def test_wrong_size_names_the_camera(depth_shape: tuple[int, int], label_shape: tuple[int, int] | None) -> None:
    labels = None if label_shape is None else np.zeros(label_shape, np.uint8)
    with pytest.raises(ValueError, match="front"):
        occupancy_from_depth(GRID, [(CAMERA, np.ones(depth_shape), labels)])
