# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A copy of the 2D grid that lives on what a follower is told is always the grid itself."""

import numpy as np
import pytest

from mtl_perception.core import Camera, pixel_rays
from mtl_perception.core.transforms import BODY_FROM_OPTICAL
from mtl_perception.mapping import Mapper, MapperConfig, OccupancyFollower
from mtl_perception.mapping.fusion.views import DepthView
from mtl_perception.mapping.ground.ground_grid import GroundGrid
from test.mapping.conftest import body_pose

CAMERA = Camera("front", 24, 18, np.array([[12.0, 0, 11.5], [0, 12, 8.5], [0, 0, 1]]), np.eye(4))
RAYS = pixel_rays(CAMERA).astype(np.float32)


class Copy:
    """What somebody has of a grid who never sees the grid itself."""

    def __init__(self):
        self.follower = OccupancyFollower()
        self.wholes, self.part_cells = [], 0
        self.origin = self.data = self.resolution = None

    def take(self, changes):
        if changes.whole is not None:
            assert not changes.parts
            self.origin, self.resolution = changes.whole.origin, changes.whole.resolution
            self.data = changes.whole.data.copy()
            self.wholes.append(self.data.size)
        for part in changes.parts:
            height, width = part.data.shape
            assert part.column >= 0 and part.row >= 0 and part.data.size
            here = self.data[part.row : part.row + height, part.column : part.column + width]
            assert here.shape == part.data.shape  # no part reaches beyond the grid
            here[:] = part.data
            self.part_cells += part.data.size
        return changes

    def is_like(self, grid):
        """Whether this is a grid, and unknown around it."""
        offset = (np.array(grid.origin) - self.origin) / grid.resolution
        column, row = np.round(offset).astype(int).tolist()
        assert np.allclose(offset, [column, row], atol=1e-6) and self.resolution == grid.resolution
        expected = np.full_like(self.data, -1)
        height, width = grid.data.shape
        assert column >= 0 and row >= 0 and column + width <= self.data.shape[1] and row + height <= self.data.shape[0]
        expected[row : row + height, column : column + width] = grid.data
        return np.array_equal(self.data, expected)


def view(rng, labels, x, y, yaw):
    """A camera 1.2 m above the ground that sees anything."""
    depth = rng.uniform(0.5, 6.0, (6, 6)).repeat(3, axis=0).repeat(4, axis=1).astype(np.float32)
    depth[rng.random(depth.shape) < 0.1] = np.nan
    names = rng.choice(["floor", "wall", "furniture"], depth.shape)
    label = np.vectorize(labels.id_of)(names).astype(np.uint8)
    rows = RAYS[..., 1] > 0.1
    depth[rows] = np.where(rng.random(depth.shape) < 0.7, 1.2 / np.maximum(RAYS[..., 1], 0.1), depth)[rows]
    ones = np.ones_like(depth)
    pose = body_pose((x, y, 1.2), yaw) @ BODY_FROM_OPTICAL
    return DepthView(pose, CAMERA.K, RAYS, depth, ones, ones, np.zeros((18, 24, 3), np.uint8), label, ones)


def grid_of(labels, **config):
    return GroundGrid(MapperConfig(**config), labels)


@pytest.mark.parametrize("cells", [5_000, 40_000, 4_000_000])
def test_copies_are_the_grid_whatever_is_seen_and_whenever_they_are_told(labels, cells):
    rng = np.random.default_rng(cells)
    grid = grid_of(labels, max_grid_cells=cells, max_depth=6.0)
    copies, moves = [Copy(), Copy(), Copy()], 0
    x = y = yaw = 0.0
    for step in range(240):
        if step in (80, 160):  # carried elsewhere
            x, y = rng.uniform(-40, 40, 2)
        yaw += rng.normal(0, 0.4)
        x, y = x + np.cos(yaw), y + np.sin(yaw)
        before = grid.window
        grid.integrate([view(rng, labels, x, y, yaw)], body_pose((x, y, 0)))
        moves += grid.window[:2] > before[:2] or grid.window[2:] < before[2:]
        for copy, share in zip(copies, (1.0, 0.3, 0.05), strict=True):
            if rng.random() < share:
                if rng.random() < 0.05:
                    copy.follower.start_anew()
                copy.take(copy.follower.changes(grid, again=rng.random() < 0.3))
                assert copy.is_like(grid.map())
    assert moves > 10 or cells > 100_000
    assert all(copy.part_cells for copy in copies)


def test_what_is_told_again_is_as_it_is_then(labels):
    rng, grid, copy = np.random.default_rng(1), grid_of(labels), Copy()
    grid.integrate([view(rng, labels, 0, 0, 0)], body_pose((0, 0, 0)))
    copy.take(copy.follower.changes(grid))
    stale = copy.data.copy()
    for _ in range(3):
        grid.integrate([view(rng, labels, 0, 0, 0)], body_pose((0, 0, 0)))
        assert copy.take(copy.follower.changes(grid, again=True)).parts
    assert copy.follower.tells_again
    copy.data = stale  # all of them came before the whole grid did, which has replaced them
    assert copy.take(copy.follower.changes(grid)).parts and copy.is_like(grid.map())
    assert copy.take(copy.follower.changes(grid)).parts == () and not copy.follower.tells_again


def test_what_is_to_be_told_again_makes_what_is_told_until_then_no_larger(labels):
    rng, grid = np.random.default_rng(5), grid_of(labels)
    follower, other = OccupancyFollower(), OccupancyFollower()
    grid.integrate([view(rng, labels, 0, 0, 0)], body_pose((0, 0, 0)))
    told = []
    for x in range(0, 10, 2):
        grid.integrate([view(rng, labels, x, 0, 0)], body_pose((x, 0, 0)))
        sizes = [
            sum(part.data.size for part in each.changes(grid, again).parts)
            for each, again in ((follower, True), (other, False))
        ]
        told.append(sizes)
    assert told[1:] == [[size, size] for size, _ in told[1:]] and min(min(each) for each in told[1:]) > 0


def test_nothing_is_told_where_nothing_has_changed_and_little_where_little_has(labels):
    rng, grid, copy = np.random.default_rng(2), grid_of(labels), Copy()
    for x in range(60):
        grid.integrate([view(rng, labels, x, 0, 0)], body_pose((x, 0, 0)))
    copy.take(copy.follower.changes(grid))
    assert not copy.follower.starts_anew and copy.follower.changes(grid).parts == ()
    grid.integrate([view(rng, labels, 30, 0, 0)], body_pose((30, 0, 0)))
    (part,) = copy.follower.changes(grid).parts
    assert 0 < part.data.size < 0.2 * grid.map().data.size


def test_all_that_is_told_on_a_drive_grows_with_its_length(labels):
    rng, grid, copy = np.random.default_rng(3), grid_of(labels), Copy()
    told = {}
    for x in range(0, 801, 4):
        grid.integrate([view(rng, labels, x, 0, 0)], body_pose((x, 0, 0)))
        copy.take(copy.follower.changes(grid))
        told[x] = sum(copy.wholes) + copy.part_cells
    assert told[800] / 800 < 1.3 * told[200] / 200
    height, width = grid.map().data.shape
    assert len(copy.wholes) < 10 and max(copy.wholes) <= 2 * (height + 256) * width


def test_a_bounded_grid_that_has_moved_on_is_sent_anew_seldom(labels):
    rng, grid, copy = np.random.default_rng(4), grid_of(labels, max_grid_cells=60_000), Copy()
    for x in range(0, 400, 4):
        grid.integrate([view(rng, labels, x, 0, 0)], body_pose((x, 0, 0)))
        copy.take(copy.follower.changes(grid))
        assert copy.is_like(grid.map())
    assert grid.window[0] > 3000 and len(copy.wholes) < 40 and max(copy.wholes) < 4 * 60_000 + 256 * (2 * 400 + 256)


def test_another_map_is_told_as_a_whole(walk, labels, tmp_path):
    mapper, copy = Mapper(MapperConfig(), labels), Copy()

    def follow():
        changes = copy.take(mapper.occupancy_grid_changes(copy.follower))
        assert copy.is_like(mapper.occupancy_grid())
        return changes

    assert follow().whole.data.size == 0
    for frame in walk[:3]:
        mapper.fuse(frame)
        follow()
    assert len(copy.wholes) == 2 and follow().whole is None
    mapper.save(tmp_path / "map")
    mapper.fuse(walk[3])
    assert follow().whole is None
    mapper.correct([(0, body_pose((2.0, -1.0, 0.1), yaw=0.4) @ walk[0].world_from_base)])
    assert follow().whole is not None
    mapper.merge(tmp_path / "map", body_pose((7.0, 0.0, 0.0)))
    assert follow().whole is not None
    mapper.load(tmp_path / "map")
    assert follow().whole is not None
    mapper.fuse(walk[4])
    assert follow().parts
    mapper.reset()
    assert follow().whole.data.size == 0 and not copy.data.size
    mapper.fuse(walk[5])
    assert follow().whole is not None and (copy.data == 100).any()
