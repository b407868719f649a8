# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Poses at a stamp: interpolation, its limits, and what the refusals say."""

import numpy as np
import pytest

from mtl_perception.core.transforms import transform_from
from mtl_perception.ros.notices import Notices
from mtl_perception.ros.pose_history import NoPoseError, NotYetError, PoseHistory

SECOND = 10**9


def pose(x: float, yaw: float = 0.0):
    return transform_from([x, 0.0, 0.0], [0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2)])


def history(**options) -> PoseHistory:
    result = PoseHistory(**options)
    result.insert(1 * SECOND, pose(0.0))
    result.insert(2 * SECOND, pose(2.0, yaw=1.0))
    return result


def test_interpolates_between_the_neighbours():
    np.testing.assert_allclose(history().at(1_250_000_000), pose(0.5, yaw=0.25), atol=1e-12)


def test_exact_stamp_is_returned_as_it_came():
    np.testing.assert_array_equal(history().at(2 * SECOND), pose(2.0, yaw=1.0))


def test_order_of_arrival_does_not_matter():
    poses = PoseHistory()
    for second in (3, 1, 2):
        poses.insert(second * SECOND, pose(float(second)))
    assert poses.at(1_500_000_000)[0, 3] == pytest.approx(1.5)


def test_before_the_oldest_is_refused():
    with pytest.raises(NoPoseError, match=r"0\.500 s before the oldest pose"):
        history().at(SECOND // 2)


def test_gap_is_refused():
    with pytest.raises(NoPoseError, match=r"1\.000 s apart, more than pose_max_gap \(0\.5 s\)"):
        history(max_gap_s=0.5).at(1_500_000_000)


def test_beyond_the_newest_is_waited_for():
    with pytest.raises(NotYetError, match=r"0\.010 s after the newest"):
        history(max_extrapolation_s=1.0).at(2_010_000_000, wait=True)
    with pytest.raises(NotYetError, match="no pose has arrived"):
        PoseHistory().at(0)


def test_extrapolates_within_its_bound_only():
    poses = history(max_extrapolation_s=0.1)
    np.testing.assert_allclose(poses.at(2_050_000_000), pose(2.1, yaw=1.05), atol=1e-9)
    with pytest.raises(NoPoseError, match=r"more than pose_max_extrapolation \(0\.1 s\)"):
        poses.at(2_200_000_000)


def test_history_is_bounded():
    poses = PoseHistory(size=10)
    for second in range(100):
        poses.insert(second * SECOND, pose(0.0))
    with pytest.raises(NoPoseError, match="before the oldest"):
        poses.at(50 * SECOND)


def test_jump_back_forgets_the_future():
    poses = history()
    poses.forget_after(SECOND)
    assert poses.newest_ns == SECOND


def test_a_pose_from_the_future_does_not_hide_those_after_it():
    notices = Notices()
    poses = PoseHistory(notices=notices)
    for second in (1, 2, 3600, 3):
        poses.insert(second * SECOND, pose(float(second)))
    with pytest.raises(NotYetError, match="apart, more than pose_max_gap"):
        poses.at(3_500_000_000, wait=True)
    poses.insert(4 * SECOND, pose(4.0))
    assert poses.at(3_500_000_000)[0, 3] == pytest.approx(3.5)
    assert poses.newest_ns == 3600 * SECOND
    poses.insert(5 * SECOND, pose(5.0))
    assert poses.newest_ns == 5 * SECOND
    assert notices.counts["back in time"] == 3
    assert "s before that of an earlier one" in notices.take()[0]


def test_poses_of_an_earlier_time_replace_those_of_the_later():
    poses = PoseHistory()
    for second in (101, 102, 103, 1, 2, 3):
        poses.insert(second * SECOND, pose(float(second)))
    assert poses.newest_ns == 3 * SECOND
    with pytest.raises(NotYetError):
        poses.at(3_500_000_000, wait=True)


@pytest.mark.parametrize(("metres", "is_jump"), [(100.0, True), (50.0, False)])
def test_nothing_is_interpolated_across_a_jump(metres, is_jump):
    notices = Notices()
    poses = PoseHistory(notices=notices, max_extrapolation_s=1.0)
    poses.insert(1 * SECOND, pose(0.0))
    poses.insert(2 * SECOND, pose(2 * metres))
    poses.insert(2_500_000_000, pose(3 * metres))
    if not is_jump:
        assert poses.at(1_500_000_000)[0, 3] == pytest.approx(metres)
        assert notices.take() == []
        return
    for stamp_ns in (1_500_000_000, 2_250_000_000):
        with pytest.raises(NoPoseError, match=r"the pose jumps by \d00\.0 m"):
            poses.at(stamp_ns, wait=True)
    with pytest.raises(NoPoseError, match="the motion before is not known"):
        poses.at(2_600_000_000)
    assert poses.at(2 * SECOND)[0, 3] == 2 * metres
    assert "jumps by" in notices.take()[0]
    assert notices.take() == []


def test_duplicates_are_told_from_contradictions():
    notices = Notices()
    poses = PoseHistory(notices=notices)
    for x in (1.0, 1.0, 2.0):
        poses.insert(SECOND, pose(x))
    assert notices.counts == {"contradictions": 1, "duplicates": 1}
    assert poses.at(SECOND)[0, 3] == 2.0


def test_poses_of_a_recording_that_starts_again_take_the_place_of_those_before():
    poses = PoseHistory(size=20)
    for _ in range(2):
        for second in range(50):
            poses.insert(second * SECOND, pose(float(second)))
    assert poses.newest_ns == 49 * SECOND
    for second in range(5):
        poses.insert(second * SECOND, pose(100.0 + second))
    assert poses.at(3_500_000_000)[0, 3] == pytest.approx(103.5)
    assert poses.newest_ns == 4 * SECOND


def test_a_single_old_pose_changes_nothing():
    poses = history()
    poses.insert(3 * SECOND, pose(4.0))
    poses.insert(0, pose(9.0))
    assert poses.newest_ns == 3 * SECOND
    assert poses.at(1_500_000_000)[0, 3] == pytest.approx(1.0)
