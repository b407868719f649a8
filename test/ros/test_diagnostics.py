# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Diagnostics: what is logged, how long a topic may be silent, and what is advised when another one is there."""

import time
from contextlib import contextmanager

import pytest
import rclpy
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image

from mtl_perception.ros import diagnostics, progress
from mtl_perception.ros.camera_topics import CameraTopics
from mtl_perception.ros.diagnostics import Diagnostics, Level, Status, TopicMonitor
from mtl_perception.ros.process import Spinning
from mtl_perception.ros.progress import FrameClock, ProgressReporter, frame_status

WAIT_S = 20.0


class Steady:
    """The steady clock of the module, which the test moves."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


class Logger:
    def __init__(self):
        self.lines = []

    def info(self, text, **_options):
        self.lines.append(f"I {text}")

    def warning(self, text, **_options):
        self.lines.append(f"W {text}")

    def error(self, text, **_options):
        self.lines.append(f"E {text}")


@contextmanager
def running(name):
    """A node in a context of its own: a context cannot have one topic with two types."""
    context = Context()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    made = Node(name, context=context)
    spinning = Spinning(context, [made])
    yield made
    spinning.stop()
    made.destroy_node()
    rclpy.try_shutdown(context=context)


@pytest.fixture(scope="module")
def node():
    with running("listener") as made:
        yield made


@pytest.fixture(scope="module")
def talker():
    with running("talker") as made:
        yield made


def until(condition):
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_complaint_is_logged_once_whatever_its_numbers_and_again_when_it_changes(node, monkeypatch):
    logger, said = Logger(), []
    monkeypatch.setattr(node, "get_logger", lambda: logger)
    published = Diagnostics(node, lambda: [Status("input", *said[-1])])
    for level, message in (
        (Level.OK, "all is well"),
        (Level.WARN, "the transform is 1.25 s old"),
        (Level.WARN, "the transform is 2.5 s old"),
        (Level.ERROR, "topic '/cam0/image' is not published"),
        (Level.ERROR, "topic '/cam1/image' is not published"),
        (Level.OK, "all is well"),
        (Level.OK, "all is still well"),
    ):
        said.append((level, message))
        published.publish()
    assert logger.lines == [
        "W input: the transform is 1.25 s old",
        "E input: topic '/cam0/image' is not published",
        "E input: topic '/cam1/image' is not published",
        "I input: good again (all is well)",
    ]
    assert not published.complaints


def test_a_slow_topic_is_silent_only_after_some_of_its_own_periods(node, talker, monkeypatch):
    topic, clock = "slow/image", Steady()
    publisher = talker.create_publisher(Image, topic, 10)
    subscription = node.create_subscription(Image, topic, lambda _: None, 10)
    until(lambda: "talker" in [p.node_name for p in node.get_publishers_info_by_topic(topic)])
    monkeypatch.setattr(diagnostics, "time", clock)
    monitor = TopicMonitor(node, subscription)
    clock.now += 2.5
    assert "is published by 'talker', but nothing arrives" in monitor.problem()
    monitor.arrived()
    clock.now += 8.0  # one message says nothing about the rate
    assert not monitor.problem()
    for _ in range(4):
        monitor.arrived()
        clock.now += 8.0
        assert not monitor.problem()
    assert monitor.rate_hz == pytest.approx(1 / 8)
    clock.now += 17.0
    assert "nothing arrives" in monitor.problem()
    for _ in range(30):  # it has become a quick one
        monitor.arrived()
        clock.now += 0.1
    assert not monitor.problem()
    clock.now += 3.0
    assert "nothing arrives" in monitor.problem()
    talker.destroy_publisher(publisher)
    node.destroy_subscription(subscription)


@pytest.mark.parametrize(
    ("topics", "published", "kind", "expected"),
    [
        (
            CameraTopics("a", "a/image", "a/info"),
            "a/image/compressed",
            CompressedImage,
            "topic '/a/image' is not published, but '/a/image/compressed' is: "
            "set a.compressed to true and a.image_topic to a/image/compressed",
        ),
        (
            CameraTopics("b", "b/image/compressed", "b/info", compressed=True),
            "b/image",
            Image,
            "topic '/b/image/compressed' is not published, but '/b/image' is: "
            "set b.compressed to false and b.image_topic to b/image",
        ),
        (
            CameraTopics("c", "c/image", "c/info", compressed=True),
            "c/image/compressed",
            CompressedImage,
            "topic '/c/image' is not published, but '/c/image/compressed' is: set c.image_topic to c/image/compressed",
        ),
        (
            CameraTopics("d", "d/image", "d/info", compressed=True),
            "d/image",
            Image,
            "topic '/d/image' of node 'talker' has type sensor_msgs/msg/Image, sensor_msgs/msg/CompressedImage is "
            "expected: set d.compressed to false",
        ),
    ],
    ids=["raw wanted", "compressed wanted", "beside", "same topic"],
)
def test_images_of_the_other_kind_are_found_and_the_parameter_is_named(
    node, talker, monkeypatch, topics, published, kind, expected
):
    monkeypatch.setattr(diagnostics, "DISCOVERY_S", 0.0)
    publisher = talker.create_publisher(kind, published, 10)
    wanted = CompressedImage if topics.compressed else Image
    subscription = node.create_subscription(wanted, topics.image_topic, lambda _: None, 10)
    monitor = TopicMonitor(node, subscription, advice=topics.advice())
    until(lambda: "talker" in [p.node_name for p in node.get_publishers_info_by_topic(published)])
    assert monitor.problem() == expected
    talker.destroy_publisher(publisher)
    node.destroy_subscription(subscription)


def test_a_publisher_of_an_incompatible_quality_of_service_is_named(node, talker, monkeypatch):
    monkeypatch.setattr(diagnostics, "DISCOVERY_S", 0.0)
    publisher = talker.create_publisher(
        Image, "e/image", QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    )
    subscription = node.create_subscription(
        Image, "e/image", lambda _: None, QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
    )
    until(lambda: "talker" in [p.node_name for p in node.get_publishers_info_by_topic("e/image")])
    problem = TopicMonitor(node, subscription).problem()
    assert problem.startswith("topic '/e/image' of node 'talker' has an incompatible QoS: ")
    assert "reliab" in problem.lower()
    talker.destroy_publisher(publisher)
    node.destroy_subscription(subscription)


def test_frames_that_are_lost_by_a_fault_are_warned_of_until_it_ends(monkeypatch):
    clock = Steady()
    monkeypatch.setattr(progress, "time", clock)
    reporter = ProgressReporter(Publisher(), "perception")
    reporter.report_dropped(1, "a newer frame came")
    assert frame_status(reporter, 0).level == Level.OK
    reporter.report_dropped(2, "no transform at 12.5 s", "no pose or transform", is_fault=True)
    status = frame_status(reporter, 0)
    assert (status.level, status.message) == (Level.WARN, "frames are dropped: no pose or transform")
    clock.now += 1.0
    assert frame_status(reporter, 0).level == Level.OK
    assert frame_status(reporter, 0).values["dropped: no pose or transform"] == 1


def test_the_line_of_the_log_is_about_the_frames_since_the_last_one():
    reporter = ProgressReporter(Publisher(), "perception")
    assert reporter.summary() == ""
    for _ in range(3):
        clock = FrameClock(0, 40_000_000, time.monotonic_ns())
        clock.end("network")
        reporter.report_used(clock, {"preprocess": 0.001, "network": 0.025})
    reporter.report_dropped(0, "a newer frame came")
    line = reporter.summary()
    assert line.startswith("3 frames used in 0 s") and "1 dropped (1 a newer frame came)" in line
    assert "stamp age p50 4" in line and "longest stage: network, 25 ms" in line and "\n" not in line
    assert reporter.summary() == ""


class Publisher:
    def publish(self, _message):
        pass
