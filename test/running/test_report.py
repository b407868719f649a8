# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A saved map is read back as it was."""

from pathlib import Path

import numpy as np
import pytest

from mtl_perception.core import Camera, CameraPrediction, LabelSpace, Prediction
from mtl_perception.core.transforms import BODY_FROM_OPTICAL
from mtl_perception.mapping import Mapper, MapperConfig
from mtl_perception.running.report import read_map


@pytest.fixture
def mapper() -> Mapper:
    labels = LabelSpace.load(Path(__file__).parents[2] / "config" / "labels" / "default.yaml")
    return Mapper(MapperConfig(voxel_size=0.1), labels)


def test_mesh_colours_and_settings_come_back(mapper, tmp_path):
    K = np.array([[80.0, 0, 39.5], [0, 80, 29.5], [0, 0, 1]])
    camera = Camera("front", 80, 60, K, BODY_FROM_OPTICAL)
    orange = np.full((60, 80, 3), (250, 120, 10), np.uint8)
    wall = np.full((60, 80), 3.0, np.float32)
    view = CameraPrediction(camera, 1, BODY_FROM_OPTICAL, orange, depth=wall)
    mapper.integrate(Prediction(1, {"front": view}, "base_link", "odom", np.eye(4)))
    saved = read_map(mapper.save(tmp_path / "map"))
    np.testing.assert_array_equal(saved.mesh.vertices, mapper.mesh().vertices)
    np.testing.assert_array_equal(saved.mesh.triangles, mapper.mesh().triangles)
    np.testing.assert_array_equal(saved.mesh.colours, mapper.mesh().colours)
    assert np.abs(saved.mesh.colours.astype(int) - (250, 120, 10)).max() <= 2
    assert saved.config == mapper.config
    assert saved.labels.names == mapper.labels.names


def test_an_empty_map_is_read_too(mapper, tmp_path):
    saved = read_map(mapper.save(tmp_path / "map"))
    assert saved.mesh.vertices.shape == saved.mesh.triangles.shape == saved.mesh.colours.shape == (0, 3)
