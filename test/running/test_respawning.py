# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Children that die are started again, as long as that makes sense."""

import io
import sys
import time

import pytest

from mtl_perception.running.respawning import DELAY_S, LONG_LIFE_S, SHORT_LIVES, Respawner
from mtl_perception.running.supervision import Supervisor


class Bench:
    """Children, and a clock that stands until it is turned."""

    def __init__(self, folder):
        self.now, self.lives = 0.0, folder / "lives"
        self.supervisor = Supervisor(io.StringIO())
        script = f"open({str(self.lives)!r}, 'a').write('x')"
        for name in ("node", "other"):
            self.supervisor.start(name, [sys.executable, "-c", script if name == "node" else "raise SystemExit(1)"])
        self.respawner = Respawner(self.supervisor, ["node"], lambda: self.now)

    def until_dead(self):
        deadline = time.monotonic() + 20.0
        while self.supervisor.running:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def turn(self, seconds):
        self.now += seconds
        self.respawner.poll()

    @property
    def count(self):
        return len(self.lives.read_text())


@pytest.fixture
def bench(tmp_path):
    result = Bench(tmp_path)
    with result.supervisor:
        result.until_dead()
        yield result


def test_a_child_that_has_died_is_started_again_after_a_while(bench):
    for life in range(1, 4):
        bench.turn(LONG_LIFE_S)
        bench.turn(DELAY_S / 2)
        assert bench.count == life
        bench.turn(DELAY_S / 2)
        bench.until_dead()
        assert bench.count == life + 1
    assert bench.respawner.takes_care_of("node")


def test_a_child_that_dies_at_once_is_given_up(bench):
    for _ in range(2 * SHORT_LIVES):
        bench.turn(0.1)
        bench.turn(DELAY_S)
        bench.until_dead()
    assert bench.count == SHORT_LIVES
    assert not bench.respawner.takes_care_of("node")


def test_others_are_left_dead(bench):
    bench.turn(LONG_LIFE_S)
    bench.turn(DELAY_S)
    assert not bench.respawner.takes_care_of("other")
    assert "other" in [end.name for end in bench.supervisor.ended()]
