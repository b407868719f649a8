# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Run time of a live graph, from what its nodes report."""

import pytest

from mtl_perception.ros import live_runtime
from mtl_perception.ros.live_runtime import LiveRuntime
from mtl_perception_msgs.msg import Progress


def report(age_s: float, *, node: str = "perception", used: bool = True) -> Progress:
    return Progress(node=node, used=used, stages=["input", "network"], stamp_age_s=[age_s, 2 * age_s])


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(live_runtime.time, "monotonic", lambda: now[0])
    return now


def test_ages_are_percentiles_a_stage_and_rates_are_of_frames_between_the_first_and_the_last(clock):
    runtime = LiveRuntime()
    for number in range(101):
        runtime.note(report(0.001 * number))
        clock[0] += 0.1
    told = runtime.told()
    assert told["stamp_age_ms"]["perception/input"] == {"p50": 50.0, "p95": 95.0, "p99": 99.0}
    assert told["stamp_age_ms"]["perception/network"]["p50"] == 100.0
    assert told["frames_per_second"]["perception"] == pytest.approx(10.0)


def test_unused_frames_say_nothing_and_one_frame_has_no_rate(clock):
    runtime = LiveRuntime()
    runtime.note(report(9.0, used=False))
    assert runtime.told() == {"stamp_age_ms": {}, "frames_per_second": {}}
    runtime.note(report(0.5, node="mapping"))
    told = runtime.told()
    assert list(told["stamp_age_ms"]) == ["mapping/input", "mapping/network"] and told["frames_per_second"] == {}


def test_memory_is_bounded(monkeypatch, clock):
    monkeypatch.setattr(live_runtime, "MOST_AGES", 10)
    runtime = LiveRuntime()
    for number in range(1000):
        runtime.note(report(float(number)))
    assert runtime.told()["stamp_age_ms"]["perception/input"]["p50"] == pytest.approx(994_500.0)
