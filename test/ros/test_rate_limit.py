# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How many of a stream of stamps a limit lets through, and which."""

import numpy as np
import pytest

from mtl_perception.ros.rate_limit import RateLimit

S = 1_000_000_000
START_NS = 1_700_000_000 * S


def taken(stamps_ns, rate_hz, limit=None):
    limit = limit or RateLimit()
    result = []
    for stamp_ns in stamps_ns:
        if limit.is_due(stamp_ns, rate_hz):
            limit.take(stamp_ns, rate_hz)
            result.append(stamp_ns)
    return result


def regular(seconds, rate_hz, jitter_s=0.0, seed=0):
    count = round(seconds * rate_hz)
    jitter = np.random.default_rng(seed).uniform(-jitter_s, jitter_s, count)
    return [START_NS + round((number / rate_hz + jitter[number]) * S) for number in range(count)]


@pytest.mark.parametrize(("camera_hz", "limit_hz", "expected"), [(10, 5, 50), (10, 1, 10), (30, 10, 100), (10, 0.5, 5)])
def test_a_divisor_of_the_cameras_rate_is_met_exactly(camera_hz, limit_hz, expected):
    stamps = regular(10, camera_hz)
    assert taken(stamps, limit_hz) == stamps[:: round(camera_hz / limit_hz)]
    assert len(taken(stamps, limit_hz)) == expected


@pytest.mark.parametrize("limit_hz", [0.0, 10.0, 30.0, 1000.0])
def test_a_limit_at_or_above_the_cameras_rate_drops_nothing_whatever_the_jitter(limit_hz):
    stamps = regular(20, 10, jitter_s=0.012)
    assert taken(stamps, limit_hz) == stamps


@pytest.mark.parametrize("limit_hz", [0.7, 3.0, 4.0, 7.0, 9.9])
def test_other_rates_are_met_on_average_and_never_exceeded(limit_hz):
    for seed in range(20):
        stamps = regular(30, 10, jitter_s=0.02, seed=seed)
        found = np.array(taken(stamps, limit_hz)) / S
        assert len(found) == pytest.approx(30 * limit_hz, rel=0.05, abs=2)
        between = np.arange(len(found)) - np.arange(len(found))[:, None]  # counts and times of all pairs
        elapsed = found - found[:, None]
        assert (between + 1 <= elapsed * limit_hz + 2.25)[between >= 0].all()


def test_after_a_gap_nothing_is_made_up_for():
    stamps = [*regular(2, 10), *(stamp + 60 * S for stamp in regular(2, 10))]
    assert len(taken(stamps, 5)) == 20


def test_a_clock_that_jumps_back_begins_anew():
    limit = RateLimit()
    stamps = regular(2, 10)
    assert taken(stamps, 5, limit) == taken(stamps, 5, limit) == stamps[::2]


def test_another_rate_holds_at_once():
    limit, stamps = RateLimit(), regular(3, 10)
    assert taken(stamps[:10], 0.1, limit) == stamps[:1]
    assert taken(stamps[10:20], 5, limit) == stamps[10:20:2]
    assert taken(stamps[20:], 0, limit) == stamps[20:]
