# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Occupancy from depth: a wall in front of a camera."""

import numpy as np
import pytest

from mtl_perception.core import FREE, UNKNOWN, UNLABELLED, UNOBSERVED, Camera, VoxelGrid, pixel_rays, project
from mtl_perception.core.transforms import BODY_FROM_OPTICAL, inverse, transform_points
from mtl_perception.data.occupancy import BEHIND_M, occupancy_from_depth
from mtl_perception.data.world.cameras.lens import pixel_rays_of, project_distorted
from mtl_perception.data.world.paths import upright

GRID = VoxelGrid(origin=(0.0, -2.0, -2.0), voxel_size=0.5, shape=(20, 8, 8))
CAMERA = Camera("front", 64, 48, np.array([[32.0, 0, 31.5], [0, 32.0, 23.5], [0, 0, 1]]), BODY_FROM_OPTICAL)
AXIS = (4, 4)  # the voxels at y, z = 0..0.5


K = np.array([[30.0, 0, 31.5], [0, 30.0, 23.5], [0, 0, 1]])
FISHEYE = Camera("fish", 64, 48, K, BODY_FROM_OPTICAL, "equidistant", np.array([0.05, -0.01, 0.0, 0.0]))


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


@pytest.mark.parametrize("seed", range(3))
def test_equals_one_point_and_one_voxel_at_a_time(seed: int) -> None:
    g = np.random.default_rng(seed)
    views = []
    for _ in range(2):
        pose = upright(g.uniform(-1, 1, 3), g.uniform(-0.5, 0.5), g.uniform(-0.3, 0.3)) @ BODY_FROM_OPTICAL
        K = np.array([[40.0, 0.5, 15.2], [0, 37.0, 11.9], [0, 0, 1]])
        depth = g.uniform(0.3, 12.0, (24, 32))
        depth[g.random((24, 32)) < 0.2] = np.nan
        depth[g.random((24, 32)) < 0.2] = np.inf
        labels = g.choice([1, 2, 7, UNKNOWN], (24, 32)).astype(np.uint8)
        views.append((Camera("random", 32, 24, K, pose), depth, labels))
    votes: dict[tuple[int, ...], list[int]] = {}
    expected = np.full(GRID.shape, UNOBSERVED)
    for camera, depth, labels in views:
        for row, column in np.argwhere(np.isfinite(depth)):
            ray = pixel_rays(camera)[row, column]
            point = transform_points(camera.base_from_camera, ray * (depth[row, column] + BEHIND_M))
            (voxel,), (inside,) = GRID.indices(point[None])
            if inside:
                votes.setdefault(tuple(voxel.tolist()), []).append(int(labels[row, column]))
        for voxel in np.ndindex(*GRID.shape):
            centre = transform_points(inverse(camera.base_from_camera), GRID.centres()[voxel][None])
            (pixel,), (ahead,) = project(camera, centre)
            if ahead > 0 and (np.abs(pixel - [15.5, 11.5]) < [16, 12]).all():
                column, row = np.floor(pixel + 0.5).astype(int)
                if ahead < depth[row, column] - GRID.voxel_size:
                    expected[voxel] = FREE
    for voxel, seen in votes.items():
        known = [label for label in seen if label != UNKNOWN]
        expected[voxel] = max(sorted(set(known)), key=known.count) if known else UNLABELLED
    assert len(votes) > 100
    np.testing.assert_array_equal(occupancy_from_depth(GRID, views).labels, expected)


def test_a_road_between_two_layers_of_voxels_is_in_the_lower_one() -> None:
    camera = Camera("front", 64, 48, CAMERA.K, upright((0, 0, 1.5), 0.0, 0.2) @ BODY_FROM_OPTICAL)
    rays = pixel_rays(camera) @ camera.base_from_camera[:3, :3].T
    with np.errstate(divide="ignore"):
        depth = np.where(rays[..., 2] < 0, -1.5 / rays[..., 2], np.inf).astype(np.float32)
    grid = VoxelGrid((0.0, -4.0, -1.0), 0.5, (20, 16, 4))
    layers = occupancy_from_depth(grid, [(camera, depth, None)]).occupied.any(axis=(0, 1))
    assert layers.tolist() == [False, True, False, False]


def test_what_is_observed_is_occupied_or_free() -> None:
    occupancy = occupancy_from_depth(GRID, [(CAMERA, np.full((48, 64), 4.2), None)])
    assert (occupancy.observed == (occupancy.occupied | (occupancy.labels == FREE))).all()
    assert occupancy.observed.any() and not occupancy.observed.all()


def test_through_a_fisheye_the_same_wall_is_seen() -> None:
    with pytest.raises(ValueError, match=r"fish.*lens"):
        occupancy_from_depth(GRID, [(FISHEYE, np.ones((48, 64)), None)])
    depth = np.where(np.isfinite(pixel_rays_of(FISHEYE)[..., 0]), 4.2, np.nan)
    wide = VoxelGrid((0.0, -10.0, -10.0), 0.5, (12, 40, 40))
    seen = occupancy_from_depth(wide, [(FISHEYE, depth, None)], pixel_rays_of, project_distorted)
    pinhole = Camera("front", 64, 48, K, BODY_FROM_OPTICAL)
    ideal = occupancy_from_depth(wide, [(pinhole, np.full((48, 64), 4.2), None)])
    assert seen.occupied.any(axis=(1, 2)).tolist() == [index == 8 for index in range(12)]
    assert seen.occupied[8].sum() > 1.1 * ideal.occupied[8].sum(), "it sees more of it"
    both = seen.observed & ideal.observed
    assert (seen.labels[both] == ideal.labels[both]).mean() > 0.99
    assert (seen.labels[1:7, 20, 20] == FREE).all() and (seen.labels[10:] == UNOBSERVED).all()
