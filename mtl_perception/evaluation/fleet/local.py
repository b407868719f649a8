# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Bags evaluated on this machine: in this process, or in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from mtl_perception.data.processes import available_cores
from mtl_perception.evaluation.fleet.engine import (
    Crew,
    Done,
    Engine,
    Event,
    Failed,
    Failure,
    Gone,
    MakeWork,
    Ready,
    Seldom,
    Work,
    WorkerAdvanced,
    attempt,
)
from mtl_perception.evaluation.fleet.jobs import BagJob
from mtl_perception.evaluation.result import BagResult

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""The environment variables that numerical libraries read when they are imported."""
_END_S = 5.0
_THIS_MACHINE = "this machine"


class InProcess(Engine):
    """One bag after the other in this process."""

    def start(self, make_work: MakeWork, advanced: WorkerAdvanced) -> Crew:
        """See Engine. What `make_work` raises is raised by the crew's `hire`."""
        return _Alone(make_work, advanced)


@dataclass(frozen=True)
class LocalWorkers(Engine):
    """So many bags at a time, in as many processes, which share this machine's cores.

    The processes are new ones (not forked), ignore SIGINT, and end with this one, however it ends.

    Attributes:
        processes: at least 1.
    """

    processes: int

    def __post_init__(self) -> None:
        """Check the number.

        Raises:
            ValueError: it is less than 1.
        """
        if self.processes < 1:
            raise ValueError(f"there must be at least one worker, not {self.processes}")

    def start(self, make_work: MakeWork, advanced: WorkerAdvanced) -> Crew:
        """See Engine."""
        return _Processes(make_work, advanced, self.processes)


class _Alone(Crew):
    """This process as the only worker."""

    size = 1

    def __init__(self, make_work: MakeWork, advanced: WorkerAdvanced) -> None:
        self._make_work, self._advanced = make_work, advanced
        self._hired = 0
        self._work: Work | None = None
        self._events: deque[Event] = deque()
        self._job: BagJob | None = None

    def hire(self) -> int:
        self._work = self._make_work()
        self._hired += 1
        self._events.append(Ready(self._hired, _THIS_MACHINE))
        return self._hired

    def dismiss(self, worker: int) -> None:
        self.close()

    def give(self, worker: int, job: BagJob) -> None:
        self._job = job

    def wait(self) -> Sequence[Event]:
        if self._job is not None and self._work is not None:
            worker, job, self._job = self._hired, self._job, None
            outcome = attempt(self._work, job, lambda done, known: self._advanced(worker, done, known))
            self._events.append(Failed(worker, outcome) if isinstance(outcome, Failure) else Done(worker, outcome))
        events = tuple(self._events)
        self._events.clear()
        return events

    def close(self) -> None:
        self._work = None
        self._events.clear()


class _Processes(Crew):
    """Processes of this machine, each at the other end of a connection."""

    def __init__(self, make_work: MakeWork, advanced: WorkerAdvanced, size: int) -> None:
        self.size = size
        self._make_work, self._advanced = make_work, advanced
        self._context = multiprocessing.get_context("spawn")
        self._threads = max(1, available_cores() // size)
        self._hired = 0
        self._processes: dict[int, tuple[Connection, BaseProcess]] = {}

    def hire(self) -> int:
        self._hired += 1
        ours, theirs = self._context.Pipe()
        # Not a daemon: those may not have processes of their own, and an evaluation may want some.
        process = self._context.Process(target=_serve, args=(theirs,), name=f"evaluation worker {self._hired}")
        with _start_of_a_worker(self._threads):
            process.start()
            self._processes[self._hired] = ours, process
        theirs.close()  # so that the process's end is noticed
        self._send(self._hired, self._make_work)
        return self._hired

    def dismiss(self, worker: int) -> None:
        connection, process = self._processes.pop(worker)
        connection.close()
        process.terminate()
        _reap(process)

    def give(self, worker: int, job: BagJob) -> None:
        self._send(worker, job)

    def wait(self) -> Sequence[Event]:
        workers = {connection: worker for worker, (connection, _) in self._processes.items()}
        events: list[Event] = []
        while not events:
            for connection in wait(list(workers)):
                assert isinstance(connection, Connection)
                event = self._receive(workers[connection], connection)
                if event is not None:
                    events.append(event)
        return events

    def close(self) -> None:
        for connection, process in self._processes.values():
            connection.close()
            process.terminate()
        for _, process in self._processes.values():
            _reap(process)
        self._processes.clear()

    def _send(self, worker: int, what: MakeWork | BagJob) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # it has died, as `wait` will find
            self._processes[worker][0].send(what)

    def _receive(self, worker: int, connection: Connection) -> Event | None:
        try:
            message = connection.recv()
        except (EOFError, OSError):
            _, process = self._processes.pop(worker)
            connection.close()
            return Gone(worker, _how_it_died(process))
        match message:
            case (done, known):
                self._advanced(worker, done, known)
                return None
            case str():
                return Ready(worker, message)
            case Failure():
                return Failed(worker, message)
            case _:
                return Done(worker, message)


@contextmanager
def _start_of_a_worker(threads: int) -> Iterator[None]:
    """Start processes that a Ctrl-C for the whole group does not reach, and that compute with so many threads."""
    resource_tracker.ensure_running()  # the first start would do it, and unblock the signal again
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _reap(process: BaseProcess) -> None:
    process.join(_END_S)
    if process.is_alive():
        process.kill()
        process.join()


def _how_it_died(process: BaseProcess) -> str:
    _reap(process)
    code = process.exitcode
    if code == -signal.SIGKILL:
        return "its process was killed (perhaps for want of memory)"
    if code is not None and code < 0:
        return f"its process was ended by {signal.Signals(-code).name}"
    return f"its process ended with exit code {code}"


def _serve(connection: Connection) -> None:
    """Make the work that comes first, and do what comes next until there is no more: the main function of a process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # blocked until here
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        make_work = connection.recv_bytes()
        try:
            work = pickle.loads(make_work)()  # to load it imports what it needs, which may fail as well
        except Exception as error:  # whatever it is, who asked must hear of it
            connection.send(Failure.of(error))
            return
        connection.send(_THIS_MACHINE)
        while True:
            job = connection.recv()
            advanced = Seldom(lambda done, known: connection.send((done, known)))
            _answer(connection, attempt(work, job, advanced))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # nobody wants more


def _answer(connection: Connection, outcome: BagResult | Failure) -> None:
    try:
        connection.send(outcome)
    except (BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:  # it cannot be pickled
        connection.send(Failure.of(error))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
