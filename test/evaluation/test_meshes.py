# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Distances between meshes, where they are known."""

import numpy as np
import pytest

from mtl_perception.evaluation.meshes import mesh_distance, surface_distances

SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], dtype=np.float64)
HALVES = np.array([[0, 1, 2], [0, 2, 3]])


def test_a_mesh_is_at_no_distance_from_itself():
    result = mesh_distance(SQUARE, HALVES, SQUARE, HALVES, tolerance=0.01)
    assert result.accuracy == pytest.approx(0.0, abs=1e-6)
    assert result.completeness == 1.0


def test_accuracy_is_the_mean_distance_of_a_shifted_mesh():
    result = mesh_distance(SQUARE + [0, 0, 0.1], HALVES, SQUARE, HALVES, tolerance=0.05)
    assert result.accuracy == pytest.approx(0.1, abs=1e-6)
    assert result.completeness == 0.0


def test_half_a_mesh_is_accurate_but_incomplete():
    result = mesh_distance(SQUARE[:3], HALVES[:1], SQUARE, HALVES, tolerance=0.05)
    assert result.accuracy == pytest.approx(0.0, abs=1e-6)
    assert result.completeness == 0.75


def test_distance_is_to_the_surface_not_to_the_vertices():
    assert surface_distances(np.array([[0.5, 0.4, 0.2]]), SQUARE, HALVES) == pytest.approx([0.2])


def test_an_empty_mesh_is_refused():
    with pytest.raises(ValueError, match="there are 0 and 2"):
        surface_distances(np.zeros((0, 3)), SQUARE, HALVES)
