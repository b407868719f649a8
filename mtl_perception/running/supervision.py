# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Child processes that never outlive their parent: started, listened to, interrupted and reaped."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TextIO

LAST_LINES = 15
"""How many of a child's last lines are kept for the report of its death."""


@dataclass(frozen=True)
class Exit:
    """How a child ended. `code` is the exit code, negative for a signal; `last_lines` is what it said last."""

    name: str
    code: int
    last_lines: tuple[str, ...]

    def __str__(self) -> str:
        """Say it in one line, with the child's last lines below."""
        how = f"exit code {self.code}" if self.code >= 0 else f"signal {signal.Signals(-self.code).name}"
        return "\n".join([f"'{self.name}' ended with {how}", *(f"    {line}" for line in self.last_lines)])


class Supervisor:
    """Runs named child processes; leaving the `with` block ends and reaps all of them, whatever happened inside.

    Each child leads a process group of its own, so that Ctrl-C reaches only this process, which passes it on once.
    Should this process itself be killed, the kernel kills the children (Linux). Use it from the main thread: the
    kernel takes the end of the thread that started a child for the parent's death.
    """

    def __init__(self, output: TextIO | None = None, grace_s: float = 10.0) -> None:
        """`output` (standard output when None) gets the children's lines, each after its child's name.

        Args:
            output: where to write the lines.
            grace_s: seconds that children have to end after SIGINT, then half of it after SIGTERM, before SIGKILL.
        """
        self._output = sys.stdout if output is None else output
        self._grace_s = grace_s
        self._children: list[_Child] = []
        self._printing = threading.Lock()

    def __enter__(self) -> Supervisor:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End every child."""
        self.stop()

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Start a child; `environment` is added to this process's own.

        Raises:
            OSError: the program cannot be started.
        """
        self._children.append(self._started(name, list(command), dict(environment or {})))

    def restart(self, name: str) -> None:
        """Start the children of a name again that have ended, as they were started.

        Raises:
            OSError: the program cannot be started.
        """
        for place, child in enumerate(self._children):
            if child.name == name and child.process.poll() is not None:
                _signal_group(child.process, signal.SIGKILL)  # what it has started itself
                self._children[place] = self._started(name, child.command, child.environment)

    def _started(self, name: str, command: list[str], environment: dict[str, str]) -> _Child:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            text=True,
            errors="replace",
        )
        return _Child(name, process, self._print, command, environment)

    def ended(self) -> list[Exit]:
        """Return how those children ended that are no longer running."""
        return [child.exit() for child in self._children if child.process.poll() is not None]

    @property
    def running(self) -> list[str]:
        """The names of the children that are running."""
        return [child.name for child in self._children if child.process.poll() is None]

    @property
    def pids(self) -> dict[str, int]:
        """The process ids of the children that are running, by name."""
        return {child.name: child.process.pid for child in self._children if child.process.poll() is None}

    def stop(self) -> list[Exit]:
        """Interrupt every running child, harder each time, and return how all of them ended."""
        for number, seconds in (
            (signal.SIGINT, self._grace_s),
            (signal.SIGTERM, self._grace_s / 2),
            (signal.SIGKILL, None),
        ):
            alive = [child for child in self._children if child.process.poll() is None]
            if not alive:
                break
            for child in alive:
                _signal_group(child.process, number)
            _wait_for([child.process for child in alive], seconds)
        for child in self._children:
            # What a child started itself goes with it: the group outlives its leader.
            _signal_group(child.process, signal.SIGKILL)
        return [child.exit() for child in self._children]

    def _print(self, line: str) -> None:
        with self._printing:
            self._output.write(line + "\n")
            self._output.flush()


class _Child:
    def __init__(
        self,
        name: str,
        process: subprocess.Popen[str],
        show: Callable[[str], None],
        command: list[str],
        environment: dict[str, str],
    ) -> None:
        self.name = name
        self.process = process
        self.command, self.environment = command, environment
        self._show = show
        self._last: deque[str] = deque(maxlen=LAST_LINES)
        self._reader = threading.Thread(target=self._read, name=f"output of {name}", daemon=True)
        self._reader.start()

    def exit(self) -> Exit:
        code = self.process.wait()
        self._reader.join(timeout=1.0)  # bounded: a grandchild may hold the pipe open
        return Exit(self.name, code, tuple(self._last))

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._last.append(line.rstrip())
            self._show(f"[{self.name}] {line.rstrip()}")


# Looked up here, not between fork and exec, where as little as possible may run.
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _signal_group(process: subprocess.Popen[str], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return  # nobody of the group is left


def _wait_for(processes: Sequence[subprocess.Popen[str]], seconds: float | None) -> None:
    deadline = None if seconds is None else time.monotonic() + seconds
    for process in processes:
        try:
            process.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return
