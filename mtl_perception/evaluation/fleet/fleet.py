# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluates many bags with the workers of an engine, so that every bag ends in the results or among the failures."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mtl_perception.evaluation.fleet.engine import Crew, Done, Engine, Event, Failed, Failure, Gone, MakeWork, Ready
from mtl_perception.evaluation.fleet.jobs import BagJob
from mtl_perception.evaluation.result import BagResult

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class FleetOutcome:
    """What has become of all bags.

    Attributes:
        results: in the order of the jobs.
        failed: per other bag its last error, in one line.
        retried: per bag that was tried more than once how often it was tried again, whatever came of it.
    """

    results: tuple[BagResult, ...]
    failed: Mapping[str, str]
    retried: Mapping[str, int]


class Progress:
    """Told how a run goes, in the process that has started it. Does nothing: override what is of interest."""

    def advanced(self, name: str, done: int, known: int) -> None:
        """So many frames of a bag are done, of so many; begins anew when the bag is tried again."""

    def finished(self, name: str) -> None:
        """A bag's result is there, and kept."""

    def retried(self, name: str, reason: str) -> None:
        """A bag has failed and will be tried again."""

    def failed(self, name: str, reason: str) -> None:
        """A bag has failed for good."""

    def lost(self, reason: str) -> None:
        """A worker could not be set up and is done without."""


def run_fleet(
    jobs: Sequence[BagJob],
    make_work: MakeWork,
    *,
    engine: Engine,
    keep: Callable[[BagResult], None],
    retries: int = 2,
    progress: Progress | None = None,
) -> FleetOutcome:
    """Evaluate bags.

    A bag whose evaluation raises, or whose worker dies, is tried again, at most `retries` times: in another process,
    since the one that it failed in is replaced (an error of the GPU, for one, stays in the process), and on another
    machine where there is a worker on one. What is wrong with the bag itself (ValueError) no other process of a machine
    would see differently: it is tried once more on another machine, and not at all where there is none.

    Args:
        jobs: with names of their own.
        make_work: called once a process; what it returns is called for each bag.
        engine: where.
        keep: called in this process for each result as it comes, so that an interrupted run need not begin anew.
        retries: for each bag.
        progress: told how it goes.

    Raises:
        ValueError: two jobs have the same name.
        ChildProcessError: no worker could be set up; says why.
        OSError, ModuleNotFoundError: the engine cannot be used here.
        Exception: what `keep` or `progress` raised; no process is left then, and what was kept is kept.
    """
    twice = sorted(name for name, count in Counter(job.name for job in jobs).items() if count > 1)
    if twice:
        raise ValueError(f"several bags have the name {', '.join(twice)}")
    if not jobs:
        return FleetOutcome((), {}, {})
    return _Run(jobs, retries, keep, progress or Progress()).with_workers_of(engine, make_work)


@dataclass(eq=False)
class _Task:
    """A job with what has become of it so far."""

    job: BagJob
    failures: int = 0
    failed_at: set[str] = field(default_factory=set)
    is_wrong: bool = False  # one place has found that the bag itself is wrong


class _Run:
    """One run, and its state."""

    _crew: Crew

    def __init__(
        self, jobs: Sequence[BagJob], retries: int, keep: Callable[[BagResult], None], progress: Progress
    ) -> None:
        self._jobs, self._retries, self._keep, self._progress = jobs, retries, keep, progress
        self._pending = deque(_Task(job) for job in jobs)
        self._workers: dict[int, str | None] = {}  # their places; None before they are ready
        self._places: set[str] = set()  # where any worker has been ready
        self._running: dict[int, _Task] = {}
        self._results: dict[str, BagResult] = {}
        self._failed: dict[str, str] = {}
        self._retried: dict[str, int] = {}
        self._lost = 0  # workers that are done without
        self._setups_failed = 0  # in a row

    def with_workers_of(self, engine: Engine, make_work: MakeWork) -> FleetOutcome:
        with engine.start(make_work, self._advanced) as self._crew:
            while self._pending or self._running:
                self._hire()
                self._assign()
                for event in self._crew.wait():
                    self._take(event)
        order = [job.name for job in self._jobs]
        return FleetOutcome(
            tuple(self._results[name] for name in order if name in self._results),
            {name: self._failed[name] for name in order if name in self._failed},
            {name: self._retried[name] for name in order if name in self._retried},
        )

    def _hire(self) -> None:
        wanted = min(min(self._crew.size, len(self._jobs)) - self._lost, len(self._pending) + len(self._running))
        while len(self._workers) < wanted:
            self._workers[self._crew.hire()] = None

    def _assign(self) -> None:
        for worker, place in self._workers.items():
            if place is not None and worker not in self._running:
                task = self._task_for(place)
                if task is not None:
                    self._pending.remove(task)
                    self._running[worker] = task
                    self._crew.give(worker, task.job)

    def _task_for(self, place: str) -> _Task | None:
        """Return the next task for a worker; what has failed at its place waits for a worker elsewhere, if any is."""
        places = {known for known in self._workers.values() if known is not None}
        fitting = (task for task in self._pending if place not in task.failed_at or places <= task.failed_at)
        return next(fitting, None)

    def _take(self, event: Event) -> None:
        match event:
            case Ready(worker, place):
                self._workers[worker] = place
                self._places.add(place)
                self._setups_failed = 0
            case Done(worker, result):
                name = self._running.pop(worker).job.name
                self._results[name] = result
                self._keep(result)
                self._progress.finished(name)
            case Failed(worker, failure):
                if failure.curable or worker not in self._running:
                    self._crew.dismiss(worker)
                    self._without(worker, failure, died=False)
                else:
                    self._task_failed(self._running.pop(worker), self._workers[worker], failure)
            case Gone(worker, reason):
                self._without(worker, Failure(reason, curable=True), died=True)

    def _without(self, worker: int, failure: Failure, *, died: bool) -> None:
        """Go on without a worker that has failed or died; the next one takes its place."""
        place = self._workers.pop(worker)
        if worker in self._running:
            self._task_failed(self._running.pop(worker), place, failure)
        elif place is None:
            self._setup_failed(failure, died)

    def _task_failed(self, task: _Task, place: str | None, failure: Failure) -> None:
        name = task.job.name
        _LOG.debug("%s failed on %s: %s\n%s", name, place, failure.reason, failure.where)
        task.failures += 1
        if place is not None:
            task.failed_at.add(place)
        sensible = failure.curable or (not task.is_wrong and not self._places <= task.failed_at)
        task.is_wrong |= not failure.curable
        if sensible and task.failures <= self._retries:
            self._retried[name] = task.failures
            self._pending.append(task)
            self._progress.retried(name, failure.reason)
        else:
            self._failed[name] = failure.reason
            self._progress.failed(name, failure.reason)

    def _setup_failed(self, failure: Failure, died: bool) -> None:
        _LOG.debug("a worker could not be set up: %s\n%s", failure.reason, failure.where)
        self._setups_failed += 1
        if self._setups_failed <= self._retries and (self._places or died):
            return  # the next one may be luckier; what raises before any was ready is hardly bad luck
        self._lost += 1
        self._progress.lost(failure.reason)
        if self._lost < min(self._crew.size, len(self._jobs)):
            return
        if not self._places:
            raise ChildProcessError(f"no worker could be set up: {failure.reason}")
        while self._pending:
            name = self._pending.popleft().job.name
            self._failed[name] = f"no worker is left: {failure.reason}"
            self._progress.failed(name, self._failed[name])

    def _advanced(self, worker: int, done: int, known: int) -> None:
        if worker in self._running:
            self._progress.advanced(self._running[worker].job.name, done, known)
