# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Saving and loading: round trips, and what is refused."""

import dataclasses
import hashlib
import json
import warnings
import zipfile

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


def assert_equal(one: Mapper, other: Mapper, but=()):
    for field in ("vertices", "triangles", "colours", "labels", "confidence"):
        assert np.array_equal(getattr(one.mesh(), field), getattr(other.mesh(), field)), field
    assert np.array_equal(one.occupancy_grid().data, other.occupancy_grid().data)
    assert one.occupancy_grid().origin == other.occupancy_grid().origin
    assert np.array_equal(one.occupancy_band(1.0, 1.5).data, other.occupancy_band(1.0, 1.5).data)
    assert one.scene_graph_bytes() == other.scene_graph_bytes()
    stats = [{**dataclasses.asdict(each.stats), **dict.fromkeys(but)} for each in (one, other)]
    assert stats[0] == stats[1]


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
    fields = [("xyz", "<f4", 3), ("rgb", "u1", 3), ("label", "u1"), ("confidence", "<f4"), ("instance", "<i4")]
    vertices = np.frombuffer(content, fields, len(mapper.mesh().vertices), content.index(b"end_header\n") + 11)
    assert np.array_equal(vertices["label"], mapper.mesh().labels)
    graph = spark_dsg.DynamicSceneGraph.load(tmp_path / "map" / "scene_graph.sparkdsg")
    assert graph.num_nodes() == len(mapper.scene_graph().nodes) and graph.mesh.num_vertices() == len(vertices)
    layers = {layer.name: layer for layer in mapper.scene_graph().layers}
    assert graph.get_layer(2, spark_dsg.PartitionId("a")).num_nodes() == len(mapper.trajectory())
    for name, number in {"OBJECTS": 2, "PLACES": 3, "ROOMS": 4, "BUILDINGS": 5}.items():
        assert graph.get_layer(name).id == layers[name].id == number
        assert graph.get_layer(name).num_nodes() == layers[name].nodes > 0
    manifest = json.loads((tmp_path / "map" / "manifest.json").read_text())
    products = {"mesh.ply", "mesh.glb", "scene_graph.sparkdsg", "scene_graph.json", "grid.pgm", "grid.yaml", "esdf.npz"}
    assert products < set(manifest["files"])


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
    content = bytearray((folder / "blocks.zip").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "blocks.zip").write_bytes(content)


def edit_manifest(**fields):
    def edit(folder):
        path = folder / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return edit


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (flip_a_byte, r"blocks\.zip is damaged"),
        (lambda folder: (folder / "ground.npz").unlink(), r"ground\.npz is missing"),
        (lambda folder: (folder / "air.npz").unlink(), r"air\.npz is missing"),
        (lambda folder: (folder / "objects.json").write_text("{}"), r"objects\.json is damaged"),
        (lambda folder: (folder / "manifest.json").unlink(), r"is no readable map: FileNotFoundError"),
        (lambda folder: (folder / "manifest.json").write_text("{"), r"map: ValueError: .*manifest\.json is not JSON"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), r"is no readable map: TypeError"),
        (edit_manifest(version=99), r"format is mtl_perception\.map version 99, this program reads"),
        (edit_manifest(files={}), r"manifest\.json does not list blocks\.zip"),
        (edit_manifest(blocks=3), r"blocks\.zip has \d+ blocks, manifest\.json says 3"),
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


@pytest.fixture
def long_wall(scene, frame):
    """Frames along a wall, with more blocks than the small maps below have room for in memory."""
    scene.box("wall", (-20, 1.5, -3), (40, 2, 3))
    return [frame(scene.look((x, 0, 0), yaw=np.pi / 2), stamp_ns=x * 10**8, base=(x, 0, 0)) for x in range(14)]


SMALL = MapperConfig(max_blocks=300)


def test_a_saved_map_is_whole_whichever_part_of_it_is_on_disk(long_wall, labels, tmp_path):
    small, large = Mapper(SMALL, labels), Mapper(MapperConfig(), labels)
    for frame in long_wall:
        small.integrate(frame)
        large.integrate(frame)
    assert small.stats.archived_blocks > 100 and large.stats.archived_blocks == 0
    ours, theirs = small.save(tmp_path / "small"), large.save(tmp_path / "large")
    for path in theirs.iterdir():
        if path.name != "manifest.json":  # it tells max_blocks
            assert path.read_bytes() == (ours / path.name).read_bytes(), path.name


def test_a_map_that_is_larger_than_memory_is_loaded_and_continued(long_wall, labels, tmp_path):
    small, large = Mapper(SMALL, labels), Mapper(MapperConfig(), labels)
    for frame in long_wall[:10]:
        large.integrate(frame)
    folder = large.save(tmp_path / "map")
    small.load(folder)
    stats = small.stats
    assert stats.blocks == large.stats.blocks and 0 < stats.blocks - stats.archived_blocks <= 300
    for frame in [*long_wall[10:], *long_wall[:4]]:
        small.integrate(frame)
        large.integrate(frame)
    ours, theirs = small.save(tmp_path / "small"), large.save(tmp_path / "large")
    for name in ("blocks.zip", "ground.npz", "air.npz", "objects.json", "mesh.ply"):
        assert (ours / name).read_bytes() == (theirs / name).read_bytes(), name


def test_a_map_of_which_a_part_is_lost_is_saved_without_it(long_wall, labels, tmp_path):
    mapper, other = Mapper(SMALL, labels), Mapper(SMALL, labels)
    for frame in long_wall:
        mapper.integrate(frame)
    blocks = mapper.stats.blocks
    for path in sorted(mapper._volume.blocks.archive.folder.iterdir())[:3]:
        path.write_bytes(path.read_bytes()[:-1])  # the voxels: found out when they are copied
    other.load(mapper.save(tmp_path / "map"))
    assert mapper.stats.damaged_regions > 0
    assert other.stats.blocks == mapper.stats.blocks < blocks


def test_a_copy_is_saved_as_the_map_was_when_it_was_made(long_wall, labels, tmp_path):
    mapper, as_it_was = Mapper(SMALL, labels), Mapper(SMALL, labels)
    for frame in long_wall[:10]:
        mapper.integrate(frame)
        as_it_was.integrate(frame)
    copy = mapper.copy()
    assert_equal(copy, as_it_was, but={"evicted_blocks"})
    for frame in long_wall[10:]:
        mapper.integrate(frame)  # sends away and brings back what the copy shares with it
    for frame in long_wall[:4]:
        mapper.integrate(frame)
    ours, theirs = copy.save(tmp_path / "copy"), as_it_was.save(tmp_path / "map")
    for path in theirs.iterdir():
        assert path.read_bytes() == (ours / path.name).read_bytes(), path.name
    for frame in long_wall[10:]:
        copy.integrate(frame)
        as_it_was.integrate(frame)
    assert_equal(copy, as_it_was, but={"evicted_blocks"})
    copy.close()
    assert mapper.stats.damaged_regions == 0 and not copy._volume.blocks.archive.folder.exists()


def test_loading_takes_another_folder_and_a_failed_load_none(long_wall, mapper, labels, tmp_path):
    folder = mapper.save(tmp_path / "map")
    other = Mapper(SMALL, labels, archive_folder=tmp_path / "archives")
    (first,) = (tmp_path / "archives").iterdir()
    other.load(folder)
    (second,) = (tmp_path / "archives").iterdir()
    assert first != second
    flip_a_byte(folder)
    with pytest.raises(MapFormatError):
        other.load(folder)
    assert list((tmp_path / "archives").iterdir()) == [second]
    other.close()
    assert not any((tmp_path / "archives").iterdir())


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (lambda entries: entries.pop(), r"blocks\.zip has \d+ blocks, manifest\.json says \d+"),
        (lambda entries: entries.append(entries[0]), r"blocks\.zip: a name is there twice"),
        (lambda entries: entries.append(("again", entries[0][1])), r"again is a region that the map already has"),
        (lambda entries: entries.append(("x", b"y")), r"blocks\.zip/x is no region of a map"),
    ],
)
def test_regions_that_do_not_make_the_map_are_refused(mapper, labels, tmp_path, edit, text):
    folder = mapper.save(tmp_path / "map")
    with zipfile.ZipFile(folder / "blocks.zip") as archive:
        entries = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    edit(entries)
    with zipfile.ZipFile(folder / "blocks.zip", "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name that is there twice
        for name, content in entries:
            archive.writestr(name, content)
    content = (folder / "blocks.zip").read_bytes()
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["blocks.zip"] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(MapFormatError, match=text):
        Mapper(MapperConfig(), labels).load(folder)
