# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Grids of two maps as one: what both know, what one knows, and what does not fit."""

import numpy as np
import pytest

from mtl_perception.mapping import MapperConfig
from mtl_perception.mapping.ground.grid_layers import LEAD_BITS, empty_layers
from mtl_perception.mapping.ground.grid_merging import Cells, both, joined, moved_cells
from mtl_perception.mapping.ground.ground_grid import GroundGrid
from test.mapping.conftest import body_pose


def random_cells(seed, corner=(0, 0), shape=(16, 32)):
    random = np.random.default_rng(seed)
    low = np.array(corner, np.int64)
    layers = empty_layers(low, low + shape[::-1])
    seen = random.random(shape) < 0.6
    layers["seen"][seen] = True
    for name in ("evidence", "walls"):
        layers[name][seen] = random.integers(-6, 16, seen.sum())
    layers["ground"][seen] = random.normal(0, 0.1, seen.sum())
    layers["ground_vote"][seen] = random.integers(1, 4, seen.sum()) << LEAD_BITS | random.integers(0, 8, seen.sum())
    return Cells(low, layers)


def test_what_one_alone_knows_stays():
    ours, theirs = random_cells(1), random_cells(2)
    result = joined(ours, theirs)
    for one, other in ((ours, theirs), (theirs, ours)):
        alone = one.known & ~other.known
        assert alone.any()
        for name, layer in result.items():
            assert layer.dtype == one.layers[name].dtype
            np.testing.assert_array_equal(layer[alone], one.layers[name][alone])
    assert not Cells(ours.corner, result).known[~ours.known & ~theirs.known].any()


def test_evidence_adds_up_and_votes_go_against_each_other():
    ours, theirs = random_cells(1), random_cells(2)
    result, at = joined(ours, theirs), ours.known & theirs.known
    total = ours.layers["evidence"].astype(int) + theirs.layers["evidence"]
    np.testing.assert_array_equal(result["evidence"], np.clip(total, -6, 15))
    np.testing.assert_array_equal(result["ground"][at], ours.layers["ground"][at])
    one, other, vote = (layers["ground_vote"][at].astype(int) for layers in (ours.layers, theirs.layers, result))
    for mine, yours, found in zip(one.tolist(), other.tolist(), vote.tolist(), strict=True):
        (a, lead_a), (b, lead_b) = divmod(mine, 8), divmod(yours, 8)
        expected = (a, min(lead_a + lead_b, 7)) if a == b else (a if lead_a >= lead_b else b, abs(lead_a - lead_b))
        assert divmod(found, 8) == expected


def test_both_together_span_both_and_an_empty_one_spans_nothing():
    ours, theirs = random_cells(1, (0, 32)), random_cells(2, (-64, 16))
    assert [each.tolist() for each in both(ours, theirs)] == [[-64, 16], [32, 48]]
    none = np.zeros(2, np.int64)
    assert [each.tolist() for each in both(Cells(none, empty_layers(none, none)), theirs)] == [[-64, 16], [-32, 32]]
    part = ours.between(np.array([16, 16]), np.array([48, 48]))
    np.testing.assert_array_equal(part.layers["seen"][16:, :16], ours.layers["seen"][:, 16:])
    assert part.known.sum() == ours.known[:, 16:].sum()


@pytest.fixture
def grid(labels):
    """A floor of 4 m x 3 m with a wall along one side."""
    made, low = GroundGrid(MapperConfig(), labels), np.zeros(2, np.int64)
    layers = empty_layers(low, low + 64)
    layers["seen"][10:40, 10:50], layers["ground"][10:40, 10:50] = True, 0.0
    layers["ground_vote"][10:40, 10:50] = 3 << LEAD_BITS | 7
    layers["evidence"][10:40, 10:50] = layers["walls"][10:40, 10:50] = -3
    layers["evidence"][10:12, 10:50] = layers["walls"][10:12, 10:50] = 5
    made.restore({"corner": low, "ground_height": np.array(0.0), **layers})
    return made


def test_a_grid_is_moved_rigidly(grid):
    transform = body_pose((20.0, -7.0, 0.5), yaw=0.6)
    cells, moves = moved_cells(grid, transform)
    assert cells.known.sum() == pytest.approx(Cells.of(grid).known.sum(), rel=0.03)
    new, old = moves.pairs()
    at = (old + 0.5) * 0.1 @ transform[:2, :2].T + transform[:2, 3]
    assert np.abs(at - (new + 0.5) * 0.1).max() < 0.11
    walls = Cells.of(grid).layers["walls"]
    row, column = (new - cells.corner).T[::-1]
    old_row, old_column = (old - grid.corner).T[::-1]
    same = (cells.layers["walls"][row, column] > 0) == (walls[old_row, old_column] > 0)
    assert same.mean() > 0.98  # corners of thin walls are closed
    assert np.nanmedian(cells.layers["ground"]) == pytest.approx(0.5, abs=1e-3)


def test_a_grid_that_does_not_move_stays(grid):
    cells, _ = moved_cells(grid, np.eye(4))
    there = cells.between(grid.corner, grid.corner + 64)
    for name, layer in there.layers.items():
        np.testing.assert_array_equal(layer, grid.layer(name))
    assert cells.known.sum() == there.known.sum()


def test_nothing_moves_nowhere(labels):
    assert moved_cells(GroundGrid(MapperConfig(), labels), body_pose((1, 2, 3))) is None
