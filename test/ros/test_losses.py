# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Messages that get lost on the way are counted, whatever the executor."""

import time

import pytest
from rclpy.executors import SingleThreadedExecutor
from rclpy.experimental import EventsExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import UInt8MultiArray

from mtl_perception.ros.diagnostics import TopicMonitor
from mtl_perception.ros.losses import Losses

SENT, DEPTH = 30, 10


def an_info(number, publisher=b"1"):
    return {"publication_sequence_number": number, "publisher_gid": {"data": publisher}}


def test_gaps_in_the_numbers_of_each_publisher_are_losses() -> None:
    losses = Losses()
    for number, publisher in ((7, b"1"), (8, b"1"), (100, b"2"), (11, b"1"), (10, b"1"), (12, b"1"), (101, b"2")):
        losses.note(an_info(number, publisher))
    assert losses.count == losses.recent == 2


def test_a_middleware_without_numbers_loses_nothing() -> None:
    losses = Losses()
    for _ in range(3):
        losses.note(an_info(None))
    assert losses.count == losses.recent == 0


def test_losses_are_shown_for_a_second(monkeypatch) -> None:
    now, losses = [100.0], Losses()
    monkeypatch.setattr("mtl_perception.ros.losses.time.monotonic", lambda: now[0])
    for number, recent in ((1, 0), (3, 1), (5, 2)):
        losses.note(an_info(number))
        assert losses.recent == recent
        now[0] += 0.6
    now[0] += 0.6
    assert losses.recent == 0
    losses.note(an_info(10))
    assert (losses.recent, losses.count) == (4, 6)


@pytest.mark.parametrize("executor", [SingleThreadedExecutor, EventsExecutor])
def test_what_a_full_queue_displaces_is_counted(ros_context, executor) -> None:
    sender, node = Node("sender", context=ros_context), Node("receiver", context=ros_context)
    got, losses = [], Losses()
    profile = QoSProfile(depth=DEPTH, reliability=ReliabilityPolicy.BEST_EFFORT)
    subscription = node.create_subscription(UInt8MultiArray, "numbers", losses.watching(got.append), profile)
    monitor = TopicMonitor(node, subscription, losses=losses)
    publisher = sender.create_publisher(UInt8MultiArray, "numbers", SENT)
    deadline = time.monotonic() + 20
    while not (publisher.get_subscription_count() and node.count_publishers("numbers")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.2)
    spun = executor(context=ros_context)
    publisher.publish(UInt8MultiArray())
    spun.add_node(node)
    while not got:
        assert time.monotonic() < deadline
        spun.spin_once(0.1)
    for _ in range(SENT):
        publisher.publish(UInt8MultiArray())
    time.sleep(0.2)
    while len(got) + losses.count < 1 + SENT:
        assert time.monotonic() < deadline
        spun.spin_once(0.1)
    assert losses.count == SENT - DEPTH
    assert monitor.losing() == f"topic '/numbers': {SENT - DEPTH} messages were lost on the way"
    assert monitor.summary.endswith(f", {SENT - DEPTH} lost on the way")
    spun.shutdown()
