# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""tf2_ros over the middleware: broadcasters, listener, and the clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
import rclpy
from geometry_msgs.msg import TransformStamped
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from rosgraph_msgs.msg import Clock
from tf2_msgs.msg import TFMessage
from tf2_ros import Buffer, StaticTransformBroadcaster, TransformBroadcaster, TransformListener

NOW = Time()


def transform(parent: str, child: str, seconds: int, x: float = 0.0) -> TransformStamped:
    msg = TransformStamped(child_frame_id=child)
    msg.header.frame_id = parent
    msg.header.stamp.sec = seconds
    msg.transform.translation.x = x
    msg.transform.rotation.w = 1.0
    return msg


class Graph:
    """Nodes in a context of their own, spun by hand."""

    def __init__(self) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.nodes: list[Node] = []

    def node(self, name: str, use_sim_time: bool = False) -> Node:
        overrides = [Parameter("use_sim_time", value=use_sim_time)]
        node = rclpy.create_node(name, context=self.context, parameter_overrides=overrides)
        self.executor.add_node(node)
        self.nodes.append(node)
        return node

    def spin_until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 10
        while not condition() and time.monotonic() < deadline:
            self.executor.spin_once(timeout_sec=0.02)
        assert condition()

    def close(self) -> None:
        self.executor.shutdown()
        for node in self.nodes:
            node.destroy_node()
        rclpy.shutdown(context=self.context)


@pytest.fixture
def graph() -> Iterator[Graph]:
    graph = Graph()
    yield graph
    graph.close()


def test_a_listener_hears_both_broadcasters_and_the_static_one_from_before(graph: Graph) -> None:
    talker, hearer = graph.node("tf_talker"), graph.node("tf_hearer")
    static = StaticTransformBroadcaster(talker)
    static.sendTransform(transform("base", "camera", 0, x=1.0))
    static.sendTransform([transform("base", "lidar", 0, x=2.0)])

    buffer = Buffer()
    listener = TransformListener(buffer, hearer)
    moving = TransformBroadcaster(talker)
    graph.spin_until(lambda: moving.pub_tf.get_subscription_count() == 1)
    moving.sendTransform([transform("map", "base", 1), transform("map", "base", 3, x=4.0)])
    moving.sendTransform(transform("map", "base", 5, x=8.0))

    graph.spin_until(lambda: buffer.can_transform("map", "camera", Time(seconds=5)))
    graph.spin_until(lambda: buffer.can_transform("map", "lidar", Time(seconds=5)))
    found = buffer.lookup_transform("map", "camera", Time(seconds=2))
    assert found.transform.translation.x == pytest.approx(3.0)
    assert buffer.lookup_transform("camera", "lidar", NOW).transform.translation.x == pytest.approx(1.0)

    listener.unregister()
    graph.spin_until(lambda: moving.pub_tf.get_subscription_count() == 0)


def test_a_static_broadcast_holds_all_transforms_and_the_first_of_a_frame_stands(graph: Graph) -> None:
    talker, hearer = graph.node("tf_talker"), graph.node("tf_hearer")
    messages: list[TFMessage] = []
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    hearer.create_subscription(TFMessage, "/tf_static", messages.append, latched)
    static = StaticTransformBroadcaster(talker)
    static.sendTransform((transform("base", "camera", 0, x=1.0), transform("base", "lidar", 0)))
    static.sendTransform(transform("base", "camera", 0, x=9.0))
    static.sendTransform(transform("base", "imu", 0))

    graph.spin_until(lambda: messages and len(messages[-1].transforms) == 3)
    last = messages[-1].transforms
    assert [t.child_frame_id for t in last] == ["camera", "lidar", "imu"]
    assert last[0].transform.translation.x == 1.0


def test_topics_can_be_chosen(graph: Graph) -> None:
    node = graph.node("tf_node")
    buffer = Buffer()
    listener = TransformListener(
        buffer, node, qos=10, static_qos=10, tf_topic="other_tf", tf_static_topic="other_static"
    )
    publisher = node.create_publisher(TFMessage, "other_tf", 10)
    graph.spin_until(lambda: publisher.get_subscription_count() == 1)
    publisher.publish(TFMessage(transforms=[transform("map", "base", 1)]))
    graph.spin_until(lambda: buffer.can_transform("map", "base", NOW))
    assert listener.tf_static_sub.topic_name == "/other_static"


def test_a_listener_can_spin_its_node_itself(ros_context: rclpy.Context) -> None:
    node = rclpy.create_node("tf_self_spun", context=ros_context)
    buffer = Buffer()
    listener = TransformListener(buffer, node, spin_thread=True)
    moving = TransformBroadcaster(node)
    deadline = time.monotonic() + 10
    while not buffer.can_transform("map", "base", NOW) and time.monotonic() < deadline:
        moving.sendTransform(transform("map", "base", 1))
        time.sleep(0.05)
    assert buffer.can_transform("map", "base", NOW)
    ros_context.shutdown()
    listener.dedicated_listener_thread.join(timeout=10)
    assert not listener.dedicated_listener_thread.is_alive()


def test_a_clock_that_jumps_back_clears_all_but_the_static_transforms(graph: Graph) -> None:
    node = graph.node("tf_simulated", use_sim_time=True)
    clock = node.create_publisher(Clock, "/clock", 10)
    buffer = Buffer(node=node)
    buffer.set_transform_static(transform("base", "camera", 0), "test")

    def go_to(seconds: int) -> None:
        msg = Clock()
        msg.clock.sec = seconds
        clock.publish(msg)
        graph.spin_until(lambda: node.get_clock().now().nanoseconds == seconds * 10**9)

    graph.spin_until(lambda: clock.get_subscription_count() > 0)
    go_to(100)
    buffer.set_transform(transform("map", "base", 100), "test")
    go_to(101)
    assert buffer.can_transform("map", "base", NOW)
    go_to(5)
    assert not buffer.can_transform("map", "base", NOW)
    assert buffer.can_transform("base", "camera", NOW)
    buffer.set_transform(transform("map", "base", 5), "test")
    assert buffer.can_transform("map", "camera", NOW)
