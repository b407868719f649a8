# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""RigFrame, voxel grids and occupancy."""

import numpy as np
import pytest

from mtl_perception.core import FREE, UNOBSERVED, Camera, Occupancy, Rig, RigFrame, VoxelGrid

K = np.array([[50.0, 0, 31.5], [0, 50.0, 23.5], [0, 0, 1]])
RIG = Rig(tuple(Camera(name, 64, 48, K, np.eye(4)) for name in ("front", "back")))


def image(height: int = 48, width: int = 64) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


def test_a_missing_camera_is_named() -> None:
    frame = RigFrame(RIG, 5, {"back": image()}, {"back": 5}, {}, None)
    assert frame.present == ("back",) and frame.missing == ("front",)


@pytest.mark.parametrize(
    ("images", "stamps", "base", "message"),
    [
        ({}, {}, None, "no camera has an image"),
        ({"front": image(10)}, {"front": 1}, None, "camera 'front': image is uint8"),
        ({"front": image().astype(float)}, {"front": 1}, None, "image is float64"),
        ({"front": image()}, {}, None, "has no stamp"),
        ({"front": image()}, {"front": 1}, np.eye(4), "the camera has none"),
    ],
)
def test_what_does_not_fit_together_is_refused(images: dict, stamps: dict, base: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RigFrame(RIG, 1, images, stamps, {}, base)  # type: ignore[arg-type]


def test_an_unknown_camera_is_refused() -> None:
    with pytest.raises(KeyError, match="no camera 'left'"):
        RigFrame(RIG, 1, {"left": image()}, {"left": 1}, {}, None)


def test_voxel_indices_and_centres_agree() -> None:
    grid = VoxelGrid((-1.0, -2.0, 0.0), 0.5, (4, 8, 2))
    centres = grid.centres()
    indices, inside = grid.indices(centres.reshape(-1, 3))
    assert inside.all() and centres.shape == (4, 8, 2, 3)
    np.testing.assert_array_equal(indices.reshape(4, 8, 2, 3)[3, 7, 1], [3, 7, 1])
    _, outside = grid.indices(np.array([[1.01, 0, 0], [np.nan, 0, 0], [0, 0, -0.01]]))
    assert not outside.any()


def test_occupied_voxels_are_those_with_a_label() -> None:
    grid = VoxelGrid((0.0, 0.0, 0.0), 1.0, (3, 1, 1))
    labels = np.array([4, FREE, UNOBSERVED], np.uint8).reshape(3, 1, 1)
    occupancy = Occupancy(grid, labels, np.zeros((3, 1, 1), np.float32))
    np.testing.assert_array_equal(occupancy.occupied.ravel(), [True, False, False])


def test_a_grid_without_extent_is_refused() -> None:
    with pytest.raises(ValueError, match="must be positive"):
        VoxelGrid((0.0, 0.0, 0.0), 0.0, (1, 1, 1))
