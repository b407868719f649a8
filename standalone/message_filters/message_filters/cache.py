# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A filter that remembers the last messages."""

from __future__ import annotations

from typing import Any

from rclpy.time import Time

from message_filters.simple_filter import SimpleFilter
from message_filters.stamps import stamp_of


class Cache(SimpleFilter):
    """Keeps the last `cache_size` messages of filter `f` in the order of their arrival, and passes them on.

    Times to ask for are rclpy Times of the ROS clock, as the stamps of messages are.
    """

    def __init__(self, f: SimpleFilter, cache_size: int = 1, allow_headerless: bool = False) -> None:
        super().__init__()
        self.cache_size = cache_size
        self.allow_headerless = allow_headerless
        self.cache_msgs: list[Any] = []
        self.cache_times: list[Time] = []
        self.connectInput(f)

    def connectInput(self, f: SimpleFilter) -> None:
        """Take messages from a further filter."""
        self.incoming_connection = f.registerCallback(self.add)

    def add(self, msg: Any) -> None:
        """Store a message and pass it on; one without a stamp only with `allow_headerless`."""
        stamp = stamp_of(msg, self.allow_headerless, "message_filters_cache")
        if stamp is None:
            return
        self.cache_msgs.append(msg)
        self.cache_times.append(stamp)
        if len(self.cache_msgs) > self.cache_size:
            del self.cache_msgs[0], self.cache_times[0]
        self.signalMessage(msg)

    def getInterval(self, from_stamp: Time, to_stamp: Time) -> list[Any]:
        """Return the messages stamped within both bounds, bounds included.

        Raises:
            AssertionError: the bounds are in the wrong order.
        """
        assert from_stamp <= to_stamp, f"interval from {from_stamp} to {to_stamp} ends before it begins"
        return [msg for msg, time in self._items() if from_stamp <= time <= to_stamp]

    def getElemAfterTime(self, stamp: Time) -> Any:
        """Return the first message that arrived of those stamped then or later, None without any."""
        return next((msg for msg, time in self._items() if time >= stamp), None)

    def getElemBeforeTime(self, stamp: Time) -> Any:
        """Return the last message that arrived of those stamped then or earlier, None without any."""
        return next((msg for msg, time in reversed(self._items()) if time <= stamp), None)

    def getLastestTime(self) -> Time | None:
        """Return the stamp of the message that came last, None without any."""
        return self.cache_times[-1] if self.cache_times else None

    def getOldestTime(self) -> Time | None:
        """Return the stamp of the message that came first, None without any."""
        return self.cache_times[0] if self.cache_times else None

    def getLast(self) -> Any:
        """Return the first message that is stamped as the last one or later, None without any."""
        latest = self.getLastestTime()
        return None if latest is None else self.getElemAfterTime(latest)

    def _items(self) -> list[tuple[Any, Time]]:
        return list(zip(self.cache_msgs, self.cache_times, strict=True))
