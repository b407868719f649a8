# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The monitor misses nothing, whatever quality of service a topic has."""

import time
from collections.abc import Callable, Iterator

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import String
from std_srvs.srv import Trigger

from mtl_perception.ros.process import Spinning
from mtl_perception.running.monitor import MonitorNode
from mtl_perception.running.summary import TopicCount
from mtl_perception_msgs.msg import Progress

BEST_EFFORT = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
RELIABLE = QoSProfile(depth=10)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@pytest.fixture
def monitor(ros_context) -> Iterator[MonitorNode]:
    node = MonitorNode(context=ros_context)
    spinning = Spinning(ros_context, [node], name="monitor")
    yield node
    spinning.stop()
    assert not spinning.failure
    node.destroy_node()


@pytest.fixture
def robot(ros_context) -> Iterator[Node]:
    node = Node("robot", context=ros_context)
    yield node
    node.destroy_node()


def test_every_message_is_counted(monitor, robot):
    cameras = [robot.create_publisher(Image, f"camera_{i}/image", RELIABLE) for i in range(3)]
    text = robot.create_publisher(String, "text", RELIABLE)
    _wait_until(lambda: monitor.hears_all(["/robot"]))
    image = Image(data=bytes(300_000))
    for number in range(200):
        for camera in cameras:
            camera.publish(image)
        text.publish(String(data=str(number)))
    _wait_until(lambda: _counts(monitor, "/camera_0/image", "/camera_1/image", "/camera_2/image", "/text") == [200] * 4)
    assert monitor.topics()["/text"].type == "std_msgs/msg/String"
    assert monitor.topics()["/text"].rate_hz > 10
    assert monitor.last("/text").data == "199"
    assert monitor.topics_of_type("sensor_msgs/msg/Image") == [f"/camera_{i}/image" for i in range(3)]


def test_a_latched_message_of_before_is_counted(robot, ros_context):
    robot.create_publisher(String, "latched", LATCHED).publish(String(data="early"))
    monitor = MonitorNode(context=ros_context)
    spinning = Spinning(ros_context, [monitor], name="monitor")
    _wait_until(lambda: _counts(monitor, "/latched") == [1])
    assert monitor.last("/latched").data == "early"
    spinning.stop()


def test_a_publisher_which_offers_less_is_heard_too(monitor, robot):
    robot.create_publisher(String, "text", RELIABLE).publish(String())
    _wait_until(lambda: monitor.hears_all(["/robot"]))
    weak = robot.create_publisher(String, "text", BEST_EFFORT)

    def counted_after_another() -> bool:
        weak.publish(String(data="weak"))
        last = monitor.last("/text")
        return last is not None and last.data == "weak"

    _wait_until(counted_after_another)


def test_a_topic_without_message_counts_zero(monitor, robot):
    robot.create_publisher(String, "silent", RELIABLE)
    _wait_until(lambda: "/silent" in monitor.topics())
    assert monitor.topics()["/silent"] == TopicCount("std_msgs/msg/String", 0, 0.0)
    assert monitor.last("/silent") is None


def test_progress_is_taken_down(monitor, robot):
    progress = robot.create_publisher(Progress, "perception/progress", RELIABLE)
    _wait_until(lambda: monitor.hears_all(["/robot"]))
    for second, used in ((1, True), (2, False)):
        message = Progress(node="perception", used=used, reason="" if used else "too late")
        message.header.stamp.sec = second
        message.stages, message.stamp_age_s = ["network"], [0.25]
        progress.publish(message)
    _wait_until(lambda: monitor.frames.reported("perception") == 2)
    assert monitor.frames.frames() == {"in": 2, "used": 1, "dropped": {"perception: too late": 1}}
    assert monitor.frames.stamp_age_ms() == {"perception/network": {"p50": 250.0, "p95": 250.0, "p99": 250.0}}
    assert monitor.seconds_without_progress() < 5


def test_diagnostics_are_kept_with_their_time(monitor, robot):
    diagnostics = robot.create_publisher(DiagnosticArray, "/diagnostics", RELIABLE)
    _wait_until(lambda: monitor.hears_all(["/robot"]))
    status = DiagnosticStatus(name="mapping: map", values=[KeyValue(key="blocks", value="7")])
    diagnostics.publish(DiagnosticArray(status=[status]))
    _wait_until(lambda: monitor.status("mapping: map") is not None)
    assert monitor.status("mapping: map").values[0].value == "7"
    assert monitor.status("mapping: map", since=time.monotonic()) is None
    assert monitor.status("unheard of") is None


def test_states_and_services_are_reached(monitor, ros_context):
    node = LifecycleNode("managed", context=ros_context)
    node.create_service(Trigger, "knock", lambda _, response: response)
    spinning = Spinning(ros_context, [node], name="managed")
    assert not monitor.are_active(["/managed"])
    node.trigger_configure()
    node.trigger_activate()
    _wait_until(lambda: monitor.are_active(["/managed"]))
    assert monitor.call(Trigger, "/knock", Trigger.Request(), 10.0) is not None
    assert monitor.call(Trigger, "/nobody", Trigger.Request(), 0.2) is None
    spinning.stop()
    node.destroy_node()


def test_a_failing_callback_is_remembered(ros_context, robot):
    def fail() -> None:
        raise RuntimeError("no luck")

    robot.create_timer(0.01, fail)
    spinning = Spinning(ros_context, [robot], name="robot")
    _wait_until(lambda: spinning.failure)
    assert spinning.failure == "RuntimeError: no luck"
    spinning.stop()


def _counts(monitor: MonitorNode, *topics: str) -> list[int]:
    known = monitor.topics()
    return [known[topic].count if topic in known else -1 for topic in topics]


def _wait_until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)
