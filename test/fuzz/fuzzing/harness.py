# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Runs a reader on inputs that hypothesis makes, in a process of its own, and keeps what must not happen.

A finding is an exception that the reader does not document, an error whose text does not say where it comes from, a
result that is not what the reader promises, more than `HANG_S` of computing or `GROWTH` of memory for one input, and
the death of the process. Inputs are the same in every run. Each kind of finding is made as small as hypothesis can
make it, once.
"""

from __future__ import annotations

import json
import mmap
import os
import pickle
import resource
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings

from fuzzing.make import Maker

HANG_S = 2.0
"""Of computing, so that a busy machine makes no findings."""
GROWTH = 64 << 20
"""Bytes by which one input may raise the most memory that the process has ever had."""
STUCK_S = 120.0
"""After so long without a further input the process is taken for dead; of the clock."""
LONGEST_TEXT = 4000

_ROOM = 1 << 30  # bytes of address space, for what is asked for but never touched
_CHUNK = 500  # inputs in a run of hypothesis, which gets slower with what it remembers
_HEAD = struct.Struct("<QQ")  # inputs so far, bytes of the pickled input that is being read
_SHARED = 4 << 20


@dataclass(frozen=True)
class Case:
    """What is fuzzed, ready to be read.

    Attributes:
        inputs: makes them.
        read: reads one, and asserts what is promised of the result.
        names: what the text of every error must have in it: the topic, or the file's name; "" where none is promised.
        refusals: the exceptions that are documented.
        valid: inputs that must be read without an error.
    """

    inputs: Maker
    read: Callable[[Any], object]
    names: str = ""
    refusals: tuple[type[Exception], ...] = (ValueError,)
    valid: Sequence[Any] = ()


@dataclass(frozen=True)
class Target:
    """One entry point, or several that read the same.

    Attributes:
        name: to be chosen by.
        readers: the functions, as in the list of this package.
        inputs: how many there are in a full run.
        prepare: makes the case, given an empty folder.
    """

    name: str
    readers: tuple[str, ...]
    inputs: int
    prepare: Callable[[Path], Case]


@dataclass
class Finding:
    """Something that must not happen: its kind and place, how often it did, and the file with the smallest input."""

    what: str
    trace: str
    times: int = 1
    file: str = ""


@dataclass
class Report:
    """What became of a target's inputs."""

    name: str
    inputs: int = 0
    read: int = 0
    refused: int = 0
    seconds: float = 0.0
    slowest_s: float = 0.0
    findings: list[Finding] = field(default_factory=list)


class Hang(BaseException):
    """An input takes too long. No Exception, so that no reader takes it for an error of its own."""


class UnnamedError(Exception):
    """The text of a documented error does not say where it comes from."""


def run(target: Target, count: int, folder: Path, progress: Callable[[int], None] = lambda _: None) -> Report:
    """Fuzz a target with so many inputs in a child process; findings are saved in `folder`."""
    shared = mmap.mmap(-1, _SHARED)
    result = folder / f".{target.name}.json"
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _silence(folder / f"{target.name}.log")
            report = _Fuzzer(target, folder, shared).run(count)
            result.write_text(json.dumps(asdict(report)))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    status = _wait(child, shared, progress)
    if status == 0:
        content = json.loads(result.read_text())
        result.unlink()
        return Report(**{**content, "findings": [Finding(**entry) for entry in content["findings"]]})
    return _of_the_dead(target, status, folder, shared)


def replay(target: Target, path: Path, folder: Path) -> str:
    """Read a saved input again; return what became of it, or let the error of a finding through."""
    case = target.prepare(folder)
    return _judged(case, pickle.loads(path.read_bytes()))


def _silence(log: Path) -> None:
    """Let the decoders and NumPy complain into a file."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, sys.stderr.fileno())
    os.close(descriptor)


def _wait(child: int, shared: mmap.mmap, progress: Callable[[int], None]) -> int:
    """Return the status of a child that has ended, or been ended because it got stuck."""
    before, since = -1, time.monotonic()
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        inputs, _ = _HEAD.unpack_from(shared)
        if inputs != before:
            before, since = inputs, time.monotonic()
            progress(inputs)
        elif time.monotonic() - since > STUCK_S:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.02)


def _of_the_dead(target: Target, status: int, folder: Path, shared: mmap.mmap) -> Report:
    inputs, size = _HEAD.unpack_from(shared)
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    what = f"the process ended by {signal.Signals(number).name}" if number else "the case could not be prepared"
    log = (folder / f"{target.name}.log").read_bytes()[-2000:].decode(errors="replace")
    finding = Finding(what, log)
    if size:
        path = folder / f"{target.name}-death.pickle"
        path.write_bytes(shared[_HEAD.size : _HEAD.size + size])
        finding.file = str(path)
    return Report(target.name, inputs, findings=[finding])


class _Fuzzer:
    def __init__(self, target: Target, folder: Path, shared: mmap.mmap) -> None:
        scratch = folder / target.name
        scratch.mkdir(parents=True)
        self._target, self._folder, self._shared = target, folder, shared
        self._case = target.prepare(scratch)
        self._report = Report(target.name)
        self._findings: dict[str, Finding] = {}
        self._smallest: tuple[str, str, Any] | None = None  # what hypothesis is making smaller

    def run(self, count: int) -> Report:
        """Read so many inputs."""
        began, self._count = time.monotonic(), count
        for value in self._case.valid:
            self._case.read(value)  # also loads and compiles whatever the first use does
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (_address_space() + _ROOM, hard))
        signal.signal(signal.SIGPROF, _interrupt)
        self._most = _most_memory()
        number = 0
        while self._report.inputs < count:
            self._chunk(number, min(_CHUNK, count - self._report.inputs))
            number += 1
        self._report.findings = list(self._findings.values())
        self._report.seconds = time.monotonic() - began
        return self._report

    def _chunk(self, number: int, count: int) -> None:
        @seed(number)
        @settings(
            max_examples=count,
            database=None,
            deadline=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
            verbosity=Verbosity.quiet,
        )
        @given(self._case.inputs.strategy)
        def each(value: Any) -> None:
            if self._smallest is not None or self._report.inputs < self._count:
                self._one(value)

        try:
            each()
        except Exception:
            if self._smallest is None:
                raise
            what, trace, value = self._smallest
            self._smallest = None
            self._save(what, trace, value)

    def _one(self, value: Any) -> None:
        shrinking = self._smallest is not None
        if not shrinking:
            self._announce(value)
        most, began = self._most, time.process_time()
        signal.setitimer(signal.ITIMER_PROF, HANG_S)
        try:
            verdict = _judged(self._case, value)
            signal.setitimer(signal.ITIMER_PROF, 0)
        except (Exception, Hang) as error:
            signal.setitimer(signal.ITIMER_PROF, 0)
            self._found(error, value)
            return
        seconds = time.process_time() - began
        self._report.slowest_s = max(self._report.slowest_s, seconds)
        if not shrinking:
            if verdict == "read":
                self._report.read += 1
            else:
                self._report.refused += 1
        self._most = _most_memory()
        if self._most - most > GROWTH:
            self._save(f"{(self._most - most) >> 20} MiB more memory ({verdict})", "", value, "memory")

    def _announce(self, value: Any) -> None:
        """Leave the input where it outlives this process."""
        self._report.inputs += 1
        content = pickle.dumps(value)
        size = len(content) if len(content) <= _SHARED - _HEAD.size else 0
        self._shared[_HEAD.size : _HEAD.size + size] = content[:size]
        _HEAD.pack_into(self._shared, 0, self._report.inputs, size)

    def _found(self, error: BaseException, value: Any) -> None:
        what, trace = _kind_of(error), "".join(traceback.format_exception(error)[-12:])
        if what in self._findings:
            self._findings[what].times += 1
        elif isinstance(error, (Hang, MemoryError)):  # making these smaller takes too long
            self._save(what, trace, value)
        elif self._smallest is None or self._smallest[0] == what:
            self._smallest = (what, trace, value)
            raise error

    def _save(self, what: str, trace: str, value: Any, key: str = "") -> None:
        if (key or what) in self._findings:
            return
        path = self._folder / f"{self._target.name}-{len(self._findings)}.pickle"
        path.write_bytes(pickle.dumps(value))
        path.with_suffix(".txt").write_text(f"{what}\n\n{trace}\n{value!r}\n")
        self._findings[key or what] = Finding(what, trace, file=str(path))


def _judged(case: Case, value: Any) -> str:
    """Return whether an input was read or refused; anything else is raised."""
    try:
        case.read(value)
    except case.refusals as error:
        text = str(error)
        if isinstance(error, OSError):
            text += f" {error.filename}"
        if isinstance(error, UnicodeError) and not case.names:
            return "refused"
        if case.names not in text or len(text) > LONGEST_TEXT:
            raise UnnamedError(f"{len(text)} characters, without '{case.names}': {text[:300]}") from error
        return "refused"
    return "read"


def _kind_of(error: BaseException) -> str:
    """Return an error's type and the last place in the package that it went through."""
    cause = error.__cause__ if isinstance(error, UnnamedError) and error.__cause__ else error
    frames = traceback.extract_tb(cause.__traceback__)
    ours = [frame for frame in frames if "mtl_perception" in Path(frame.filename).parts[-6:]] or list(frames)
    last = ours[-1] if not isinstance(error, Hang) or len(ours) < 2 else ours[0]
    name = type(error).__name__ if cause is error else f"unnamed {type(cause).__name__}"
    return f"{name} at {Path(last.filename).name}:{last.lineno} ({last.name})"


def _interrupt(_: int, frame: Any) -> None:
    raise Hang(f"more than {HANG_S:g} s of computing")


def _most_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
