# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Filters that give out messages of several inputs together."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from typing import Any

from rclpy.duration import Duration
from rclpy.time import Time

from message_filters.simple_filter import SimpleFilter
from message_filters.stamps import stamp_of


class TimeSynchronizer(SimpleFilter):
    """Gives out sets of messages, one of each input, that have equal stamps.

    Callbacks run under the synchroniser's lock, in the thread that brought the last message of a set. Each input
    keeps at most `queue_size` messages that wait for their set; the one with the oldest stamp goes first.
    """

    def __init__(self, fs: Sequence[SimpleFilter], queue_size: int) -> None:
        super().__init__()
        self.queue_size = queue_size
        self.lock = threading.Lock()
        self.connectInput(fs)

    def connectInput(self, fs: Sequence[SimpleFilter]) -> None:
        """Take messages from these filters, with empty queues."""
        self.queues: list[dict[int, Any]] = [{} for _ in fs]
        self.input_connections = [
            f.registerCallback(self.add, queue, index)
            for index, (f, queue) in enumerate(zip(fs, self.queues, strict=True))
        ]

    def add(self, msg: Any, my_queue: dict[int, Any], my_queue_index: int | None = None) -> None:
        """Take a message of one input and give out the sets that it completes."""
        with self.lock:
            self._store(msg, Time.from_msg(msg.header.stamp).nanoseconds, my_queue)
            common = set.intersection(*(set(queue) for queue in self.queues))
            for stamp in sorted(common):
                self._give_out([stamp] * len(self.queues))

    def _store(self, msg: Any, stamp: int, queue: dict[int, Any]) -> None:
        queue[stamp] = msg
        while len(queue) > self.queue_size:
            del queue[min(queue)]

    def _give_out(self, stamps: Sequence[int]) -> None:
        # Taken out first: a callback that raises must not leave its set behind, to be given out again.
        messages = [queue.pop(stamp) for queue, stamp in zip(self.queues, stamps, strict=True)]
        self.signalMessage(*messages)


class ApproximateTimeSynchronizer(TimeSynchronizer):
    """Gives out sets of messages, one of each input, whose stamps are less than `slop` seconds apart.

    A new message is matched with those nearest to it in time. With `allow_headerless` a message without a stamp
    counts as stamped at its arrival; without, it is ignored with a warning.
    """

    def __init__(
        self, fs: Sequence[SimpleFilter], queue_size: int, slop: float, allow_headerless: bool = False
    ) -> None:
        super().__init__(fs, queue_size)
        self.slop = Duration(seconds=slop)
        self.allow_headerless = allow_headerless

    def add(self, msg: Any, my_queue: dict[int, Any], my_queue_index: int | None = None) -> None:
        """Take a message of one input and give out the best set with it, if there is one."""
        time = stamp_of(msg, self.allow_headerless, "message_filters_approx")
        if time is None:
            return
        with self.lock:
            stamp = time.nanoseconds
            self._store(msg, stamp, my_queue)
            slop = self.slop.nanoseconds
            candidates = [
                [stamp] if index == my_queue_index else _nearest_first(queue, stamp, slop)
                for index, queue in enumerate(self.queues)
            ]
            for stamps in itertools.product(*candidates):
                if max(stamps) - min(stamps) < slop and self._all_waiting(stamps):
                    self._give_out(stamps)
                    return

    def _all_waiting(self, stamps: Sequence[int]) -> bool:
        return all(stamp in queue for queue, stamp in zip(self.queues, stamps, strict=True))


def _nearest_first(queue: dict[int, Any], stamp: int, slop: int) -> list[int]:
    return sorted((s for s in queue if abs(s - stamp) <= slop), key=lambda s: abs(s - stamp))
