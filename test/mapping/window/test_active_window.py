# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A map that leaves memory in parts and comes back, beside one that stays; and what may go wrong with its files."""

import numpy as np
import pytest

from mtl_perception.mapping import Mapper, MapperConfig
from mtl_perception.mapping.window.regions import REGION, distances

FIELDS = ("vertices", "triangles", "colours", "labels", "confidence")


def assert_same_map(one, other):
    """Bit by bit: voxels, stamps and meshes of all blocks, and what is made of them."""
    ours, theirs = one.stats, other.stats
    assert (ours.blocks, ours.vertices, ours.objects) == (theirs.blocks, theirs.vertices, theirs.objects)
    assert list(one._volume.blocks.contents()) == list(other._volume.blocks.contents())
    assert one.mesh_keys == other.mesh_keys
    for field in FIELDS:
        assert np.array_equal(getattr(one.mesh(), field), getattr(other.mesh(), field)), field
    assert one.scene_graph_bytes() == other.scene_graph_bytes()


def assert_same_blocks(ours, theirs):
    assert ours.keys() == theirs.keys()
    for key, block in ours.items():
        assert all(np.array_equal(getattr(block, field), getattr(theirs[key], field)) for field in FIELDS), key


@pytest.mark.parametrize("max_blocks", [30000, 260])
def test_what_has_left_and_come_back_is_what_stayed(there_and_back, narrow, wide, labels, max_blocks):
    moving, staying = Mapper(narrow.model_copy(update={"max_blocks": max_blocks}), labels), Mapper(wide, labels)
    archived = []
    for number, frame in enumerate(there_and_back):
        ours, theirs = moving.integrate(frame), staying.integrate(frame)
        assert_same_blocks(ours.changed_blocks, theirs.changed_blocks)
        assert ours.removed_blocks == theirs.removed_blocks
        stats = moving.stats
        assert staying.stats.archived_blocks == 0 and stats.blocks == staying.stats.blocks
        archived.append(stats.archived_blocks)
        assert stats.blocks - archived[-1] <= max_blocks
        if number % 22 == 21:
            assert_same_map(moving, staying)
            assert_same_blocks(moving.meshed_anew(), staying.meshed_anew())
    assert archived[21] > stats.blocks / 4 and archived[-1] > stats.blocks / 4
    assert stats.refused_blocks == stats.dropped_blocks == stats.damaged_regions == 0
    assert (stats.evicted_blocks > 0) == (max_blocks == 260)


def test_fusing_alone_gives_the_same_map(there_and_back, narrow, wide, labels):
    moving, staying = Mapper(narrow, labels), Mapper(wide, labels)
    for frame in there_and_back:
        moving.fuse(frame)
        staying.fuse(frame)
    assert_same_map(moving, staying)
    assert moving.stats.archived_blocks > 100


def test_points_near_the_robot_are_those_of_the_whole_map_that_are_near(there_and_back, narrow, labels):
    mapper = Mapper(narrow, labels)
    for frame in there_and_back[:22]:
        mapper.fuse(frame)
    every, colours, classes = mapper.points()
    assert mapper.stats.archived_blocks > 100
    for radius in (1.0, narrow.max_depth, 2.0 * narrow.active_radius):
        near = np.linalg.norm(every - mapper.position, axis=1) <= radius
        expected = np.column_stack([every[near], colours[near], classes[near]])
        found = np.column_stack(mapper.points(radius))
        assert 0 < len(found) < len(every) or radius > narrow.active_radius
        assert np.array_equal(np.unique(found, axis=0), np.unique(expected, axis=0)) and len(found) == len(expected)
    assert len(Mapper(narrow, labels).points(5.0)[0]) == 0


def test_open3d_gets_all_voxels(there_and_back, narrow, wide, labels):
    grids = []
    for config in (narrow, wide):
        mapper = Mapper(config, labels)
        for frame in there_and_back[:15]:
            mapper.fuse(frame)
        grid = mapper.to_open3d()
        rows = grid.hashmap().active_buf_indices().numpy()
        keys = grid.hashmap().key_tensor().numpy()[rows]
        order = np.lexsort(keys.T)
        voxels = (grid.attribute(name).numpy()[rows[order]] for name in ("tsdf", "weight", "color"))
        grids.append([keys[order], *voxels])
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(*grids, strict=True))


def test_regions_in_memory_are_those_around_the_robot(there_and_back, narrow, labels):
    mapper = Mapper(narrow, labels)
    for frame in there_and_back:
        mapper.fuse(frame)
        edge, robot = REGION * 8 * narrow.voxel_size, frame.world_from_base[:3, 3]
        archived = np.array(mapper._volume.blocks.archive.regions(), np.int64)
        assert not len(archived) or distances(archived, robot, edge).min() > narrow.max_depth
        assert distances(mapper._volume.blocks.resident, robot, edge).max() < narrow.window_radius + 2 * edge


def test_a_robot_on_a_border_moves_nothing(there_and_back, narrow, labels):
    mapper = Mapper(narrow, labels)
    for frame in there_and_back[:15]:
        mapper.integrate(frame)
    for frame in [*there_and_back[13:15], *there_and_back[13:15]]:  # one step is a third of a region
        mapper.integrate(frame)
    before = files(mapper)
    resident = mapper._volume.blocks.resident
    for frame in there_and_back[13:15] * 5:
        mapper.integrate(frame)
        assert np.array_equal(mapper._volume.blocks.resident, resident)
    assert files(mapper) == before and before


def files(mapper):
    return {path.name: path.stat().st_mtime_ns for path in mapper._volume.blocks.archive.folder.iterdir()}


def test_a_robot_that_is_carried_away_leaves_all_of_it_on_disk(there_and_back, narrow, labels, new_scene, frame):
    mapper = Mapper(narrow, labels)
    for step in there_and_back[:8]:
        mapper.integrate(step)
    blocks = mapper.stats.blocks
    elsewhere = new_scene().box("wall", (501, -2, -2), (501.2, 2, 2)).look((500, 0, 0), width=64)
    for _ in range(40):
        mapper.integrate(frame(elsewhere, base=(500, 0, 0)))
    stats = mapper.stats
    assert stats.archived_blocks == blocks < stats.blocks
    mapper.integrate(there_and_back[8])
    assert mapper.stats.archived_blocks < blocks


def test_a_damaged_file_is_named_and_counted_and_the_map_goes_on(there_and_back, narrow, wide, labels, caplog):
    mapper = Mapper(narrow, labels)
    shown = {}
    for step in there_and_back[:22]:
        follow(shown, mapper.integrate(step))
    stats = mapper.stats
    victim = sorted(mapper._volume.blocks.archive.folder.iterdir())[3]
    content = bytearray(victim.read_bytes())
    content[-1] ^= 4
    victim.write_bytes(content)
    for step in there_and_back[22:]:
        follow(shown, mapper.integrate(step))
    assert [record.message for record in caplog.records] == [
        f"a part of the map is lost: {victim} is damaged: its checksum is not that of its content"
    ]
    assert mapper.stats.damaged_regions == 1 and stats.damaged_regions == 0
    assert_same_blocks(shown, mapper.meshed_anew())
    assert set(mapper.mesh_keys) == set(shown)
    fresh = Mapper(wide, labels)
    for step in there_and_back[22:]:
        fresh.fuse(step)
    x, y, z = map(int, victim.stem.split("_"))
    seen_again = {key for key in fresh.mesh_keys if (key[0] // REGION, key[1] // REGION, key[2] // REGION) == (x, y, z)}
    assert seen_again and seen_again <= set(shown)


def follow(shown, update):
    shown |= update.changed_blocks
    for key in update.removed_blocks:
        del shown[key]


def test_what_cannot_be_written_stays_while_there_is_room(there_and_back, narrow, wide, labels, tmp_path, caplog):
    mapper, staying = Mapper(narrow, labels, archive_folder=tmp_path), Mapper(wide, labels)
    folder = mapper._volume.blocks.archive.folder
    for number, step in enumerate(there_and_back):
        mapper.integrate(step)
        staying.integrate(step)
        if number == 5:
            assert not any(folder.iterdir())
            folder.rmdir()
        if number == 12:
            stats = mapper.stats
            assert stats.archived_blocks == stats.dropped_blocks == 0 and stats.blocks == staying.stats.blocks
            (record,) = caplog.records
            assert "cannot be written: [Errno 2]" in record.message and str(folder) in record.message
            folder.mkdir()
    assert_same_map(mapper, staying)
    assert mapper.stats.archived_blocks > 100


def test_what_must_leave_and_cannot_be_written_is_dropped_and_counted(there_and_back, narrow, labels, tmp_path):
    mapper = Mapper(narrow.model_copy(update={"max_blocks": 260}), labels, archive_folder=tmp_path)
    mapper._volume.blocks.archive.folder.rmdir()
    shown = {}
    for step in there_and_back:
        follow(shown, mapper.integrate(step))
        assert mapper.stats.blocks <= 260
    assert mapper.stats.dropped_blocks > 100 and mapper.stats.evicted_blocks == 0
    assert_same_blocks(shown, mapper.meshed_anew())


def test_the_window_must_hold_what_cameras_reach():
    text = r"window_radius 10\.0 must be at least 37\.69 for max_depth 25\.0: that, 1\.60 of band and 11\.09 of a r"
    with pytest.raises(ValueError, match=text):
        MapperConfig(voxel_size=0.2, max_depth=25.0, window_radius=10.0)
    assert MapperConfig(voxel_size=0.2, max_depth=25.0, window_radius=38.0).active_radius == 38.0


def test_a_window_that_is_not_set_is_what_memory_has_room_for():
    assert 12 < MapperConfig().active_radius < 20
    assert 50 < MapperConfig(voxel_size=0.2, max_depth=25.0).active_radius < 80
    assert MapperConfig(max_blocks=64).active_radius == pytest.approx(6.4 + 1.6 * 3**0.5)
