# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The worker thread: policies, errors, calls, and its end."""

import threading

import pytest

from mtl_perception.ros.worker import QUEUE_FULL, STOPPED, SUPERSEDED, Worker


class Bench:
    """A worker whose handler can be held up."""

    def __init__(self, policy, **options):
        self.gate = threading.Event()
        self.started = threading.Event()
        self.handled, self.dropped, self.errors = [], [], []
        self.worker = Worker(
            "test",
            self.handle,
            policy=policy,
            on_dropped=lambda item, why: self.dropped.append((item, why)),
            on_error=lambda item, error: self.errors.append((item, str(error))),
            **options,
        )

    def handle(self, item):
        self.started.set()
        assert self.gate.wait(5.0)
        if item == "bad":
            raise ValueError("no good")
        self.handled.append(item)

    def hold(self, item):
        self.worker.submit(item)
        assert self.started.wait(5.0)

    def finish(self):
        self.gate.set()
        self.worker.call(lambda: None).result(5.0)
        while self.worker.waiting:
            self.worker.call(lambda: None).result(5.0)
        self.worker.call(lambda: None).result(5.0)
        assert self.worker.stop(5.0)


def test_newest_wins():
    bench = Bench("newest")
    bench.hold(0)
    for item in (1, 2, 3):
        bench.worker.submit(item)
    bench.finish()
    assert bench.handled == [0, 3]
    assert bench.dropped == [(1, SUPERSEDED), (2, SUPERSEDED)]


def test_what_comes_during_a_call_can_be_kept():
    bench = Bench("newest", queue_size=3)
    started, go_on = threading.Event(), threading.Event()

    def call():
        started.set()
        assert go_on.wait(5.0)

    bench.worker.call(call, keep_items=True)
    assert started.wait(5.0)
    for item in range(5):
        bench.worker.submit(item)  # one waits by the policy, whatever else is kept
    assert bench.dropped == [(3, SUPERSEDED)] and bench.worker.waiting == 4
    bench.worker.discard(lambda item: item == 1, "not wanted")
    go_on.set()
    assert bench.started.wait(5.0)  # with 0
    for item in (5, 6):
        bench.worker.submit(item)
    bench.finish()
    assert bench.handled == [0, 2, 6]
    assert bench.dropped[1:] == [(1, "not wanted"), (4, SUPERSEDED), (5, SUPERSEDED)]


def test_every_keeps_all_up_to_its_bound():
    bench = Bench("every", queue_size=2)
    bench.hold(0)
    for item in (1, 2, 3):
        bench.worker.submit(item)
    bench.finish()
    assert bench.handled == [0, 2, 3]
    assert bench.dropped == [(1, QUEUE_FULL)]


def test_error_is_told_and_the_thread_goes_on():
    bench = Bench("every")
    bench.hold("bad")
    bench.worker.submit("good")
    bench.finish()
    assert bench.errors == [("bad", "no good")]
    assert bench.handled == ["good"]


def test_call_comes_before_what_waits_and_brings_its_result():
    bench = Bench("every")
    bench.hold(0)
    bench.worker.submit(1)
    seen = bench.worker.call(lambda: list(bench.handled))
    failing = bench.worker.call(lambda: 1 // 0)
    bench.gate.set()
    assert seen.result(5.0) == [0]
    with pytest.raises(ZeroDivisionError):
        failing.result(5.0)
    bench.finish()


def test_stop_drops_what_waits():
    bench = Bench("every")
    bench.hold(0)
    bench.worker.submit(1)
    call = bench.worker.call(lambda: None)
    threading.Timer(0.05, bench.gate.set).start()
    assert bench.worker.stop(5.0)
    assert bench.dropped == [(1, STOPPED)]
    assert call.cancelled()
    bench.worker.submit(2)
    assert bench.dropped[-1] == (2, STOPPED)


def test_discard():
    bench = Bench("every")
    bench.hold(0)
    for item in (1, 2, 3):
        bench.worker.submit(item)
    bench.worker.discard(lambda item: item > 1, "jump")
    bench.finish()
    assert bench.handled == [0, 1]
    assert bench.dropped == [(2, "jump"), (3, "jump")]
