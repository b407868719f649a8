# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Clocks that jump, stop or disagree, for a node that follows /clock."""

import time

import pytest
from fault_feed import Feed
from rosgraph_msgs.msg import Clock

from mtl_perception.messages.stamps import to_time
from mtl_perception.ros.lifecycle import ManagedNode

SECOND = 10**9


class Simulation(Feed):
    """Tells the time, which begins at 1000 s and can be set. `clock` changes what is told."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.offset_ns = 1000 * SECOND - time.time_ns()
        self.now_ns = lambda: time.time_ns() + self.offset_ns
        self.clock = None
        self.clock_publisher = self.create_publisher(Clock, "/clock", 10)

    def jump(self, seconds):
        with self.paused():
            self.offset_ns += round(seconds * SECOND)

    def tick(self):
        told = Clock(clock=to_time(self.now_ns()))
        for each in [told] if self.clock is None else self.clock(told):
            self.clock_publisher.publish(each)
        super().tick()


@pytest.fixture(scope="module")
def system(make_system):
    return make_system(["front", "left"], feed=Simulation, use_sim_time=True)


@pytest.fixture(scope="module")
def timeless(system):
    """A node that follows a clock that nobody sends."""
    remapped = ["--ros-args", "-r", "/clock:=/no_clock", "-p", "use_sim_time:=true"]
    node = ManagedNode("timeless", context=system.context, cli_args=remapped)
    system.spinning.add(node)
    node.create_steady_timer(0.1, node.diagnostics.publish)
    yield node
    node.shut_down()


def ahead(seconds):
    def change(message):
        message.header.stamp.sec += seconds
        return [message]

    return change


def stood_still():
    first = []

    def change(message):
        first[:1] = first[:1] or [message.header.stamp]
        message.header.stamp = first[0]
        return [message]

    return change


@pytest.mark.fault(
    "clock jumps back",
    done="/clock and all stamps 100 s back: a bag that loops",
    expected="what is of the time before is forgotten, with its reason; frames go on",
)
def test_clock_jumps_back(system, case, timeless):
    with system.during(case) as seen:
        system.feed.jump(-100)
        seen.status("clock", r"the clock jumped back by 99\.\d+ s|the clock jumped back by 100\.\d+ s")
        seen.count("frames", "used", more=3)


@pytest.mark.fault(
    "clock jumps ahead", done="/clock and all stamps 100 s ahead", expected="told; no pose is made up for the gap"
)
def test_clock_jumps_ahead(system, case):
    with system.during(case) as seen:
        system.feed.jump(100)
        seen.status("clock", r"the clock jumped ahead by (99|100)\.\d+ s")
        seen.count("frames", "used", more=3)


@pytest.mark.fault(
    "stamps go back without the clock",
    done="images and odometry 100 s back, /clock goes on: a bag that loops, played without its clock",
    expected="what is of the time before is forgotten; the difference to the node's clock is told",
)
def test_stamps_go_back(system, case):
    back = ahead(-100)
    with (
        system.during(case) as seen,
        system.feed.changing(images={"front": back, "left": back}, infos={"front": back, "left": back}, poses=back),
    ):
        seen.status("clock", "stamps were set back")
        seen.status("synchronisation", "stamps are 100 s behind the node's clock: set use_sim_time")
        seen.count("frames", "used", more=3)


@pytest.mark.fault(
    "images of another clock than poses",
    done="images of all cameras 100 s ahead",
    expected="both clocks are named; frames are dropped for want of a pose",
)
def test_images_of_another_clock(system, case):
    with system.during(case) as seen, system.feed.changing(images={"front": ahead(100), "left": ahead(100)}):
        seen.status("poses", "do images and poses have one clock")
        seen.status("synchronisation", "stamps are 100 s ahead of the node's clock")
        seen.count("frames", "dropped: no pose or transform")


@pytest.mark.fault(
    "one camera of another clock",
    scale="full",
    done="left's images 100 s ahead",
    expected="the camera and how far it is off are told; frames go on without it",
)
def test_one_camera_of_another_clock(system, case):
    with system.during(case) as seen, system.feed.changing(images={"left": ahead(100)}):
        seen.status("synchronisation", r"'left': the last \d+ images are in no frame")
        seen.count("frames", "used", more=2)


@pytest.mark.fault(
    "a camera's time stands still",
    done="all images of front have one stamp",
    expected="dropped as duplicates, and told by name",
)
def test_a_cameras_time_stands_still(system, case):
    with system.during(case) as seen, system.feed.changing(images={"front": stood_still()}):
        seen.status("synchronisation", r"'front': the last \d+ images are in no frame: duplicate stamp")
        seen.count("synchronisation", "dropped, front: duplicate stamp")


@pytest.mark.fault(
    "/clock stopped",
    done="nothing on /clock any more, images go on",
    expected="told after 3 s; frames go on, by the images' own stamps",
)
def test_clock_stopped(system, case):
    with system.during(case) as seen:
        system.feed.clock = lambda _clock: []
        seen.status("clock", "'/clock' is published, but nothing arrives: time stands still")
        seen.count("frames", "used", more=3)
        system.feed.clock = None


@pytest.mark.fault(
    "no /clock at all", done="use_sim_time, and nobody on /clock", expected="told as an error, with the topic's name"
)
def test_no_clock_at_all(system, case, timeless):
    with system.during(case) as seen:
        seen.status("clock", "use_sim_time is set, and topic '/no_clock' is not published", node="timeless", at_least=2)
