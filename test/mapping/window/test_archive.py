# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""An archive against a dictionary, and with files that are damaged or cannot be written."""

import os

import numpy as np
import pytest

from mtl_perception.mapping.fusion.blocks import ATTRIBUTES, VOXELS, pack
from mtl_perception.mapping.fusion.measured import NEVER_NS
from mtl_perception.mapping.surface.meshing import MeshBlock
from mtl_perception.mapping.window.archive import RegionArchive
from mtl_perception.mapping.window.region_file import Region, RegionError, encode
from mtl_perception.mapping.window.regions import block_keys


@pytest.fixture
def archive(tmp_path):
    result = RegionArchive(0.1, 5.0, tmp_path)
    yield result
    result.close()
    assert not any(tmp_path.iterdir())


def region(x, y=0, z=0, blocks=5, stamp=1):
    """A region whose content follows from its arguments."""
    rng = np.random.default_rng([x + 100, y + 100, z + 100, blocks])
    number = int(pack(np.array([x, y, z])))
    keys = block_keys(number)[np.sort(rng.permutation(64)[:blocks])]
    voxels = {name: rng.integers(0, 9, (blocks, VOXELS, *s)).astype(kind) for name, (kind, s) in ATTRIBUTES.items()}
    meshes = {tuple(key): triangle(float(x)) for key in keys[: blocks // 2].tolist()}
    return Region(number, keys, np.full((blocks, 2), stamp), meshes, voxels)


def triangle(value):
    points = np.full((3, 3), value, np.float32)
    triangles, instances = np.array([[0, 1, 2]], np.int32), np.arange(3, dtype="u2")
    return MeshBlock(points, triangles, points.astype("u1"), np.zeros(3, "u1"), points[0], instances)


def test_an_archive_is_a_dictionary_of_regions(archive):
    rng = np.random.default_rng(9)
    known = {}
    for _ in range(150):
        content = region(int(rng.integers(-3, 4)), int(rng.integers(0, 2)), blocks=int(rng.integers(2, 9)))
        if rng.random() < 0.6:
            archive.put(content)
            known[content.region] = content
        elif content.region in known:
            taken = archive.take(content.region)
            expected = known.pop(content.region)
            assert encode(taken) == encode(expected)
        assert archive.regions() == sorted(known) and len(archive) == len(known)
        assert archive.blocks == sum(len(each.keys) for each in known.values())
        assert archive.vertices == sum(3 * len(each.meshes) for each in known.values())
        for number, each in known.items():
            assert number in archive
            assert archive.keys(number).tolist() == each.keys.tolist()
            assert [tuple(key) for key in archive.meshed_keys(number).tolist()] == sorted(each.meshes)
            assert archive.has_blocks(block_keys(number)).sum() == archive.block_count(number) == len(each.keys)
            assert all(archive.has_mesh(key) for key in each.meshes)
            assert not archive.has_mesh(tuple(each.keys[-1].tolist()))
    assert known
    for number, each in known.items():
        assert archive.read(number, with_voxels=False).voxels == {}
        assert encode(archive.read(number)) == archive.content(number) == encode(each)


def test_what_was_taken_and_not_changed_goes_back_without_being_written(archive):
    content = region(1)
    archive.put(content)
    (path,) = archive.folder.iterdir()
    written = path.stat().st_mtime_ns
    archive.take(content.region)
    assert content.region not in archive and not archive.put_back(content.region + 1)
    assert archive.put_back(content.region) and content.region in archive
    assert path.stat().st_mtime_ns == written
    archive.take(content.region)
    archive.changed([content.region])
    assert not archive.put_back(content.region)
    archive.put(content)
    archive.take(content.region)
    path.unlink()
    assert not archive.put_back(content.region)


def test_stamps_are_told_by_block(archive):
    one, other = region(1, stamp=5), region(2, stamp=7)
    archive.put(one)
    archive.put(other)
    asked = np.concatenate([other.keys[:2], np.array([[999, 0, 0]], np.int32), one.keys[-1:]])
    assert archive.stamps(asked).tolist() == [[7, 7], [7, 7], [NEVER_NS, NEVER_NS], [5, 5]]


def test_meshes_are_replaced_in_the_file(archive):
    content = region(1, blocks=6)
    archive.put(content)
    archive.read(content.region, with_voxels=False)
    first, second, third = sorted(content.meshes)
    new = tuple(content.keys[-1].tolist())
    archive.remesh(content.region, {first: None, second: triangle(8.0), new: triangle(9.0)})
    back = archive.read(content.region, with_voxels=False)
    assert sorted(back.meshes) == [second, third, new]
    assert archive.meshed_keys(content.region).tolist() == [list(key) for key in (second, third, new)]
    assert (back.meshes[second].vertices == 8).all() and (back.meshes[third].vertices == 1).all()
    assert all(np.array_equal(archive.read(content.region).voxels[name], content.voxels[name]) for name in ATTRIBUTES)


@pytest.mark.parametrize("with_voxels", [True, False])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "other"])
def test_a_file_that_cannot_be_read_is_logged_and_counted_and_its_region_is_gone(archive, caplog, damage, with_voxels):
    content, other = region(1), region(2)
    archive.put(content)
    archive.put(other)
    path = archive.folder / "1_0_0.region"
    if damage == "remove":
        path.unlink()
    elif damage == "other":
        path.write_bytes(encode(other))
    else:
        whole = bytearray(path.read_bytes())
        whole[200] ^= 1
        path.write_bytes(whole if damage == "flip" else whole[:190])
    assert archive.read(content.region, with_voxels) is None
    assert archive.regions() == [other.region] and archive.damaged_regions == 1
    assert archive.blocks == 5 and archive.vertices == 6 and str(path) in caplog.text
    keys, meshed = archive.take_lost()
    assert keys.tolist() == content.keys.tolist() and meshed == sorted(content.meshes)
    assert len(archive.take_lost()[0]) == 0
    assert archive.take(other.region) is not None


def test_a_region_that_cannot_be_written_leaves_the_archive_as_it_was(archive):
    old = region(1, stamp=1)
    archive.put(old)
    (archive.folder / "1_0_0.new").mkdir()  # in the way of the temporary file
    (archive.folder / "2_0_0.new").mkdir()
    with pytest.raises(OSError, match=r"1_0_0\.new"):
        archive.put(region(1, stamp=2))
    with pytest.raises(OSError, match=r"2_0_0\.new"):
        archive.put(region(2))
    assert archive.regions() == [old.region] and archive.blocks == 5
    assert archive.stamps(old.keys).tolist() == [[1, 1]] * 5


def test_what_is_adopted_is_checked(archive):
    content = encode(region(1))
    assert archive.adopt(content, "blocks.zip/1_0_0.region") == 5
    with pytest.raises(RegionError, match=r"blocks\.zip/again is a region that the map already has"):
        archive.adopt(content, "blocks.zip/again")
    with pytest.raises(RegionError, match=r"blocks\.zip/2_0_0\.region is damaged"):
        archive.adopt(encode(region(2))[:-1], "blocks.zip/2_0_0.region")
    assert archive.content(region(1).region) == content


def test_only_a_few_regions_are_kept_in_memory_and_no_file_is_open(archive):
    before = len(os.listdir("/proc/self/fd"))
    for x in range(60):
        archive.put(region(x))
    for x in range(60):
        archive.read(region(x).region)
    assert len(archive._kept) <= 16
    assert len(os.listdir("/proc/self/fd")) == before
