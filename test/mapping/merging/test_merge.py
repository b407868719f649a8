# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Another robot's map becomes a part of this one, with a transform that is known."""

from dataclasses import replace

import numpy as np
import pytest
import spark_dsg
from scipy.spatial import cKDTree

from mtl_perception.core.transforms import transform_points
from mtl_perception.mapping import Mapper, MappingError
from mtl_perception.mapping.fusion.instances import MOST
from mtl_perception.mapping.fusion.measured import others_of
from mtl_perception.mapping.graph.scene_graph import are_same
from test.mapping.conftest import GraphCopy, body_pose
from test.mapping.merging.conftest import (
    CONFIG,
    SECOND,
    SELF_FROM_OTHER,
    in_other_world,
    look_at,
    mapped,
    unchanged,
)


def apart(mesh, other):
    """How far the vertices of a mesh are from the other's nearest one."""
    return cKDTree(other.vertices).query(mesh.vertices)[0]


def boxes(objects):
    """Centroids of objects, in order."""
    found = np.array([item.centroid for item in objects])
    return found[np.lexsort(np.round(found, 0).T)]


@pytest.fixture(scope="module")
def merged(world, labels):
    mapper = Mapper(CONFIG, labels)
    mapper.load(world.one)
    return mapper, mapper.merge(world.other, SELF_FROM_OTHER)


def test_the_surface_is_that_which_one_robot_makes_of_all_frames(merged, world):
    mesh, joint = merged[0].mesh(), world.joint.mesh()
    assert (apart(mesh, joint) < CONFIG.voxel_size).mean() > 0.95
    assert (apart(joint, mesh) < CONFIG.voxel_size).mean() > 0.95
    _, nearest = cKDTree(joint.vertices).query(mesh.vertices)
    assert (mesh.labels == joint.labels[nearest]).mean() > 0.97


def test_nothing_is_there_twice_and_things_of_this_map_keep_their_ids(merged, world):
    mapper, report = merged
    found, joint, before = mapper.objects(), world.joint.objects(), world.ours.objects()
    assert len(found) == len(joint)
    assert np.linalg.norm(boxes(found) - boxes(joint), axis=1).max() < 0.25
    kept = {item.id: item for item in found}
    for item in before:
        assert np.linalg.norm(kept[item.id].centroid - item.centroid) < 0.5
    assert {*report.known_objects} <= {item.id for item in before} and len(report.known_objects) >= 5


def test_the_report_tells_which_thing_has_become_which(merged, loaded, world):
    mapper, report = merged
    there = {item.id: item for item in loaded(world.other).objects()}
    here = {item.id: item for item in mapper.objects()}
    assert report.objects.keys() == there.keys() and {*report.objects.values()} <= here.keys()
    for old, new in report.objects.items():
        at = transform_points(SELF_FROM_OTHER, there[old].centroid)
        assert np.linalg.norm(at - here[new].centroid) < 0.5
        assert here[new].first_seen_ns <= there[old].first_seen_ns <= there[old].last_seen_ns <= here[new].last_seen_ns
    new = [here[number] for number in report.objects.values() if number not in report.known_objects]
    for item in new:  # only the other robot has seen it: its own stamps are left as they are
        (old,) = [there[number] for number in there if report.objects[number] == item.id]
        assert (item.first_seen_ns, item.last_seen_ns) == (old.first_seen_ns, old.last_seen_ns)
    assert report.alignment is None and report.frames == 12 and mapper.stats.frames == 24


def test_the_other_robots_way_is_an_agent_of_its_own(merged, loaded, world):
    mapper, report = merged
    assert report.robots == ("b",)
    graph = spark_dsg.DynamicSceneGraph.from_binary(mapper.scene_graph_bytes())
    assert graph.get_layer(2, spark_dsg.PartitionId("a")).num_nodes() == len(mapper.trajectory())
    other = graph.get_layer(2, spark_dsg.PartitionId("b"))
    poses = SELF_FROM_OTHER @ loaded(world.other).trajectory().poses
    assert other.num_nodes() >= len(poses)
    symbols = [spark_dsg.NodeSymbol("b", number) for number in range(len(poses))]
    at = np.array([graph.get_node(symbol).attributes.position for symbol in symbols])
    np.testing.assert_allclose(at, poses[:, :3, 3], atol=1e-6)
    names = [node.name for node in mapper.scene_graph().nodes if node.layer == "AGENTS"]
    assert "a(0)" in names and "b(0)" in names


def test_rooms_keep_their_ids_and_the_grid_has_what_both_know(merged, world):
    mapper, _ = merged
    before = {region.id: region for region in world.ours.ground().regions}
    after = {region.id: region for region in mapper.ground().regions}
    assert after.keys() == before.keys() != set()
    for number, region in after.items():
        assert np.linalg.norm(region.centroid[:2] - before[number].centroid[:2]) < 1.0
        assert region.area > 0.95 * before[number].area
        assert 0 < region.first_seen_ns <= region.last_seen_ns
    counts = [[(each.occupancy_grid().data == of).sum() for of in (0, 100)] for each in (mapper, world.joint)]
    assert np.divide(*counts) == pytest.approx([1.0, 1.0], abs=0.12)
    assert mapper.stats.places == pytest.approx(world.joint.stats.places, rel=0.1)
    counts = [(each.occupancy_band(0.3, 1.2).data == 0).sum() for each in (mapper, world.joint)]
    assert counts[0] == pytest.approx(counts[1], rel=0.1)


def test_saving_loading_and_going_on_equals_not_stopping(merged, world, labels, frame, tmp_path, loaded):
    mapper = merged[0].copy()
    other = loaded(mapper.save(tmp_path / "map"))
    assert other.scene_graph_bytes(True) == mapper.scene_graph_bytes(True)
    copies = [GraphCopy(each) for each in (mapper, other)]
    for copy in copies:
        copy.follow()
    third = mapped([in_other_world(made, body_pose((-3, 1, 0), yaw=-0.7)) for made in world.second[:4]], labels)
    folder = third.save(tmp_path / "third")
    later = look_at(world.scene, frame, 7.4, 2.4, 0.3, 60)
    reports = []
    for each in (mapper, other):
        each.integrate(later)
        reports.append(each.merge(folder, np.linalg.inv(body_pose((-3, 1, 0), yaw=-0.7))))
    assert reports[0].objects == reports[1].objects and reports[1].robots == ("c",)
    assert {*reports[0].objects.values()} <= {*reports[0].known_objects}
    assert mapper.scene_graph_bytes(True) == other.scene_graph_bytes(True)
    assert mapper.stats == other.stats
    assert np.array_equal(mapper.mesh().vertices, other.mesh().vertices)
    assert np.array_equal(mapper.occupancy_grid().data, other.occupancy_grid().data)
    for copy in copies:
        assert copy.follow().starts_anew
    later = look_at(world.scene, frame, 7.2, 2.2, 0.1, 61)
    for each, copy in zip((mapper, other), copies, strict=True):
        each.integrate(later)
        assert not copy.follow().starts_anew
    (nodes, edges), (other_nodes, other_edges) = [(copy.nodes, copy.edges) for copy in copies]
    view = loaded(mapper.save(tmp_path / "whole")).scene_graph()
    assert nodes.keys() == other_nodes.keys() == {node.id for node in view.nodes}
    assert all(are_same(node, nodes[node.id]) and are_same(node, other_nodes[node.id]) for node in view.nodes)
    assert edges == other_edges == {edge.ends: edge for edge in view.edges}


def test_a_merged_map_brings_all_its_robots(merged, world, loaded, tmp_path):
    folder = merged[0].save(tmp_path / "merged")
    mapper = loaded(world.elsewhere)
    report = mapper.merge(folder, body_pose((0.0, 40.0, 0.0)))
    assert report.robots == ("b", "c") and not report.known_objects
    assert len(mapper.objects()) == len(loaded(world.elsewhere).objects()) + len(merged[0].objects())
    assert report.shared_blocks == 0


def voxels(mapper):
    blocks = mapper._volume.blocks
    return {region: blocks.whole(region) for region in blocks.regions()}


def test_what_the_other_has_not_seen_stays_bit_by_bit(world, loaded):
    mapper, before = loaded(world.one), voxels(loaded(world.one))
    mapper.merge(world.other, body_pose((3.0, 40.0, 0.0), yaw=0.3))
    after = voxels(mapper)
    for region, content in before.items():
        assert np.array_equal(content.keys, after[region].keys)
        assert np.array_equal(content.seen_ns, after[region].seen_ns)
        for name, array in content.voxels.items():
            assert np.array_equal(array, after[region].voxels[name]), name


def test_maps_larger_than_memory_are_merged_too(merged, world, labels):
    mapper = Mapper(CONFIG.model_copy(update={"max_blocks": 200}), labels)
    mapper.load(world.one)
    mapper.merge(world.other, SELF_FROM_OTHER)
    assert mapper.stats.archived_blocks > 200
    assert mapper.stats.blocks == merged[0].stats.blocks
    assert np.array_equal(mapper.mesh().vertices, merged[0].mesh().vertices)
    assert mapper.scene_graph_bytes() == merged[0].scene_graph_bytes()


def test_a_part_that_cannot_be_read_leaves_the_map_alone(world, loaded, monkeypatch):
    mapper = loaded(world.one)

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr("mtl_perception.mapping.merging.merge.joined_region", full)
    with pytest.raises(OSError, match="no space left"):
        mapper.merge(world.other, SELF_FROM_OTHER)
    unchanged(mapper, world.one, loaded)


@pytest.mark.parametrize("transform", [np.eye(3), 2 * np.eye(4), np.diag([1, 1, -1, 1]), np.full((4, 4), np.nan)])
def test_what_is_no_rigid_transform_is_refused(world, labels, transform):
    with pytest.raises(MappingError, match="no rigid transform"):
        Mapper(CONFIG, labels).merge(world.other, transform)


def test_the_ways_of_fifteen_robots_are_possible_and_no_more(world, labels, tmp_path, frame):
    empty = Mapper(CONFIG, labels).save(tmp_path / "empty")
    mapper = Mapper(CONFIG, labels)
    for number in range(14):
        assert mapper.merge(empty, np.eye(4)).robots == (chr(ord("b") + number),)
    with pytest.raises(MappingError, match="the ways of 16 robots, 15 are possible"):
        mapper.merge(empty, np.eye(4))


def test_an_empty_map_becomes_the_other_one(merged, world, labels, loaded, frame):
    mapper, there = Mapper(CONFIG, labels), loaded(world.other)
    mapper.merge(world.other, np.eye(4))
    np.testing.assert_allclose(mapper.mesh().vertices, there.mesh().vertices, atol=1e-4)
    counts = [[item.vertices for item in each.objects()] for each in (mapper, there)]
    assert counts[0] == pytest.approx(counts[1], rel=0.05)
    for of in (0, 100):
        assert np.array_equal(cells(mapper.occupancy_grid(), of), cells(there.occupancy_grid(), of))
    assert mapper.stats.places == there.stats.places
    mapper.integrate(in_other_world(look_at(world.scene, frame, 7.4, 2.4, 0.3, 60)))
    assert len(mapper.objects()) == len(there.objects())


def cells(grid, of):
    """The middles of cells, in order."""
    return np.round((np.argwhere(grid.data == of)[:, ::-1] + 0.5) * grid.resolution + grid.origin, 3)


def test_when_numbers_run_out_things_are_joined_and_counted(world, loaded):
    mapper = loaded(world.one)
    numbers = mapper.instances
    numbers._label = np.full(MOST + 1, 15, np.uint8)
    numbers._root = np.arange(MOST + 1, dtype=np.uint16)
    report = mapper.merge(world.other, body_pose((0.0, 40.0, 0.0)))
    assert report.unnumbered_things >= len(loaded(world.other).objects())
    new = [item for item in mapper.objects() if item.id in report.objects.values()]
    assert new and not any(item.instance for item in new)


def test_a_map_without_numbers_of_things_gives_no_double_objects(world, labels, loaded, frame, tmp_path):
    bare = [replace_panoptic(made) for made in world.other_frames]
    folder = mapped(bare, labels).save(tmp_path / "bare")
    mapper = loaded(world.one)
    mapper.merge(folder, SELF_FROM_OTHER)
    assert len(mapper.objects()) == len(world.joint.objects())
    bare = mapped([replace_panoptic(made) for made in world.first], labels)
    bare.merge(world.other, SELF_FROM_OTHER)
    assert len(bare.objects()) == len(world.joint.objects())


def replace_panoptic(made):
    return replace(made, cameras={name: replace(camera, panoptic=None) for name, camera in made.cameras.items()})


def test_a_correction_moves_the_other_robots_part_as_one(world, labels):
    mapper = mapped(world.first[:8], labels)
    report = mapper.merge(world.other, SELF_FROM_OTHER)
    (way,) = mapper._scene.others.ways
    last = mapper.trajectory().last_ns
    stamps = [SECOND, 6 * SECOND, last]
    before, poses = mapper.mesh(), [mapper.trajectory().at(stamp) for stamp in stamps]
    assert SECOND <= way.anchor_ns <= last and report.shared_blocks > 100
    measured = mapper._volume.blocks.measured
    bend = body_pose((0.5, 0.4, 0.0), yaw=0.2)  # the end of this robot's way was wrong
    mapper.correct(list(zip(stamps, [poses[0], poses[1], bend @ poses[2]], strict=True)))
    (moved,) = mapper._scene.others.ways
    shift = moved.poses[0] @ np.linalg.inv(way.poses[0])
    np.testing.assert_allclose(moved.poses, shift @ way.poses, atol=1e-9)
    keys = np.floor(before.vertices / (8 * CONFIG.voxel_size)).astype(np.int32)
    theirs = before.vertices[others_of(measured.of(keys, 0)[:, 0]) == 1]
    at, _ = cKDTree(mapper.mesh().vertices).query(transform_points(shift, theirs))
    assert len(theirs) > 5000 and (at < CONFIG.voxel_size).mean() > 0.95
