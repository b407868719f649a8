# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The map moves with corrected poses: surfaces, objects, tracks and the robot's way, without a smear."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree

from mtl_perception.mapping import MapFormatError, Mapper, MapperConfig, MappingError
from test.mapping.conftest import body_pose

SHIFT = body_pose((2.0, -1.0, 0.1), yaw=0.4)


def in_world(frame, new_from_old):
    """A frame as one with other odometry gives it."""
    cameras = {
        name: replace(camera, world_from_camera=new_from_old @ camera.world_from_camera)
        for name, camera in frame.cameras.items()
    }
    return replace(frame, cameras=cameras, world_from_base=new_from_old @ frame.world_from_base)


def driven(room, frame, count=12, first_ns=0):
    """Frames of a room by a camera that drives slowly forward and looks around."""
    frames = []
    for number, yaw in enumerate(np.linspace(-0.35, 0.35, count).tolist()):
        at = (0.05 * number, 0.02 * number, 0.0)
        look = room.look((at[0], at[1], 1.2), yaw=yaw, pitch=0.3)
        frames.append(frame(look, stamp_ns=first_ns + number * 10**8, base=at))
    return frames


def mapped(frames, labels, **config):
    mapper = Mapper(MapperConfig(**config), labels)
    for each in frames:
        mapper.integrate(each)
    return mapper


def distances(mesh, other):
    """How far the vertices of a mesh are from the other's nearest one."""
    return cKDTree(other.vertices).query(mesh.vertices)[0]


@pytest.fixture(scope="module")
def drive(new_scene, frame):
    room = (
        new_scene()
        .box("floor", (-1, -3, -0.1), (4, 3, 0))
        .box("wall", (3, -3, 0), (3.2, 3, 2.5))
        .box("furniture", (2, -0.5, 0), (2.6, 0.5, 0.8))
    )
    return driven(room, frame)


def test_nothing_changes_where_nothing_moves(drive, labels):
    mapper = mapped(drive, labels)
    before, objects = mapper.mesh(), mapper.objects()
    mapper.correct([(0, drive[0].world_from_base), (11 * 10**8, drive[-1].world_from_base)])
    after = mapper.mesh()
    assert len(after.vertices) == len(before.vertices)
    np.testing.assert_allclose(after.vertices, before.vertices, atol=1e-4)
    np.testing.assert_array_equal(after.labels, before.labels)
    assert np.abs(after.colours.astype(int) - before.colours).max() <= 1
    assert [item.id for item in mapper.objects()] == [item.id for item in objects]


def test_the_whole_moves_rigidly_with_its_things_and_keeps_their_ids(drive, labels):
    mapper, anew = mapped(drive, labels), mapped([in_world(each, SHIFT) for each in drive], labels)
    (thing,) = mapper.objects()
    mapper.correct([(0, SHIFT @ drive[0].world_from_base)])
    for one, other in ((mapper.mesh(), anew.mesh()), (anew.mesh(), mapper.mesh())):
        apart = distances(one, other)
        assert np.median(apart) < 0.02 and np.quantile(apart, 0.99) < 0.06
    (moved,) = mapper.objects()
    assert moved.id == thing.id and moved.first_seen_ns == thing.first_seen_ns
    (other,) = anew.objects()  # a surface along the lattice has other vertices than a turned one
    np.testing.assert_allclose(moved.centroid, other.centroid, atol=0.04)
    assert abs(moved.vertices - other.vertices) < 0.1 * other.vertices
    np.testing.assert_allclose(mapper.trajectory().poses[0], SHIFT @ drive[0].world_from_base, atol=1e-9)
    wall = mapper.mesh().vertices[mapper.mesh().labels == labels.id_of("wall")]
    local = (wall - SHIFT[:3, 3]) @ SHIFT[:3, :3]
    assert np.median(np.abs(local[:, 0] - 3.0)) < 0.012


def test_the_ground_moves_with_the_map_and_keeps_its_rooms(drive, labels):
    mapper = mapped(drive, labels)
    before, grid = mapper.ground(), mapper.occupancy_grid()
    mapper.correct([(0, SHIFT @ drive[0].world_from_base)])
    after, moved = mapper.ground(), mapper.occupancy_grid()
    for of in (0, 100):
        assert 0.95 < (moved.data == of).sum() / (grid.data == of).sum() < 1.2
    assert [region.id for region in after.regions] == [region.id for region in before.regions] != []
    at = SHIFT[:3, :3] @ before.regions[0].centroid + SHIFT[:3, 3]
    np.testing.assert_allclose(after.regions[0].centroid, at, atol=0.3)
    assert mapper.stats.places == pytest.approx(len(before.places), rel=0.25)


def test_mapping_goes_on_where_the_map_has_come_to(drive, labels, room, frame):
    mapper = mapped(drive, labels)
    mapper.correct([(0, SHIFT @ drive[0].world_from_base)])
    count = len(mapper.mesh().vertices)
    for each in driven(room, frame, first_ns=12 * 10**8)[::-1]:
        mapper.fuse(in_world(replace(each, stamp_ns=24 * 10**8 - each.stamp_ns), SHIFT))
    mesh = mapper.mesh()
    assert len(mesh.vertices) < 1.1 * count  # no second wall
    local = (mesh.vertices[mesh.labels == labels.id_of("wall")] - SHIFT[:3, 3]) @ SHIFT[:3, :3]
    assert np.quantile(np.abs(local[:, 0] - 3.0), 0.95) < 0.03
    assert [item.id for item in mapper.objects()] == [0]


def test_drift_between_two_visits_is_undone_and_both_become_one(new_scene, frame, labels):
    scene = (
        new_scene()
        .box("floor", (-2, -2, -0.1), (12, 2, 0))
        .box("wall", (-2, 2, 0), (12, 2.2, 2.5))
        .box("furniture", (1, 1.0, 0), (1.6, 1.6, 0.9))
        .box("furniture", (9, 1.0, 0), (9.6, 1.6, 0.9))
    )
    way = [0.25 * number for number in range(33)] + [8 - 0.25 * number for number in range(33)]
    true, drifted = [], []
    for number, x in enumerate(way):
        look = scene.look((x, 0, 1.2), yaw=np.pi / 2, pitch=0.2, width=96)
        made = frame(look, stamp_ns=number * 10**8, base=(x, 0, 0))
        true.append(made)
        drifted.append(in_world(made, body_pose((0.0, -0.006 * number, 0.0))))  # 0.4 m at the end
    exact = mapped(true, labels)
    smeared = mapped(drifted, labels)
    mapper = mapped(drifted, labels, revisit_distance=4.0)
    assert mapper.stats.aside_blocks > 50
    newest = mapper.mesh()  # only the newest visit is shown: one wall, not two
    near_start = newest.vertices[(newest.labels == labels.id_of("wall")) & (newest.vertices[:, 0] < 3)]
    assert np.quantile(near_start[:, 1], 0.95) - np.quantile(near_start[:, 1], 0.05) < 0.15

    ids = {item.id for item in mapper.objects()}
    mapper.correct([(each.stamp_ns, each.world_from_base) for each in true[::4]])
    assert mapper.stats.aside_blocks == 0
    mesh, right = mapper.mesh(), exact.mesh()
    # the poses drift by up to 0.08 m while a block is in view, which moves as a whole
    assert np.quantile(distances(mesh, right), 0.95) < 0.06
    assert np.quantile(distances(right, mesh), 0.95) < 0.06
    assert np.quantile(distances(smeared.mesh(), right), 0.95) > 0.2
    assert {item.id for item in mapper.objects()} <= ids and len(mapper.objects()) == 2


def test_a_jump_that_lasts_moves_the_map_and_until_then_frames_are_refused(drive, labels, room, frame):
    stop = [replace(drive[-1], stamp_ns=(12 + number) * 10**8) for number in range(3)]
    mapper = mapped([*drive, *stop], labels)
    count = len(mapper.mesh().vertices)
    later = driven(room, frame, first_ns=15 * 10**8)
    later = [replace(each, world_from_base=drive[-1].world_from_base) for each in later]  # it stands, and looks around
    updates = []
    for each in later:
        try:
            updates.append(mapper.integrate(in_world(each, SHIFT)))
        except MappingError as error:
            assert "the pose jumped by" in str(error)
    assert [update.moved for update in updates] == [True, False]
    mesh = mapper.mesh()
    local = (mesh.vertices[mesh.labels == labels.id_of("wall")] - SHIFT[:3, 3]) @ SHIFT[:3, :3]
    assert np.quantile(np.abs(local[:, 0] - 3.0), 0.95) < 0.03 and len(mesh.vertices) < 1.2 * count


def test_a_jump_can_be_spread_along_the_way_since_the_last_correction(drive, labels):
    mapper = mapped(drive, labels, on_pose_jump="spread", pose_jump_patience=0.1)
    first = mapper.trajectory().poses[0]
    shift = body_pose((0.0, 0.8, 0.0))
    last = drive[-1]
    for number in range(1, 4):
        later = in_world(replace(last, stamp_ns=last.stamp_ns + number * 10**8), shift)
        if number == 1:
            with pytest.raises(MappingError, match="the pose jumped by"):
                mapper.integrate(later)
        else:
            assert mapper.integrate(later).moved == (number == 2)
    np.testing.assert_allclose(mapper.trajectory().poses[0], first)
    half = mapper.trajectory().at(6 * 10**8)[1, 3] - drive[6].world_from_base[1, 3]
    assert half == pytest.approx(0.8 * 6 / 11, abs=0.05)


def test_a_jump_can_be_refused_for_good(drive, labels):
    mapper = mapped(drive, labels, on_pose_jump="refuse")
    for number in range(1, 30):
        with pytest.raises(MappingError, match="the pose jumped by"):
            mapper.integrate(in_world(replace(drive[-1], stamp_ns=(11 + number) * 10**8), SHIFT))
    assert not mapper.integrate(replace(drive[-1], stamp_ns=41 * 10**8)).moved


def test_poses_that_make_no_sense_leave_the_map_alone(drive, labels):
    mapper = mapped(drive[:3], labels)
    before = mapper.mesh().vertices
    with pytest.raises(ValueError, match="within the trajectory"):
        mapper.correct([(10**15, np.eye(4))])
    np.testing.assert_array_equal(mapper.mesh().vertices, before)


def test_a_map_larger_than_memory_is_corrected_too(drive, labels):
    mapper, large = mapped(drive, labels, max_blocks=128, max_depth=3.0), mapped(drive, labels, max_depth=3.0)
    assert mapper.stats.archived_blocks > 0
    for each in (mapper, large):
        each.correct([(0, SHIFT @ drive[0].world_from_base)])
    assert mapper.stats.blocks > 0.5 * large.stats.blocks
    assert np.quantile(distances(mapper.mesh(), large.mesh()), 0.95) < 0.05


def test_what_was_set_aside_is_saved_and_corrected_after_loading(drive, labels, tmp_path):
    still = [replace(drive[-1], stamp_ns=20 * 10**8)]
    far = [replace(each, stamp_ns=each.stamp_ns + 60 * 10**8) for each in drive]
    mapper = mapped([*drive, *still, *far], labels, revisit_distance=0.3)
    assert mapper.stats.aside_blocks > 0
    mapper.save(tmp_path / "map")
    other = Mapper(MapperConfig(revisit_distance=0.3), labels)
    other.load(tmp_path / "map")
    assert other.stats == mapper.stats
    for each in (mapper, other):
        each.correct([(60 * 10**8, SHIFT @ drive[0].world_from_base)])
    np.testing.assert_array_equal(mapper.mesh().vertices, other.mesh().vertices)
    content = bytearray((tmp_path / "map" / "aside.zip").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "map" / "aside.zip").write_bytes(content)
    with pytest.raises(MapFormatError, match=r"aside\.zip is damaged"):
        other.load(tmp_path / "map")
