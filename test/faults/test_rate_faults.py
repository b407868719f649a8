# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Images that do not come, or too many of them, or to listeners that are too slow."""

import time
from collections import deque
from functools import partial

import pytest
from rclpy.node import Node
from sensor_msgs.msg import Image

from mtl_perception.ros.process import Spinning

NAMES = ("front", "left", "right")


@pytest.fixture(scope="module")
def system(make_system):
    return make_system(NAMES)


def nothing(_message):
    return []


def every(number):
    """Let only every so many-th message through."""
    passed = [0]

    def change(message):
        passed[0] += 1
        return [message] if passed[0] % number == 0 else []

    return change


def twice(message):
    return [message, message]


def swapped():
    """Swap the first of two messages with the second."""
    kept = deque()

    def change(message):
        kept.append(message)
        return [kept.pop(), kept.pop()] if len(kept) == 2 else []

    return change


@pytest.mark.fault(
    "camera unplugged and back",
    done="a camera's driver ends, and another one starts five seconds later",
    expected="frames go on without the camera, which is named; it is in them again at once",
)
def test_unplugged(system, case):
    with system.during(case) as seen, system.feed.without_publisher("left"):
        seen.status("synchronisation", "without camera left")
        seen.status("inputs", "topic '/left/image' is not published any more", at_least=2)
        seen.count("frames", "used", more=3)


@pytest.mark.fault(
    "camera falls silent",
    done="a camera's driver lives, but sends no images for four seconds",
    expected="frames go on without the camera, which is named",
)
def test_silent(system, case):
    with system.during(case) as seen, system.feed.changing(images={"right": nothing}):
        seen.status("synchronisation", "without camera right")
        seen.status("inputs", "topic '/right/image' is published by 'robot', but nothing arrives", at_least=2)
        seen.count("frames", "used", more=3)


@pytest.mark.fault(
    "camera at a third of the rate",
    done="a camera sends every third image",
    expected="frames at full rate, two of three without the camera, counted",
)
def test_third(system, case):
    with system.during(case) as seen, system.feed.changing(images={"left": every(3)}):
        seen.count("synchronisation", "frames without left", more=6)
        seen.status("synchronisation", "without camera left")
        assert seen.rises("synchronisation", "complete frames") >= 2


@pytest.mark.fault(
    "reference camera unplugged",
    done="the camera whose stamps are the frames' stamps falls silent",
    expected="no frames; the topic is named",
)
def test_reference_unplugged(system, case):
    with system.during(case) as seen, system.feed.changing(images={"front": nothing}):
        seen.status("inputs", "topic '/front/image' is published by 'robot', but nothing arrives", at_least=2)


@pytest.mark.fault(
    "all cameras unplugged",
    done="no camera sends images or CameraInfo any more",
    expected="no frames; each topic is named",
)
def test_all_unplugged(system, case):
    silence = dict.fromkeys(NAMES, nothing)
    with system.during(case) as seen, system.feed.changing(images=silence, infos=silence):
        seen.status("inputs", "/front/image.*/left/image.*/right/image", at_least=2)


@pytest.mark.fault(
    "loose contact",
    done="a camera loses every second image",
    expected="frames without the camera are counted",
)
def test_loose_contact(system, case):
    with system.during(case) as seen, system.feed.changing(images={"right": every(2)}):
        seen.count("synchronisation", "frames without right", more=4)


@pytest.mark.fault(
    "everything twice",
    done="every message of images, CameraInfo and odometry comes twice",
    expected="the second one of each image is counted as a duplicate; every frame is made once",
)
def test_duplicates(system, case):
    doubled = dict.fromkeys(NAMES, twice)
    with system.during(case) as seen, system.feed.changing(images=doubled, infos=doubled, poses=twice):
        for name in NAMES:
            seen.count("synchronisation", f"dropped, {name}: duplicate stamp", more=3)
        seen.count("synchronisation", "complete frames", more=3)


@pytest.mark.fault(
    "images of a camera out of order",
    done="of a camera, every second image comes before the first",
    expected="each is used or counted; frames go on",
)
def test_out_of_order(system, case):
    with system.during(case) as seen, system.feed.changing(images={"left": swapped()}):
        seen.count("frames", "used", more=8)


@pytest.mark.fault(
    "frames out of order",
    done="of all cameras, every second image comes before the first",
    expected="each is used or counted; frames go on",
)
def test_all_out_of_order(system, case):
    with system.during(case) as seen, system.feed.changing(images={name: swapped() for name in NAMES}):
        seen.count("frames", "used", more=8)


@pytest.mark.fault(
    "burst after a pause",
    done="nothing comes for a second, then all of that second at once",
    expected="the newest frame wins; the others are counted",
)
def test_burst(system, case):
    feed, held = system.feed, []

    def hold(publisher, message):
        held.append((publisher, message))
        return []

    images = {name: partial(hold, feed.image_publishers[name]) for name in NAMES}
    infos = {name: partial(hold, feed.info_publishers[name]) for name in NAMES}
    with system.during(case) as seen:
        with feed.changing(images=images, infos=infos, poses=partial(hold, feed.pose_publisher)):
            time.sleep(1.0)
        with feed.paused():
            for publisher, message in held:
                feed.publish(publisher, message)
        seen.count("frames", "used")
        seen.count("frames", "dropped: a newer frame came")


@pytest.mark.fault(
    "ten times the rate",
    done="all cameras send at 100 Hz instead of 10 for a minute (three seconds at small scale)",
    expected="what there is no time for is counted, lost on the way or superseded; frames do not pile up",
)
def test_ten_times_the_rate(system, case, full_scale):
    with system.during(case) as seen, system.feed.changing(rate_hz=100.0):
        ends = time.monotonic() + (60.0 if full_scale else 3.0)
        while time.monotonic() < ends:
            system.check_alive()
            waiting = system.newest().count("frames", "waiting")
            assert waiting <= 1, f"{waiting} frames wait"
            time.sleep(0.1)
        seen.count("frames", "used", more=20)
        case.saw("frames are used all the time, one waits at most")


@pytest.mark.fault(
    "slow subscriber",
    done="who subscribes to the depth, reliably, takes half a second for each image",
    expected="nobody else waits for it: every frame is used, at full rate",
)
def test_slow_subscriber(system, case):
    node, got = Node("slow", context=system.context, enable_rosout=False), []

    def take(message):
        got.append(message)
        time.sleep(0.5)

    node.create_subscription(Image, "perception/front/depth", take, 1)
    spinning = Spinning(system.context, [node], name="slow subscriber")
    try:
        with system.during(case) as seen:
            seen.count("frames", "used", more=20)
            assert 0 < len(got) <= seen.rises("frames", "used") // 2
            assert seen.rises("synchronisation", "partial frames") <= 1
            case.saw("all frames are used, the slow one gets some")
    finally:
        spinning.stop()
        node.destroy_node()
