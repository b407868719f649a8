# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Waits for the progress that nodes report on a frame."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from rclpy.node import Node

from mtl_perception.messages.stamps import stamp_ns_from
from mtl_perception.ros import qos
from mtl_perception_msgs.msg import Progress

_REMEMBERED = 1000  # frames: progress on a frame may come before it is waited for


class ProgressWatch:
    """Subscribes to progress topics; the node must be spun by another thread than the one that waits."""

    def __init__(self, node: Node, topics: Sequence[str], stop: threading.Event) -> None:
        """Subscribe; `stop` ends every wait."""
        self._node = node
        self._stop = stop
        self._changed = threading.Condition()
        # Per topic, whether the frame of a stamp was used.
        self._seen: dict[str, OrderedDict[int, bool]] = {name: OrderedDict() for name in topics}
        self._subscriptions = [self._subscribe(name) for name in topics]

    def wait(self, stamp_ns: int, seconds: float) -> bool:
        """Wait up to some seconds; return whether the frame of this stamp is done with everywhere."""
        with self._changed:
            self._changed.wait_for(lambda: self._stop.is_set() or not self._missing(stamp_ns), seconds)
            return not self._missing(stamp_ns)

    def missing(self, stamp_ns: int) -> list[str]:
        """Return the topics that have not reported on a frame; none once one of them has not used it."""
        with self._changed:
            return self._missing(stamp_ns)

    def forget(self) -> None:
        """Forget all reports: the same stamps will come again."""
        with self._changed:
            for seen in self._seen.values():
                seen.clear()

    def wake(self) -> None:
        """Let a waiting thread look at `stop`."""
        with self._changed:
            self._changed.notify_all()

    def connected(self) -> bool:
        """Tell whether every topic has a publisher."""
        return not self.unconnected()

    def unconnected(self) -> list[str]:
        """Return the topics that nobody publishes."""
        return [f"publisher of {name}" for name in self._seen if not self._node.count_publishers(name)]

    def _subscribe(self, name: str) -> object:
        return self._node.create_subscription(
            Progress,
            name,
            lambda message: self._note(name, stamp_ns_from(message.header.stamp), message.used),
            qos.progress(),
        )

    def _note(self, name: str, stamp_ns: int, used: bool) -> None:
        with self._changed:
            seen = self._seen[name]
            seen[stamp_ns] = used
            while len(seen) > _REMEMBERED:
                seen.popitem(last=False)
            self._changed.notify_all()

    def _missing(self, stamp_ns: int) -> list[str]:
        # A frame that one part has not used goes no further: those behind it will never hear of it.
        if any(seen.get(stamp_ns) is False for seen in self._seen.values()):
            return []
        return [name for name, seen in self._seen.items() if stamp_ns not in seen]
