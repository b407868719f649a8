# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which poses are believed: motion passes, glitches and jumps do not."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mtl_perception.mapping import MapperConfig
from mtl_perception.mapping.poses.pose_gate import PoseGate
from mtl_perception.mapping.poses.trajectory import Trajectory

PERIOD_NS = 10**8


def pose(x: float, y: float = 0.0, yaw: float = 0.0) -> np.ndarray:
    result = np.eye(4)
    result[:3, :3] = Rotation.from_euler("z", yaw, degrees=True).as_matrix()
    result[:2, 3] = x, y
    return result


def checked(gate: PoseGate, poses, first: int = 0, period_ns: int = PERIOD_NS):
    return [gate.check((first + number) * period_ns, each) for number, each in enumerate(poses)]


@pytest.fixture
def gate() -> PoseGate:
    return PoseGate(MapperConfig())


def test_a_car_that_starts_fast_brakes_and_turns_is_believed(gate):
    speed = np.concatenate([np.full(20, 30.0), np.linspace(30, 5, 35), np.full(20, 5.0)])
    yaw = np.concatenate([np.zeros(55), np.cumsum(np.full(20, 3.0))])
    steps = np.stack([speed * np.cos(np.deg2rad(yaw)), speed * np.sin(np.deg2rad(yaw))], axis=1) * 0.1
    way = [pose(x, y, a) for (x, y), a in zip(np.cumsum(steps, axis=0), yaw, strict=True)]
    assert checked(gate, way) == [None] * len(way)


def test_noise_over_tiny_intervals_makes_no_jump(gate):
    noise = np.random.default_rng(0).normal(0, 0.01, (300, 2))
    stamps = np.sort(np.random.default_rng(1).integers(0, 10**9, 300) // 10**6 * 10**6)
    stamps = np.unique(stamps)
    assert not any(gate.check(int(stamp), pose(*noise[at])) for at, stamp in enumerate(stamps))


def test_a_glitch_is_refused_and_the_way_goes_on(gate):
    way = [pose(0.1 * number) for number in range(10)]
    way[5] = pose(2.5)
    jumps = checked(gate, way)
    assert [number for number, jump in enumerate(jumps) if jump] == [5]
    assert jumps[5].reason == "the pose jumped by 2.00 m within 0.10 s" and jumps[5].correction is None


def test_a_turn_on_the_spot_within_a_frame_is_a_jump(gate):
    jumps = checked(gate, [pose(0), pose(0), pose(0, yaw=40)])
    assert jumps[2].reason == "the pose jumped by 40 degrees within 0.10 s"


def test_a_jump_that_lasts_tells_how_the_world_has_moved(gate):
    shift = pose(3.0, -1.0, 30.0)
    checked(gate, [pose(0.1 * number) for number in range(5)])
    jumps = checked(gate, [shift @ pose(0.1 * number) for number in range(5, 20)], first=5)
    assert all(jumps) and all(jump.correction is None for jump in jumps[:10])
    np.testing.assert_allclose(jumps[10].correction, shift, atol=1e-9)
    assert jumps[10].reason == "the pose jumped by 3.03 m within 0.10 s, 1.0 s ago"
    trajectory = Trajectory()
    trajectory.add(0, pose(0))
    gate.correct(trajectory.correction([(0, shift)]))
    assert checked(gate, [shift @ pose(0.1 * number) for number in range(20, 25)], first=20) == [None] * 5


def test_poses_that_keep_jumping_never_last(gate):
    wild = np.random.default_rng(3).uniform(-50, 50, (40, 2))
    jumps = checked(gate, [pose(0), pose(0), *(pose(*at) for at in wild)])
    assert all(jumps[2:5]) and all(jump.correction is None for jump in jumps if jump)


def test_after_a_long_gap_the_robot_may_be_elsewhere(gate):
    assert gate.check(0, pose(0)) is None and gate.check(PERIOD_NS, pose(0.1)) is None
    assert gate.check(4 * 10**9, pose(60.0)) is None
