# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A node that listens to the whole graph: counts every message, keeps account of frames, remembers the last of each."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription

from mtl_perception.messages.stamps import stamp_ns_from
from mtl_perception.running.summary import FrameLedger, TopicCount
from mtl_perception_msgs.msg import Progress

PROGRESS_TYPE = "mtl_perception_msgs/msg/Progress"
DIAGNOSTICS_TYPE = "diagnostic_msgs/msg/DiagnosticArray"

_DEPTH = 2000  # messages of one topic that may wait for this node: a busy moment costs memory, not messages
_LOOK_ROUND_S = 0.2


class MonitorNode(Node):
    """Subscribes to every topic as soon as it has a publisher, without deserialising what it only counts.

    The quality of service that it asks for is what all publishers of the topic offer, so that it is a match for each.
    """

    def __init__(self, *, context: Context | None = None, namespace: str = "") -> None:
        """Start listening; `context` is rclpy's default one when None."""
        super().__init__(
            "monitor",
            context=context,
            namespace=namespace,
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
        )
        self.frames = FrameLedger()
        self._lock = threading.Lock()
        self._records: dict[str, _Record] = {}
        self._statuses: dict[str, tuple[float, DiagnosticStatus]] = {}
        self._listeners: dict[str, Callable[[bytes], None]] = {}
        self._state_clients: dict[str, Any] = {}
        self._active: set[str] = set()
        self._last_progress = time.monotonic()
        self._look_round()
        self.create_timer(_LOOK_ROUND_S, self._look_round, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def listen(self, type_name: str, listener: Callable[[bytes], None]) -> None:
        """Hand every message of a type, serialised, to a listener, which must only queue it."""
        self._listeners[type_name] = listener

    def topics(self) -> dict[str, TopicCount]:
        """Return type, count and rate of every topic that has or had a publisher."""
        with self._lock:
            return {name: record.count_and_rate() for name, record in self._records.items()}

    def status(self, name: str, since: float = 0.0) -> DiagnosticStatus | None:
        """Return the last diagnostic status of a name, or None when none came after `since` (time.monotonic())."""
        with self._lock:
            at, status = self._statuses.get(name, (-1.0, None))
            return status if at > since else None

    def last(self, topic: str) -> Any | None:
        """Return the last message of a topic, or None when there was none."""
        with self._lock:
            record = self._records.get(topic)
            if record is None or record.last is None:
                return None
            data, kind = record.last, record.message_class
        return deserialize_message(data, kind)

    def topics_of_type(self, type_name: str) -> list[str]:
        """Return the names of the topics of a type, e.g. `sensor_msgs/msg/Image`."""
        with self._lock:
            return sorted(name for name, record in self._records.items() if record.type == type_name)

    def are_active(self, nodes: Iterable[str]) -> bool:
        """Whether the managed nodes with these full names have all been seen active; asks those that have not."""
        waiting = [node for node in nodes if node not in self._active]
        for node in waiting:
            if node not in self._state_clients:
                self._state_clients[node] = self.create_client(GetState, f"{node}/get_state")
            client = self._state_clients[node]
            if client.service_is_ready():
                client.call_async(GetState.Request()).add_done_callback(
                    lambda future, node=node: self._note_state(node, future.result())
                )
        return not waiting

    def call(self, kind: Any, service: str, request: Any, timeout_s: float) -> Any | None:
        """Call a service and return the answer, or None when none comes in time. Not for the spinning thread."""
        client = self.create_client(kind, service)
        try:
            answered = threading.Event()
            until = time.monotonic() + timeout_s
            if not client.wait_for_service(min(timeout_s, 5.0)):
                return None
            future = client.call_async(request)
            future.add_done_callback(lambda _: answered.set())
            return future.result() if answered.wait(until - time.monotonic()) else None
        finally:
            self.destroy_client(client)

    def _note_state(self, node: str, answer: GetState.Response) -> None:
        if answer.current_state.id == State.PRIMARY_STATE_ACTIVE:
            self._active.add(node)

    def hears_all(self, of: Iterable[str]) -> bool:
        """Whether this node is connected to every publisher of the nodes with these full names."""
        for node_name in of:
            namespace, _, name = node_name.rpartition("/")
            offered = self._offered_by(name, namespace or "/")
            if not offered or any(not self._hears(topic) for topic in offered):
                return False
        return True

    def seconds_without_progress(self) -> float:
        """Return how long ago a node reported on a frame."""
        with self._lock:
            return time.monotonic() - self._last_progress

    def _offered_by(self, name: str, namespace: str) -> list[str]:
        try:
            return [topic for topic, _ in self.get_publisher_names_and_types_by_node(name, namespace)]
        except Exception as error:  # rclpy raises its bare NodeNameNonExistentError only for nodes not yet discovered
            if type(error).__name__ != "NodeNameNonExistentError":
                raise
            return []

    def _hears(self, topic: str) -> bool:
        record = self._records.get(topic)
        if record is None:
            return False
        return record.subscription is None or record.subscription.get_publisher_count() >= self.count_publishers(topic)

    def _look_round(self) -> None:
        for name, types in self.get_topic_names_and_types():
            profile = self._common_profile(name)
            if profile is None:
                continue
            record = self._records.get(name)
            if record is None:
                record = _Record(types[0], _message_class(types[0]))
                if record.message_class is None:
                    self.get_logger().warning(f"topic '{name}' cannot be counted: its type {types[0]} is not installed")
                with self._lock:
                    self._records[name] = record
            if record.message_class is not None and record.needs(profile):
                self._subscribe(name, record, profile)

    def _common_profile(self, topic: str) -> QoSProfile | None:
        offers = [publisher.qos_profile for publisher in self.get_publishers_info_by_topic(topic)]
        if not offers:
            return None
        reliable = all(offer.reliability == ReliabilityPolicy.RELIABLE for offer in offers)
        latched = all(offer.durability == DurabilityPolicy.TRANSIENT_LOCAL for offer in offers)
        return QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=_DEPTH,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
        )

    def _subscribe(self, name: str, record: _Record, profile: QoSProfile) -> None:
        if record.subscription is not None:  # a publisher came that offers less
            self.destroy_subscription(record.subscription)
        record.subscription = self.create_subscription(
            record.message_class, name, self._taker(record), profile, raw=True
        )
        record.profile = profile

    def _taker(self, record: _Record) -> Callable[[bytes], None]:
        def take(data: bytes) -> None:
            with self._lock:
                record.take(data)
            if record.type == PROGRESS_TYPE:
                self._take_progress(deserialize_message(data, Progress))
            elif record.type == DIAGNOSTICS_TYPE:
                self._take_diagnostics(deserialize_message(data, DiagnosticArray))
            elif record.type in self._listeners:
                self._listeners[record.type](data)

        return take

    def _take_progress(self, progress: Progress) -> None:
        with self._lock:
            self._last_progress = time.monotonic()
            self.frames.report(
                progress.node,
                stamp_ns_from(progress.header.stamp),
                progress.used,
                progress.category or progress.reason,
                list(progress.stages),
                list(progress.stamp_age_s),
            )

    def _take_diagnostics(self, array: DiagnosticArray) -> None:
        with self._lock:
            now = time.monotonic()
            self._statuses.update({status.name: (now, status) for status in array.status})


@dataclass
class _Record:
    """What is known of one topic. `message_class` is None where the type is not installed."""

    type: str
    message_class: Any
    subscription: Subscription | None = None
    profile: QoSProfile | None = None
    count: int = 0
    first: float = 0.0
    latest: float = 0.0
    last: bytes | None = None

    def needs(self, profile: QoSProfile) -> bool:
        return self.profile is None or self.profile != profile

    def take(self, data: bytes) -> None:
        self.latest = time.monotonic()
        if self.count == 0:
            self.first = self.latest
        self.count += 1
        self.last = data

    def count_and_rate(self) -> TopicCount:
        duration = self.latest - self.first
        rate = (self.count - 1) / duration if self.count > 1 and duration > 0 else 0.0
        return TopicCount(self.type, self.count, round(rate, 3))


def _message_class(type_name: str) -> Any | None:
    package, kind, name = type_name.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.{kind}"), name)
    except (ImportError, AttributeError):
        return None
