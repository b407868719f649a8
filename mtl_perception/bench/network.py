# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The `network` suite: one pass of all tasks against single-task networks and against naive multi-task.

The comparison that MAESTRO, section IV, publishes: 250.3 ms over 405.9 ms for three tasks (0.617), and 14 % more than
the same network without its task-specific modules. A single-task network is the same encoder with that task's plain
head; naive multi-task is the same encoder with all plain heads. All of one preset share one encoder's weights, which
saves memory and changes no time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from mtl_perception.bench.description import metered
from mtl_perception.bench.results import Result
from mtl_perception.network import CameraBatch, History, MultiTaskNetwork, NetworkConfig, PreviousFrame
from mtl_perception.network.config import SCENE_TASKS
from mtl_perception.network.driving.streams import CabinBatch
from mtl_perception.network.example import example_batch, example_cabin, history_of, previous_of

SUITE = "network"


@dataclass(frozen=True)
class Times:
    """Seconds of a preset's passes, one value a round.

    Attributes:
        multi: all tasks, all modules.
        encoder: the encoder's part of those.
        naive: all tasks, plain heads.
        singles: per task, a network of that task with a plain head.
    """

    multi: tuple[float, ...]
    encoder: tuple[float, ...]
    naive: tuple[float, ...]
    singles: dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class _Pass:
    """A network, and what it is called with."""

    network: MultiTaskNetwork
    batch: CameraBatch
    tasks: tuple[str, ...]
    previous: PreviousFrame | None
    history: History | None
    cabin: CabinBatch | None

    @classmethod
    def prepare(cls, network: MultiTaskNetwork, batch: CameraBatch, tasks: tuple[str, ...]) -> _Pass:
        """Warm the network up; what its first pass remembers is the frame before for all later ones."""
        network.eval()
        cabin = example_cabin(network.config, batch) if set(tasks) & set(SCENE_TASKS) else None
        first = network(batch, tasks, cabin=cabin)
        prepared = cls(network, batch, tasks, previous_of(batch, first), history_of(first), cabin)
        prepared()
        return prepared

    def __call__(self) -> float:
        """Run it and return the seconds it took."""
        started = time.perf_counter()
        self.network(self.batch, self.tasks, self.previous, history=self.history, cabin=self.cabin)
        return time.perf_counter() - started


def run_suite(
    configs: Sequence[NetworkConfig],
    *,
    cameras: int,
    size: tuple[int, int],
    repeats: int,
    advanced: Callable[[str], None] = lambda what: None,
) -> list[Result]:
    """Measure the presets one after the other; `advanced` is called before each preset's set-up and each round.

    Args:
        configs: of the presets.
        cameras: images in a pass.
        size: (width, height) of the cameras' own images, pixels.
        repeats: timed rounds.
        advanced: gets what is done next, in words.
    """
    results = []
    for config in configs:
        batch = example_batch(config, cameras, size)
        results += compare(config.preset, measure(config, batch, repeats, advanced))
    return results


@torch.inference_mode()
def measure(
    config: NetworkConfig, batch: CameraBatch, repeats: int, advanced: Callable[[str], None] = lambda what: None
) -> Times:
    """Return the times of all networks of a preset; their passes take turns, so that noise hits all alike."""
    advanced(f"{config.preset}: building")
    torch.manual_seed(0)
    multi = _Pass.prepare(MultiTaskNetwork(config), batch, config.tasks)
    naive = _Pass.prepare(_with_encoder_of(multi.network, config.plain(config.tasks)), batch, config.tasks)
    singles = {
        task: _Pass.prepare(_with_encoder_of(multi.network, config.plain((task,))), batch, (task,))
        for task in config.tasks
    }
    times: dict[str, list[float]] = {"multi": [], "encoder": [], "naive": []}
    single_times: dict[str, list[float]] = {task: [] for task in singles}
    for index in range(repeats):
        advanced(f"{config.preset}: round {index + 1} of {repeats}")
        with metered({"encoder": multi.network.encoder}, time.perf_counter) as seconds:
            times["multi"].append(multi())
        times["encoder"].append(seconds["encoder"])
        times["naive"].append(naive())
        for task, single in singles.items():
            single_times[task].append(single())
    return Times(
        multi=tuple(times["multi"]),
        encoder=tuple(times["encoder"]),
        naive=tuple(times["naive"]),
        singles={task: tuple(values) for task, values in single_times.items()},
    )


def compare(preset: str, times: Times) -> list[Result]:
    """Return a preset's three ratios, of medians: over the single tasks, over naive multi-task, the encoder's share."""
    multi = statistics.median(times.multi)
    singles = sum(statistics.median(values) for values in times.singles.values())
    count = len(times.singles)
    over_single = Result(SUITE, f"{preset}/multi_over_single", multi, "s", f"{count} single-task networks", singles)
    naive = statistics.median(times.naive)
    over_naive = Result(SUITE, f"{preset}/modules_over_naive", multi, "s", "naive multi-task network", naive)
    encoder = statistics.median(times.encoder)
    return [over_single, over_naive, Result(SUITE, f"{preset}/encoder_share", encoder, "s", "whole pass", multi)]


def _with_encoder_of(owner: MultiTaskNetwork, config: NetworkConfig) -> MultiTaskNetwork:
    network = MultiTaskNetwork(config)
    network.encoder = owner.encoder
    return network
