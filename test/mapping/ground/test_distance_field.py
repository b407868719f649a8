# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Distances to the nearest obstacle: exact, and the same step by step as at once."""

import numpy as np
import pytest
from scipy import ndimage

from mtl_perception.mapping.ground.distance_field import DistanceField
from mtl_perception.mapping.ground.grid_layers import TILE

RESOLUTION, FARTHEST = 0.1, 2.0


def truth(evidence, known):
    """The same by SciPy's exact transform; outside of the grid there are no obstacles."""
    wide = np.pad(evidence > 0, 1)
    away, into = (ndimage.distance_transform_edt(mask)[1:-1, 1:-1] for mask in (~wide, wide))
    away = np.where(wide.any(), away, np.inf)
    apart = np.where(evidence > 0, -(into - 0.5), away - 0.5) * RESOLUTION
    apart = np.clip(apart, -FARTHEST, FARTHEST)
    return np.where(known | (evidence > 0), apart, np.nan).astype(np.float32)


def tiles_of(changed, corner):
    rows, columns = np.array(changed.shape) // TILE
    y, x = np.nonzero(changed.reshape(rows, TILE, columns, TILE).any(axis=(1, 3)))
    return np.stack([x, y], axis=1) + corner // TILE


def all_tiles(evidence, corner):
    return tiles_of(np.ones(evidence.shape, dtype=bool), corner)


@pytest.mark.parametrize("density", [0.0, 0.001, 0.02, 0.5, 0.98])
def test_distances_are_exact(density):
    random = np.random.default_rng(3)
    evidence = np.where(random.random((64, 96)) < density, 4, -2).astype(np.int8)
    known = random.random(evidence.shape) < 0.9
    corner = np.array([-32, 16])
    field = DistanceField(RESOLUTION, FARTHEST)
    field.update(corner, evidence, known, all_tiles(evidence, corner))
    assert np.allclose(field.data, truth(evidence, known), atol=1e-5, equal_nan=True)
    assert field.map().origin == pytest.approx((-3.2, 1.6))


@pytest.mark.parametrize("seed", range(4))
def test_following_changes_gives_what_computing_anew_gives(seed):
    random = np.random.default_rng(seed)
    corner, field = np.array([0, 0]), DistanceField(RESOLUTION, FARTHEST)
    evidence, known = np.zeros((48, 48), np.int8), np.zeros((48, 48), bool)
    for step in range(15):
        before = evidence.copy(), known.copy()
        if step % 5 == 4:  # the grid grows on all sides
            corner = corner - TILE
            evidence, known = np.pad(evidence, TILE), np.pad(known, TILE)
            before = evidence.copy(), known.copy()
        row, column = (random.integers(0, size - 6) for size in evidence.shape)
        patch = np.s_[row : row + random.integers(1, 12), column : column + random.integers(1, 12)]
        evidence[patch] = random.choice([-3, 3, 5])
        known[patch] |= random.random() < 0.8
        changed = ((before[0] > 0) != (evidence > 0)) | (before[1] != known)
        old = field.data.copy()
        found = field.update(corner, evidence, known, tiles_of(changed, corner))
        assert np.allclose(field.data, truth(evidence, known), atol=1e-5, equal_nan=True)
        if old.shape == field.data.shape:
            moved = ~((old == field.data) | (np.isnan(old) & np.isnan(field.data)))
            assert np.array_equal(found, np.array(sorted(map(tuple, tiles_of(moved, corner).tolist()))).reshape(-1, 2))


def test_what_is_far_from_a_change_is_not_looked_at():
    evidence, known = np.zeros((320, 320), np.int8), np.ones((320, 320), bool)
    corner, field = np.array([0, 0]), DistanceField(RESOLUTION, FARTHEST)
    field.update(corner, evidence, known, all_tiles(evidence, corner))
    evidence[160, 160] = evidence[5, 5] = 5  # the second is not told
    found = field.update(corner, evidence, known, np.array([[10, 10]]))
    assert np.abs(found - 10).max() <= 2
    assert field.data[160, 160] < 0 < field.data[5, 5]


def test_a_restored_field_goes_on():
    evidence, known = np.zeros((32, 32), np.int8), np.ones((32, 32), bool)
    evidence[8, 9] = 5
    corner, field, other = np.array([16, 0]), DistanceField(RESOLUTION, 1.0), DistanceField(RESOLUTION, 1.0)
    field.update(corner, evidence, known, all_tiles(evidence, corner))
    other.restore(field.state())
    assert len(other.update(corner, evidence, known, np.zeros((0, 2), np.int64))) == 0
    assert np.array_equal(other.data, field.data) and other.map().origin == field.map().origin
