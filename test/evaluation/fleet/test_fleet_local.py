# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Fleets on one machine: every bag ends in the results or among the failures, and no process is left."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
from bag_mean_work import make_unsendable, make_work, same

from mtl_perception.data.processes import available_cores
from mtl_perception.evaluation.fleet import BagJob, Engine, InProcess, LocalWorkers, Progress, bags_in, run_fleet
from mtl_perception.evaluation.fleet.engine import (
    Crew,
    Done,
    Event,
    Failed,
    Failure,
    Gone,
    MakeWork,
    Ready,
    WorkerAdvanced,
)
from mtl_perception.evaluation.result import BagResult

FRAMES = 6
KILLED = "its process was killed (perhaps for want of memory)"


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    yield
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("engine", [InProcess(), LocalWorkers(2)])
def test_results_come_in_the_order_of_the_jobs_with_all_that_was_told(
    engine: Engine, copies: Callable[[int], Path], faults: Path, told
) -> None:
    jobs = bags_in([copies(4)])
    kept: list[BagResult] = []
    outcome = run_fleet(jobs, partial(make_work, faults), engine=engine, keep=kept.append, progress=told)
    assert [result.name for result in outcome.results] == ["bag_00", "bag_01", "bag_02", "bag_03"]
    assert (outcome.failed, outcome.retried) == ({}, {})
    assert sorted(result.name for result in kept) == [job.name for job in jobs]
    assert told.events == [("finished", result.name) for result in kept]
    assert {(name, done) for name, done, _ in told.frames} >= {(job.name, FRAMES) for job in jobs}
    assert {known for _, _, known in told.frames} == {FRAMES}
    alone = make_work(faults)(jobs[0], lambda done, known: None)
    assert all(same(result.statistics["depth"], alone.statistics["depth"]) for result in outcome.results)
    assert ({result.runtime["pid"] for result in outcome.results} == {os.getpid()}) == isinstance(engine, InProcess)


def test_a_bag_whose_worker_is_killed_is_evaluated_by_another(
    copies: Callable[[int], Path], faults: Path, told
) -> None:
    (faults / "bag_02").write_text("die 1")
    jobs, environment = bags_in([copies(6)]), dict(os.environ)
    outcome = run_fleet(
        jobs, partial(make_work, faults), engine=LocalWorkers(2), keep=lambda result: None, progress=told
    )
    assert [result.name for result in outcome.results] == [job.name for job in jobs]
    assert (outcome.failed, outcome.retried) == ({}, {"bag_02": 1})
    assert ("retried", "bag_02", KILLED) in told.events
    killed, again = (faults / "bag_02.tries").read_text().split()
    assert killed != again == str(outcome.results[2].runtime["pid"])
    assert all(same(r.statistics["depth"], outcome.results[0].statistics["depth"]) for r in outcome.results)
    # The workers share the cores.
    assert {result.runtime["threads"] for result in outcome.results} == {str(max(1, available_cores() // 2))}
    assert dict(os.environ) == environment


@pytest.mark.parametrize(
    ("engine", "kind"), [(InProcess(), "raise"), (LocalWorkers(2), "raise"), (LocalWorkers(2), "die")]
)
def test_a_bag_that_always_fails_is_reported(
    engine: Engine, kind: str, copies: Callable[[int], Path], faults: Path, told
) -> None:
    (faults / "bag_00").write_text(f"{kind} 9")
    (faults / "bag_01").write_text(f"{kind} 1")
    (faults / "bag_02").write_text("wrong 9")
    outcome = run_fleet(
        bags_in([copies(4)]), partial(make_work, faults), engine=engine, keep=lambda result: None, progress=told
    )
    assert [result.name for result in outcome.results] == ["bag_01", "bag_03"]
    # What is wrong with a bag no other process of this machine would see differently.
    reason = KILLED if kind == "die" else "StrangeError: it went wrong"
    assert outcome.failed == {"bag_00": reason, "bag_02": "the bag is wrong"}
    assert outcome.retried == {"bag_00": 2, "bag_01": 1}
    assert ("failed", "bag_02", "the bag is wrong") in told.events
    tries = (faults / "bag_00.tries").read_text().split()
    assert len(tries) == 3
    if isinstance(engine, LocalWorkers):
        assert len(set(tries)) == 3


def test_a_bag_that_has_vanished_is_reported(copies: Callable[[int], Path], faults: Path) -> None:
    jobs = [*bags_in([copies(1)]), BagJob("gone", Path("/nowhere/gone"))]
    outcome = run_fleet(jobs, partial(make_work, faults), engine=InProcess(), keep=lambda result: None)
    assert [result.name for result in outcome.results] == ["bag_00"]
    assert outcome.failed["gone"].startswith("/nowhere/gone is not on ")


def test_results_that_cannot_leave_their_process_are_a_failure(copies: Callable[[int], Path], faults: Path) -> None:
    outcome = run_fleet(
        bags_in([copies(1)]), make_unsendable, engine=LocalWorkers(1), retries=0, keep=lambda result: None
    )
    assert "pickle" in outcome.failed["bag_00"]


def test_without_workers_there_is_an_error(copies: Callable[[int], Path], faults: Path, told) -> None:
    jobs = bags_in([copies(3)])
    (faults / "set_up").write_text("raise 9")
    with pytest.raises(ChildProcessError, match="no worker could be set up: StrangeError: it went wrong"):
        run_fleet(jobs, partial(make_work, faults), engine=LocalWorkers(2), keep=lambda r: None, progress=told)
    assert told.events == [("lost", "StrangeError: it went wrong")] * 2


def test_a_worker_that_cannot_be_set_up_is_done_without(copies: Callable[[int], Path], faults: Path, told) -> None:
    jobs = bags_in([copies(3)])
    (faults / "set_up").write_text("raise 1")
    (faults / "hold").touch()  # once a worker is ready, setting up another one would be tried again

    class Releasing(Progress):
        def lost(self, reason: str) -> None:
            told.lost(reason)
            (faults / "hold").unlink()

    outcome = run_fleet(
        jobs, partial(make_work, faults), engine=LocalWorkers(2), keep=lambda result: None, progress=Releasing()
    )
    assert [result.name for result in outcome.results] == [job.name for job in jobs]
    assert (outcome.failed, outcome.retried) == ({}, {})
    assert told.events == [("lost", "StrangeError: it went wrong")]


def test_what_keeping_raises_ends_the_run(copies: Callable[[int], Path], faults: Path) -> None:
    def full(result: BagResult) -> None:
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space left"):
        run_fleet(bags_in([copies(3)]), partial(make_work, faults), engine=LocalWorkers(2), keep=full)


def test_there_may_be_nothing_to_do_but_no_two_bags_of_one_name(faults: Path, bag: Path) -> None:
    def never(worker: int) -> None:
        raise AssertionError

    outcome = run_fleet([], never, engine=LocalWorkers(2), keep=never)
    assert (outcome.results, outcome.failed, outcome.retried) == ((), {}, {})
    with pytest.raises(ValueError, match=r"several bags have the name a$"):
        run_fleet([BagJob("a", bag)] * 2, never, engine=InProcess(), keep=never)
    with pytest.raises(ValueError, match="at least one worker"):
        LocalWorkers(0)


PROGRAM = """
import sys
from functools import partial
from pathlib import Path
sys.path.insert(0, "{tests}")
from bag_mean_work import make_work
from mtl_perception.evaluation.fleet import LocalWorkers, bags_in, run_fleet
if __name__ == "__main__":
    def keep(result):
        print(result.runtime["pid"], flush=True)
    try:
        jobs, make = bags_in([Path("{bags}")]), partial(make_work, Path("{faults}"), 0.2)
        run_fleet(jobs, make, engine=LocalWorkers(2), keep=keep)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_the_one_that_asked(
    number: signal.Signals, copies: Callable[[int], Path], faults: Path, tmp_path: Path
) -> None:
    """As by Ctrl-C, which the terminal sends to the whole group, and when the parent has no time to clear up."""
    program, output, errors = (tmp_path / name for name in ("program.py", "output", "errors"))
    program.write_text(PROGRAM.format(tests=Path(__file__).parent, bags=copies(40), faults=faults))
    with output.open("w") as out, errors.open("w") as err:
        parent = subprocess.Popen([sys.executable, str(program)], stdout=out, stderr=err, start_new_session=True)
    wait_until(lambda: output.read_text().count("\n") >= 2)
    group = {int(stat.parent.name) for stat in Path("/proc").glob("[0-9]*/stat") if session_of(stat) == parent.pid}
    assert len(group) >= 3
    sent_s = time.monotonic()
    if number is signal.SIGINT:
        os.killpg(parent.pid, number)
    else:
        parent.kill()
    parent.wait(timeout=100)
    wait_until(lambda: not any(session_of(Path(f"/proc/{pid}/stat")) == parent.pid for pid in group))
    assert time.monotonic() - sent_s < 10  # 20 bags each would take longer
    assert output.read_text().endswith("interrupted\n") == (number is signal.SIGINT)
    assert "Traceback" not in errors.read_text()


class ScriptedCrew(Crew, Engine):
    """Workers at places that are given, whose work is over when it is asked for. For rules that need two machines."""

    def __init__(self, places: Sequence[str], fails: Callable[[str, str], Failure | str | None]) -> None:
        self.size = len(places)
        self._places, self._fails = list(places), fails
        self._at: dict[int, str] = {}
        self._events: list[Event] = []
        self._given: list[tuple[int, BagJob]] = []
        self.tried: list[tuple[str, str]] = []

    def start(self, make_work: MakeWork, advanced: WorkerAdvanced) -> Crew:
        return self

    def hire(self) -> int:
        worker = len(self._at)
        self._at[worker] = self._places.pop(0)
        self._events.append(Ready(worker, self._at[worker]))
        return worker

    def dismiss(self, worker: int) -> None:
        self._places.append(self._at[worker])

    def give(self, worker: int, job: BagJob) -> None:
        self._given.append((worker, job))

    def wait(self) -> Sequence[Event]:
        if not self._events:
            worker, job = self._given.pop(0)
            place = self._at[worker]
            self.tried.append((job.name, place))
            match self._fails(job.name, place):
                case None:
                    self._events.append(Done(worker, BagResult(job.name, [], {}, {}, {}, {}, {}, {})))
                case Failure() as failure:
                    self._events.append(Failed(worker, failure))
                case str(reason):
                    self._places.append(place)
                    self._events.append(Gone(worker, reason))
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        self._given.clear()


@pytest.mark.parametrize("failure", [Failure("broken", curable=True), Failure("bad", curable=False), "killed"])
def test_a_bag_is_retried_on_another_machine_where_there_is_one(failure: Failure | str) -> None:
    crew = ScriptedCrew(["a", "a", "b"], lambda name, place: failure if (name, place) == ("1", "a") else None)
    jobs = [BagJob(str(number), Path("/")) for number in range(6)]
    outcome = run_fleet(jobs, list, engine=crew, keep=lambda result: None)
    assert [result.name for result in outcome.results] == [job.name for job in jobs]
    assert outcome.retried == {"1": 1}
    assert [place for name, place in crew.tried if name == "1"] == ["a", "b"]


def test_a_bag_that_two_machines_find_wrong_is_not_tried_again() -> None:
    crew = ScriptedCrew(["a", "b", "c"], lambda name, place: Failure("bad", curable=False) if name == "1" else None)
    jobs = [BagJob(str(number), Path("/")) for number in range(6)]
    outcome = run_fleet(jobs, list, engine=crew, keep=lambda result: None, retries=5)
    assert (outcome.failed, outcome.retried) == ({"1": "bad"}, {"1": 1})
    assert len([place for name, place in crew.tried if name == "1"]) == 2


def session_of(stat: Path) -> int | None:
    try:
        state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
    except OSError:
        return None
    return None if state == "Z" else int(session)


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60  # the machine may be busy
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)
