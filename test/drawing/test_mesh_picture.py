# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A mesh is seen from above and from the side as it is."""

import numpy as np
import pytest

from mtl_perception.drawing.mesh import Surface, from_above, from_the_side

GREEN, RED = (20, 200, 20), (200, 20, 20)


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
