# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The publishers of a bag player: one a topic, with the recorded type and quality of service."""

from __future__ import annotations

import importlib
import time
from typing import Any

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rosbags.interfaces import QosDurability, QosHistory, QosReliability

from mtl_perception.data.bags import BagReader, TopicInfo

# Every node has its own of these, and the player has its own clock.
_NOT_PLAYED = ("/clock", "/rosout", "/parameter_events")
# As in Nav2, whoever wants transforms in a namespace remaps these two.
_ABSOLUTE = ("/tf", "/tf_static")
_DEPTH = 100
_LARGEST_DEPTH = 1000
_FLUSH_S = 3.0
_LARGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/PointCloud2")


class PlayerTopics:
    """Publishes serialised messages on the topics of a bag.

    Attributes:
        names: the bag's topics that are played.
        latched: those of them whose last messages late subscriptions get.
        skipped: topics whose type is not installed, with the type.
    """

    def __init__(self, node: Node, bag: BagReader, absolute: bool) -> None:
        """Make the publishers; topics go below the node's namespace unless `absolute`."""
        self._node = node
        self.skipped: dict[str, str] = {}
        self._publishers: dict[str, Publisher] = {}
        for topic in bag.topics.values():
            if topic.name in _NOT_PLAYED:
                continue
            message_class = installed_class(topic.type)
            if message_class is None:
                self.skipped[topic.name] = topic.type
                node.get_logger().error(f"topic {topic.name} is skipped: its type {topic.type} is not installed here")
                continue
            name = topic.name if absolute or topic.name in _ABSOLUTE else relative_name(topic.name)
            self._publishers[topic.name] = node.create_publisher(message_class, name, recorded_qos(topic))
        self.names = list(self._publishers)
        self.latched = [name for name in self.names if is_latched(bag.topics[name])]

    def publish(self, name: str, data: bytes) -> None:
        """Publish a serialised message on the topic that the bag calls `name`."""
        self._publishers[name].publish(data)

    def flush(self) -> None:
        """Wait, some seconds at most, until all has arrived: what is still queued would end with the node."""
        until = time.monotonic() + _FLUSH_S
        for publisher in self._publishers.values():
            publisher.wait_for_all_acked(Duration(seconds=max(0.0, until - time.monotonic())))

    def unheard_by(self, node_name: str) -> list[str]:
        """Return the topics on which a node with that full name does not receive yet what is published."""
        return [name for name, publisher in self._publishers.items() if not self._is_heard(publisher, node_name)]

    def _is_heard(self, publisher: Publisher, node_name: str) -> bool:
        known = self._node.get_subscriptions_info_by_topic(publisher.topic_name)
        names = {f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in known}
        # That the node subscribes is known before the connection is made; it is when all subscriptions are connected.
        return node_name in names and publisher.get_subscription_count() >= len(known)

    def listeners(self) -> dict[str, int]:
        """Return how many subscriptions each topic is connected to."""
        return {name: publisher.get_subscription_count() for name, publisher in self._publishers.items()}


def relative_name(topic: str) -> str:
    """Return a topic name without its leading slash."""
    return topic.lstrip("/")


def installed_class(message_type: str) -> type[Any] | None:
    """Return the message class of `package/msg/Name`, or None when it is not installed."""
    package, _, name = message_type.split("/")
    try:
        found: type[Any] | None = getattr(importlib.import_module(f"{package}.msg"), name, None)
    except ModuleNotFoundError:
        return None
    return found


def is_latched(topic: TopicInfo) -> bool:
    """Tell whether late subscriptions get a topic's last messages; old bags do not say it of /tf_static."""
    recorded = any(profile.durability is QosDurability.TRANSIENT_LOCAL for profile in topic.qos)
    return recorded or topic.name.endswith("/tf_static")


def recorded_qos(topic: TopicInfo) -> QoSProfile:
    """Return the quality of service that serves everybody whom the recorded publishers could serve.

    Reliable unless all of them were best effort. The queue is deeper than recorded, as a player sends in bursts, and
    holds every latched message, as one publisher stands for several.
    """
    latched = is_latched(topic)
    best_effort = bool(topic.qos) and all(p.reliability is QosReliability.BEST_EFFORT for p in topic.qos)
    keep_all = any(p.history is QosHistory.KEEP_ALL for p in topic.qos)
    recorded = max((p.depth for p in topic.qos), default=0)
    wanted = 10 if topic.type in _LARGE_TYPES else max(_DEPTH, topic.count if latched else 0)
    return QoSProfile(
        history=HistoryPolicy.KEEP_ALL if keep_all else HistoryPolicy.KEEP_LAST,
        depth=min(max(recorded, wanted), _LARGEST_DEPTH),
        reliability=ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )
