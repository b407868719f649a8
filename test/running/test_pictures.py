# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The pictures show what they should, in the right place and colour."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from mtl_perception.core import FREE, Camera, CameraPrediction, LabelSpace, Occupancy, Prediction, VoxelGrid
from mtl_perception.drawing.mesh import Surface
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
