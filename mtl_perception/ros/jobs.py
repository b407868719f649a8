# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Things to do one after the other on a thread of its own, in the order in which they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple

from mtl_perception.ros.worker import Worker


class _Job(NamedTuple):
    action: Callable[[], Any]
    answer: Future[Any] | None = None


class Jobs:
    """A `Worker` whose items are what to do; some are waited for."""

    def __init__(self, name: str, *, waiting: int, on_lost: Callable[[str], None]) -> None:
        """Start the thread.

        Args:
            name: of the thread.
            waiting: how many jobs wait at most; then the oldest is given up.
            on_lost: told why a job was not done, or what it raised, unless somebody waits for its answer.
        """
        self._on_lost = on_lost
        self._worker: Worker[_Job] = Worker(
            name,
            self._do,
            policy="every",
            on_dropped=lambda job, reason: self._lose(job, reason),
            on_error=lambda job, error: self._lose(job, f"{type(error).__name__}: {error}"),
            queue_size=waiting,
        )

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return self._worker.waiting

    def submit(self, action: Callable[[], Any]) -> None:
        """Have something done; never blocks."""
        self._worker.submit(_Job(action))

    def ask(self, action: Callable[[], Any]) -> Future[Any]:
        """Have something done after all that has been asked for by now; the future is cancelled if it is given up."""
        answer: Future[Any] = Future()
        self._worker.submit(_Job(action, answer))
        return answer

    def stop(self) -> bool:
        """Give up what waits, let the job at hand finish, end the thread; False when it has not ended in time."""
        return self._worker.stop()

    @staticmethod
    def _do(job: _Job) -> None:
        if job.answer is None:
            job.action()
        elif job.answer.set_running_or_notify_cancel():
            try:
                job.answer.set_result(job.action())
            except Exception as error:  # handed to whoever waits for the answer
                job.answer.set_exception(error)

    def _lose(self, job: _Job, reason: str) -> None:
        if job.answer is not None:
            job.answer.cancel()
        else:
            self._on_lost(reason)
