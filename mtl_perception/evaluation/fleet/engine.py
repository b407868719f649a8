# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What workers are, wherever they run: started, given one bag at a time, replaced, and listened to."""

from __future__ import annotations

import platform
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mtl_perception.evaluation.fleet.jobs import BagJob
from mtl_perception.evaluation.result import BagResult

Advanced = Callable[[int, int], None]
"""Told how many frames of a bag are done, and of how many."""
Work = Callable[[BagJob, Advanced], BagResult]
"""Evaluates one bag."""
MakeWork = Callable[[], Work]
"""Called once a process, for what takes long (loading a network). Can be pickled."""
WorkerAdvanced = Callable[[int, int, int], None]
"""Told the number of the worker, how many frames of its bag are done, and of how many."""

_REPORT_EVERY_S = 0.2


class Engine(ABC):
    """Where bags are evaluated."""

    @abstractmethod
    def start(self, make_work: MakeWork, advanced: WorkerAdvanced) -> Crew:
        """Return the place for workers, without any yet.

        Raises:
            OSError, ModuleNotFoundError: the engine cannot be used here.
        """


class Crew(ABC):
    """The workers of one run. Use it as a context manager, or `close` it: no process is left then.

    A worker begins with setting itself up, then says `Ready`, and can be given a bag when it has none.

    Attributes:
        size: how many workers there should be at a time.
    """

    size: int

    def __enter__(self) -> Crew:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the workers."""
        self.close()

    @abstractmethod
    def hire(self) -> int:
        """Start a worker and return its number, which no other has or has had."""

    @abstractmethod
    def dismiss(self, worker: int) -> None:
        """End a worker, whatever it is doing; nothing is heard of it any more."""

    @abstractmethod
    def give(self, worker: int, job: BagJob) -> None:
        """Let a worker that is ready evaluate a bag."""

    @abstractmethod
    def wait(self) -> Sequence[Event]:
        """Wait until something has happened, and return it. There must be a worker that is not idle."""

    @abstractmethod
    def close(self) -> None:
        """End all workers, whatever they are doing."""


@dataclass(frozen=True)
class Failure:
    """Why something could not be done.

    Attributes:
        reason: in one line.
        curable: whether the same may go well in another process: not when the bag itself is wrong (ValueError).
        where: the traceback.
    """

    reason: str
    curable: bool
    where: str = field(default="", repr=False)

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """Describe an error that is being handled."""
        text = " ".join(str(error).split())
        if not isinstance(error, (ValueError, OSError)) or not text:  # those carry a text for the user
            text = f"{type(error).__name__}: {text}"
        return cls(text, not isinstance(error, ValueError), traceback.format_exc())


@dataclass(frozen=True)
class Ready:
    """A worker can be given its first bag; `place` is the same for all workers of one machine."""

    worker: int
    place: str


@dataclass(frozen=True, eq=False)
class Done:
    """A worker has evaluated its bag."""

    worker: int
    result: BagResult


@dataclass(frozen=True)
class Failed:
    """A worker could not set itself up, or not evaluate its bag."""

    worker: int
    failure: Failure


@dataclass(frozen=True)
class Gone:
    """A worker has died, and needs not be dismissed."""

    worker: int
    reason: str


Event = Ready | Done | Failed | Gone


def attempt(work: Work, job: BagJob, advanced: Advanced) -> BagResult | Failure:
    """Evaluate a bag in the process of a worker; whatever it raises is returned."""
    try:
        if not job.path.exists():
            raise FileNotFoundError(
                f"{job.path} is not on {platform.node()}: every worker must be able to read every bag"
            )
        return work(job, advanced)
    except Exception as error:  # a bag must not end the others
        return Failure.of(error)


class Seldom:
    """Passes on how far a bag is, but not too often for a connection to another process."""

    def __init__(self, advanced: Advanced) -> None:
        """Pass on to `advanced`."""
        self._advanced = advanced
        self._next_s = 0.0

    def __call__(self, done: int, known: int) -> None:
        """Pass it on, or not."""
        now_s = time.monotonic()
        if now_s >= self._next_s or done == known:
            self._next_s = now_s + _REPORT_EVERY_S
            self._advanced(done, known)
