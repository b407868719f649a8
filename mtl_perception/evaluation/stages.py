# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Stages of a pipeline, each in a thread of its own with a bounded queue before it. Order is kept."""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Generic, TypeVar

Item = TypeVar("Item")

_POLL_S = 0.1
_NICENESS = 10


class Stage(Generic[Item]):
    """Does something with each item in a thread of its own, in the order of arrival. Use it as a context manager.

    Leaving the context waits until everything handed over is done; after an exception inside it nothing more is begun.
    """

    def __init__(self, name: str, work: Callable[[Item], None], waiting: int = 4) -> None:
        """Prepare a stage in front of which at most `waiting` items wait."""
        self._work = work
        self._items: queue.Queue[Item | None] = queue.Queue(waiting)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Stage[Item]:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish what has been handed over (or give it up after an error).

        Raises:
            Exception: what the work raised.
        """
        if kind is not None:
            _drain(self._items)
        self._put(None)
        self._thread.join()
        if kind is None:
            self._check()

    def submit(self, item: Item) -> None:
        """Hand an item over; waits while the queue is full.

        Raises:
            Exception: what the work raised on an earlier item.
        """
        self._check()
        self._put(item)

    def _put(self, item: Item | None) -> None:
        while self._thread.is_alive():
            try:
                self._items.put(item, timeout=_POLL_S)
            except queue.Full:
                continue
            return

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        _step_back()
        while (item := self._items.get()) is not None:
            try:
                self._work(item)
            except BaseException as error:
                self._error = error
                return


def ahead(items: Iterable[Item], count: int) -> Iterator[Item]:
    """Yield items that a thread of its own takes from an iterable, up to `count` before they are asked for.

    Raises:
        Exception: what the iterable raised, after all items before it.
    """
    taken: queue.Queue[tuple[Item | None, BaseException | None, bool]] = queue.Queue(count)
    stop = threading.Event()

    def put(entry: tuple[Item | None, BaseException | None, bool]) -> bool:
        while not stop.is_set():
            try:
                taken.put(entry, timeout=_POLL_S)
            except queue.Full:
                continue
            return True
        return False

    def take() -> None:
        try:
            for item in items:
                if not put((item, None, False)):
                    return
            put((None, None, True))
        except BaseException as error:
            put((None, error, True))

    thread = threading.Thread(target=take, name="read ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error, last = taken.get()
            if error is not None:
                raise error
            if last:
                return
            yield item  # type: ignore[misc]
    finally:
        stop.set()
        thread.join()


def _step_back() -> None:
    """Let the network's threads go first: each waits for the slowest of them, this thread keeps nobody waiting."""
    if sys.platform == "linux":  # where it means the thread alone
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def _drain(items: queue.Queue) -> None:
    while True:
        try:
            items.get_nowait()
        except queue.Empty:
            return
