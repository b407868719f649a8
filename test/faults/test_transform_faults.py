# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""TF that is missing, late, bent or wrong, for a node that takes its pose from TF, too."""

import copy
import time
from collections import deque

import numpy as np
import pytest
from fault_feed import Feed
from rclpy.qos import DurabilityPolicy, QoSProfile
from tf2_msgs.msg import TFMessage

from mtl_perception.messages.poses import StampedTransform, to_transform
from mtl_perception.messages.stamps import stamp_ns_from


class MovingFrames(Feed):
    """Sends the pose as a transform. `poses` changes lists of them."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.destroy_publisher(self.pose_publisher)
        self.pose_publisher = self.create_publisher(TFMessage, "/tf", 100)

    def publish(self, publisher, message):
        if publisher is self.pose_publisher:
            publisher.publish(message)  # lost ones are made up for by the next: no accounts are kept
        else:
            super().publish(publisher, message)

    def _send(self, publisher, message, change):
        if publisher is self.pose_publisher:
            moved = StampedTransform(stamp_ns_from(message.header.stamp), "odom", "base_link", np.eye(4))
            message = TFMessage(transforms=[to_transform(moved)])
        super()._send(publisher, message, change)


@pytest.fixture(scope="module")
def system(make_system):
    return make_system(["front", "left"], feed=MovingFrames, pose_source="tf", world_frame="odom", pose_timeout=0.5)


def between(parent, child, like):
    """Return a transform between two frames at the time of another."""
    other = copy.deepcopy(like)
    other.header.frame_id, other.child_frame_id = parent, child
    return other


def nothing(_message):
    return []


def later_by(seconds):
    held = deque()

    def hold(message):
        held.append((time.monotonic(), message))
        ready = []
        while held and held[0][0] <= time.monotonic() - seconds:
            ready.append(held.popleft()[1])
        return ready

    return hold


def in_a_ring(message):
    moved = message.transforms[0]
    ring = [between("tilt", "mast", moved), between("mast", "tilt", moved)]
    return [TFMessage(transforms=[moved, *ring])]


def with_two_parents(message):
    moved = message.transforms[0]
    return [TFMessage(transforms=[moved, between("map", "base_link", moved)])]


def not_a_number(message):
    message.transforms[0].transform.translation.x = float("nan")
    return [message]


def infinite(message):
    message.transforms[0].transform.translation.x = float("inf")
    return [message]


def no_quaternion(message):
    message.transforms[0].transform.rotation.w = 0.0
    return [message]


def long_quaternion(message):
    message.transforms[0].transform.rotation.w = 2.0
    return [message]


def far_away(message):
    message.transforms[0].transform.translation.x = 100.0
    return [message]


def without_name(message):
    message.transforms[0].child_frame_id = ""
    return [message]


def on_a_mast(info):
    info.header.frame_id = "mast"
    return [info]


LIKE_OTHERS = {
    "TF infinite",
    "TF zero quaternion",
    "TF without a frame",
}  # so that small scale can do without


def fault(change, pattern, name, done, expected, is_fatal=True):
    return pytest.param(
        change,
        pattern,
        is_fatal,
        id=name.replace(" ", "_"),
        marks=pytest.mark.fault(name, done=done, expected=expected, scale="full" if name in LIKE_OTHERS else "small"),
    )


DROPPED = "frames without a pose are dropped and counted"


@pytest.mark.parametrize(
    ("change", "pattern", "is_fatal"),
    [
        fault(not_a_number, r"'odom' <- 'base_link'.*not finite", "TF NaN", "x NaN", f"named; {DROPPED}"),
        fault(infinite, r"'odom' <- 'base_link'.*not finite", "TF infinite", "x infinite", f"named; {DROPPED}"),
        fault(no_quaternion, r"'base_link'.*length 0", "TF zero quaternion", "all zero", f"named; {DROPPED}"),
        fault(
            long_quaternion,
            r"'base_link'.*length 2, 1 is expected",
            "TF quaternion of length 2",
            "w = 2",
            "named; tf2 takes its direction",
            is_fatal=False,
        ),
        fault(
            far_away,
            r"'odom' <- 'base_link' jumps by 100\.0 m",
            "TF jumps",
            "x = 100 m from one to the next",
            "told with both frames",
            is_fatal=False,
        ),
        fault(
            with_two_parents,
            r"'base_link' has two parents, '(odom|map)' and '(odom|map)'",
            "TF with two parents",
            "base_link in odom and in map",
            "both parents are named",
            is_fatal=False,
        ),
        fault(without_name, "a frame without a name", "TF without a frame", "child_frame_id ''", f"named; {DROPPED}"),
    ],
)
def test_transforms_that_are_wrong(system, case, change, pattern, is_fatal):
    with system.during(case) as seen, system.feed.changing(poses=change):
        seen.status("transforms", pattern)
        if is_fatal:
            seen.count("frames", "dropped: no pose or transform")


@pytest.mark.fault("dynamic TF stopped", done="no /tf any more", expected=f"the newest stamp is told; {DROPPED}")
def test_dynamic_tf_stopped(system, case):
    with system.during(case) as seen, system.feed.changing(poses=nothing):
        seen.status("poses", "'odom' <- 'base_link' at the stamp.*latest data")
        seen.count("frames", "dropped: no pose or transform")


@pytest.mark.fault(
    "gap in TF", done="no /tf for 1.3 s, then again", expected="tf2 would interpolate across it; frames are dropped"
)
def test_gap_in_tf(system, case):
    with system.during(case) as seen:
        with system.feed.changing(poses=nothing):
            time.sleep(1.3)
        seen.status("poses", r"'odom' <- 'base_link' around the stamp are .* more than pose_max_gap \(1 s\)")


@pytest.mark.fault(
    "TF late", done="each transform 0.3 s after the image, pose_timeout 0.5 s", expected="frames wait for it"
)
def test_tf_late(system, case):
    with system.during(case) as seen, system.feed.changing(poses=later_by(0.3)):
        time.sleep(0.4)  # what was sent on time is used up
        dropped = seen.rises("frames", "dropped: no pose or transform")
        before = system.newest().count("frames", "used")
        seen.count("frames", "used", more=before - seen.before("frames", "used") + 3)
        assert seen.rises("frames", "dropped: no pose or transform") == dropped
        assert not system.newest().complaints


@pytest.mark.fault(
    "TF later than pose_timeout", scale="full", done="each transform 0.8 s after the image", expected=f"told; {DROPPED}"
)
def test_tf_too_late(system, case):
    with system.during(case) as seen, system.feed.changing(poses=later_by(0.8)):
        seen.status("poses", "'odom' <- 'base_link' at the stamp")
        seen.count("frames", "dropped: no pose or transform")


@pytest.mark.fault(
    "static TF missing",
    done="left's CameraInfo is in frame 'mast', which nobody sends",
    expected="camera and frame are named; the other camera's frames go on",
)
def test_static_tf_missing(system, case):
    with system.during(case) as seen, system.feed.changing(infos={"left": on_a_mast}):
        seen.status("inputs", "camera 'left': no transform 'base_link' <- 'mast'")
        seen.status("images", "'mast'")
        seen.count("frames", "used", more=2)


@pytest.mark.fault(
    "TF looped", done="left sits on a mast that sits on itself", expected="the ring is named; the other camera goes on"
)
def test_tf_looped(system, case):
    with system.during(case) as seen, system.feed.changing(poses=in_a_ring, infos={"left": on_a_mast}):
        ring = seen.status("transforms", "form a loop")
        assert "'mast' <- 'tilt' <- 'mast'" in ring or "'tilt' <- 'mast' <- 'tilt'" in ring
        seen.status("images", "contains a loop")
        seen.count("frames", "used", more=2)


@pytest.mark.fault(
    "static TF that newcomers do not get",
    done="a second publisher of /tf_static whose durability is volatile",
    expected="publisher and policy are named",
)
def test_volatile_static_tf(system, case):
    with system.during(case) as seen:
        publisher = system.watcher.create_publisher(
            TFMessage, "/tf_static", QoSProfile(depth=1, durability=DurabilityPolicy.VOLATILE)
        )
        seen.status("transforms", "'/tf_static' of node 'watcher' has an incompatible QoS.*[Vv]olatile publisher")
        system.watcher.destroy_publisher(publisher)
