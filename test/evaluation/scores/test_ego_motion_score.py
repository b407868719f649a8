# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Ego motion scores by hand, and beside those of evo, which is another implementation of ATE and RPE."""

import itertools
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from mtl_perception.core import Camera, EgoMotion, GroundTruth, LabelSpace, Prediction, Rig
from mtl_perception.core.transforms import inverse, quaternion_from_rotation
from mtl_perception.evaluation.judged import JudgedFrame
from mtl_perception.evaluation.score import ScoreOptions
from mtl_perception.evaluation.scores.ego_motion import EgoMotionScore
from mtl_perception.evaluation.statistics import TaskStatistics
from mtl_perception.resources import config_file

RIG = Rig((Camera("front", 4, 4, np.eye(3), np.eye(4)),))
STEP_NS = 100_000_000


@pytest.fixture(scope="module")
def score():
    return EgoMotionScore(LabelSpace.load(config_file("labels", "default")), ScoreOptions())


def moved(x=0.0, y=0.0, z=0.0, turn=(0.0, 0.0, 0.0)):
    pose = np.eye(4)
    pose[:3, :3] = cv2.Rodrigues(np.asarray(turn, dtype=np.float64))[0]
    pose[:3, 3] = x, y, z
    return pose


def frame(number, estimate, truth, std=0.0, estimated_since=None):
    previous = (number - 1) * STEP_NS
    covariance = np.diag([std**2 / 3] * 3 + [0.0] * 3)
    since = previous if estimated_since is None else estimated_since
    predicted = None if estimate is None else EgoMotion(since, estimate, covariance)
    prediction = Prediction(number * STEP_NS, {}, "base_link", "odom", None, ego_motion=predicted)
    known = None if truth is None else EgoMotion(previous, truth, np.zeros((6, 6)))
    return JudgedFrame(prediction, GroundTruth(ego_motion=known), {}, RIG)


def rows_of(score, frames):
    scored = [(number, score.frame(judged)) for number, judged in enumerate(frames)]
    return score.bag([(number, row) for number, row in scored if row is not None])


def metrics_of(score, frames):
    return score.metrics(TaskStatistics.of(rows_of(score, frames)).total())


def drive(estimates, truths):
    return [frame(number + 1, *pair) for number, pair in enumerate(zip(estimates, truths, strict=True))]


def test_a_perfect_estimate_has_no_error_at_all(score):
    rng = np.random.default_rng(0)
    steps = [moved(1.1, *rng.normal(0, 0.1, 2), turn=rng.normal(0, 0.1, 3)) for _ in range(120)]
    assert metrics_of(score, drive(steps, steps)) == dict.fromkeys(score.better, 0.0)


def test_one_step_by_hand(score):
    judged = frame(1, moved(1.0, 0.3, turn=(0, 0, 0.02)), moved(1.0, 0.0, 0.4, turn=(0, 0, 0.05)))
    metrics = score.metrics(TaskStatistics.of([(0, score.frame(judged))]).total())
    assert metrics["rpe"] == pytest.approx(0.5)
    assert metrics["rpe_rotation_deg"] == pytest.approx(math.degrees(0.03))
    assert metrics["translation_error_percent"] == pytest.approx(100 * 0.5 / math.hypot(1.0, 0.4))
    assert math.isnan(metrics["ate"])  # a single frame is no trajectory


def test_relative_errors_are_root_mean_square_and_mean(score):
    truths = [moved(1.0)] * 2
    metrics = metrics_of(score, drive([moved(1.3), moved(1.4, turn=(0, 0.1, 0))], truths))
    assert metrics["rpe"] == pytest.approx(math.sqrt((0.09 + 0.16) / 2))
    assert metrics["rpe_rotation_deg"] == pytest.approx(math.degrees(0.05))
    assert metrics["translation_error_percent"] == pytest.approx(35.0)


def test_standing_still_says_nothing_about_shares(score):
    metrics = metrics_of(score, drive([moved(0.01), moved(1.1)], [moved(0.0), moved(1.0)]))
    assert metrics["translation_error_percent"] == pytest.approx(10.0)


def test_positions_are_aligned_by_a_rigid_motion_without_scale(score):
    """Positions 0, 1, 2 m against 0, 2, 4 m along a line: aligned in the middle, the ends are off by 1 m."""
    turned = [moved(0.0, 1.0), moved(0.0, 1.0)]  # in another direction, which the alignment takes out
    metrics = metrics_of(score, drive(turned, [moved(2.0), moved(2.0)]))
    assert metrics["ate"] == pytest.approx(math.sqrt(2 / 3))


def test_a_mirrored_trajectory_is_not_aligned_by_mirroring_it(score):
    right = [moved(1, 0), moved(0, 2), moved(0, 0, 3), moved(2, 1, 1)]
    mirrored = [moved(1, 0), moved(0, -2), moved(0, 0, 3), moved(2, -1, 1)]
    assert metrics_of(score, drive(mirrored, right))["ate"] > 0.3


@pytest.mark.parametrize("turn", [0.0, 0.01])
def test_one_percent_too_long_is_one_percent_over_kittis_segments(score, turn):
    """Segments end at the first frame farther than their length: of 1 m steps, 101 m of a nominal 100, and so on.

    On a curve the chord takes the place of the way: 2 R sin(angle / 2).
    """
    count = 850
    truths = [moved(1.0, turn=(0, 0, turn))] * count
    estimates = [moved(1.01, turn=(0, 0, turn))] * count
    metrics = metrics_of(score, drive(estimates, truths))
    lengths = np.arange(100, 801, 100)
    # Steps of exactly 1 m that turn by `turn` each: a polygon with a chord of sin(n turn / 2) / sin(turn / 2).
    steps = lengths + 1
    chords = np.sin(steps * turn / 2) / np.sin(turn / 2) if turn else steps
    starts = count + 1 - steps
    expected = 100 * np.sum(starts * 0.01 * np.abs(chords) / lengths) / starts.sum()
    assert metrics["kitti_translation_percent"] == pytest.approx(expected, rel=1e-6)
    assert metrics["kitti_rotation_deg_per_m"] == pytest.approx(0.0, abs=1e-9)
    if not turn:
        assert metrics["kitti_translation_percent"] == pytest.approx(1.0, abs=0.01)


def test_a_constant_drift_in_heading_is_degrees_per_metre(score):
    truths = [moved(1.0)] * 150
    estimates = [moved(1.0, turn=(0, 0, math.radians(0.02)))] * 150
    metrics = metrics_of(score, drive(estimates, truths))
    assert metrics["kitti_rotation_deg_per_m"] == pytest.approx(0.02 * 1.01)


def test_a_short_drive_has_no_segments(score):
    metrics = metrics_of(score, drive([moved(1.1)] * 90, [moved(1.0)] * 90))
    assert math.isnan(metrics["kitti_translation_percent"])
    assert math.isnan(metrics["kitti_rotation_deg_per_m"])


def test_a_frame_without_estimate_breaks_the_trajectory(score):
    """Two halves, each too short by 1 m in three positions: sqrt(2 / 3) each, whatever lies between them."""
    steps = [*[(moved(1.0), moved(2.0))] * 2, (None, moved(50.0)), *[(moved(0, 1.0), moved(0, 2.0))] * 2]
    frames = [frame(number + 1, *step) for number, step in enumerate(steps)]
    metrics = metrics_of(score, frames)
    assert metrics["ate"] == pytest.approx(math.sqrt(2 / 3))
    assert metrics["rpe"] == pytest.approx(1.0)


def test_motions_since_different_frames_are_not_compared(score):
    assert score.frame(frame(3, moved(2.0), moved(1.0), estimated_since=STEP_NS)) is None
    assert score.frame(frame(3, None, moved(1.0))) is None
    assert score.frame(frame(3, moved(1.0), None)) is None


def test_two_bags_joined_are_scored_by_their_sums(score):
    rng = np.random.default_rng(3)
    bags = []
    for count in (130, 40):
        truths = [moved(1.0, turn=rng.normal(0, 0.02, 3)) for _ in range(count)]
        bags.append(rows_of(score, drive([t @ moved(*rng.normal(0, 0.02, 3)) for t in truths], truths)))
    parts = [TaskStatistics.of(rows) for rows in bags]
    joined, turned = (score.metrics(TaskStatistics.joined(order).total()) for order in (parts, parts[::-1]))
    assert joined == turned
    first, second = (score.metrics(part.total()) for part in parts)
    positions = np.array([131, 41])
    squared = np.array([first["ate"], second["ate"]]) ** 2
    assert joined["ate"] == pytest.approx(math.sqrt((positions * squared).sum() / positions.sum()))
    assert joined["kitti_translation_percent"] == first["kitti_translation_percent"]
    assert math.isnan(second["kitti_translation_percent"])


def test_stated_deviations_lie_beside_the_errors(score):
    frames = [frame(n + 1, moved(1.0 + error), moved(1.0), std) for n, (error, std) in enumerate([(0.02, 0.02)] * 3)]
    frames += [frame(n + 4, moved(1.3), moved(1.0), 0.1) for n in range(2)]
    totals = TaskStatistics.of(rows_of(score, frames)).total()
    (reliability,) = score.reliability(totals)
    filled = reliability.counts > 0
    assert reliability.counts[filled].tolist() == [3, 2]
    np.testing.assert_allclose(reliability.predicted[filled], [0.02, 0.1])
    np.testing.assert_allclose(reliability.observed[filled], [0.02, 0.3])
    assert np.isnan(reliability.predicted[~filled]).all()
    (histogram,) = score.histograms(totals)
    assert histogram.counts.sum() == 5


@pytest.mark.recordings
def test_evo_finds_the_same_errors_on_kitti(score, recordings, tmp_path):
    true = kitti_poses(recordings)
    rng = np.random.default_rng(7)
    truths = [inverse(a) @ b for a, b in itertools.pairwise(true)]
    estimates = [step @ moved(*rng.normal(0, 0.03, 3), turn=rng.normal(0, 0.004, 3)) for step in truths]
    estimated = [true[0]]
    for step in estimates:
        estimated.append(estimated[-1] @ step)
    write_tum(tmp_path / "reference.txt", true)
    write_tum(tmp_path / "estimate.txt", estimated)

    metrics = metrics_of(score, drive(estimates, truths))
    assert metrics["ate"] == pytest.approx(evo(tmp_path, "evo_ape", "-a")["rmse"], rel=1e-4)
    step = ["--delta", "1", "--delta_unit", "f"]
    assert metrics["rpe"] == pytest.approx(evo(tmp_path, "evo_rpe", *step)["rmse"], rel=1e-4)
    angle = evo(tmp_path, "evo_rpe", "-r", "angle_deg", *step)
    assert metrics["rpe_rotation_deg"] == pytest.approx(angle["mean"], rel=1e-4)


def kitti_poses(recordings: Path):
    """The true poses of the recorded sequence, 3x4 a line."""
    file = recordings / "kitti" / "odometry_sequence" / "KITTI_sequence_1" / "poses.txt"
    poses = np.tile(np.eye(4), (len(np.loadtxt(file)), 1, 1))
    poses[:, :3] = np.loadtxt(file).reshape(-1, 3, 4)
    return list(poses)


def write_tum(path: Path, poses) -> None:
    lines = []
    for number, pose in enumerate(poses):
        values = [number * 0.1, *pose[:3, 3], *quaternion_from_rotation(pose[:3, :3])]
        lines.append(" ".join(f"{value:.9f}" for value in values))
    path.write_text("\n".join(lines) + "\n")


def evo(folder: Path, program: str, *options: str) -> dict[str, float]:
    """Run one of evo's programs (GPL, so never imported) and return the statistics that it prints."""
    command = [str(Path(sys.executable).parent / program), "tum", "reference.txt", "estimate.txt", *options]
    environment = os.environ | {"HOME": str(folder)}
    run = subprocess.run(
        [*command, "--no_warnings"], cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    return {name: float(value) for name, value in re.findall(r"^\s*(\w+)\s+([\d.]+)$", run.stdout, re.MULTILINE)}
