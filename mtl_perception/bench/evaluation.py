# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The `evaluation` suite: what the replay of a bag costs over the bare network on the same frames.

Frames are decoded before the bare network begins. It runs before and after the replay, so that a machine that slows
down or speeds up meanwhile does not decide the ratio. A first replay is not counted: it compiles what is compiled.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from mtl_perception.bench.results import Result
from mtl_perception.core.frame import RigFrame
from mtl_perception.evaluation.replay import Replay, ReplaySettings
from mtl_perception.evaluation.truth.bag import EvaluationBag
from mtl_perception.mapping import MapperConfig
from mtl_perception.pipeline import Perceiver
from mtl_perception.scenes import SCENES

SUITE = "evaluation"
MOST_FRAMES = 100
STEPS = 6
"""How often `advanced` is called, when a bag must be rendered first."""


def run_suite(
    bag: Path, *, scene: str = "street", threads: int | None = None, advanced: Callable[[str], None] = lambda what: None
) -> list[Result]:
    """Return the replay's frames a second over those of the network alone, and over those of the whole perceiver.

    Args:
        bag: a recording with ground truth; the bare network sees its first `MOST_FRAMES` frames.
        scene: of SCENES, for the map.
        threads: of torch; None: its own choice.
        advanced: gets what has been measured, in words.

    Raises:
        ValueError, OSError: the bag cannot be used.
    """
    replay = Replay(ReplaySettings(mapper=MapperConfig(**SCENES[scene]), threads=threads))
    assert isinstance(replay.perceiver, Perceiver)  # as the settings do not say `perfect`
    with closing(EvaluationBag(bag, tasks=())) as frames_only:
        count = min(len(frames_only), MOST_FRAMES)
        frames = [frames_only.sample(index).sample.frame for index in range(count)]
    advanced("decoded")
    tasks = replay.tasks(bag)
    replay.run(bag, bag.name)
    advanced("warm")
    before = _alone(replay.perceiver, frames, tasks)
    advanced("network alone")
    runtime = replay.run(bag, bag.name).runtime
    advanced("replay")
    after = _alone(replay.perceiver, frames, tasks)
    advanced("network alone again")
    rate = float(runtime["frames_per_second"])
    network, perceiver = (2 * count / (first + second) for first, second in zip(before, after, strict=True))
    return [
        Result(SUITE, "replay/frames_per_second", rate, "1/s", "the network alone", network),
        Result(SUITE, "replay/frames_per_second", rate, "1/s", "the network with pre- and postprocessing", perceiver),
    ]


def _alone(perceiver: Perceiver, frames: Sequence[RigFrame], tasks: tuple[str, ...]) -> tuple[float, float]:
    """Return the seconds that the network took for all frames, and those of the whole perceiver."""
    perceiver.reset()
    network = 0.0
    started = time.perf_counter()
    for frame in frames:
        network += perceiver(frame, tasks).seconds["network"]
    return network, time.perf_counter() - started
