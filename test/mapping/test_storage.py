# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Saving and loading: round trips, and what is refused."""

import json

import numpy as np
import open3d as o3d
import pytest
import spark_dsg

from mtl_perception.mapping import MapFormatError, Mapper, MapperConfig


@pytest.fixture
def mapper(walk, labels):
    result = Mapper(MapperConfig(), labels)
    for frame in walk[:4]:
        result.integrate(frame)
    return result


def assert_equal(one: Mapper, other: Mapper):
    for field in ("vertices", "triangles", "colours", "labels", "confidence"):
        assert np.array_equal(getattr(one.mesh(), field), getattr(other.mesh(), field)), field
    assert np.array_equal(one.occupancy_grid().data, other.occupancy_grid().data)
    assert one.occupancy_grid().origin == other.occupancy_grid().origin
    assert one.scene_graph_bytes() == other.scene_graph_bytes()
    assert one.stats == other.stats


def test_a_loaded_map_is_the_saved_one(mapper, labels, tmp_path):
    assert mapper.save(tmp_path / "map") == tmp_path / "map"
    other = Mapper(MapperConfig(), labels)
    other.load(tmp_path / "map")
    assert_equal(mapper, other)


def test_continuing_a_loaded_map_equals_never_having_stopped(mapper, walk, labels, tmp_path):
    mapper.save(tmp_path / "map")
    other = Mapper(MapperConfig(), labels)
    other.load(tmp_path / "map")
    for frame in walk[4:]:
        mapper.integrate(frame)
        other.integrate(frame)
    assert_equal(mapper, other)


def test_an_empty_map_can_be_saved(labels, tmp_path):
    Mapper(MapperConfig(), labels).save(tmp_path / "map")
    other = Mapper(MapperConfig(), labels)
    other.load(tmp_path / "map")
    assert other.stats.blocks == 0


def test_other_programs_read_the_products(mapper, tmp_path):
    mapper.save(tmp_path / "map")
    mesh = o3d.t.io.read_triangle_mesh(str(tmp_path / "map" / "mesh.ply"))
    assert np.array_equal(mesh.vertex.positions.numpy(), mapper.mesh().vertices)
    assert np.array_equal(mesh.triangle.indices.numpy(), mapper.mesh().triangles)
    content = (tmp_path / "map" / "mesh.ply").read_bytes()
    vertex = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3), ("label", "u1"), ("confidence", "<f4")])
    vertices = np.frombuffer(content, vertex, len(mapper.mesh().vertices), content.index(b"end_header\n") + 11)
    assert np.array_equal(vertices["label"], mapper.mesh().labels)
    graph = spark_dsg.DynamicSceneGraph.load(tmp_path / "map" / "scene_graph.sparkdsg")
    assert graph.num_nodes() == 1 and graph.mesh.num_vertices() == len(mapper.mesh().vertices)


def test_saving_again_replaces_the_map_and_leaves_nothing_else(mapper, walk, labels, tmp_path):
    mapper.save(tmp_path / "map")
    mapper.integrate(walk[4])
    mapper.save(tmp_path / "map")
    other = Mapper(MapperConfig(), labels)
    other.load(tmp_path / "map")
    assert_equal(mapper, other)
    assert [path.name for path in tmp_path.iterdir()] == ["map"]


def test_what_is_no_map_is_not_overwritten(mapper, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "to_mother.txt").write_text("dear")
    with pytest.raises(MapFormatError, match=r"letters exists and is no map"):
        mapper.save(tmp_path / "letters")
    assert (tmp_path / "letters" / "to_mother.txt").read_text() == "dear"
    assert [path.name for path in tmp_path.iterdir()] == ["letters"]


def flip_a_byte(folder):
    content = bytearray((folder / "blocks.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "blocks.npz").write_bytes(content)


def edit_manifest(**fields):
    def edit(folder):
        path = folder / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return edit


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (flip_a_byte, r"blocks\.npz is damaged"),
        (lambda folder: (folder / "grid.npz").unlink(), r"grid\.npz is missing"),
        (lambda folder: (folder / "objects.json").write_text("{}"), r"objects\.json is damaged"),
        (lambda folder: (folder / "manifest.json").unlink(), r"is no readable map: FileNotFoundError"),
        (lambda folder: (folder / "manifest.json").write_text("{"), r"is no readable map: JSONDecodeError"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), r"is no readable map: TypeError"),
        (edit_manifest(version=99), r"format is mtl_perception\.map version 99, this program reads"),
        (edit_manifest(files={}), r"manifest\.json does not list blocks\.npz"),
        (edit_manifest(blocks=3), r"blocks\.npz: keys is int32 \(\d+, 3\), expected int32 \(3, 3\)"),
    ],
)
def test_a_broken_folder_is_refused_whole_and_the_map_stays(mapper, walk, labels, tmp_path, damage, text):
    mapper.save(tmp_path / "map")
    damage(tmp_path / "map")
    other, same = Mapper(MapperConfig(), labels), Mapper(MapperConfig(), labels)
    for each in (other, same):
        each.integrate(walk[5])
    with pytest.raises(MapFormatError, match=text):
        other.load(tmp_path / "map")
    assert_equal(other, same)


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (MapperConfig(voxel_size=0.2), r"made with voxel_size 0\.05, this map has 0\.2"),
        (MapperConfig(grid_resolution=0.2), r"made with grid_resolution 0\.1, this map has 0\.2"),
        (MapperConfig(max_blocks=64), r"has \d+ blocks, max_blocks is 64"),
    ],
)
def test_a_map_of_other_settings_is_refused(mapper, labels, tmp_path, config, text):
    mapper.save(tmp_path / "map")
    with pytest.raises(MapFormatError, match=text):
        Mapper(config, labels).load(tmp_path / "map")


def test_a_folder_that_is_not_there_is_refused(labels, tmp_path):
    with pytest.raises(MapFormatError, match=r"nothing is no readable map"):
        Mapper(MapperConfig(), labels).load(tmp_path / "nothing")


def test_a_save_that_was_killed_between_its_renames_is_still_found(mapper, labels, tmp_path):
    mapper.save(tmp_path / "map")
    (tmp_path / "map").rename(tmp_path / ".map.previous")
    other = Mapper(MapperConfig(), labels)
    other.load(tmp_path / "map")
    assert_equal(mapper, other)
