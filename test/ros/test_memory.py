# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What is free is given back."""

import subprocess
import sys

COUNT = 40_000
GIVEN_BACK = f"""
from pathlib import Path
from mtl_perception.ros.memory import give_memory_back

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

give_memory_back()
before = resident()
things = []
for _ in range({COUNT}):
    thing = [bytearray(200)]
    thing.append(thing)
    things.append(thing)
grown = resident() - before
del things, thing
give_memory_back()
print(grown, resident() - before)
"""


def test_small_things_that_refer_to_each_other_are_given_back():
    # In a process that has done nothing else: in this one they may fit into what has become free before.
    result = subprocess.run([sys.executable, "-c", GIVEN_BACK], capture_output=True, text=True, check=True)
    grown, left = map(int, result.stdout.split())
    assert grown > 200 * COUNT
    assert left < grown / 4
