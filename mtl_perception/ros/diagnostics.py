# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`/diagnostics`: how the node fares and, above all, what it is missing."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import pairwise
from statistics import median
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from rclpy.qos import QoSCompatibility, qos_check_compatible

from mtl_perception.ros.losses import Losses

_WINDOW_S = 5.0  # over which rates are taken
_SILENT_AFTER_S = 3.0  # a published topic that has said nothing for so long is worth a warning,
_SILENT_AFTER_PERIODS = 3.0  # if it used to say something more often than this,
_ONCE_SILENT_AFTER_S = 30.0  # and if it has spoken only once, its rate is not known
_PERIODS = 10  # the newest, from which a topic's own rate is taken
DISCOVERY_S = 2.0
"""What others publish is not complained of before it can have been found, seconds."""
_NUMBER = re.compile(r"(?<![\w/])-?\d[\d.]*")  # a measured one, and none in a name


class Level(IntEnum):
    """How bad it is, as in diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2


@dataclass(frozen=True)
class Status:
    """One line of diagnostics."""

    name: str
    level: Level
    message: str
    values: Mapping[str, object] = field(default_factory=dict)


class Diagnostics:
    """Publishes a node's statuses on `/diagnostics`, and logs each one once when it turns bad or good again.

    A complaint that says the same with other numbers is not logged again.
    """

    def __init__(self, node: Node, statuses: Callable[[], Iterable[Status]]) -> None:
        """Publish what `statuses` returns whenever `publish` is called."""
        self._node = node
        self._statuses = statuses
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._complaints: dict[str, str] = {}

    @property
    def complaints(self) -> Mapping[str, str]:
        """The messages of the statuses that were not good when they were published last, by the statuses' names."""
        return dict(self._complaints)

    def publish(self) -> None:
        """Publish all statuses now."""
        statuses = list(self._statuses())
        array = DiagnosticArray()
        array.header.stamp = self._node.get_clock().now().to_msg()
        array.status = [self._to_message(status) for status in statuses]
        self._publisher.publish(array)
        for status in statuses:
            self._log(status)

    def _to_message(self, status: Status) -> DiagnosticStatus:
        node_name = self._node.get_fully_qualified_name().lstrip("/")
        return DiagnosticStatus(
            level=bytes([status.level]),
            name=f"{node_name}: {status.name}",
            message=status.message,
            hardware_id=node_name,
            values=[KeyValue(key=key, value=_text(value)) for key, value in status.values.items()],
        )

    def _log(self, status: Status) -> None:
        complaint = status.message if status.level > Level.OK else ""
        before = self._complaints.pop(status.name, "")
        if complaint:
            self._complaints[status.name] = complaint
        if _NUMBER.sub("#", complaint) == _NUMBER.sub("#", before):
            return
        logger = self._node.get_logger()
        if not complaint:
            logger.info(f"{status.name}: good again ({status.message})")
        elif status.level == Level.WARN:
            logger.warning(f"{status.name}: {complaint}")
        else:
            logger.error(f"{status.name}: {complaint}")


def by_reason(reasons: Mapping[str, str]) -> list[str]:
    """Return, per different reason, one text that names all that it holds for: `first, second (reason)`."""
    names: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        names.setdefault(reason, []).append(name)
    return [f"{', '.join(group)} ({reason})" for reason, group in names.items()]


class TopicMonitor:
    """Watches one subscription: how often it receives, and if it does not, why not."""

    def __init__(
        self,
        node: Node,
        subscription: Any,
        *,
        once: bool = False,
        paced: bool = False,
        losses: Losses | None = None,
        advice: Mapping[tuple[str, str], str] | None = None,
    ) -> None:
        """Watch a subscription of `node`.

        Args:
            node: has the subscription.
            subscription: whose callback calls `arrived`.
            once: one message is enough.
            paced: who publishes waits for this node: silence says nothing.
            losses: counts what does not reach the subscription.
            advice: what to do if there is, instead of what is subscribed to, a topic of this name and type, e.g.
                `("front/image/compressed", "sensor_msgs/msg/CompressedImage")`.
        """
        self._node = node
        self._subscription = subscription
        self._once = once
        self._paced = paced
        self._losses = losses or Losses()
        self._advice = {(node.resolve_topic_name(name), kind): text for (name, kind), text in (advice or {}).items()}
        self._since = time.monotonic()
        self._arrivals: deque[float] = deque(maxlen=1000)
        self.count = 0
        self.topic: str = subscription.topic_name

    def arrived(self, _message: Any = None) -> None:
        """Note a message: call this from the subscription's callback."""
        self.count += 1
        self._arrivals.append(time.monotonic())

    @property
    def rate_hz(self) -> float:
        """Messages per second over the last five seconds, or over the last few periods of a slower topic."""
        now = time.monotonic()
        window = max(_WINDOW_S, _SILENT_AFTER_PERIODS * (self._period_s() or 0.0))
        recent = sum(1 for arrival in tuple(self._arrivals) if arrival > now - window)
        return recent / min(window, max(now - self._since, 1e-3))

    @property
    def summary(self) -> str:
        """Rate and numbers of messages."""
        lost = f", {self._losses.count} lost on the way" if self._losses.count else ""
        return f"{self.rate_hz:.1f} Hz, {self.count} messages{lost}"

    def losing(self) -> str:
        """Return in one line that messages have just been lost on the way, or "" when none have."""
        recent = self._losses.recent
        return f"topic '{self.topic}': {recent} messages were lost on the way" if recent else ""

    def problem(self) -> str:
        """Return in one line why messages do not arrive, or "" when they do."""
        now = time.monotonic()
        if self.count and (self._once or now - self._arrivals[-1] < _SILENT_AFTER_S):
            return ""
        if now - self._since < DISCOVERY_S:
            return ""
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        if not publishers:
            lost = " any more" if self.count else ""
            return f"topic '{self.topic}' is not published{lost}{self._instead()}"
        mismatch = self._mismatch(publishers)
        if mismatch or self._paced or (self.count and now - self._arrivals[-1] < self._patience_s()):
            return mismatch
        return self._silence(publishers)

    def _period_s(self) -> float | None:
        """Return the topic's own period as it was lately; None while it is not known."""
        newest = tuple(self._arrivals)[-_PERIODS - 1 :]
        return median(after - before for before, after in pairwise(newest)) if len(newest) > 1 else None

    def _patience_s(self) -> float:
        period = self._period_s()
        return _ONCE_SILENT_AFTER_S if period is None else max(_SILENT_AFTER_S, _SILENT_AFTER_PERIODS * period)

    def _instead(self) -> str:
        """Return what there is in place of what is subscribed to, with what to do."""
        for (topic, kind), text in self._advice.items():
            if topic != self.topic and any(
                publisher.topic_type == kind for publisher in self._node.get_publishers_info_by_topic(topic)
            ):
                return f", but '{topic}' is: {text}"
        return ""

    def _mismatch(self, publishers: list[Any]) -> str:
        expected = self._subscription.msg_type
        type_name = f"{expected.__module__.split('.')[0]}/msg/{expected.__name__}"
        reasons = []
        for publisher in publishers:
            who = f"topic '{self.topic}' of node '{publisher.node_name}'"
            if publisher.topic_type != type_name:
                text = self._advice.get((self.topic, publisher.topic_type), "")
                reasons.append(f"{who} has type {publisher.topic_type}, {type_name} is expected{text and f': {text}'}")
                continue
            compatible, reason = qos_check_compatible(publisher.qos_profile, self._subscription.qos_profile)
            if compatible == QoSCompatibility.ERROR:
                reasons.append(f"{who} has an incompatible QoS: {reason.strip().rstrip(';')}")
        return "; ".join(reasons) if len(reasons) == len(publishers) else ""

    def _silence(self, publishers: list[Any]) -> str:
        nodes = ", ".join(sorted({f"'{publisher.node_name}'" for publisher in publishers}))
        return f"topic '{self.topic}' is published by {nodes}, but nothing arrives"


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, (list, tuple)):
        return ", ".join(str(entry) for entry in value)
    return str(value)
