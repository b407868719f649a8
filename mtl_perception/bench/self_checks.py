# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The `self-checks` suite: how often the self-checks sound an alarm where nothing is wrong, and where something is.

A recording's own depth and poses are taken as the prediction, as they are and disturbed. Right, or nearly, are those
without any change, with noise and with a smooth error; an alarm is false there. Wrong are all others; there a frame
without an alarm is a miss. Frames count from the one on at which the checks have results enough for a verdict of what
is undisturbed, the same ones for all.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.bench.results import Result
from mtl_perception.consistency import SelfChecks
from mtl_perception.core import LabelSpace, Prediction
from mtl_perception.data.recordings import Recording
from mtl_perception.evaluation.truth_perceiver import TruthPerceiver
from mtl_perception.resources import config_file

SUITE = "self-checks"
UNDISTURBED = "undisturbed"
OTHER_POSES = "poses_of_other_moments"

_Depth = NDArray[np.float32]
_CELLS = (6, 8)  # of smooth disturbances: rows and columns, with linear interpolation in between
_RANDOM_DEPTHS = (0.5, 20.0)  # metres


def _unchanged(depth: _Depth, random: np.random.Generator) -> _Depth:
    return depth


def _noisy(depth: _Depth, random: np.random.Generator) -> _Depth:
    return depth * np.exp(0.1 * random.standard_normal(depth.shape, np.float32))


def _smoothly_wrong(depth: _Depth, random: np.random.Generator) -> _Depth:
    return depth * np.exp(_smooth(0.2 * random.standard_normal(_CELLS, np.float32), depth))


def _too_far(depth: _Depth, random: np.random.Generator) -> _Depth:
    return depth * np.float32(1.5)


def _too_near(depth: _Depth, random: np.random.Generator) -> _Depth:
    return depth * np.float32(0.67)


def _random(depth: _Depth, random: np.random.Generator) -> _Depth:
    return np.where(depth > 0, _any_depth(random.random(depth.shape, np.float32)), np.float32(np.nan))


def _smoothly_random(depth: _Depth, random: np.random.Generator) -> _Depth:
    field_of_depths = _any_depth(_smooth(random.random(_CELLS, np.float32), depth))
    return np.where(depth > 0, field_of_depths, np.float32(np.nan))


DEPTHS: dict[str, Callable[[_Depth, np.random.Generator], _Depth]] = {
    UNDISTURBED: _unchanged,
    "noise_of_10_percent": _noisy,
    "smooth_error_of_20_percent": _smoothly_wrong,
    "depth_times_1.5": _too_far,
    "depth_times_0.67": _too_near,
    "random_depth": _random,
    "smooth_random_depth": _smoothly_random,
}
"""What is done to the depth of every image anew. Random depths are between 0.5 and 20 m, their logarithm uniform."""


@dataclass
class _Run:
    """The checks on a recording with one disturbance."""

    checks: SelfChecks = field(default_factory=SelfChecks)
    alarms: int = 0
    first_alarm_ns: int | None = None
    cpu_s: float = 0.0


def run_suite(recording: Recording, *, advanced: Callable[[str], None] = lambda what: None) -> list[Result]:
    """Feed the checks with a recording and with all disturbances of it, the same ones each time.

    Args:
        recording: with depth images, and poses.
        advanced: gets the name of the recording after each frame.

    Raises:
        ValueError: the recording cannot be read, has no depth, or is too short for a verdict.
        OSError: a file cannot be read.
    """
    perceiver = TruthPerceiver(LabelSpace.load(config_file("labels", "default")))
    runs = {name: _Run() for name in (*DEPTHS, OTHER_POSES)}
    other = np.random.default_rng(len(recording)).permutation(len(recording))
    counted = 0
    for index in range(len(recording)):
        prediction = perceiver(recording.sample(index))
        for name, run in runs.items():
            if name == OTHER_POSES:
                disturbed = _with_pose_of(recording, int(other[index]), prediction)
            else:
                disturbed = _with_depth(DEPTHS[name], index, prediction)
            _add(run, disturbed)
        # The undisturbed one has seen this frame by now.
        if runs[UNDISTURBED].checks.has_verdict:
            counted += 1
            for run in runs.values():
                run.alarms += bool(run.checks.problems)
        advanced(recording.name)
    if not counted:
        raise ValueError(f"{recording.name}: {len(recording)} frames are too few, or show too little, for a verdict")
    return _results(runs, counted, len(recording), recording.stamp_ns(0), recording.stamp_ns(len(recording) - 1))


def _add(run: _Run, prediction: Prediction) -> None:
    started = time.thread_time()
    run.checks.add(prediction)
    run.cpu_s += time.thread_time() - started
    if run.checks.problems and run.first_alarm_ns is None:
        run.first_alarm_ns = prediction.stamp_ns


def _results(runs: dict[str, _Run], counted: int, frames: int, begin_ns: int, end_ns: int) -> list[Result]:
    results = []
    length_s = 1e-9 * (end_ns - begin_ns)
    for name, run in runs.items():
        results.append(Result(SUITE, f"{name}/alarms", run.alarms, "frames", "with a verdict", counted))
        if run.first_alarm_ns is not None:
            first_s = 1e-9 * (run.first_alarm_ns - begin_ns)
            results.append(Result(SUITE, f"{name}/first_alarm", first_s, "s", "the recording's length", length_s))
    cpu_ms = 1e3 * runs[UNDISTURBED].cpu_s / frames
    period_ms = 1e3 * length_s / (frames - 1)
    return [*results, Result(SUITE, "cpu_of_a_frame", cpu_ms, "ms", "from frame to frame", period_ms)]


def _with_depth(
    change: Callable[[_Depth, np.random.Generator], _Depth], index: int, prediction: Prediction
) -> Prediction:
    cameras = {}
    for place, (name, camera) in enumerate(prediction.cameras.items()):
        assert camera.depth is not None  # the perceiver leaves out cameras without
        cameras[name] = replace(camera, depth=change(camera.depth, np.random.default_rng((index, place))))
    return replace(prediction, cameras=cameras)


def _with_pose_of(recording: Recording, other: int, prediction: Prediction) -> Prediction:
    odom_from_base = recording.odom_from_base(other)
    cameras = {
        name: replace(
            camera,
            world_from_camera=None if odom_from_base is None else odom_from_base @ camera.camera.base_from_camera,
        )
        for name, camera in prediction.cameras.items()
    }
    return replace(prediction, cameras=cameras)


def _smooth(cells: NDArray[np.float32], depth: _Depth) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(cells, depth.shape[::-1]), np.float32)


def _any_depth(share: NDArray[np.float32]) -> _Depth:
    nearest, farthest = _RANDOM_DEPTHS
    return np.float32(nearest) * np.float32(farthest / nearest) ** share
