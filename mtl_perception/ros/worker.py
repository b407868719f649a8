# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The one thread of a node that works, so that callbacks only have to queue."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, Literal, TypeVar

Item = TypeVar("Item")
FramePolicy = Literal["newest", "every"]

SUPERSEDED = "a newer frame came"
QUEUE_FULL = "queue full"
STOPPED = "the node was deactivated"


class Worker(Generic[Item]):
    """Handles items one after the other on a thread of its own.

    With the policy `newest` one item waits at most and a newer one takes its place; with `every` up to `queue_size`
    wait. What is not handled is told to `on_dropped` with the reason, on whatever thread finds out.
    """

    def __init__(
        self,
        name: str,
        handle: Callable[[Item], None],
        *,
        policy: FramePolicy,
        on_dropped: Callable[[Item, str], None],
        on_error: Callable[[Item, Exception], None],
        queue_size: int = 100,
    ) -> None:
        """Start the thread.

        Args:
            name: of the thread.
            handle: called on the thread, once an item; an exception is told to `on_error` and the thread goes on.
            policy: what happens when items come faster than they are handled.
            on_dropped: called for an item that is not handled.
            on_error: called with what `handle` raised.
            queue_size: items that wait at most under the policy `every`.
        """
        self._handle = handle
        self._limit = 1 if policy == "newest" else queue_size
        self._overflow = SUPERSEDED if policy == "newest" else QUEUE_FULL
        self._on_dropped = on_dropped
        self._on_error = on_error
        self._items: deque[Item] = deque()
        self._calls: deque[tuple[Callable[[], Any], Future[Any], bool]] = deque()
        self._queue_size = queue_size
        self._is_keeping = False
        self._kept = 0  # of the items, so many at the front came while items were kept
        self._condition = threading.Condition()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many items wait."""
        return len(self._items)

    @property
    def stopping(self) -> bool:
        """Whether the thread is asked to end: a handler that waits for something should give up."""
        return self._stopping.is_set()

    def submit(self, item: Item) -> None:
        """Queue an item; never blocks."""
        dropped: list[tuple[Item, str]] = []
        with self._condition:
            if self.stopping:
                dropped.append((item, STOPPED))
            else:
                self._items.append(item)
                if self._is_keeping and len(self._items) <= self._queue_size:
                    self._kept = len(self._items)
                while len(self._items) > self._kept + self._limit:
                    dropped.append((self._items[self._kept], self._overflow))
                    del self._items[self._kept]
                self._condition.notify()
        self._tell(dropped)

    def call(self, function: Callable[[], Any], *, keep_items: bool = False) -> Future[Any]:
        """Run a function on the thread before the next item, so that it never meets a handler half-way.

        With `keep_items`, what comes meanwhile is handled afterwards, up to `queue_size` of it, whatever the policy.
        The future is cancelled when the worker stops first.
        """
        future: Future[Any] = Future()
        with self._condition:
            if self.stopping:
                future.cancel()
            else:
                self._calls.append((function, future, keep_items))
                self._condition.notify()
        return future

    def discard(self, condition: Callable[[Item], bool], reason: str) -> None:
        """Drop the waiting items that fulfil a condition."""
        with self._condition:
            dropped = [(item, reason) for item in self._items if condition(item)]
            kept = [(item, place < self._kept) for place, item in enumerate(self._items) if not condition(item)]
            self._items.clear()
            self._items.extend(item for item, _ in kept)
            self._kept = sum(was_kept for _, was_kept in kept)
        self._tell(dropped)

    def stop(self, timeout_s: float = 30.0) -> bool:
        """Drop what waits, let the item at hand finish, end the thread; False when it has not ended in time."""
        self._stopping.set()
        with self._condition:
            dropped = [(item, STOPPED) for item in self._items]
            self._items.clear()
            calls = list(self._calls)
            self._calls.clear()
            self._condition.notify()
        for _, future, _ in calls:
            future.cancel()
        self._tell(dropped)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: bool(self._items or self._calls or self.stopping))
                if self.stopping:
                    return
                call = self._calls.popleft() if self._calls else None
                item = None if call is not None else self._items.popleft()
                self._is_keeping = call is not None and call[2] and self._limit < self._queue_size
                self._kept = len(self._items) if self._is_keeping else max(self._kept - (call is None), 0)
            if call is not None:
                self._answer(*call[:2])
                self._is_keeping = False
            elif item is not None:
                self._work(item)

    def _work(self, item: Item) -> None:
        try:
            self._handle(item)
        except Exception as error:  # the thread must live on, whatever one frame holds; on_error makes it visible
            self._on_error(item, error)

    @staticmethod
    def _answer(function: Callable[[], Any], future: Future[Any]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(function())
        except Exception as error:  # handed to whoever waits for the answer
            future.set_exception(error)

    def _tell(self, dropped: list[tuple[Item, str]]) -> None:
        for item, reason in dropped:
            self._on_dropped(item, reason)
