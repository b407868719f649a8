# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Cells that move with a trajectory: nothing is lost, nothing grows, walls stay tight, gaps are closed."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import cKDTree

from mtl_perception.mapping.ground.cell_moves import Patches
from test.mapping.conftest import body_pose

RESOLUTION = 0.1


def layers(rows, columns):
    return {
        "evidence": np.zeros((rows, columns), np.int8),
        "walls": np.zeros((rows, columns), np.int8),
        "seen": np.zeros((rows, columns), bool),
        "ground": np.full((rows, columns), np.nan, np.float32),
        "ground_vote": np.zeros((rows, columns), np.uint8),
    }


def room(thick=1):
    """Free ground of 60 x 40 cells within walls, and nothing seen around it."""
    cells = layers(80, 96)
    inner, outer = np.s_[20:60, 20:80], np.s_[20 - thick : 60 + thick, 20 - thick : 80 + thick]
    for name in ("evidence", "walls"):
        cells[name][outer], cells[name][inner] = 5, -3
    cells["seen"][outer] = True
    cells["ground"][inner], cells["ground_vote"][inner] = 0.5, 15
    return cells


def moved(cells, corrections, corner=(0, 0)):
    patches = Patches(cells, np.array(corner), RESOLUTION, 0.0, corrections)
    assert not patches.stay
    into = layers(*(patches.high - patches.low)[::-1])
    return into, patches.move(into, patches.low)


def rigid(transform):
    return lambda points: np.broadcast_to(transform, (len(points), 4, 4))


@pytest.mark.parametrize("seed", range(3))
def test_a_turn_keeps_area_on_average_and_nothing_gets_through_thin_walls(seed):
    random, cells = np.random.default_rng(seed), room()
    free, walls = (cells["seen"] & (cells["evidence"] <= 0)).sum(), (cells["evidence"] > 0).sum()
    shares = []
    for _ in range(8):
        transform = body_pose((*random.uniform(-50, 50, 2), 1.0), random.uniform(-np.pi, np.pi))
        into, moves = moved(cells, rigid(transform), (-16, 32))
        is_wall, is_free = into["evidence"] > 0, into["seen"] & (into["evidence"] <= 0)
        assert abs(is_free.sum() / free - 1) < 0.02
        shares.append(is_wall.sum() / walls)
        assert not (is_wall & is_free).any() and np.array_equal(is_wall, into["walls"] > 0)
        assert ndimage.label(is_free)[1] == 1  # no holes that part it
        outside = ndimage.label(~is_wall, np.ones((3, 3)))[0]  # over corners too
        assert not np.isin(outside[is_free], outside[0, 0]).any()
        np.testing.assert_allclose(into["ground"][is_free], 1.5, atol=1e-5)
        new, old = moves.pairs()
        there = (old + 0.5) * RESOLUTION @ transform[:2, :2].T + transform[:2, 3]
        assert np.abs(there - (new + 0.5) * RESOLUTION).max() < 0.0708  # half a diagonal
    assert 0.97 < np.mean(shares) < 1.3


def test_repeated_turns_do_not_thicken_walls():
    cells, corner, random = room(thick=2), np.zeros(2, np.int64), np.random.default_rng(5)
    count = (cells["evidence"] > 0).sum()
    for _ in range(10):
        patches = Patches(cells, corner, RESOLUTION, 0.0, rigid(body_pose((0.03, 0.02, 0), random.uniform(-0.3, 0.3))))
        low, high = patches.low // 4 * 4, -(-patches.high // 4) * 4
        cells, corner = layers(*(high - low)[::-1]), low
        patches.move(cells, low)
    assert abs((cells["evidence"] > 0).sum() / count - 1) < 0.2


def test_obstacles_win_where_parts_come_to_lie_over_each_other_and_gaps_are_closed():
    cells = room()
    middle = 4.8

    def parted(points, by):
        result = np.tile(np.eye(4), (len(points), 1, 1))
        result[points[:, 0] > middle, 0, 3] = by
        return result

    into, _ = moved(cells, lambda points: parted(points, 0.15))  # a gap of a cell or two
    is_free = into["seen"] & (into["evidence"] <= 0)
    assert ndimage.label(is_free)[1] == 1
    assert not (~into["seen"] & ndimage.binary_fill_holes(into["evidence"] > 0)).any()
    into, moves = moved(cells, lambda points: parted(points, -3.4))  # the far wall comes to lie over free ground
    assert into["evidence"][30 - moves.corner[1], 80 - 34 - moves.corner[0]] == 5
    assert (into["evidence"][30 - moves.corner[1], :] > 0).sum() == 2


def test_places_far_from_the_keyframes_move_as_the_nearest_one():
    cells = room()
    keyframes = np.array([[2.0, 4.0, 0.0], [7.5, 4.0, 0.0]])
    shifts = np.array([[0.0, 0.0, 0.0], [0.0, 2.0, 1.0]])
    asked = []

    def corrections(points):
        asked.append(points)
        result = np.tile(np.eye(4), (len(points), 1, 1))
        result[:, :3, 3] = shifts[cKDTree(keyframes).query(points)[1]]
        return result

    into, moves = moved(cells, corrections)
    (points,) = asked  # once for all, one point a patch
    assert len(points) < 0.1 * cells["seen"].sum() and set(points[:, 2].round(3)) == {0.0, 0.5}
    new, old = moves.pairs()
    far = old[:, 0] > 60
    assert (new[far] - old[far] == [0, 20]).all() and (new[old[:, 0] < 40] == old[old[:, 0] < 40]).all()
    assert np.nanmax(into["ground"]) == pytest.approx(1.5) and np.nanmin(into["ground"]) == pytest.approx(0.5)


def test_what_does_not_move_stays():
    assert Patches(room(), np.zeros(2, np.int64), RESOLUTION, 0.0, rigid(np.eye(4))).stay
    assert Patches(layers(0, 0), np.zeros(2, np.int64), RESOLUTION, np.nan, rigid(body_pose((1, 0, 0)))).stay
