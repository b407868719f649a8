# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Blocks of two maps as one: random voxels."""

import numpy as np
import pytest

from mtl_perception.mapping.fusion.blocks import ATTRIBUTES, VOXELS, pack
from mtl_perception.mapping.fusion.measured import NEVER_NS, stamp_of_other
from mtl_perception.mapping.merging.voxel_union import joined_region
from mtl_perception.mapping.window.region_file import Region
from mtl_perception.mapping.window.regions import block_keys

MOST = 64.0


def region(random, places, seen_ns):
    count = len(places)
    voxels = {
        name: random.uniform(0, 1, (count, VOXELS, *shape)).astype(kind) for name, (kind, shape) in ATTRIBUTES.items()
    }
    seen = random.random((count, VOXELS)) < 0.5
    voxels["weight"] = np.where(seen, random.uniform(0.1, 50, seen.shape), 0).astype(np.float32)
    voxels["votes"] = np.where(seen, random.uniform(0, 50, seen.shape), 0).astype(np.float32)
    voxels["label"] = np.where(seen, random.integers(0, 3, seen.shape), 255).astype(np.uint8)
    voxels["instance"] = np.where(seen, random.integers(0, 4, seen.shape), 0).astype(np.uint16)
    voxels["instance_votes"] = np.where(voxels["instance"] > 0, random.integers(0, 9, seen.shape), 0).astype(np.uint8)
    voxels["color"] = np.where(seen[..., None], random.uniform(1, 255, (*seen.shape, 3)), 0).astype(np.float32)
    return Region(int(pack(np.zeros(3))), block_keys(int(pack(np.zeros(3))))[places], seen_ns, {}, voxels)


@pytest.fixture
def both():
    random = np.random.default_rng(7)
    ours = region(random, [0, 3, 5, 9], np.array([[1, 2], [3, 4], [5, 6], [7, 8]]))
    theirs = region(random, [2, 3, 9], np.array([[100, 200], [101, 201], [stamp_of_other(2), stamp_of_other(2)]]))
    return ours, theirs, joined_region(ours, theirs, 3, MOST)


def test_blocks_are_in_order_and_stamped_with_whose_they_are(both):
    ours, _, result = both
    assert np.array_equal(result.keys, block_keys(result.region)[[0, 2, 3, 5, 9]])
    assert result.seen_ns.tolist() == [[1, 2], [stamp_of_other(4)] * 2, [3, 4], [5, 6], [7, 8]]
    assert {name: array.dtype for name, array in result.voxels.items()} == {
        name: array.dtype for name, array in ours.voxels.items()
    }
    alone = joined_region(None, both[1], 3, MOST)
    assert alone.seen_ns.tolist() == [[stamp_of_other(4)] * 2] * 2 + [[stamp_of_other(6)] * 2]


def test_what_one_alone_has_seen_is_as_it_was(both):
    ours, theirs, result = both
    for name in ATTRIBUTES:
        assert np.array_equal(result.voxels[name][[0, 3]], ours.voxels[name][[0, 2]])
        assert np.array_equal(result.voxels[name][1], theirs.voxels[name][0])
        for row, (one, other) in {2: (1, 1), 4: (3, 2)}.items():
            only = theirs.voxels["weight"][other] == 0
            assert np.array_equal(result.voxels[name][row][only], ours.voxels[name][one][only]), name
            only = (ours.voxels["weight"][one] == 0) & (theirs.voxels["weight"][other] > 0)
            found, expected = result.voxels[name][row][only], theirs.voxels[name][other][only]
            np.testing.assert_allclose(found, expected, atol=1e-4, err_msg=name)


def test_what_both_have_seen_is_fused(both):
    ours, theirs, result = both
    places = ((ours, 1), (theirs, 1), (result, 2))
    one, other, found = ({name: array[row] for name, array in each.voxels.items()} for each, row in places)
    at = (one["weight"] > 0) & (other["weight"] > 0)
    assert at.sum() > 50
    weight = one["weight"] + other["weight"]
    np.testing.assert_allclose(found["weight"][at], np.minimum(weight, MOST)[at], rtol=1e-5)
    mean = (one["tsdf"] * one["weight"] + other["tsdf"] * other["weight"]) / np.maximum(weight, 1e-9)
    np.testing.assert_allclose(found["tsdf"][at], mean[at], atol=1e-4)
    same = at & (one["label"] == other["label"])
    np.testing.assert_allclose(found["votes"][same], np.minimum(one["votes"] + other["votes"], MOST)[same], rtol=1e-5)
    differ = at & ~same
    leads = np.where(one["votes"] >= other["votes"], one["label"], other["label"])
    assert np.array_equal(found["label"][differ], leads[differ])
    np.testing.assert_allclose(found["votes"][differ], np.abs(one["votes"] - other["votes"])[differ], rtol=1e-4)
    told = at & (one["instance"] > 0)  # a thing keeps our number where it has one
    assert np.array_equal(found["instance"][told], one["instance"][told])
    untold = at & (one["instance"] == 0)
    assert np.array_equal(found["instance"][untold], other["instance"][untold])


def test_who_has_seen_no_colour_says_nothing_of_it(both):
    ours, theirs, _ = both
    ours.voxels["color"][1], theirs.voxels["color"][2] = 0, 0
    result = joined_region(ours, theirs, 0, MOST)
    seen = theirs.voxels["weight"][1] > 0
    assert np.array_equal(result.voxels["color"][2][seen], theirs.voxels["color"][1][seen])
    assert np.array_equal(result.voxels["color"][4], ours.voxels["color"][3])


def test_never_measured_blocks_of_the_other_are_its_own(both):
    _, theirs, _ = both
    theirs.seen_ns[:] = NEVER_NS
    assert (joined_region(None, theirs, 0, MOST).seen_ns == stamp_of_other(1)).all()
