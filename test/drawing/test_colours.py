# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Values become the colours that people expect."""

import numpy as np
import pytest

from mtl_perception.core import LabelSpace
from mtl_perception.drawing.colours import (
    INVALID_COLOUR,
    MOTION_COLOUR,
    depth_colours,
    motion_colours,
    normal_colours,
    semantic_colours,
)
from mtl_perception.resources import config_file


@pytest.fixture
def labels() -> LabelSpace:
    return LabelSpace.load(config_file("labels", "default"))


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


def test_normals_to_the_right_are_red_up_green_and_towards_the_camera_blue():
    normals = np.array([[[1, 0, 0], [0, -1, 0], [0, 0, -1], [np.nan, np.nan, np.nan]]], np.float32)
    assert normal_colours(normals)[0].tolist() == [[255, 127, 127], [127, 255, 127], [127, 127, 255], [0, 0, 0]]
