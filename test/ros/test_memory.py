# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What is free is given back."""

from pathlib import Path

from mtl_perception.ros.memory import give_memory_back

COUNT = 40_000


def test_small_things_that_refer_to_each_other_are_given_back():
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    give_memory_back()
    before = resident()
    things = []
    for _ in range(COUNT):
        thing = [bytearray(200)]
        thing.append(thing)
        things.append(thing)
    grown = resident() - before
    assert grown > 200 * COUNT
    del things, thing
    give_memory_back()
    assert resident() - before < grown / 4
