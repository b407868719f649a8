# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""When the map is saved by itself, and what is told of it."""

import threading
import time

import pytest

from mtl_perception.ros.autosave import Autosave
from mtl_perception.ros.diagnostics import Level


class Bench:
    """A map that is only a number, and how it was saved."""

    def __init__(self, period_s=0.02):
        self.version, self.period_s = 0, period_s
        self.saved, self.failures, self.attempts = [], [], 0
        self.error, self.gate = None, threading.Event()
        self.gate.set()
        self.autosave = Autosave(self.save, lambda: self.version, lambda: self.period_s, self.failures.append)

    def save(self):
        assert self.gate.wait(5.0)
        self.attempts += 1
        if self.error is not None:
            raise self.error
        self.saved.append(self.version)
        return "there"

    def poll(self, until=lambda: False, seconds=0.2):
        end = time.monotonic() + (5.0 if seconds is None else seconds)
        while time.monotonic() < end and not until():
            self.autosave.poll()
            time.sleep(0.005)


@pytest.fixture
def bench():
    result = Bench()
    yield result
    result.gate.set()
    assert result.autosave.stop()


def test_a_map_is_saved_once_for_each_change(bench):
    bench.poll()
    assert bench.saved == []  # empty, or as it was loaded
    bench.version = 1
    bench.poll()
    assert bench.saved == [1]
    bench.version = 2
    bench.poll(lambda: len(bench.saved) == 2, seconds=None)
    assert bench.saved == [1, 2]
    assert bench.autosave.status().message == "saved at there"


def test_off_means_never(bench):
    bench.period_s, bench.version = 0.0, 1
    bench.poll()
    bench.autosave.finish()
    assert bench.saved == [] and bench.autosave.status() is None


def test_polling_never_waits_for_saving(bench):
    bench.gate.clear()
    bench.version = 1
    bench.poll()
    bench.version = 2
    bench.gate.set()
    bench.autosave.finish()  # waits, and saves what has changed since
    assert bench.saved[-1] == 2 and len(bench.saved) == 2


def test_what_fails_is_told_and_tried_again(bench):
    bench.error, bench.version = OSError("disk full"), 1
    bench.poll(lambda: bench.attempts == 3, seconds=None)
    assert len(bench.failures) == 1  # not once a try
    status = bench.autosave.status()
    assert status.level == Level.ERROR and status.message == bench.failures[0] == "the map cannot be saved: disk full"
    bench.error = None
    bench.poll(lambda: bool(bench.saved), seconds=None)
    assert bench.saved == [1]
    bench.autosave.finish()
    assert bench.autosave.status().level == Level.OK and bench.saved == [1]


def test_what_fails_is_not_waited_for_a_whole_period(bench):
    bench.error, bench.version = OSError("disk full"), 1
    bench.poll(lambda: bool(bench.failures), seconds=None)
    bench.error, bench.period_s = None, 3600.0
    began = time.monotonic()
    bench.poll(lambda: bool(bench.saved), seconds=None)
    assert bench.saved == [1] and time.monotonic() - began < 2.0
