# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The `soak` suite: whether memory or the age of stamps grows while perception and mapping run on and on.

Perception, mapping and their manager run in processes of their own, as `up --processes` starts them, and get images of
six cameras at 10 Hz from a robot in another process. The network is that of the package, working on images as small as
they come. The robot goes to and fro, so that its map is soon complete: what grows then,
leaks. The first fifth of the time is warm-up; the rest has eight windows, and the median of the last three is compared
with that of the first three: a machine that others use, too, may be slower for a minute, and that is no growth. What
the hypervisor gave to others is told beside it. Ages are those of `<node>/progress`, which diagnostics take their
percentiles of.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np
import rclpy
import yaml
from rclpy.context import Context
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo

from mtl_perception.bench.results import Result
from mtl_perception.bench.soak_robot import RIG
from mtl_perception.data.world.cameras.rigs import load_rig
from mtl_perception.network import MultiTaskNetwork
from mtl_perception.network.checkpoint import load_checkpoint, save_checkpoint
from mtl_perception.resources import default_checkpoint
from mtl_perception.ros import qos
from mtl_perception.ros.perception_parameters import ON_DEMAND
from mtl_perception.ros.process import Spinning
from mtl_perception.running.graph import SeparateProcesses
from mtl_perception.running.settings import UpSettings, ros_arguments, set_up_middleware, write_parameters
from mtl_perception.running.supervision import Supervisor
from mtl_perception_msgs.msg import Progress

SUITE = "soak"
SAMPLES = 120
"""How often memory is looked at, and `advanced` is called."""
NODES = ("perception", "mapping")

_RATE_HZ = 10.0
_FRAMES = 20  # of the way to and fro
_START_TIMEOUT_S = 300.0
_WARM_UP = 0.2  # of the time
_WINDOWS = 8
_COMPARED = 3  # of the windows, at the begin and at the end
_MEMORY_GROWTH = 1.05  # what the last windows may be of the first
_AGE_GROWTH, _AGE_NOISE_MS = 1.25, 20.0  # likewise; less than so many ms is noise
_AGES = ("stamp_age_p50", "stamp_age_p99")


@dataclass
class Record:
    """What was seen. Times are seconds since the first frame was mapped.

    Attributes:
        seconds: how long it took.
        memory_mb: per process, when it was looked at and its proportional set size then, MB.
        ages_ms: per node, when a frame was done and how old its stamp was then, ms.
        dropped: per node and reason, when frames were dropped.
        sent: when frames were sent.
        processors: when they were looked at, and all time of the processors until then: what others were given, and
            all together, ticks of the kernel.
    """

    seconds: float
    memory_mb: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    ages_ms: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    dropped: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    sent: list[float] = field(default_factory=list)
    processors: list[tuple[float, tuple[int, int]]] = field(default_factory=list)

    def windows(self) -> list[tuple[float, float]]:
        """Return the begin and the end of each window after the warm-up."""
        edges = np.linspace(_WARM_UP * self.seconds, self.seconds, _WINDOWS + 1)
        return [(float(begin), float(end)) for begin, end in pairwise(edges)]


def run_suite(
    size: tuple[int, int], minutes: float, *, advanced: Callable[[str], None] = lambda what: None
) -> tuple[list[Result], Record]:
    """Let it run, and return the comparison with all that was seen.

    Args:
        size: (width, height) of the images, pixels.
        minutes: for how long, from the first frame in the map on.
        advanced: gets how it is, in words, `SAMPLES` times.

    Raises:
        RuntimeError: a process has died, or no frame has been mapped in time.
    """
    set_up_middleware()
    names = load_rig(RIG).rig.names
    with tempfile.TemporaryDirectory(prefix="mtl_perception_") as folder:
        settings = UpSettings(
            cameras=names,
            checkpoint=str(_small_network(Path(folder) / "small.safetensors", size)),
            scene="street",
            processes=True,
            namespace=f"/soak_{os.getpid()}",
        )
        config = Path(folder) / "config.yaml"
        config.write_text(yaml.safe_dump({"/**": {"ros__parameters": {"tasks": [ON_DEMAND]}}}))
        arguments = ros_arguments(settings, write_parameters(settings, Path(folder) / "parameters.yaml"))
        arguments += ["--params-file", str(config)]
        with (
            _watching(settings.namespace, names[0]) as watcher,
            Supervisor() as outside,
            SeparateProcesses(arguments) as graph,
        ):
            outside.start("robot", _robot_command(size, arguments))

            def check() -> None:
                failure = graph.failure() or "\n".join(str(end) for end in outside.ended())
                if failure:
                    raise RuntimeError(failure)

            watcher.wait_for_map(check)
            record = watcher.begin(minutes * 60.0)
            pids = {name: pid for name, pid in graph.pids.items() if name in NODES}
            for number in range(1, SAMPLES + 1):
                time.sleep(max(0.0, number / SAMPLES * record.seconds - watcher.elapsed_s))
                check()
                record.processors.append((watcher.elapsed_s, processor_times()))
                for name, pid in pids.items():
                    record.memory_mb.setdefault(name, []).append((watcher.elapsed_s, proportional_set_mb(pid)))
                advanced(", ".join(f"{name} {samples[-1][1]:.0f} MB" for name, samples in record.memory_mb.items()))
    return compared(record), record


def compared(record: Record) -> list[Result]:
    """Return the last windows beside the first, and how many frames were used of those sent after the warm-up."""
    windows = record.windows()
    results = []
    for name, samples in record.memory_mb.items():
        value, before = _last_and_first([median(_within(samples, window)) for window in windows])
        results.append(Result(SUITE, f"memory_of_{name}", value, "MB", "after warm-up", before))
    for name, ages in record.ages_ms.items():
        percentiles = np.array([np.percentile(_within(ages, window), [50, 99]) for window in windows])
        for age, values in zip(_AGES, percentiles.T, strict=True):
            value, before = _last_and_first(values.tolist())
            results.append(Result(SUITE, f"{age}_of_{name}", value, "ms", "after warm-up", before))
        begin, end = windows[0][0], windows[-1][1]
        used, sent = len(_within(ages, (begin, end))), sum(begin <= at < end for at in record.sent)
        results.append(Result(SUITE, f"frames_of_{name}", float(used), "", "sent", float(sent)))
    return results


def problems(results: Iterable[Result]) -> list[str]:
    """Return what has grown, in words; nothing where all is well."""
    found = []
    for result in results:
        grown = f"{result.name}: {result.reference_value:.1f} to {result.value:.1f} {result.unit}"
        if result.name.startswith("memory_of") and result.ratio > _MEMORY_GROWTH:
            found.append(f"{grown}, more than {_MEMORY_GROWTH - 1:.0%}")
        if result.name.startswith(_AGES) and result.value > result.reference_value * _AGE_GROWTH + _AGE_NOISE_MS:
            found.append(f"{grown}, more than {_AGE_GROWTH - 1:.0%} and {_AGE_NOISE_MS:g} ms")
    return found


def table(record: Record) -> list[list[str]]:
    """Return a row a window: its end; per node memory, p50 and p99 of stamp ages, frames used and dropped; what others
    had of the processors.
    """
    rows = []
    for window in record.windows():
        row = [f"{window[1]:.0f} s"]
        for name in NODES:
            ages = _within(record.ages_ms.get(name, []), window)
            p50, p99 = np.percentile(ages, [50, 99]) if ages else (np.nan, np.nan)
            memory = median(_within(record.memory_mb[name], window))
            dropped = sum(_count(at, window) for (node, _), at in record.dropped.items() if node == name)
            row += [f"{memory:.1f} MB", f"{p50:.0f} / {p99:.0f} ms", f"{len(ages)} + {dropped}"]
        (others, all_), *_, (others_then, all_then) = [times for at, times in record.processors if _is_in(at, window)]
        rows.append([*row, f"{(others_then - others) / max(all_then - all_, 1):.1%}"])
    return rows


def slope_mb_per_hour(samples: Sequence[tuple[float, float]], begin: float) -> float:
    """Return by how much memory has grown from `begin` on, a straight line laid through it."""
    at, values = np.array([sample for sample in samples if sample[0] >= begin]).T
    return float(3600.0 * np.polyfit(at, values, 1)[0])


def proportional_set_mb(pid: int) -> float:
    """Return a process's memory, what it shares with others divided among them, MB.

    Raises:
        OSError: there is no such process, or the system is not Linux.
    """
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e6


def processor_times() -> tuple[int, int]:
    """Return how much time of the processors others were given by the hypervisor, and all of it, ticks since the start.

    Raises:
        OSError: the system is not Linux.
    """
    times = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return times[7], sum(times)


class _Watcher(Node):
    """Listens to what becomes of each frame, and to how many there are; to nothing that would make more work."""

    def __init__(self, context: Context, namespace: str, camera: str) -> None:
        super().__init__(
            "soak",
            context=context,
            namespace=namespace,
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
        )
        self._record = Record(0.0)
        self._began = time.monotonic()
        self._mapped = 0
        for name in NODES:
            self.create_subscription(Progress, f"{name}/progress", self._take, qos.progress())
        self.create_subscription(CameraInfo, f"{camera}/camera_info", self._count_sent, qos.output(depth=100))

    @property
    def elapsed_s(self) -> float:
        """Seconds since `begin`."""
        return time.monotonic() - self._began

    def wait_for_map(self, check: Callable[[], None]) -> None:
        """Return when a frame has been mapped; `check` raises when that is in vain."""
        until = time.monotonic() + _START_TIMEOUT_S
        while not self._mapped:
            check()
            if time.monotonic() > until:
                dropped = Counter({" ".join(why): len(at) for why, at in self._record.dropped.items()})
                raise RuntimeError(f"no frame has been mapped within {_START_TIMEOUT_S:g} s: {dict(dropped)}")
            time.sleep(0.1)

    def begin(self, seconds: float) -> Record:
        """Return the record of what is seen from now on."""
        self._began, self._record = time.monotonic(), Record(seconds)
        return self._record

    def _take(self, progress: Progress) -> None:
        at_s = self.elapsed_s
        if not progress.used:
            key = (progress.node, progress.category or progress.reason)
            self._record.dropped.setdefault(key, []).append(at_s)
            return
        self._mapped += progress.node == "mapping"
        self._record.ages_ms.setdefault(progress.node, []).append((at_s, 1e3 * progress.stamp_age_s[-1]))

    def _count_sent(self, _info: CameraInfo) -> None:
        self._record.sent.append(self.elapsed_s)


@contextmanager
def _watching(namespace: str, camera: str) -> Iterator[_Watcher]:
    context = Context()
    rclpy.init(args=[], context=context, signal_handler_options=SignalHandlerOptions.NO)
    watcher = _Watcher(context, namespace, camera)
    spinning = Spinning(context, [watcher], name="soak")
    try:
        yield watcher
    finally:
        spinning.stop()
        watcher.destroy_node()
        rclpy.try_shutdown(context=context)


def _small_network(path: Path, size: tuple[int, int]) -> Path:
    """Write the package's network as it is, but for images of this size."""
    checkpoint = load_checkpoint(default_checkpoint())
    width, height = size
    network = MultiTaskNetwork(checkpoint.network.config.model_copy(update={"input_pixels": width * height}))
    network.load_state_dict(checkpoint.network.state_dict())
    save_checkpoint(path, network, checkpoint.labels, checkpoint.trained_tasks, checkpoint.card)
    return path


def _robot_command(size: tuple[int, int], ros: Sequence[str]) -> list[str]:
    width, height = size
    options = ["--frames", str(_FRAMES), "--rate", str(_RATE_HZ), "--size", f"{width}x{height}"]
    return [sys.executable, "-c", "from mtl_perception.bench.soak_robot import main; main()", *options, *ros]


def _last_and_first(of_windows: Sequence[float]) -> tuple[float, float]:
    return median(of_windows[-_COMPARED:]), median(of_windows[:_COMPARED])


def _within(samples: Sequence[tuple[float, float]], window: tuple[float, float]) -> list[float]:
    return [value for at, value in samples if _is_in(at, window)]


def _count(times: Sequence[float], window: tuple[float, float]) -> int:
    return sum(_is_in(at, window) for at in times)


def _is_in(at: float, window: tuple[float, float]) -> bool:
    return window[0] <= at < window[1]
