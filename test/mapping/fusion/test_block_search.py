# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What is compiled about blocks and gates, against NumPy's plain way."""

import numpy as np
import pytest

from mtl_perception.mapping.fusion.block_search import blocks_at_surfaces, blocks_in_sight, farthest_of_tiles
from mtl_perception.mapping.fusion.blocks import pack
from mtl_perception.mapping.fusion.depth_gate import gate_depth, surface_facing

SHAPE = 70, 90
K = np.array([[60.0, 0.5, 44.0], [0.0, 61.0, 35.0], [0.0, 0.0, 1.0]])


def image(seed):
    """Return depth with steps, slopes, gaps, free space and invalid values."""
    rng = np.random.default_rng(seed)
    depth = np.repeat(np.repeat(rng.uniform(0.1, 12, (14, 18)), 5, axis=0), 5, axis=1) * rng.uniform(0.9, 1.6, SHAPE)
    depth[rng.random(SHAPE) < 0.1] = np.nan
    depth[20:40, 30:60] = np.inf
    depth[50, :9] = -1, 0, 0.5, 1, 2, 4, 8, 16, 8
    return depth.astype(np.float32)


def test_blocks_at_surfaces_are_those_of_every_second_pixel_and_its_band():
    depth = image(1)
    v, u = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float32)
    rays = np.stack([(u - 44) / 60, (v - 35) / 61, np.ones_like(u)], axis=-1)
    rotation, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))
    translation = np.array([3.0, -40.0, 1.5])
    facing = np.random.default_rng(6).uniform(0.5, 1, SHAPE).astype(np.float32)
    found = np.empty(3 * depth[::2, ::2].size, np.int64)
    count = blocks_at_surfaces(depth, rays, facing, np.float32(0.3), 2, rotation, translation, 0.8, found)
    solid = np.isfinite(depth[::2, ::2])
    expected = [
        pack(
            np.floor(
                (rays[::2, ::2][solid] * (depth + band / facing)[::2, ::2][solid][:, None] @ rotation.T + translation)
                / 0.8
            )
        )
        for band in np.array([-0.3, 0.0, 0.3], np.float32)
    ]
    assert np.unique(found[:count]).tolist() == np.unique(np.concatenate(expected)).tolist()
    assert count < 3 * solid.sum()  # neighbours share blocks


def test_the_farthest_depth_is_that_of_a_tile_and_all_around_it():
    depth = image(3)
    depth[:48, :48] = np.nan
    farthest = np.empty((5, 6), np.float32)
    farthest_of_tiles(depth, 16, farthest)
    known = np.where(np.isnan(depth), -1, depth)
    for row in range(5):
        for column in range(6):
            rows, columns = (slice(max(16 * (n - 1), 0), 16 * (n + 2)) for n in (row, column))
            assert farthest[row, column] == known[rows, columns].max(), (row, column)
    assert farthest[0, 0] == -1 and np.isinf(farthest[2, 3])


def test_blocks_in_sight_are_in_the_image_and_not_behind_what_it_shows():
    farthest = np.full((5, 6), 6.0, np.float32)
    farthest[:, 4:], farthest[0, 0] = 2.0, 0.5
    at = {
        "in front": ((0, 0, 3), True),
        "within the band": ((0, 0, 6.5), True),
        "hidden": ((0, 0, 7.5), False),
        "hidden to the right": ((3, 0, 5), False),
        "wider than the hidden tile of its centre": ((-1.3, -0.9, 2.0), True),
        "around the camera": ((0.5, 0.5, 0.2), True),
        "behind the camera": ((0, 0, -1), False),
        "beside the image": ((-5, 0, 4), False),
        "above the image": ((0, -4, 4), False),
        "partly in the image": ((-3.3, 0, 4), True),
        "out of reach": ((0, 0, 20), False),
    }
    sees = np.empty(len(at), dtype=bool)
    centres = np.array([centre for centre, _ in at.values()], float)
    blocks_in_sight(centres, K, 0.6, 10.0, np.float32(0.3), *SHAPE, 16, farthest, sees)
    assert dict(zip(at, sees.tolist(), strict=True)) == {name: seen for name, (_, seen) in at.items()}


@pytest.mark.parametrize("seed", [4, 5])
def test_gated_depth_is_too_near_or_left_out_or_on_a_slope(seed):
    depth = image(seed)
    rng = np.random.default_rng(seed)
    label, left_out = rng.integers(0, 256, SHAPE).astype(np.uint8), rng.random(256) < 0.2
    before = rng.random(SHAPE) < 0.1
    ramp = np.float32(0.1)
    with np.errstate(invalid="ignore"):
        log = np.log(np.where(depth > 0, depth, np.float32(np.nan)))
        out = before | left_out[label] | ~(depth >= np.float32(0.3))
        for steps, inner in ((np.diff(log, axis=0), np.s_[1:-1]), (np.diff(log, axis=1).T, np.s_[:, 1:-1])):
            slope = (np.minimum(steps[:-1], steps[1:]) > ramp) | (np.maximum(steps[:-1], steps[1:]) < -ramp)
            assert slope.any()
            out[inner] |= slope if inner == np.s_[1:-1] else slope.T
        expected = np.where(out, np.float32(np.nan), np.where(depth > 9, np.float32(np.inf), depth))
    gate_depth(depth, log, label, left_out, np.float32(0.3), np.float32(9.0), ramp, before)
    np.testing.assert_array_equal(depth, expected)


def test_a_plane_is_faced_as_its_slope_says_and_a_pole_or_an_edge_in_full():
    v, u = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float64)
    rays = np.stack([(u - 44) / 60, (v - 35) / 60, np.ones_like(u)], axis=-1)
    normal = np.array([0.0, -np.cos(0.5), -np.sin(0.5)])  # a floor that the camera looks down to
    facing_of_plane = np.abs(rays @ normal)
    depth = 2.0 / np.maximum(-(rays @ normal), 1e-9)
    facing = np.empty(SHAPE, np.float32)
    below = np.s_[45:-1, 1:-1]
    surface_facing(depth.astype(np.float32), rays.astype(np.float32), np.float32(0.1), facing)
    np.testing.assert_allclose(facing[below], facing_of_plane[below], rtol=0.02)
    surface_facing(depth.astype(np.float32), rays.astype(np.float32), np.float32(0.9), facing)
    assert facing[below].min() == np.float32(0.9)
    pole = np.where(np.abs(u - 44) < 3, 3 - np.sqrt(np.maximum(0.15**2 - (0.05 * (u - 44)) ** 2, 0)), 8.0)
    surface_facing(pole.astype(np.float32), rays.astype(np.float32), np.float32(0.1), facing)
    assert (facing[1:-1, 41:48] > 0.9).all()
    assert facing[35, 70] == pytest.approx(1.0, abs=0.01)  # the wall behind it
