# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where another map lies, found from what both show; refused where that cannot be told."""

import numpy as np
import pytest

from mtl_perception.core.transforms import inverse, transform_points
from mtl_perception.mapping import MappingError
from test.mapping.merging.conftest import (
    CONFIG,
    OTHER_WORLD,
    SELF_FROM_OTHER,
    furnished,
    in_other_world,
    look_at,
    mapped,
)


def test_it_is_found_within_two_voxels_and_a_degree(world, loaded):
    mapper = loaded(world.one)
    report = mapper.merge(world.other)
    off = transform_points(report.self_from_other @ OTHER_WORLD, np.array([6.0, 2.5, 1.0])) - [6.0, 2.5, 1.0]
    assert np.linalg.norm(off) < 2 * CONFIG.voxel_size
    turn = report.self_from_other @ inverse(SELF_FROM_OTHER)
    assert abs(np.rad2deg(np.arctan2(turn[1, 0], turn[0, 0]))) < 1.0
    assert np.allclose(report.self_from_other[2, :3], [0, 0, 1])  # gravity is kept
    assert report.alignment.objects >= 5 and report.alignment.agreement > 0.9
    assert len(mapper.objects()) == len(world.joint.objects())


def test_it_does_not_matter_which_map_is_merged_into_which(world, loaded):
    report = loaded(world.other).merge(world.one)
    off = transform_points(inverse(OTHER_WORLD) @ report.self_from_other, np.array([6.0, 2.5, 1.0])) - [6.0, 2.5, 1.0]
    assert np.linalg.norm(off) < 2 * CONFIG.voxel_size


def test_rooms_that_are_alike_with_other_things_in_them_are_not_taken_for_the_same(world, loaded):
    mapper = loaded(world.one)
    before = mapper.scene_graph_bytes(True)
    with pytest.raises(MappingError, match=r"enough: .* 60% of that of things.* agree, 9\d%, of things [1-5]\d%"):
        mapper.merge(world.elsewhere)
    assert mapper.scene_graph_bytes(True) == before and mapper.stats.frames == 12


def test_too_few_things_in_common_are_refused(world, loaded, labels, new_scene, frame, tmp_path):
    bare = furnished(new_scene(), [(1.0, 0.5), (3.0, 4.0)])
    frames = [look_at(bare, frame, 2.0, 2.4, yaw, 1 + at) for at, yaw in enumerate((0.0, 2.0, -2.0))]
    folder = mapped(frames, labels).save(tmp_path / "bare")
    with pytest.raises(MappingError, match=r"no 3 of their objects \(\d+ here, \d there\) lie alike"):
        loaded(world.one).merge(folder)


def test_what_fits_in_two_ways_is_refused(labels, new_scene, frame, tmp_path):
    hall = new_scene().box("floor", (-4, -3, -0.2), (4, 3, 0))
    for low, high in (((-4.2, -3.2), (4.2, -3)), ((-4.2, 3), (4.2, 3.2)), ((-4.2, -3), (-4, 3)), ((4, -3), (4.2, 3))):
        hall.box("wall", (*low, 0), (*high, 2.5))
    hall.furniture = []
    for x, y in ((-3.0, 1.5), (-1.0, -2.5), (2.4, 2.0)):
        for sign in (1, -1):  # twice the same, turned by half a turn
            ends = np.sort([[sign * x, sign * y], [sign * (x + 0.8), sign * (y + 0.5)]], axis=0)
            hall.box("furniture", (*ends[0], 0), (*ends[1], 0.9))
            hall.furniture.append((np.array([*ends[0], 0.0]), np.array([*ends[1], 0.9])))
    yaws = np.linspace(0.0, 2 * np.pi, 8, endpoint=False).tolist()
    frames = [look_at(hall, frame, 0.0, 0.0, yaw, 1 + at) for at, yaw in enumerate(yaws)]
    folder = mapped([in_other_world(made) for made in frames], labels).save(tmp_path / "hall")
    with pytest.raises(MappingError, match=r"in several ways, which cannot be told apart: x .* yaw .*; x .* yaw "):
        mapped(frames, labels).merge(folder)
