# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Odometry that cannot be used, or that lies, one fault after the other to the same node."""

import time

import pytest

ALL_DAY_S = 1_700_000_000


@pytest.fixture(scope="module")
def system(make_system):
    return make_system(["front", "left"])


def nothing(_odometry):
    return []


def not_a_number(odometry):
    odometry.pose.pose.position.y = float("nan")
    return [odometry]


def no_quaternion(odometry):
    odometry.pose.pose.orientation.w = 0.0
    return [odometry]


def long_quaternion(odometry):
    odometry.pose.pose.orientation.w = 2.0
    return [odometry]


def far_away(odometry):
    odometry.pose.pose.position.x = 100.0
    return [odometry]


def yesterday(odometry):
    odometry.header.stamp.sec -= 100
    return [odometry]


def since_it_was_switched_on(odometry):
    odometry.header.stamp.sec -= ALL_DAY_S
    return [odometry]


def twice(odometry):
    return [odometry, odometry]


def of_two_robots(odometry):
    other = type(odometry)(header=odometry.header, child_frame_id=odometry.child_frame_id)
    other.pose.pose.orientation.w, other.pose.pose.position.x = 1.0, 5.0
    return [odometry, other]


def of_a_wheel(odometry):
    odometry.child_frame_id = "wheel"
    return [odometry]


def in_no_frame(odometry):
    odometry.header.frame_id = ""
    return [odometry]


def in_another_world(odometry):
    odometry.header.frame_id = "map"
    return [odometry]


def swapped(held):
    def swap(odometry):
        held.append(odometry)
        return [held.pop(), held.pop()] if len(held) == 2 else []

    return swap


LIKE_OTHERS = {
    "odometry with a quaternion of length 2",
    "odometry without frame_id",
    "odometry with a zero quaternion",
    "odometry duplicated",
}  # so that small scale can do without


def fault(change, pattern, name, done, expected):
    return pytest.param(
        change,
        pattern,
        id=name.replace(" ", "_"),
        marks=pytest.mark.fault(name, done=done, expected=expected, scale="full" if name in LIKE_OTHERS else "small"),
    )


DROPPED = "frames without a pose are dropped and counted; diagnostics say why"


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        fault(nothing, r"/odom'.*after the newest pose", "odometry stopped", "no odometry any more", DROPPED),
        fault(not_a_number, r"/odom'.*not finite", "odometry NaN", "position y NaN", f"refused by name; {DROPPED}"),
        fault(no_quaternion, r"/odom'.*norm 0", "odometry with a zero quaternion", "all zero", f"refused; {DROPPED}"),
        fault(
            long_quaternion,
            r"/odom'.*norm 2",
            "odometry with a quaternion of length 2",
            "w = 2",
            f"refused by name; {DROPPED}",
        ),
        fault(
            since_it_was_switched_on,
            "do images and poses have one clock",
            "odometry of another clock",
            "stamps since the robot was switched on, images since 1970",
            f"the two clocks are named; {DROPPED}",
        ),
        fault(of_a_wheel, r"poses of 'wheel' \(child_frame_id\)", "wrong child_frame_id", "'wheel'", DROPPED),
        fault(in_no_frame, "frame_id is empty", "odometry without frame_id", "frame_id ''", DROPPED),
    ],
)
def test_odometry_that_gives_no_pose(system, case, change, pattern):
    with system.during(case) as seen, system.feed.changing(poses=change):
        seen.status("poses", pattern)
        seen.count("frames", "dropped: no pose or transform", more=2)


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        fault(
            far_away,
            r"jumps by 100\.0 m",
            "odometry jumps by 100 m",
            "x = 100 m from one message to the next",
            "nothing is interpolated across the jump; frames go on; diagnostics tell of it once",
        ),
        fault(
            yesterday,
            "before that of an earlier one",
            "odometry backwards in time",
            "stamps 100 s before those until then",
            "what is newer is forgotten after three of them; diagnostics tell of it",
        ),
        fault(
            of_two_robots,
            "two poses of the same stamp differ",
            "odometry of two robots",
            "two poses 5 m apart of every stamp",
            "diagnostics ask whether there is more than one robot",
        ),
        fault(
            in_another_world,
            "'base_link' in 'odom' and now is that of 'base_link' in 'map'",
            "world frame renamed mid-run",
            "frame_id 'map', then 'odom' again",
            "nothing is interpolated between poses of two frames; diagnostics name both",
        ),
    ],
)
def test_odometry_that_is_doubtful(system, case, change, pattern):
    with system.during(case) as seen, system.feed.changing(poses=change):
        seen.status("poses", pattern)


@pytest.mark.parametrize(
    ("change", "counter"),
    [
        fault(twice, "duplicates", "odometry duplicated", "each message twice", "counted; frames go on"),
        fault(
            swapped([]), "out of order", "odometry out of order", "each two messages swapped", "counted; frames go on"
        ),
    ],
)
def test_odometry_that_is_put_up_with(system, case, change, counter):
    with system.during(case) as seen, system.feed.changing(poses=change):
        seen.count("poses", counter, more=3)
        seen.count("frames", "used", more=3)
        assert seen.rises("frames", "dropped: no pose or transform") == 0


@pytest.mark.fault(
    "one pose from the future",
    done="a single odometry message an hour ahead",
    expected="told once; frames that wait for their pose go on waiting for it, and get it",
)
def test_one_pose_from_the_future(system, case):
    sent = []

    def once(odometry):
        if sent:
            return [odometry]
        sent.append(odometry)
        stray = type(odometry)(child_frame_id=odometry.child_frame_id, pose=odometry.pose)
        stray.header.frame_id = odometry.header.frame_id
        stray.header.stamp.sec, stray.header.stamp.nanosec = odometry.header.stamp.sec + 3600, 0
        return [stray, odometry]

    with system.during(case) as seen, system.feed.changing(poses=once):
        seen.status("poses", r"3[56]\d\d\.\d+ s before that of an earlier one")
        seen.count("frames", "used", more=3)


@pytest.mark.fault(
    "gap over pose_max_gap",
    done="no odometry for 1.3 s, then again",
    expected="frames of the gap are dropped, though there are poses on both sides of it",
)
def test_gap_over_pose_max_gap(system, case):
    with system.during(case) as seen:
        told = r"apart, more than pose_max_gap \(1 s\)"
        for _ in range(5):  # a frame has to wait for its pose just when the poses go on
            with system.feed.changing(poses=nothing):
                time.sleep(1.3)
            time.sleep(0.7)
            if seen.message("poses", told):
                break
        seen.status("poses", told)
