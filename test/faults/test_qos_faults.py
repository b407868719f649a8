# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Publishers that do not fit what the node subscribes to: quality of service, type, number, and those that leave."""

from contextlib import contextmanager

import pytest
import rclpy
from fault_feed import Feed
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image

from mtl_perception.ros import diagnostics

FIT = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT, durability=DurabilityPolicy.VOLATILE)
VOLATILE = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.VOLATILE)


class Reliable(Feed):
    """Odometry that serves all subscriptions, and can be taken from the network."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.offer(FIT)

    def offer(self, profile):
        """Publish with another quality of service from now on; None: not at all."""
        with self.paused():
            if self.pose_publisher is not None:
                self.destroy_publisher(self.pose_publisher)
            self.pose_publisher = self.create_publisher(Odometry, "odom", profile) if profile else None

    def publish(self, publisher, message):
        if isinstance(message, Odometry):
            if self.pose_publisher is not None:  # what does not fit is not received: no accounts are kept
                self.pose_publisher.publish(message)
        else:
            super().publish(publisher, message)

    @contextmanager
    def offering(self, profile):
        self.offer(profile)
        try:
            yield
        finally:
            self.offer(FIT)


@pytest.fixture(scope="module")
def system(make_system):
    """A node whose parameters ask for much of odometry, and that soon complains."""
    patch = pytest.MonkeyPatch()
    patch.setattr(diagnostics, "_SILENT_AFTER_S", 0.7)
    policies = {"reliability": "reliable", "durability": "transient_local"}
    overrides = {f"qos_overrides./odom.subscription.{policy}": value for policy, value in policies.items()}
    yield make_system(["front", "left"], feed=Reliable, **overrides)
    patch.undo()


@pytest.fixture
def stranger():
    """A node of another process, as DDS sees it."""
    context = Context()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    node = Node("stranger", context=context)
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


NAMED = "topic, node and policy are named; frames are dropped for want of a pose"


@pytest.mark.parametrize(
    ("profile", "pattern"),
    [
        pytest.param(
            BEST_EFFORT,
            "'/odom' of node 'robot' has an incompatible QoS.*[Bb]est effort publisher and reliable subscription",
            id="best_effort",
            marks=pytest.mark.fault(
                "best effort against a reliable request",
                done="the publisher of odometry returns with best effort",
                expected=NAMED,
            ),
        ),
        pytest.param(
            VOLATILE,
            "'/odom' of node 'robot' has an incompatible QoS.*[Vv]olatile publisher and transient local subscription",
            id="volatile",
            marks=pytest.mark.fault(
                "volatile against a transient local request",
                scale="full",
                done="the publisher of odometry returns with durability volatile",
                expected=NAMED,
            ),
        ),
        pytest.param(
            None,
            "'/odom' is not published any more",
            id="absent",
            marks=pytest.mark.fault("odometry's publisher leaves", done="and returns a second later", expected=NAMED),
        ),
    ],
)
def test_publisher_returns_with_another_qos(system, case, profile, pattern):
    with system.during(case) as seen, system.feed.offering(profile):
        seen.status("inputs", pattern, at_least=2)
        seen.count("frames", "dropped: no pose or transform")


@pytest.mark.fault(
    "another type on the topic",
    done="odometry's publisher leaves, another node sends PoseStamped on its topic",
    expected="topic, node and both types are named",
)
def test_another_type(system, case, stranger):
    with system.during(case) as seen:
        wrong = stranger.create_publisher(PoseStamped, "odom", FIT)
        with system.feed.offering(None):
            seen.status("inputs", "of node 'stranger' has type geometry_msgs/msg/PoseStamped, nav_msgs/msg/Odometry is")
        stranger.destroy_publisher(wrong)


@pytest.mark.parametrize(
    ("kind", "topic"),
    [
        pytest.param(
            Odometry,
            "odom",
            id="odometry",
            marks=pytest.mark.fault(
                "two publishers of odometry", done="a second node on the topic", expected="both nodes are named"
            ),
        ),
        pytest.param(
            Image,
            "left/image",
            id="images",
            marks=pytest.mark.fault(
                "two publishers of one camera",
                scale="full",
                done="a second node on the topic",
                expected="both nodes are named",
            ),
        ),
    ],
)
def test_two_publishers(system, case, stranger, kind, topic):
    with system.during(case) as seen:
        second = stranger.create_publisher(kind, topic, FIT)
        seen.status("inputs", f"topic '/{topic}' has 2 publishers, of '/robot', '/stranger'")
        stranger.destroy_publisher(second)
