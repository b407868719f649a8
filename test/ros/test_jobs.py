# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Jobs are done in order; whoever waits for one gets its answer, its error, or that it is given up."""

import threading
import time
from concurrent.futures import CancelledError

import pytest

from mtl_perception.ros.jobs import Jobs


def test_jobs_are_done_in_the_order_in_which_they_are_asked_for():
    done, lost = [], []
    jobs = Jobs("test", waiting=10, on_lost=lost.append)
    for number in range(3):
        jobs.submit(lambda number=number: done.append(number))
    assert jobs.ask(lambda: list(done)).result(10.0) == [0, 1, 2]
    assert jobs.stop() and lost == []


def test_an_error_goes_to_who_asked_or_is_told():
    lost = []
    jobs = Jobs("test", waiting=10, on_lost=lost.append)
    jobs.submit(lambda: 1 / 0)
    with pytest.raises(KeyError):
        jobs.ask(lambda: {}["nothing"]).result(10.0)
    assert lost == ["ZeroDivisionError: division by zero"]
    assert jobs.ask(lambda: "alive").result(10.0) == "alive"
    jobs.stop()


def test_too_many_jobs_push_the_oldest_out():
    lost, done, go = [], [], threading.Event()
    jobs = Jobs("test", waiting=2, on_lost=lost.append)
    began = threading.Event()
    jobs.submit(lambda: (began.set(), go.wait(10.0)))
    assert began.wait(10.0)
    given_up = jobs.ask(lambda: "never")
    jobs.submit(lambda: done.append("second"))
    jobs.submit(lambda: done.append("third"))
    jobs.submit(lambda: done.append("fourth"))
    go.set()
    until = time.monotonic() + 10.0
    while len(done) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    with pytest.raises(CancelledError):
        given_up.result(0.0)
    assert lost == ["queue full"] and done == ["third", "fourth"]
    jobs.stop()


def test_after_the_end_nothing_is_done():
    jobs = Jobs("test", waiting=2, on_lost=lambda reason: None)
    assert jobs.stop()
    with pytest.raises(CancelledError):
        jobs.ask(lambda: "late").result(0.0)
