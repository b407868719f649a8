# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The pictures show what they should, in the right place and colour."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from mtl_perception.core import FREE, UNOBSERVED, Camera, CameraPrediction, LabelSpace, Occupancy, Prediction, VoxelGrid
from mtl_perception.drawing.colours import (
    INVALID_COLOUR,
    MOTION_COLOUR,
    depth_colours,
    motion_colours,
    semantic_colours,
)
from mtl_perception.drawing.mesh import Surface, from_above, from_the_side
from mtl_perception.drawing.occupancy import UNOBSERVED_COLOUR, occupancy_from_above
from mtl_perception.running.pictures import Scene, write_pictures

GREEN, RED = (20, 200, 20), (200, 20, 20)


@pytest.fixture
def labels() -> LabelSpace:
    return LabelSpace.load(Path(__file__).parents[2] / "config" / "labels" / "default.yaml")


def test_everything_in_the_scene_gets_a_picture(tmp_path, labels):
    scene = Scene(_prediction(labels, "front", "left"), labels, {}, _floor_with_tower())
    paths = write_pictures(scene, tmp_path / "out")
    assert [path.name for path in paths] == [
        "input.png",
        "depth.png",
        "semantic.png",
        "motion_mask.png",
        "occupancy.png",
        "mesh_above.png",
        "mesh.png",
        "overview.png",
    ]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(path.name for path in paths)
    for path in paths:
        image = cv2.imread(str(path))
        assert image is not None and min(image.shape[:2]) > 100
        assert image.std() > 5, f"{path.name} is blank"


def test_a_task_without_result_gets_no_picture(tmp_path, labels):
    camera = _camera("front")
    colour = np.full((60, 80, 3), 90, np.uint8)
    prediction = Prediction(0, {"front": CameraPrediction(camera, 0, None, colour)}, "base_link", "", None)
    paths = write_pictures(Scene(prediction, labels, {}), tmp_path)
    assert [path.name for path in paths] == ["input.png", "overview.png"]


def test_the_cameras_own_image_is_the_input(tmp_path, labels):
    own = np.full((480, 640, 3), (10, 250, 130), np.uint8)
    (path, *_) = write_pictures(Scene(_prediction(labels, "front"), labels, {"front": own}), tmp_path)
    pixels = cv2.imread(str(path))[..., ::-1].reshape(-1, 3)
    assert (pixels == (10, 250, 130)).all(axis=1).mean() > 0.7


def test_near_is_warm_far_is_cold_and_invalid_is_grey():
    colours = depth_colours(np.array([[1.0, 9.0, np.nan]], np.float32), 0.0, 10.0)[0].astype(int)
    assert colours[0, 0] > colours[0, 2]
    assert colours[1, 2] > colours[1, 0]
    assert tuple(colours[2]) == INVALID_COLOUR


def test_semantics_are_blended_and_unknown_shows_the_image(labels):
    image = np.full((1, 2, 3), 100, np.uint8)
    colours = semantic_colours(np.array([[labels.id_of("car"), 255]], np.uint8), image, labels, opacity=0.5)
    assert tuple(colours[0, 0]) == (50, 50, 121)
    assert tuple(colours[0, 1]) == (100, 100, 100)


def test_what_moves_is_bright():
    image = np.full((1, 2, 3), 100, np.uint8)
    moving, still = motion_colours(np.array([[255, 0]], np.uint8), image)[0].astype(int)
    assert np.abs(moving - MOTION_COLOUR).sum() < np.abs(image[0, 0].astype(int) - MOTION_COLOUR).sum()
    assert tuple(still) == (70, 70, 70)


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


def test_the_mesh_from_above_shows_the_top_in_its_place():
    picture = from_above(_floor_with_tower(), width=300, height=300)
    tower = (picture[..., 0] > 150) & (picture[..., 1] < 60)
    rows, columns = np.nonzero(tower)
    assert columns.mean() > 200 and rows.mean() < 100  # at +x, +y
    assert ((picture[..., 1] > 150) & (picture[..., 0] < 60)).mean() > 0.5


def test_the_mesh_from_the_side_shows_floor_and_tower():
    picture = from_the_side(_floor_with_tower(), width=300, height=225)
    for channel in (0, 1):
        other = picture[..., 1 - channel]
        assert ((picture[..., channel] > 120) & (other < 80)).mean() > 0.005


def test_an_empty_mesh_is_refused():
    empty = Surface(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32), np.zeros((0, 3), np.uint8))
    with pytest.raises(ValueError, match="no triangle"):
        from_above(empty)


def _camera(name: str) -> Camera:
    return Camera(name, 80, 60, np.array([[60.0, 0, 40], [0, 60, 30], [0, 0, 1]]), np.eye(4))


def _prediction(labels: LabelSpace, *names: str) -> Prediction:
    v, u = np.mgrid[:60, :80]
    cameras = {
        name: CameraPrediction(
            _camera(name),
            0,
            np.eye(4),
            np.stack([u * 3, v * 4, u + v], axis=-1).astype(np.uint8),
            depth=(1 + v / 10).astype(np.float32),
            semantic=(u // 8).astype(np.uint8),
            motion_mask=np.where(u > 60, 255, 0).astype(np.uint8),
        )
        for name in names
    }
    grid = VoxelGrid((-8.0, -8.0, -1.0), 0.5, (32, 32, 4))
    voxels = np.full(grid.shape, FREE, np.uint8)
    voxels[:, :, 0] = labels.id_of("road")
    occupancy = Occupancy(grid, voxels, np.zeros(grid.shape, np.float32))
    return Prediction(0, cameras, "base_link", "odom", np.eye(4), occupancy=occupancy)


def _floor_with_tower() -> Surface:
    """A green floor of 10 x 10 m with a red roof of 2 x 2 m over its corner at +x, +y; all faces look up."""
    floor = np.array([[-5, -5, 0], [5, -5, 0], [5, 5, 0], [-5, 5, 0]])
    roof = np.array([[3, 3, 2], [5, 3, 2], [5, 5, 2], [3, 5, 2]])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    return Surface(
        np.concatenate([floor, roof]).astype(np.float32),
        np.concatenate([faces, faces + 4]).astype(np.int32),
        np.array([GREEN] * 4 + [RED] * 4, np.uint8),
    )
