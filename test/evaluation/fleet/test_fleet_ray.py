# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Fleets on a real Ray cluster of this machine, with a worker that is killed in the middle of a bag."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from bag_mean_work import make_work, same

from mtl_perception.evaluation.fleet import BagJob, InProcess, RayEngine, bags_in, run_fleet
from mtl_perception.evaluation.result import BagResult


def test_twelve_copies_are_all_there_although_a_worker_is_killed(
    copies: Callable[[int], Path],
    faults: Path,
    told,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parent}:{os.environ.get('PYTHONPATH', '')}")
    folder = copies(12)
    (alone,) = run_fleet(
        bags_in([folder / "bag_00"]), partial(make_work, faults), engine=InProcess(), keep=lambda result: None
    ).results
    jobs = [*bags_in([folder]), BagJob("wrong", folder / "bag_00")]
    (faults / "bag_05").write_text("die 1")
    (faults / "wrong").write_text("wrong 9")
    kept: list[BagResult] = []
    environment = dict(os.environ)
    outcome = run_fleet(
        jobs,
        partial(make_work, faults, 0.25),  # a bag takes long enough to be asked twice how far it is
        engine=RayEngine("local", workers=2),
        retries=1,
        keep=kept.append,
        progress=told,
    )
    assert [result.name for result in outcome.results] == [f"bag_{number:02d}" for number in range(12)]
    assert sorted(result.name for result in kept) == [result.name for result in outcome.results]
    assert all(same(result.statistics["depth"], alone.statistics["depth"]) for result in outcome.results)
    killed, again = (faults / "bag_05.tries").read_text().split()
    assert killed != again == str(outcome.results[5].runtime["pid"])
    assert outcome.retried == {"bag_05": 1}
    assert outcome.failed == {"wrong": "the bag is wrong"}
    assert any(event[:2] == ("retried", "bag_05") and "worker is gone" in event[2] for event in told.events)
    assert {result.runtime["threads"] for result in outcome.results} == {"1"}
    assert {known for _, _, known in told.frames} == {6}
    # Nothing is left of the cluster.
    assert not sys.modules["ray"].is_initialized()
    assert children_of(os.getpid()) == []
    assert {name: os.environ.get(name) for name in environment} == environment
    assert "(raylet)" not in capfd.readouterr().out


def test_a_cluster_that_is_not_there_is_an_error(bag: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(ConnectionError, match=f"'127.0.0.1:{port}' cannot be used: .*refused"):
        run_fleet([BagJob("a", bag)], list, engine=RayEngine(f"127.0.0.1:{port}"), keep=lambda result: None)
    with pytest.raises(ValueError, match="no worker can run"):
        RayEngine("local", workers=0)


def test_without_ray_the_other_engines_work_and_the_error_is_clear(bag: Path) -> None:
    program = f"""
import sys
sys.modules["ray"] = None
from pathlib import Path
from mtl_perception.evaluation.fleet import BagJob, InProcess, RayEngine, run_fleet
jobs = [BagJob("a", Path("{bag}"))]
make = lambda: lambda job, advanced: job.name
print(run_fleet(jobs, make, engine=InProcess(), keep=print).results)
try:
    run_fleet(jobs, make, engine=RayEngine(), keep=print)
except ModuleNotFoundError as error:
    print(error)
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.splitlines() == ["a", "('a',)", "ray is not installed: pip install ray"]


def children_of(parent: int) -> list[int]:
    """Return the processes below one, but for multiprocessing's resource tracker and what is already dead."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, of = stat.read_text().rpartition(")")[2].split()[:2]
            is_tracker = b"resource_tracker" in (stat.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(of) == parent and state != "Z" and not is_tracker:
            found.append(int(stat.parent.name))
    return found
