# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Ego motion is judged between the right frames, without poses, and its error is what one computes by hand."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mtl_perception.core import Camera, EgoMotion, GroundTruth, LabelSpace, Prediction, Rig, RigFrame, Sample
from mtl_perception.core.transforms import Transform, inverse
from mtl_perception.evaluation.score import ScoreOptions
from mtl_perception.evaluation.scores.ego_motion import EgoMotionScore
from mtl_perception.resources import config_file
from mtl_perception.training.validation.clips import Clip
from mtl_perception.training.validation.figures import world_figures
from mtl_perception.training.validation.judging import EGO_MOTION, judged_motion, motions

RIG = Rig((Camera("front", 8, 6, np.array([[6.0, 0, 3.5], [0, 6.0, 2.5], [0, 0, 1]]), np.eye(4)),))
TIMES_MS = (0, 200, 300, 400, 500)


def pose_at(speed: float, seconds: float) -> Transform:
    """Return the pose of a base that drives straight on, in a world where it does not start at the origin."""
    pose = np.array([[0.0, -1.0, 0.0, 5.0], [1.0, 0.0, 0.0, -2.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    pose[:3, 3] += pose[:3, 0] * speed * seconds
    return pose


def clip_at(speed: float) -> Clip:
    frames = []
    for time in TIMES_MS:
        pose = pose_at(speed, time / 1000)
        stamp = 1_000_000 * time + 1
        image = np.zeros((6, 8, 3), np.uint8)
        frames.append(RigFrame(RIG, stamp, {"front": image}, {"front": stamp}, {"front": pose}, pose))
    return Clip(tuple(frames[:2]), (None, None), tuple(Sample(frame, GroundTruth()) for frame in frames[2:]))


class Estimating:
    """Stands for a perceiver whose motion is too long by a twentieth, and off to the side."""

    def __init__(self, clip: Clip) -> None:
        self._poses = {frame.stamp_ns: frame.world_from_base for frame in clip.frames}
        self._before: RigFrame | None = None
        self.shown: list[RigFrame] = []

    def reset(self) -> None:
        self._before = None

    def __call__(self, frame: RigFrame, tasks: Collection[str], **_: Any) -> Prediction:
        assert tuple(tasks) == (EGO_MOTION,)
        self.shown.append(frame)
        motion = None
        if self._before is not None:
            before, now = self._poses[self._before.stamp_ns], self._poses[frame.stamp_ns]
            assert before is not None and now is not None
            estimate = inverse(before) @ now
            estimate[0, 3] *= 1.03
            estimate[1, 3] = 0.04 * estimate[0, 3] / 1.03
            motion = EgoMotion(self._before.stamp_ns, estimate, np.eye(6))
        self._before = frame
        return Prediction(frame.stamp_ns, {}, "base_link", "odom", None, ego_motion=motion)


def test_the_translation_error_is_that_of_the_hand() -> None:
    clip = clip_at(8.0)
    score = EgoMotionScore(LabelSpace.load(config_file("labels", "default")), ScoreOptions())
    rows = [(0, row) for frame in judged_motion(Estimating(clip), clip) if (row := score.frame(frame))]  # type: ignore[arg-type]
    figures = world_figures(score, rows, [])
    # 3 % too long and 4 % to the side: 5 % of the way; of 0.8 m that is 0.04 m.
    assert figures["frames"] == 3
    assert figures["metrics"]["translation_error_percent"]["value"] == pytest.approx(5.0)
    assert figures["metrics"]["rpe"]["value"] == pytest.approx(0.04)
    assert figures["metrics"]["rpe_rotation_deg"]["value"] == pytest.approx(0.0, abs=1e-6)


def test_no_pose_is_shown() -> None:
    clip = clip_at(8.0)
    perceiver = Estimating(clip)
    list(judged_motion(perceiver, clip))  # type: ignore[arg-type]
    assert len(perceiver.shown) == 6
    assert all(frame.world_from_base is None and not frame.world_from_camera for frame in perceiver.shown)


@pytest.mark.parametrize(
    ("speed", "gaps_ms"),
    [
        (8.0, [100, 100, 100]),  # fast: the frame before
        (1.0, [300, 400, 300]),  # 0.2 m are not more than 0.2 m
        (0.1, [300, 400, 500]),  # too slow for any pair: the longest time
    ],
)
def test_the_pair_is_the_nearest_that_moved(speed: float, gaps_ms: list[int]) -> None:
    found = [(now.stamp_ns - before.stamp_ns) // 1_000_000 for before, now, _ in motions(clip_at(speed))]
    assert found == gaps_ms


def test_what_perception_does_not_look_back_to_is_no_pair() -> None:
    clip = clip_at(0.1)
    long_ago = replace(clip.early[0], stamp_ns=1 - 10**9)
    late = [
        now.stamp_ns - before.stamp_ns for before, now, _ in motions(replace(clip, early=(long_ago, clip.early[1])))
    ]
    assert max(late) == 300_000_000
