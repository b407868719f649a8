# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The ways of other robots: each as one with a pose of this robot, saved and restored."""

from dataclasses import replace

import numpy as np
import pytest

from mtl_perception.mapping import MapFormatError, MappingError
from mtl_perception.mapping.fusion.measured import MOST_OTHERS, NEVER_NS, are_times, others_of, stamp_of_other
from mtl_perception.mapping.poses.other_robots import OtherRobots, OtherWay
from mtl_perception.mapping.poses.trajectory import Trajectory
from test.mapping.conftest import body_pose


def way(count, anchor_ns, y=0.0):
    poses = np.array([body_pose((x, y, 0.0)) for x in range(count)]).reshape(-1, 4, 4)
    return OtherWay(np.arange(count) * 10, poses, anchor_ns)


@pytest.fixture
def robots():
    known = OtherRobots()
    known.add([way(4, 100), way(0, 50), way(3, 300, y=5.0)])
    return known


def test_stamps_tell_times_from_robots():
    stamps = np.array([[NEVER_NS, stamp_of_other(1)], [stamp_of_other(MOST_OTHERS), -5], [0, 7]])
    assert others_of(stamps).tolist() == [[0, 1], [MOST_OTHERS, 0], [0, 0]]
    assert are_times(stamps).tolist() == [[False, False], [False, True], [True, True]]


def test_a_block_of_another_robot_hangs_on_the_pose_that_its_way_hangs_on(robots):
    stamps = np.array([NEVER_NS, stamp_of_other(1), stamp_of_other(3), 42])
    assert robots.as_times(stamps).tolist() == [NEVER_NS, 100, 300, 42]


def test_each_way_moves_as_one_with_its_anchor(robots):
    def corrections(stamps_ns):
        return np.array([body_pose((0.01 * stamp, 0, 0), yaw=0.001 * stamp) for stamp in stamps_ns.tolist()])

    before = robots.ways
    robots.move(corrections)
    for old, new in zip(before, robots.ways, strict=True):
        np.testing.assert_allclose(new.poses, corrections(np.array([old.anchor_ns]))[0] @ old.poses)
        assert np.array_equal(new.stamps_ns, old.stamps_ns) and new.anchor_ns == old.anchor_ns


def test_what_is_near_a_robots_way_moves_with_it(robots):
    trajectory = Trajectory()
    for number in range(5):
        trajectory.add(number * 100, body_pose((number, 20.0, 0.0)))
    correction = trajectory.correction([(0, body_pose((0, 20.0, 0.0))), (400, body_pose((4, 22.0, 0.0)))])
    points = np.array([[0.0, 20.0, 0.0], [1.0, 1.0, 0.0], [2.0, 6.0, 0.0], [4.0, 21.0, 0.0]])
    alone = correction.around(points)[:, 1, 3]
    found = replace(correction, others=robots.ways).around(points)[:, 1, 3]
    assert found == pytest.approx([0.0, 0.5, 1.5, 2.0])  # of their anchors: 100 ns, 300 ns
    assert alone == pytest.approx([0.0, 0.5, 1.0, 2.0])  # of the nearest keyframes


def test_what_is_saved_is_restored(robots):
    other = OtherRobots()
    other.restore(robots.state())
    for one, two in zip(robots.ways, other.ways, strict=True):
        assert np.array_equal(one.poses, two.poses) and np.array_equal(one.stamps_ns, two.stamps_ns)
        assert one.anchor_ns == two.anchor_ns
    nobody = OtherRobots()
    nobody.restore(OtherRobots().state())
    assert nobody.ways == ()


@pytest.mark.parametrize(
    "edit",
    [
        lambda state: state.pop("counts"),
        lambda state: state.update(counts=state["counts"][:-1]),
        lambda state: state.update(counts=state["counts"] - 2),
        lambda state: state.update(poses=state["poses"][:-1]),
        lambda state: state.update(poses=np.full_like(state["poses"], np.inf)),
        lambda state: state.update(anchors_ns=state["anchors_ns"].astype(np.int32)),
        lambda state: state.update(counts=np.zeros(15, np.int64), anchors_ns=np.zeros(15, np.int64)),
    ],
)
def test_what_makes_no_sense_is_refused(robots, edit):
    state = robots.state()
    edit(state)
    with pytest.raises(MapFormatError, match="other robots"):
        robots.restore(state)
    assert len(robots.ways) == 3


def test_there_is_a_letter_for_each_robot():
    OtherRobots().check_room(14)
    with pytest.raises(MappingError, match="the ways of 16 robots, 15 are possible"):
        OtherRobots().check_room(15)
