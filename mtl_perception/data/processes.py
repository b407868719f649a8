# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Work shared out to processes, with the results in the order of the tasks: the same whatever the number of them."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Generic, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

_AHEAD = 2  # tasks a process that may be under way or done before the oldest result has been taken
_END_S = 5.0


class Workers(Generic[Task, Result]):
    """Processes that do tasks. Use it as a context manager, or `close` it.

    Each process calls `make` once, and what that returns for each of its tasks; `make`, tasks and results must be
    picklable. The processes are new ones (not forked), ignore SIGINT, and end with this one, however it ends.
    """

    def __init__(self, make: Callable[[], Callable[[Task], Result]], processes: int) -> None:
        """Start so many processes."""
        context = multiprocessing.get_context("spawn")
        self._processes: dict[Connection, BaseProcess] = {}
        self._running: dict[Connection, int] = {}
        try:
            for number in range(processes):
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(theirs, make), name=f"worker {number}", daemon=True)
                with _inherited_by_workers():
                    process.start()
                theirs.close()  # so that the process's end is noticed
                self._processes[ours] = process
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Workers[Task, Result]:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the processes."""
        self.close()

    def close(self) -> None:
        """End the processes, whatever they are doing."""
        for connection, process in self._processes.items():
            connection.close()
            process.terminate()
        for process in self._processes.values():
            process.join(_END_S)
            if process.is_alive():
                process.kill()
                process.join()
        self._processes.clear()
        self._running.clear()

    def in_order(self, tasks: Iterable[Task]) -> Iterator[Result]:
        """Yield the result of every task, in the order of the tasks.

        A task is taken from `tasks` when a process is free for it. The iterator may be left at any point; results that
        nobody has taken are lost when this is called again.

        Raises:
            ChildProcessError: a process has died.
            Exception: what `make` or a task raised, with the traceback of the process as its cause.
        """
        while self._running:
            self._next_results()
        remaining = enumerate(tasks)
        done: dict[int, Result] = {}
        for awaited in itertools.count():
            while awaited not in done:
                while len(self._running) + len(done) < _AHEAD * len(self._processes):
                    connection = next((c for c in self._processes if c not in self._running), None)
                    number, task = (None, None) if connection is None else next(remaining, (None, None))
                    if connection is None or number is None:
                        break
                    self._send(connection, task)
                    self._running[connection] = number
                if not self._running:
                    return
                done.update(self._next_results())
            yield done.pop(awaited)

    def _next_results(self) -> dict[int, Any]:
        """Wait for a process, or several, and return the results by the numbers of their tasks."""
        results = {}
        for ready in wait(list(self._running)):
            assert isinstance(ready, Connection)
            results[self._running.pop(ready)] = self._receive(ready)
        return results

    def _send(self, connection: Connection, task: Any) -> None:
        try:
            connection.send(task)
        except (BrokenPipeError, ConnectionResetError):
            self._receive(connection)  # it has failed before it was asked, and says why

    def _receive(self, connection: Connection) -> Any:
        try:
            result = connection.recv()
        except (EOFError, ConnectionResetError) as error:
            raise _died(self._processes[connection]) from error
        if isinstance(result, _Failure):
            raise result.error from _RemoteTracebackError(result.where)
        return result


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class _Failure:
    """What a process sends when it could not do its task."""

    error: Exception
    where: str


class _RemoteTracebackError(Exception):
    """Shows where in the other process an error came from."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


@contextmanager
def _inherited_by_workers() -> Iterator[None]:
    """Start processes that a Ctrl-C for the whole group does not reach, and that compute with one thread each."""
    resource_tracker.ensure_running()  # the first start would do it, and unblock the signal again
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    threads = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    os.environ.update(dict.fromkeys(threads, "1"))
    try:
        yield
    finally:
        for name, value in threads.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _died(process: BaseProcess) -> ChildProcessError:
    process.join(_END_S)
    code = process.exitcode
    how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
    memory = " (perhaps for want of memory)" if code == -signal.SIGKILL else ""
    return ChildProcessError(f"a worker process {how}{memory}")


def _serve(connection: Connection, make: Callable[[], Callable[[Any], Any]]) -> None:
    """Do what comes through the connection until it is closed: the main function of a process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # blocked until here
    try:
        handle = make()
        while True:
            connection.send(handle(connection.recv()))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # nobody wants more
    except Exception as error:  # whatever it is, who asked must hear of it
        _tell(connection, _Failure(error, traceback.format_exc()))


def _tell(connection: Connection, failure: _Failure) -> None:
    try:
        connection.send(failure)
    except (BrokenPipeError, ConnectionResetError):
        pass  # nobody listens any more
    except Exception:  # the error itself cannot be pickled
        connection.send(_Failure(RuntimeError(f"{type(failure.error).__name__}: {failure.error}"), failure.where))
