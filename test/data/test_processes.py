# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Work in processes: results in order, errors that reach who asked, and no process left behind."""

import multiprocessing
import operator
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from mtl_perception.data.processes import Workers

# Processes evaluate what they are sent: they cannot import functions of a test.
EVALUATE = partial(operator.attrgetter("__call__"), eval)
PID = "__import__('os').getpid()"


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    yield
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("processes", [1, 2])
def test_results_come_in_the_order_of_the_tasks(processes: int) -> None:
    # The first one takes longest.
    tasks = [f"[__import__('time').sleep({wait}), {wait}][1]" for wait in (0.4, 0.0, 0.2, 0.1, 0.0, 0.0, 0.05)]
    with Workers(EVALUATE, processes) as workers:
        assert list(workers.in_order(tasks)) == [0.4, 0.0, 0.2, 0.1, 0.0, 0.0, 0.05]
        assert list(workers.in_order([])) == []


def test_tasks_are_shared_out_and_taken_only_when_a_process_is_free() -> None:
    taken = []

    def tasks() -> Iterator[str]:
        for number in range(100):
            taken.append(number)
            yield f"[__import__('time').sleep(0.05), {PID}][1]"

    with Workers(EVALUATE, 2) as workers:
        results = workers.in_order(tasks())
        found = {next(results) for _ in range(6)}
        assert len(found) == 2
        assert os.getpid() not in found
        assert len(taken) <= 6 + 2 * 2
        # What nobody waits for any more does not come later, instead of something else.
        assert list(workers.in_order(["'a'", "'b'", "'c'"])) == ["a", "b", "c"]


def test_errors_reach_who_asked() -> None:
    with Workers(EVALUATE, 1) as workers, pytest.raises(ZeroDivisionError) as caught:
        list(workers.in_order(["1", "1 / 0"]))
    assert 'File "<string>", line 1' in str(caught.value.__cause__)
    with Workers(partial(int, "x"), 2) as failing, pytest.raises(ValueError, match="invalid literal"):
        list(failing.in_order(["1"] * 5))


@pytest.mark.parametrize(
    ("end", "text"),
    [("_exit(3)", "ended with exit code 3"), ("kill(__import__('os').getpid(), 9)", "was killed by signal 9")],
)
def test_a_process_that_dies_is_an_error(end: str, text: str) -> None:
    with Workers(EVALUATE, 2) as workers, pytest.raises(ChildProcessError, match=text):
        list(workers.in_order(["1", f"__import__('os').{end}", "1"]))


PROGRAM = """
import operator, sys
from functools import partial
from mtl_perception.data.processes import Workers
if __name__ == "__main__":
    tasks = (f"[__import__('time').sleep({0.3 if n < 2 else LONG}), __import__('os').getpid()][1]" for n in range(9))
    try:
        with Workers(partial(operator.attrgetter("__call__"), eval), 2) as workers:
            for pid in workers.in_order(tasks):
                print(pid, flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_the_one_that_asked(number: signal.Signals, tmp_path: Path) -> None:
    """As by Ctrl-C, which the terminal sends to the whole group, and when the parent has no time to clear up."""
    program, output, errors = (tmp_path / name for name in ("program.py", "output", "errors"))
    program.write_text(PROGRAM.replace("LONG", "60" if number is signal.SIGINT else "3"))
    with output.open("w") as out, errors.open("w") as err:
        parent = subprocess.Popen([sys.executable, str(program)], stdout=out, stderr=err, start_new_session=True)
    wait_until(lambda: output.read_text().count("\n") == 2)
    workers = [int(line) for line in output.read_text().splitlines()]
    if number is signal.SIGINT:
        os.killpg(parent.pid, number)
    else:
        parent.kill()
    parent.wait(timeout=100)
    # After a SIGKILL they notice at the end of their task that nobody takes its result.
    wait_until(lambda: not any(is_alive(pid) for pid in workers))
    assert output.read_text().endswith("interrupted\n") == (number is signal.SIGINT)
    assert errors.read_text() == ""


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 100  # the machine may be busy
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
