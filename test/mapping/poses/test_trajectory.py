# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The robot's poses: thinned, found again, corrected."""

import numpy as np
import pytest

from mtl_perception.mapping import MapFormatError, MappingError
from mtl_perception.mapping.poses.trajectory import Trajectory

HZ = 10
STEP_NS = 10**9 // HZ


def pose_at(x, y, yaw=0.0):
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    pose[:2, 3] = x, y
    return pose


def drive():
    """A minute: ahead, a stop, a curve, a stop for half a minute, slowly ahead."""
    speed = np.concatenate([np.full(80, 1.0), np.zeros(40), np.full(120, 0.8), np.zeros(300), np.full(60, 0.1)])
    turn = np.concatenate([np.zeros(120), np.full(120, np.pi / 12), np.zeros(360)])
    yaw = np.cumsum(turn) / HZ
    x, y = np.cumsum(speed * np.cos(yaw)) / HZ, np.cumsum(speed * np.sin(yaw)) / HZ
    return [(at * STEP_NS + 5, pose_at(*values)) for at, values in enumerate(zip(x, y, yaw, strict=True))]


def trajectory_of(poses, **settings):
    trajectory = Trajectory(**settings)
    for stamp_ns, pose in poses:
        trajectory.add(stamp_ns, pose)
    return trajectory


def corrected(trajectory, poses):
    """Correct a trajectory; return what that does to its keyframes."""
    correction = trajectory.correction(poses)
    transforms = correction.at(trajectory.stamps_ns)
    trajectory.correct(correction)
    return transforms


def apart(one, other):
    """Metres and degrees between two poses."""
    cosine = (np.trace(one[:3, :3].T @ other[:3, :3]) - 1) / 2
    return np.linalg.norm(one[:3, 3] - other[:3, 3]), np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))


def test_few_poses_are_kept_and_all_are_found_again():
    poses = drive()
    trajectory = trajectory_of(poses)
    assert len(trajectory) < 60  # of 600; 18 m at 0.5 m are 36
    errors = np.array([apart(trajectory.at(stamp_ns), pose) for stamp_ns, pose in poses])
    assert errors[:, 0].max() <= 0.05 + 1e-9
    assert errors[:, 1].max() <= 2.0
    assert np.allclose(trajectory.at(poses[-1][0]), poses[-1][1])


def test_keyframes_are_as_far_apart_as_was_asked_for():
    straight = [(at * STEP_NS, pose_at(0.1 * at, 0)) for at in range(101)]
    trajectory = trajectory_of(straight, distance=2.0)
    assert trajectory.poses[:, 0, 3] == pytest.approx([0, 2, 4, 6, 8, 10])
    assert trajectory.stamps_ns.tolist() == [20 * number * STEP_NS for number in range(6)]
    turning = [(at * STEP_NS, pose_at(0, 0, np.deg2rad(at))) for at in range(91)]
    assert len(trajectory_of(turning, angle=np.deg2rad(29.5))) == 4


def test_a_robot_that_stands_needs_no_memory():
    rng = np.random.default_rng(0)
    trajectory = trajectory_of([(at * STEP_NS, pose_at(*rng.normal(0, 0.005, 2))) for at in range(1000)])
    assert len(trajectory) == 1
    assert sum(array.size for array in trajectory.state().values()) < 17 * (16 + 1) + 20


def test_poses_outside_of_the_known_time_are_refused():
    trajectory = Trajectory()
    with pytest.raises(ValueError, match="poses are known at no stamp, not from 3"):
        trajectory.at(3)
    trajectory.add(10, np.eye(4))
    assert np.array_equal(trajectory.at(10), np.eye(4))
    with pytest.raises(ValueError, match="poses are known from 10 to 10 ns, not from 11 to 11"):
        trajectory.at(11)


def test_frames_out_of_order_and_broken_poses_are_refused():
    trajectory = trajectory_of([(10, np.eye(4)), (20, pose_at(0.1, 0))])
    with pytest.raises(MappingError, match="pose of 20 ns is not later than the one before, of 20 ns"):
        trajectory.add(20, np.eye(4))
    with pytest.raises(MappingError, match="pose of 30 ns is not finite"):
        trajectory.add(30, np.full((4, 4), np.nan))
    assert np.array_equal(trajectory.at(20), pose_at(0.1, 0))


def test_a_correction_of_all_poses_alike_moves_the_whole():
    poses = drive()
    trajectory = trajectory_of(poses)
    before = trajectory.poses
    world = pose_at(300, -20, 2.0)  # not small, and far away
    corrections = corrected(trajectory, [(stamp_ns, world @ pose) for stamp_ns, pose in (poses[0], poses[-1])])
    assert corrections == pytest.approx(np.broadcast_to(world, before.shape), abs=1e-9)
    assert trajectory.poses == pytest.approx(world @ before, abs=1e-9)
    errors = np.array([apart(trajectory.at(stamp_ns), world @ pose) for stamp_ns, pose in poses])
    assert errors[:, 0].max() <= 0.05 + 1e-9


def test_drift_that_grows_is_taken_back_in_proportion_wherever_the_origin_is():
    origin = pose_at(5000, -3000)
    true = [(stamp_ns, origin @ pose) for stamp_ns, pose in drive()]
    drifted, position = [], true[0][1][:3, 3].copy()
    for at, (stamp_ns, pose) in enumerate(true):  # the heading drifts by 6 degrees in a minute
        turn = pose_at(0, 0, np.deg2rad(0.01 * at))
        if at:
            position = position + turn[:3, :3] @ (pose[:3, 3] - true[at - 1][1][:3, 3])
        wrong = turn @ pose
        wrong[:3, 3] = position
        drifted.append((stamp_ns, wrong))
    trajectory = trajectory_of(drifted)
    before = trajectory.poses
    corrections = corrected(trajectory, true[::60])
    assert corrections @ before == pytest.approx(trajectory.poses, abs=1e-6)
    errors = np.array([apart(trajectory.at(stamp_ns), pose) for stamp_ns, pose in true[:-1]])
    assert errors[:541, 0].max() < 0.08  # thinning alone gives 0.05
    assert errors[:, 1].max() < 2.0
    at_keyframes = [apart(trajectory.at(stamp_ns), pose)[0] for stamp_ns, pose in true[::60]]
    assert max(at_keyframes) < 0.06


def test_before_and_after_the_corrected_poses_their_corrections_hold():
    trajectory = trajectory_of([(at * STEP_NS, pose_at(0.1 * at, 0)) for at in range(101)])
    north, ahead = pose_at(0, 1), pose_at(2, 0)
    new = [(40 * STEP_NS, north @ pose_at(4, 0)), (60 * STEP_NS, ahead @ pose_at(6, 0)), (10**12, np.eye(4))]
    corrections = corrected(trajectory, new)
    stamps = trajectory.stamps_ns
    assert corrections[stamps <= 40 * STEP_NS] == pytest.approx(np.broadcast_to(north, (9, 4, 4)))
    assert corrections[stamps >= 60 * STEP_NS] == pytest.approx(np.broadcast_to(ahead, (9, 4, 4)))
    assert corrections[10] == pytest.approx(pose_at(1, 0.5))  # half way


def test_a_trajectory_goes_on_from_its_corrected_poses():
    trajectory = trajectory_of([(at * STEP_NS, pose_at(0.1 * at, 0)) for at in range(53)])
    corrected(trajectory, [(50 * STEP_NS, pose_at(5, 3))])
    assert trajectory.at(52 * STEP_NS) == pytest.approx(pose_at(5.2, 3))
    trajectory.add(53 * STEP_NS, pose_at(5.3, 3))
    assert trajectory.at(53 * STEP_NS) == pytest.approx(pose_at(5.3, 3))


@pytest.mark.parametrize(
    ("poses", "text"),
    [
        ([], "none of 0 corrected poses is within the trajectory"),
        ([(10**15, np.eye(4))], "none of 1 corrected poses is within"),
        ([(20, np.eye(4)), (20, np.eye(4))], "do not increase"),
        ([(20, np.full((4, 4), np.nan))], "are not finite"),
    ],
)
def test_corrections_that_make_no_sense_are_refused(poses, text):
    trajectory = trajectory_of(drive()[:20])
    before = trajectory.poses
    with pytest.raises(ValueError, match=text):
        corrected(trajectory, poses)
    assert np.array_equal(trajectory.poses, before)
    with pytest.raises(ValueError, match="corrected poses"):
        corrected(Trajectory(), poses)


def test_the_way_is_measured_along_the_trajectory():
    trajectory = trajectory_of([(at * STEP_NS, pose_at(0.1 * at, 0)) for at in range(101)])
    assert trajectory.stamp_before(2.05) == 75 * STEP_NS  # at 7.5 m of 10 m
    assert trajectory.stamp_before(10.1) is None
    assert Trajectory().stamp_before(0.1) is None
    trajectory.correct(trajectory.correction([(0, pose_at(0, 0)), (100 * STEP_NS, pose_at(20, 0))]))
    assert trajectory.stamp_before(4.1) == 75 * STEP_NS
    assert trajectory.settled_ns == 100 * STEP_NS


@pytest.mark.parametrize("saved_after", [1, 95, 400])
def test_saving_loading_and_continuing_equals_never_having_stopped(saved_after):
    poses = drive()
    trajectory, other = trajectory_of(poses[:saved_after]), trajectory_of(drive()[:33])
    other.restore(trajectory.state())
    for stamp_ns, pose in poses[saved_after:]:
        trajectory.add(stamp_ns, pose)
        other.add(stamp_ns, pose)
    for name, array in trajectory.state().items():
        assert np.array_equal(array, other.state()[name]), name


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("poses", lambda poses: poses[1:]),
        ("poses", lambda poses: poses.astype(np.float32)),
        ("poses", lambda poses: poses * np.nan),
        ("stamps_ns", lambda stamps: stamps[::-1]),
        ("recent", lambda poses: poses[:, :3]),
        ("thinning", lambda thinning: thinning * 0),
    ],
)
def test_a_state_that_contradicts_itself_is_refused(name, change):
    trajectory = trajectory_of(drive()[:90])
    state = trajectory.state()
    with pytest.raises(MapFormatError, match="trajectory"):
        Trajectory().restore(state | {name: change(state[name])})
    with pytest.raises(MapFormatError, match=f"trajectory: {name} is missing"):
        Trajectory().restore({other: array for other, array in state.items() if other != name})
