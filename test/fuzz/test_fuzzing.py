# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""All targets at small scale; and the harness finds what it is there to find."""

import json
import mmap
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fuzzing import make
from fuzzing.harness import Case, Report, Target, replay, run
from fuzzing.targets import TARGETS

FOLDER = Path(__file__).resolve().parent
NUMBERS = make.integers(0, 1000)


def test_a_full_run_has_more_than_100_000_inputs() -> None:
    assert sum(target.inputs for target in TARGETS) > 100_000
    assert len({target.name for target in TARGETS}) == len(TARGETS)


def test_nothing_is_found_at_small_scale(tmp_path: Path) -> None:
    """In a process of its own: this one may have threads, which do not survive in the children that it would fork."""
    path = os.pathsep.join([str(FOLDER), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-W", "ignore", "-m", "fuzzing", "--scale", "0.003", "--least", "8", "--out", tmp_path]
    result = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    )
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
    reports = [Report(**content) for content in json.loads((tmp_path / "fuzz.json").read_text())]
    assert {report.name for report in reports} == {target.name for target in TARGETS}
    assert sum(report.inputs for report in reports) > 400
    assert all(report.read + report.refused == report.inputs for report in reports)


def fuzz(folder: Path, read: Callable[[int], object], count: int = 60, **options: object) -> Report:
    return run(target(read, **options), count, folder)


def target(read: Callable[[int], object], **options: object) -> Target:
    return Target("planted", (), 60, lambda _: Case(NUMBERS, read, valid=[0], **options))




def only_after_the_first(action: Callable[[], object]) -> Callable[[int], None]:
    """Read valid inputs, which are 0, and do something with those from 500 on."""

    def read(value: int) -> None:
        if value >= 500:
            action()

    return read


def test_what_is_documented_is_no_finding(tmp_path: Path) -> None:
    def read(value: int) -> None:
        if value >= 500:
            raise ValueError("topic: too large")

    report = fuzz(tmp_path, read, names="topic")
    assert report.findings == [] and report.inputs == 60
    assert report.read > 5 and report.refused > 5 and report.read + report.refused == 60


def test_another_exception_is_found_made_small_and_can_be_replayed(tmp_path: Path) -> None:
    def read(value: int) -> None:
        if value >= 500:
            raise KeyError(value)

    [finding] = fuzz(tmp_path, read).findings
    assert finding.what.startswith("KeyError at test_fuzzing.py") and finding.times > 3
    assert 500 <= pickle.loads(Path(finding.file).read_bytes()) <= 520
    with pytest.raises(KeyError):
        replay(target(read), Path(finding.file), tmp_path)


def test_an_error_that_names_nothing_is_found(tmp_path: Path) -> None:
    def read(value: int) -> None:
        if value >= 500:
            raise ValueError("too large")

    [finding] = fuzz(tmp_path, read, names="topic").findings
    assert finding.what.startswith("unnamed ValueError")


def test_a_wrong_result_is_found(tmp_path: Path) -> None:
    def read(value: int) -> None:
        assert value < 500

    [finding] = fuzz(tmp_path, read).findings
    assert finding.what.startswith("AssertionError")


def test_two_kinds_of_errors_are_two_findings(tmp_path: Path) -> None:
    def read(value: int) -> None:
        if value > 800:
            raise TypeError(value)
        if value > 500:
            raise KeyError(value)

    assert sorted(finding.what.split()[0] for finding in fuzz(tmp_path, read).findings) == ["KeyError", "TypeError"]


def test_a_hang_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fuzzing.harness.HANG_S", 0.05)

    def hang() -> None:
        while True:
            time.monotonic()

    [finding] = fuzz(tmp_path, only_after_the_first(hang), count=8).findings
    assert finding.what.startswith("Hang")


def test_much_memory_is_found(tmp_path: Path) -> None:
    kept: list[mmap.mmap] = []

    def read(value: int) -> None:
        if value != 0:  # whatever the few inputs are: they depend on the modules that hypothesis finds loaded
            kept.append(mmap.mmap(-1, 80 << 20))  # of the kernel: memory that the process had before is no growth
            kept[-1].write(b"x" * (80 << 20))

    [finding] = fuzz(tmp_path, read, count=4).findings
    assert "MiB more memory" in finding.what


def test_memory_that_is_asked_for_but_not_there_is_found(tmp_path: Path) -> None:
    [finding] = fuzz(tmp_path, only_after_the_first(lambda: bytearray(1 << 34)), count=20).findings
    assert finding.what.startswith("MemoryError")


def test_the_end_of_the_process_is_found_with_its_input(tmp_path: Path) -> None:
    report = fuzz(tmp_path, only_after_the_first(os.abort))
    [finding] = report.findings
    assert "SIGABRT" in finding.what
    assert pickle.loads(Path(finding.file).read_bytes()) >= 500


def test_a_target_that_refuses_what_is_valid_is_found(tmp_path: Path) -> None:
    def read(value: int) -> None:
        raise ValueError("never")

    [finding] = fuzz(tmp_path, read).findings
    assert "could not be prepared" in finding.what


def test_the_same_inputs_come_in_every_run(tmp_path: Path) -> None:
    seen: list[list[int]] = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = folder / "seen.txt"

        def read(value: int, path: Path = path) -> None:
            with path.open("a") as file:
                file.write(f"{value}\n")

        fuzz(folder, read)
        seen.append([int(line) for line in path.read_text().split()])
    assert seen[0] == seen[1] and len(set(seen[0])) > 30
