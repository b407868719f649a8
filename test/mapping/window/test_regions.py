# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Regions against plain arithmetic."""

import numpy as np

from mtl_perception.mapping.fusion.blocks import pack, unpack
from mtl_perception.mapping.window.regions import (
    PLACES,
    RegionIndex,
    block_keys,
    distances,
    mask_of,
    places_in,
    places_of,
    region_ids,
)


def test_a_region_has_the_blocks_that_lie_in_it():
    rng = np.random.default_rng(0)
    keys = rng.integers(-50, 50, (300, 3)).astype(np.int32)
    for key, region, place in zip(keys, region_ids(keys).tolist(), places_of(keys).tolist(), strict=True):
        assert unpack(np.array(region)).tolist() == [int(c // 4) for c in key]
        assert block_keys(region)[place].tolist() == key.tolist()
    every = block_keys(int(region_ids(np.array([-1, 0, 7]))))
    assert places_of(every).tolist() == list(range(PLACES))
    assert (np.diff(pack(every)) > 0).all()


def test_a_mask_is_a_set_of_places():
    rng = np.random.default_rng(1)
    for count in (0, 1, 7, 63, 64):
        places = np.sort(rng.permutation(PLACES)[:count])
        mask = mask_of(places)
        assert mask == sum(1 << place for place in places.tolist())
        assert places_in(mask).tolist() == places.tolist()


def test_the_distance_of_a_region_is_that_of_its_nearest_point():
    regions = pack(np.array([[0, 0, 0], [2, 0, 0], [-2, 0, 0], [1, 1, 1], [-1, -1, -1]]))
    found = distances(regions, np.array([1.0, 1.0, 1.0]), 2.0)
    np.testing.assert_allclose(found, [0, 3, 3, np.sqrt(3), np.sqrt(3)])


def test_the_index_misses_none_and_gives_only_what_is_there():
    rng = np.random.default_rng(2)
    index, there = RegionIndex(1.6, 7.0), set()
    for _ in range(60):
        for region in pack(rng.integers(-12, 12, (20, 3))).tolist():
            if region in there:
                index.remove(region)
                there.remove(region)
            else:
                index.add(region)
                there.add(region)
        low = rng.uniform(-25, 20, 3)
        high = low + rng.uniform(0, 15, 3)
        corners = unpack(np.array(sorted(there))) * 1.6
        touching = ((corners <= high) & (corners + 1.6 >= low)).all(axis=1)
        found = index.near(low, high).tolist()
        assert set(np.array(sorted(there))[touching].tolist()) <= set(found) <= there
        assert found == sorted(set(found))
    assert there
