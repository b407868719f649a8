# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The `world` suite: how many images a second the synthetic world renders with all ground truth, and what they cost.

Several processes render worlds of their own at the same time, as data loaders do. Building a world is not counted, the
first frame neither: it fills caches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2

from mtl_perception.bench.results import Result
from mtl_perception.core.labels import LabelSpace
from mtl_perception.data.processes import Workers
from mtl_perception.data.world import World
from mtl_perception.data.world import world as whole
from mtl_perception.data.world.rendering import renderer
from mtl_perception.data.world.rendering.actors import Actors
from mtl_perception.data.world.rendering.shading import Shading
from mtl_perception.data.world.truth.bev import BevTruth
from mtl_perception.data.world.truth.boxes import BoxTruth
from mtl_perception.resources import config_file

SUITE = "world"
ASKED_FOR = 40.0
"""Images a second that two processes shall render at 224x128."""

REST = "rest"
STAGES: tuple[tuple[str, tuple[tuple[Any, str], ...]], ...] = (
    ("placing actors", ((Actors, "placed"),)),
    ("casting", ((renderer, "look"),)),
    ("shading", ((Shading, "radiance"), (renderer, "sky_colour"))),
    ("sensor", ((renderer, "develop"),)),
    ("camera truth", ((renderer, "velocities"), (renderer, "camera_truth"))),
    ("boxes, BEV, occupancy", ((BoxTruth, "boxes"), (BevTruth, "map"), (whole, "occupancy_from_depth"))),
)
"""What an image costs is told apart by these functions; none calls another. The remainder is `REST`."""


@dataclass(frozen=True)
class Task:
    """A world to be measured: frames are equally far apart in time, over the whole of it."""

    kind: str
    seed: int
    cameras: str
    size: tuple[int, int]
    frames: int


@dataclass(frozen=True)
class Times:
    """What one world took.

    Attributes:
        images: that were rendered.
        seconds: wall clock for all of them, while the other processes were at work too.
        cpu_seconds: of this process.
        stages: CPU seconds of each stage, from a second pass over the same frames.
    """

    images: int
    seconds: float
    cpu_seconds: float
    stages: dict[str, float]


def run_suite(
    kinds: Sequence[str],
    *,
    worlds: int,
    frames: int,
    cameras: str,
    size: tuple[int, int],
    processes: int,
    advanced: Callable[[str], None] = lambda what: None,
) -> list[Result]:
    """Measure worlds of each kind.

    Args:
        kinds: of worlds.
        worlds: of each kind, with seeds from 0 on.
        frames: of each world.
        cameras: a rig of config/rigs, by name or path.
        size: (width, height) of the images, pixels.
        processes: that render at the same time.
        advanced: gets what has been measured, in words, after each world.
    """
    results = []
    with Workers[Task, Times](_prepared, processes) as workers:
        for kind in kinds:
            tasks = [Task(kind, seed, cameras, size, frames) for seed in range(worlds)]
            times = []
            for answer in workers.in_order(tasks):
                times.append(answer)
                advanced(f"{kind} {len(times)} of {worlds}")
            results += compare(kind, times, processes)
    return results


def compare(kind: str, times: Sequence[Times], processes: int) -> list[Result]:
    """Return a kind's images a second over what is asked for, and CPU milliseconds of an image and of its stages."""
    images = sum(t.images for t in times)
    rate = processes * images / sum(t.seconds for t in times)
    results = [Result(SUITE, f"{kind}/images_per_second", rate, "1/s", f"asked of {processes} processes", ASKED_FOR)]
    whole_ms = 1e3 * sum(t.cpu_seconds for t in times) / images
    asked_ms = 1e3 * processes / ASKED_FOR
    results.append(Result(SUITE, f"{kind}/whole_image", whole_ms, "ms", "asked for", asked_ms))
    # Shares are of the pass in which the stages were told apart, which costs a little more.
    clocked_ms = 1e3 * sum(sum(t.stages.values()) for t in times) / images
    for stage in times[0].stages:
        stage_ms = 1e3 * sum(t.stages[stage] for t in times) / images
        results.append(Result(SUITE, f"{kind}/{stage}", stage_ms, "ms", "whole image", clocked_ms))
    return results


def measure(labels: LabelSpace, task: Task) -> Times:
    """Build a world and render its frames twice: once for the time, once stage by stage."""
    world = World.generate(task.kind, task.seed, labels, cameras=task.cameras, image_size=task.size)
    moments = [world.duration_s * (index + 0.5) / task.frames for index in range(task.frames)]
    world.render(0.0)
    cpu, wall = time.process_time(), time.perf_counter()
    for seconds in moments:
        world.render(seconds)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    with clocked_stages() as stages:
        started = time.process_time()
        for seconds in moments:
            world.render(seconds)
        total = time.process_time() - started
    stages[REST] = max(0.0, total - sum(stages.values()))
    return Times(task.frames * len(world.rig), wall, cpu, stages)


@contextmanager
def clocked_stages() -> Iterator[dict[str, float]]:
    """Give the CPU seconds of each stage, which add up while the context lasts."""
    seconds = {stage: 0.0 for stage, _ in STAGES}
    originals = [(owner, name, getattr(owner, name)) for _, places in STAGES for owner, name in places]

    def clocked(function: Callable[..., Any], stage: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            started = time.process_time()
            try:
                return function(*arguments, **named)
            finally:
                seconds[stage] += time.process_time() - started

        return call

    try:
        for stage, places in STAGES:
            for owner, name in places:
                setattr(owner, name, clocked(getattr(owner, name), stage))
        yield seconds
    finally:
        for owner, name, function in originals:
            setattr(owner, name, function)


def _prepared() -> Callable[[Task], Times]:
    """Return `measure` for a process of its own, which computes with one thread."""
    cv2.setNumThreads(1)
    return partial(measure, LabelSpace.load(config_file("labels", "default")))
