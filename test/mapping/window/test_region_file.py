# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Regions as bytes: every bit comes back, and damage is told."""

import io

import numpy as np
import pytest

from mtl_perception.mapping.fusion.blocks import ATTRIBUTES, VOXELS
from mtl_perception.mapping.fusion.measured import NEVER_NS
from mtl_perception.mapping.surface.meshing import MeshBlock
from mtl_perception.mapping.window.region_file import Region, RegionError, encode, read
from mtl_perception.mapping.window.regions import block_keys, region_ids

FIELDS = ("vertices", "triangles", "colours", "labels", "confidence", "instances")


def any_bits(rng, kind, *shape):
    dtype = np.dtype(kind)
    return rng.integers(0, 256, (*shape, dtype.itemsize), np.uint8).view(dtype).reshape(shape)


def region_of_noise(seed, blocks=9):
    rng = np.random.default_rng(seed)
    region = int(region_ids(np.array([-3, 9, 400])))
    keys = block_keys(region)[np.sort(rng.permutation(64)[:blocks])]
    meshes = {}
    for x, y, z in keys[::2].tolist():
        count = int(rng.integers(3, 30))
        shapes = {"vertices": (count, 3), "triangles": (2 * count, 3), "colours": (count, 3), "labels": (count,)}
        kinds = {"vertices": "f4", "triangles": "i4", "colours": "u1", "labels": "u1"}
        fields = {field: any_bits(rng, kinds[field], *shape) for field, shape in shapes.items()}
        fields |= {"confidence": any_bits(rng, "f4", count), "instances": any_bits(rng, "u2", count)}
        meshes[(x, y, z)] = MeshBlock(**fields)
    seen = any_bits(rng, "i8", blocks, 2)
    seen[-1:] = NEVER_NS
    voxels = {name: any_bits(rng, kind, blocks, VOXELS, *shape) for name, (kind, shape) in ATTRIBUTES.items()}
    return Region(region, keys, seen, meshes, voxels)


def assert_same_bits(one, other):
    assert one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


@pytest.mark.parametrize("blocks", [1, 9, 64])
def test_every_bit_comes_back(blocks):
    content = region_of_noise(blocks, blocks)
    back = read(io.BytesIO(encode(content)), "x")
    assert back.region == content.region
    assert_same_bits(back.keys, content.keys)
    assert_same_bits(back.seen_ns, content.seen_ns)
    assert back.voxels.keys() == content.voxels.keys() and back.meshes.keys() == content.meshes.keys()
    for name, array in content.voxels.items():
        assert_same_bits(back.voxels[name], array)
    for key, mesh in content.meshes.items():
        for field in FIELDS:
            assert_same_bits(getattr(back.meshes[key], field), getattr(mesh, field))
    assert encode(back) == encode(content)


def test_a_region_without_meshes_comes_back():
    content = region_of_noise(2)
    bare = Region(content.region, content.keys, content.seen_ns, {}, content.voxels)
    assert read(io.BytesIO(encode(bare)), "x").meshes == {}


def test_the_surface_is_read_without_the_voxels():
    content = region_of_noise(3)
    file = io.BytesIO(encode(content))
    back = read(file, "x", with_voxels=False)
    assert back.voxels == {} and back.meshes.keys() == content.meshes.keys()
    assert_same_bits(back.seen_ns, content.seen_ns)
    assert file.tell() < len(file.getvalue()) / 10


def test_every_flipped_bit_and_every_cut_is_told():
    whole = encode(region_of_noise(4, blocks=1))
    rng = np.random.default_rng(0)
    places = [*range(130), *rng.integers(0, len(whole), 60).tolist(), len(whole) - 1]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        with pytest.raises(RegionError, match=r"^some/file is (damaged|no region)"):
            read(io.BytesIO(damaged), "some/file")
    for length in (0, 10, 64, 127, 128, 200, len(whole) - 1):
        with pytest.raises(RegionError, match=r"^some/file is (damaged|no region)"):
            read(io.BytesIO(whole[:length]), "some/file")
