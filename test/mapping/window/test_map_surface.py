# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Meshes of a map of which any part may be in files, against meshing all of its voxels in memory."""

import numpy as np
import pytest

from mtl_perception.mapping import MapperConfig
from mtl_perception.mapping.fusion.blocks import VOXELS, BlockStore
from mtl_perception.mapping.surface.meshing import mesh_blocks
from mtl_perception.mapping.window.archive import RegionArchive
from mtl_perception.mapping.window.map_blocks import MapBlocks
from mtl_perception.mapping.window.map_surface import MapSurface
from mtl_perception.mapping.window.regions import distinct_regions, region_ids

CONFIG = MapperConfig(max_blocks=2000)
FIELDS = ("vertices", "triangles", "colours", "labels", "confidence", "instances")
LATTICE = np.stack(np.unravel_index(np.arange(VOXELS), (8, 8, 8)), axis=1)[:, ::-1]


class Changing:
    """A map of which blocks change, and the same voxels in one store."""

    def __init__(self, folder):
        self.blocks = MapBlocks(CONFIG, RegionArchive(CONFIG.voxel_size, 4.0, folder))
        self.surface = MapSurface(self.blocks, CONFIG.min_weight)
        self.store = BlockStore(CONFIG.voxel_size, 2000)
        self.shown = {}

    def change(self, keys, rng):
        """Give blocks in memory the voxels of a wavy surface."""
        points = keys[:, None] * 8 + LATTICE
        height = points[..., 2] - 4 - 6 * np.sin(points[..., 0] / 9 + rng.uniform(0, 6)) * np.cos(points[..., 1] / 7)
        voxels = {
            "tsdf": np.clip(height / 4, -1, 1).astype("f4"),
            "weight": rng.uniform(0.4, 3, height.shape).astype("f4"),
            "color": rng.uniform(0, 255, (*height.shape, 3)).astype("f4"),
            "label": rng.integers(0, 9, height.shape).astype("u1"),
            "votes": rng.uniform(0, 1, height.shape).astype("f4"),
            "instance": rng.integers(0, 9, height.shape).astype("u2"),
            "instance_votes": rng.integers(0, 9, height.shape).astype("u1"),
        }
        self.blocks.store.fill(keys, voxels)
        self.store.fill(keys, voxels)
        self.blocks.note(keys, keys, int(rng.integers(1, 1000)))
        self.surface.note(keys)

    def update(self):
        self.surface.update()
        changed, removed = self.surface.take_news()
        self.shown |= changed
        for key in removed:
            del self.shown[key]

    def leave(self, region):
        self.surface.update()
        self.blocks.send_away(region)

    def check(self):
        self.update()
        expected = mesh_blocks(self.store, self.store.keys(), CONFIG.min_weight)
        assert_same(self.shown, expected)
        assert self.surface.keys() == tuple(sorted(expected))
        assert_same(self.surface.blocks(expected), expected)
        assert_same(self.surface.meshed_anew(), expected)
        assert self.blocks.vertices == sum(len(mesh.vertices) for mesh in expected.values())
        assert len(self.blocks) == len(self.store)


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for key, mesh in ours.items():
        assert all(np.array_equal(getattr(mesh, field), getattr(theirs[key], field)) for field in FIELDS), key


@pytest.fixture
def changing(tmp_path):
    result = Changing(tmp_path)
    yield result
    result.blocks.archive.close()


def test_changes_beside_what_is_in_files_give_the_meshes_of_all_voxels(changing):
    rng = np.random.default_rng(11)
    every = np.stack(np.meshgrid(np.arange(-9, 9), np.arange(-5, 5), [-1, 0], indexing="ij"), axis=-1)
    every = every.reshape(-1, 3).astype(np.int32)
    archive = changing.blocks.archive
    beside = 0
    for step in range(24):
        for region in rng.permutation(changing.blocks.resident)[:3].tolist():
            changing.leave(region)
        for region in rng.permutation(np.array(archive.regions(), np.int64))[:2].tolist():
            changing.blocks.bring_back(region)
        keys = every[np.sort(rng.permutation(len(every))[: int(rng.integers(1, 40))])]
        keys = keys[~np.isin(region_ids(keys), archive.among(region_ids(keys)))]
        beside += len(archive.among(region_ids(keys[:, None] + np.array([[-1, -1, -1], [1, 1, 1]]))))
        if len(keys):
            changing.change(keys, rng)
        if step % 3:
            changing.update()
        if step % 6 == 5:
            changing.check()
    assert beside > 20 and len(archive) > 3 and len(changing.shown) > 100


def test_a_lost_region_takes_its_meshes_along_and_those_beside_it_change(changing):
    rng = np.random.default_rng(12)
    keys = np.stack(np.meshgrid(np.arange(-4, 8), np.arange(0, 4), [0], indexing="ij"), axis=-1).reshape(-1, 3)
    changing.change(keys.astype(np.int32), rng)
    changing.update()
    lost, *_ = distinct_regions(np.array([[0, 0, 0]])).tolist()
    for region in changing.blocks.resident.tolist():
        changing.leave(region)
    (changing.blocks.archive.folder / "0_0_0.region").unlink()
    changing.blocks.bring_back(lost)
    changing.store.erase(keys[region_ids(keys) == lost].astype(np.int32))
    changing.check()
    assert changing.blocks.archive.damaged_regions == 1 and len(changing.shown) > 8


def test_meshes_that_cannot_be_written_are_written_later(changing, caplog):
    rng = np.random.default_rng(13)
    keys = np.stack(np.meshgrid(np.arange(0, 8), np.arange(0, 4), [0], indexing="ij"), axis=-1).reshape(-1, 3)
    changing.change(keys.astype(np.int32), rng)
    changing.update()
    changing.leave(int(region_ids(np.array([0, 0, 0]))))
    obstacle = changing.blocks.archive.folder / "0_0_0.new"
    obstacle.mkdir()
    changing.change(np.array([[4, 1, 0], [4, 2, 0]], np.int32), rng)  # blocks 3 0..2 0 depend on these
    changing.update()
    assert "cannot be written" in caplog.text
    obstacle.rmdir()
    changing.check()
