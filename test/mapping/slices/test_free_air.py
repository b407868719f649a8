# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What is known to be free away from surfaces."""

import dataclasses

import numpy as np
import pytest

from mtl_perception.core.transforms import inverse, transform_points
from mtl_perception.mapping import BLOCK, MapperConfig
from mtl_perception.mapping.fusion.views import views_of
from mtl_perception.mapping.slices.free_air import FreeAir
from mtl_perception.mapping.window.reach import Reach

CONFIG = MapperConfig(max_depth=4.0)
EDGE = BLOCK * CONFIG.voxel_size
EVERYTHING = np.full(3, -100), np.full(3, 100)


def seen(views) -> np.ndarray:
    air = FreeAir(CONFIG)
    for view in views:
        reach = Reach(view, CONFIG.max_depth, EDGE)
        air.integrate(view, reach.low, reach.high)
    return np.concatenate([np.zeros((0, 3), np.int32), *air.within(*EVERYTHING)])


def points_in(keys: np.ndarray) -> np.ndarray:
    """Points (N, 5**3, 3) all over blocks (N, 3)."""
    steps = np.stack(np.meshgrid(*[np.linspace(0, 1, 5)] * 3), axis=-1).reshape(-1, 3)
    return (keys[:, None] + steps) * EDGE


@pytest.fixture
def view(room, frame, labels):
    (result,) = views_of(frame(room.look((0, 0.05, 1.2), yaw=0.2, pitch=0.3)), CONFIG, labels)
    return result


def test_every_point_of_a_free_block_is_before_what_is_measured(view):
    keys = seen([view])
    assert len(keys) > 20
    points = transform_points(inverse(view.world_from_camera), points_in(keys).reshape(-1, 3))
    u, v, z = (points @ view.K.T).T
    depth = view.depth[np.rint(v / z).astype(int), np.rint(u / z).astype(int)]
    assert (z <= CONFIG.max_depth).all() and not (depth < z - 1e-4).any()  # NaN is not measured


def test_blocks_that_are_seen_well_are_found(view):
    keys = np.stack(np.meshgrid(*[np.arange(-8, 9)] * 3), axis=-1).reshape(-1, 3)
    points = transform_points(inverse(view.world_from_camera), points_in(keys).reshape(-1, 3))
    u, v, z = (points @ view.K.T).T
    height, width = view.depth.shape
    with np.errstate(invalid="ignore", divide="ignore"):
        inside = (z > 0.1) & (z <= 4) & (u > 0) & (v > 0) & (u / z < width - 1) & (v / z < height - 1)
    clear = np.zeros(len(z), dtype=bool)
    depth = view.depth[np.rint(v[inside] / z[inside]).astype(int), np.rint(u[inside] / z[inside]).astype(int)]
    clear[inside] = depth > z[inside] + 0.5  # with some room for what is beside the points
    expected = keys[clear.reshape(len(keys), -1).all(axis=1)]
    found = {tuple(key) for key in seen([view]).tolist()}
    hits = sum(tuple(key) in found for key in expected.tolist())
    assert len(expected) > 20 and hits > 0.8 * len(expected)


def test_where_little_is_measured_nothing_is_free(view):
    depth = view.depth.copy()
    depth[np.random.default_rng(0).random(depth.shape) < 0.6] = np.nan
    assert len(seen([dataclasses.replace(view, depth=depth)])) < 0.1 * len(seen([view]))
    beyond = np.full_like(view.depth, np.inf)  # farther than the map reaches: free up to there
    assert len(seen([dataclasses.replace(view, depth=beyond)])) > len(seen([view]))


def test_state_and_order(view):
    other = dataclasses.replace(view, depth=np.full_like(view.depth, np.inf))
    first, second = FreeAir(CONFIG), FreeAir(CONFIG)
    reach = Reach(view, CONFIG.max_depth, EDGE)
    for one, two in ((view, other), (other, view)):
        first.integrate(one, reach.low, reach.high)
        second.integrate(two, reach.low, reach.high)
    restored = FreeAir(CONFIG)
    restored.restore(first.state())
    for each in (second, restored):
        assert all(np.array_equal(value, each.state()[name]) for name, value in first.state().items())
    box = np.array([1, -2, 1]), np.array([6, 3, 3])
    keys = np.concatenate(list(first.within(*EVERYTHING)))
    inside = keys[((keys >= box[0]) & (keys <= box[1])).all(axis=1)]
    assert 0 < len(inside) < len(keys)
    assert np.array_equal(np.concatenate(list(restored.within(*box))), inside)


def test_what_another_map_knows_is_added_where_it_comes_to(view):
    reach = Reach(view, CONFIG.max_depth, EDGE)
    ours, theirs = FreeAir(CONFIG), FreeAir(CONFIG)
    for air in (ours, theirs):
        air.integrate(view, reach.low, reach.high)
    before = np.concatenate([*ours.within(*EVERYTHING)])
    shift = np.eye(4)
    shift[:3, 3] = (5 * EDGE, 0.0, -2 * EDGE)
    ours.merge(theirs.state(), shift)
    after = {tuple(key) for key in np.concatenate([*ours.within(*EVERYTHING)]).tolist()}
    assert after == {tuple(key) for keys in (before, before + [5, 0, -2]) for key in keys.tolist()}
    asked = np.array([*after, (90, 0, 0)], np.int32)
    assert ours.has(asked).tolist() == [True] * len(after) + [False]
    assert ours.has(np.zeros((0, 3), np.int32)).shape == (0,)
