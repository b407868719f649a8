# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Things that two maps have in common, and things that only look so."""

from dataclasses import replace

import numpy as np
import pytest

from mtl_perception.mapping.fusion.blocks import ATTRIBUTES, VOXELS, pack
from mtl_perception.mapping.fusion.instances import InstanceState
from mtl_perception.mapping.merging.same_objects import same_objects
from mtl_perception.mapping.merging.thing_numbers import ThingNumbers
from mtl_perception.mapping.window.region_file import Region
from test.mapping.conftest import body_pose
from test.mapping.graph.conftest import CONFIG, Bricks

EDGE = CONFIG.object_gap
IDENTITY = np.eye(4)


def line(first, count, y=0, z=0):
    return [(x, y, z) for x in range(first, first + count)]


@pytest.fixture
def new(labels):
    """The function that makes a map of furniture in some cells each; it returns its objects and their state."""

    def make(*things, label="furniture"):
        bricks = Bricks(labels)
        for cells in things:
            bricks.put(label, cells)
        bricks.objects()
        return bricks.registry.state(bricks.measured, bricks.stamp_ns)

    return make


def centroids(state):
    return [item.centroid[0] for item in state.objects]


def test_things_that_share_surface_are_one(new):
    ours, theirs = new(line(0, 6), line(10, 6)), new(line(13, 6), line(3, 6), line(30, 6))
    found = same_objects(ours.objects, theirs, IDENTITY, EDGE)
    pairs = {(round(centroids(ours)[one], 1), round(centroids(theirs)[other], 1)) for other, one in found.items()}
    assert pairs == {(0.5, 1.1), (2.5, 3.1)}


def test_where_the_other_map_lies_matters(new):
    ours, theirs = new(line(0, 6)), new(line(20, 6, y=10))
    assert not same_objects(ours.objects, theirs, IDENTITY, EDGE)
    assert same_objects(ours.objects, theirs, body_pose((-4.0, -2.0, 0.0)), EDGE) == {0: 0}
    turned = body_pose((2.0, -4.0, 0.0), yaw=np.pi / 2)  # x 4 to 5.2, y 2 to 2.2 comes to x -0.2 to 0, y 0 to 1.2
    across = new([(-1, y, 0) for y in range(6)])
    assert same_objects(across.objects, theirs, turned, EDGE) == {0: 0}


def test_a_little_shared_surface_or_another_class_is_not_enough(new):
    ours, theirs = new(line(0, 9)), new(line(8, 9))
    assert not same_objects(ours.objects, theirs, IDENTITY, EDGE)
    assert not same_objects(ours.objects, new(line(0, 9), label="sign"), IDENTITY, EDGE)


def test_two_of_theirs_can_be_one_of_ours(new):
    ours, theirs = new(line(0, 12)), new(line(0, 4), line(7, 5))
    assert same_objects(ours.objects, theirs, IDENTITY, EDGE) == {0: 0, 1: 0}


def test_two_sides_of_one_thing_are_one(new):
    front, back = new([(0, 0, 0), (0, 0, 1), (1, 0, 1)]), new([(1, 1, 0), (1, 1, 1), (0, 1, 1)])
    assert not set(front.objects[0].cells.tolist()) & set(back.objects[0].cells.tolist())
    beside = new([(5, 0, 0), (5, 0, 1), (6, 0, 1)])
    shift = body_pose((0.0, -0.1, 0.0))  # their boxes come to overlap
    assert same_objects(front.objects, back, shift, EDGE) == {0: 0}
    assert not same_objects(beside.objects, back, shift, EDGE)


def test_nothing_is_the_same_as_nothing(new):
    some = new(line(0, 6))
    for ours, theirs in ((new(), some), (some, new()), (new(), new())):
        assert same_objects(ours.objects, theirs, IDENTITY, EDGE) == {}


class Numbers:
    """As `Instances`, as far as it is asked."""

    def __init__(self, taken):
        self.taken, self.given = taken, []

    def add(self, label):
        self.given.append(label)
        return self.taken + len(self.given)


def test_numbers_are_those_of_the_same_things_or_new(new):
    ours, theirs = new(line(0, 6), line(10, 6)), new(line(0, 6), line(10, 6), line(20, 6))
    our_objects = [replace(item, instance=number) for item, number in zip(ours.objects, (7, 8), strict=True)]
    their_objects = [replace(item, instance=number) for item, number in zip(theirs.objects, (2, 0, 5), strict=True)]
    label = np.array([255, 15, 15, 15, 15, 15], np.uint8)
    root = np.array([0, 1, 2, 2, 4, 5], np.uint16)  # 3 was joined to 2
    numbers = Numbers(8)
    known = InstanceState(label, root, np.zeros((0, 3), np.int64))
    found = ThingNumbers(known, numbers, their_objects, our_objects, {0: 0, 1: 1})
    voxels = {name: np.zeros((1, VOXELS, *shape), kind) for name, (kind, shape) in ATTRIBUTES.items()}
    voxels["instance"][0, :6] = [0, 2, 3, 5, 60000, 5]
    voxels["label"][:] = 15
    keys = np.array([[5, 0, 0]], np.int32)  # x 2.0 to 2.4: in and beside their second object, which has no number
    region = Region(int(pack(np.zeros(3))), keys, np.zeros((1, 2), np.int64), {}, voxels)
    result = found.of_voxels(region, IDENTITY, 0.05, EDGE)
    assert result[0, 1:4].tolist() == [7, 7, 9] and result[0, 5] == 9
    assert result[0, [0, 4, 6]].tolist() == [8, 8, 8]  # not told apart there, but one with our second object
    assert numbers.given == [15]  # one new number: for what is used
    assert [found.of_object(item) for item in their_objects] == [7, 8, 9]
