# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""An evaluation that takes little time, with faults that can be ordered: for the processes of workers."""

import os
import signal
import time
from pathlib import Path

import numpy as np

from mtl_perception.data.bags import BagReader
from mtl_perception.data.errors import BagError
from mtl_perception.evaluation.fleet import Advanced, BagJob, Work
from mtl_perception.evaluation.result import BagResult
from mtl_perception.evaluation.statistics import FrameStatistics, TaskStatistics
from mtl_perception.messages.images import image_to_array


class StrangeError(Exception):
    """Cannot be made again from its pickled form."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first}\n{second}")


def make_work(faults: Path, frame_s: float = 0.0) -> Work:
    """Return what computes means of a bag's images, taking some time for each.

    A file in `faults` with the name of a bag, or `set_up` for this function, says what goes wrong in its third frame,
    on one line: what, and how often. Who is not to fail waits while there is a file `hold`.
    """
    _fail_as_ordered(faults / "set_up")
    while (faults / "hold").exists():
        time.sleep(0.01)

    def work(job: BagJob, advanced: Advanced) -> BagResult:
        rows, stamps = [], []
        with BagReader(job.path) as bag:
            for index, (_, stamp_ns, message) in enumerate(bag.messages(["/front/image"])):
                if index == 2:
                    _fail_as_ordered(faults / job.name)
                time.sleep(frame_s)
                means = image_to_array(message).mean(axis=(0, 1))
                rows.append((index, FrameStatistics({"mean": means[0] / 3, "all": means, "pixels": 24 * 32})))
                stamps.append(stamp_ns)
                advanced(index + 1, bag.message_count)
        runtime = {"pid": os.getpid(), "threads": os.environ.get("OMP_NUM_THREADS")}
        statistics = {"depth": TaskStatistics.of(rows)}
        return BagResult(job.name, np.array(stamps), {}, statistics, {}, {}, {}, runtime)

    return work


def make_unsendable() -> Work:
    """Return what has results that cannot be pickled."""
    return lambda job, advanced: BagResult(job.name, np.zeros(0, np.int64), {}, {}, {}, {}, {}, {"why": lambda: 0})


def _fail_as_ordered(order: Path) -> None:
    if not order.is_file():
        return
    what, often = order.read_text().split()
    before = order.with_suffix(".tries")
    with before.open("a") as file:
        file.write(f"{os.getpid()}\n")
    # Others may have written meanwhile: what counts is which one this try was.
    tries = before.read_text().split()
    if len(tries) - tries[::-1].index(str(os.getpid())) > int(often):
        return
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    raise {
        "raise": StrangeError("it went", "wrong"),
        "wrong": BagError("the bag is wrong"),
    }[what]


def same(first: TaskStatistics, second: TaskStatistics) -> bool:
    """Whether two bags' statistics are equal to the last bit."""
    return first.sums.keys() == second.sums.keys() and all(
        np.array_equal(column, second.sums[name]) for name, column in first.sums.items()
    )
