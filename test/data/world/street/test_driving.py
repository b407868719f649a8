# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The robot's drive: dynamics, steering, labels and where it goes, over many seeds."""

from collections import Counter

import numpy as np
import pytest

from mtl_perception.core.scene_classes import TRAFFIC_CONTEXTS, VEHICLE_BEHAVIOURS
from mtl_perception.data.world.street.driving import WHEELBASE_M, plan_drive
from mtl_perception.data.world.street.roads import plan_street
from mtl_perception.data.world.street.route import FRONT_M, HALF_WIDTH_M, REAR_M

DURATION_S = 20.0
STEP_S = 0.02
SEEDS = range(60)


def _drawn(seed: int, duration_s: float = DURATION_S):
    generator = np.random.default_rng(seed)
    plan = plan_street(generator, duration_s)
    return plan, plan_drive(plan, generator, duration_s)


@pytest.fixture(scope="module")
def drawn():
    return [_drawn(seed) for seed in SEEDS]


@pytest.fixture(scope="module")
def moving(drawn):
    """Per drive: times, x, y, yaw (not wound), speed and steering, from before the drive to after it."""
    times = np.arange(-2.0, DURATION_S + 2.0, STEP_S)
    rows = []
    for _, drive in drawn[::2]:
        poses = np.stack([drive.world_from_base(t) for t in times])
        yaw = np.unwrap(np.arctan2(poses[:, 1, 0], poses[:, 0, 0]))
        speed, steering = (np.array([f(t) for t in times]) for f in (drive.speed, drive.steering))
        rows.append((times, poses, yaw, speed, steering))
    return rows


def test_the_same_seed_gives_the_same_drive_and_others_differ() -> None:
    (_, first), (_, again), (_, other) = _drawn(3), _drawn(3), _drawn(4)
    assert (first.world_from_base(7.3) == again.world_from_base(7.3)).all()
    assert not np.allclose(first.world_from_base(7.3), other.world_from_base(7.3), atol=0.1)
    assert first.taken_bays == again.taken_bays


def test_the_robot_is_on_the_road_plane_and_upright_but_for_a_nod(moving) -> None:
    for _, poses, _, _, _ in moving:
        assert (poses[:, 2, 3] == 0.0).all()
        assert (poses[:, 2, 2] > np.cos(np.deg2rad(1.2))).all()


def test_speed_is_that_of_the_pose_and_the_heading_is_the_paths_tangent(moving) -> None:
    for _, poses, yaw, speed, _ in moving:
        velocity = (poses[2:, :2, 3] - poses[:-2, :2, 3]) / (2 * STEP_S)
        ahead = np.stack([np.cos(yaw), np.sin(yaw)], axis=1)[1:-1]
        assert np.abs(velocity - speed[1:-1, None] * ahead).max() < 0.02


def test_accelerations_and_jerk_are_those_of_a_careful_driver(moving) -> None:
    for _, _, yaw, speed, _ in moving:
        acceleration = np.gradient(speed, STEP_S)
        assert np.abs(acceleration).max() < 2.5
        assert np.abs(np.gradient(acceleration, STEP_S)).max() < 6.0
        assert np.abs(speed * np.gradient(yaw, STEP_S)).max() < 3.0
        assert speed.max() < 14.0 and speed.min() > -2.0


def test_steering_is_that_of_a_bicycle_on_the_driven_path_also_in_reverse(moving) -> None:
    reversed_turning = 0
    for _, _, yaw, speed, steering in moving:
        rolling = np.abs(speed) > 0.3
        rate = np.gradient(yaw, STEP_S)
        curvature = rate[rolling] / speed[rolling]
        assert np.abs(np.tan(steering[rolling]) - WHEELBASE_M * curvature).max() < 0.01
        assert np.abs(curvature).max() < 0.2
        assert np.abs(np.gradient(steering, STEP_S)).max() < 0.8, "hands at the wheel have a limit"
        reversed_turning += int(((speed < -0.3) & (np.abs(steering) > 0.2)).sum())
    assert reversed_turning > 50, "there was steering in reverse to look at"


def test_labels_say_what_the_motion_is(drawn) -> None:
    times = np.arange(0.0, DURATION_S, 0.1)
    turned = Counter()
    for _, drive in drawn:
        behaviour = [drive.vehicle_behaviour(t) for t in times]
        context = [drive.traffic_context(t) for t in times]
        speed = np.array([drive.speed(t) for t in times])
        assert set(behaviour) <= set(VEHICLE_BEHAVIOURS) and set(context) <= set(TRAFFIC_CONTEXTS)
        assert [b == "backward moving" for b in behaviour] == list(speed < -0.05)
        assert all(abs(v) < 0.05 for v, c in zip(speed, context, strict=True) if c == "waiting")
        jammed = np.abs(speed[[c == "traffic jam" for c in context]])
        assert len(jammed) < 60 or jammed.mean() < 3.0, "a jam is slow"
        yaw = np.unwrap([np.arctan2(*drive.world_from_base(t)[[1, 0], 0]) for t in times])
        for name in ("turning", "changing lane"):
            edges = np.flatnonzero(np.diff(np.array([False, *(b == name for b in behaviour), False], np.int8)))
            for first, last in edges.reshape(-1, 2):
                if first > 5 and last < len(times) - 5:  # seen from its begin to its end
                    turned[name] += 1
                    change = abs(yaw[last - 1] - yaw[first])
                    assert 1.2 < change < 1.8 if name == "turning" else change < 0.35
    assert min(turned.values()) >= 5


def test_every_label_comes_up_often_enough_to_be_learnt(drawn) -> None:
    behaviours, contexts = Counter(), Counter()
    times = np.arange(0.0, DURATION_S, 0.25)
    for _, drive in drawn:
        behaviours.update(drive.vehicle_behaviour(t) for t in times)
        contexts.update(drive.traffic_context(t) for t in times)
    frames = len(times) * len(drawn)
    for name in VEHICLE_BEHAVIOURS:
        assert behaviours[name] / frames > (0.02 if name == "backward moving" else 0.05), name
    for name in TRAFFIC_CONTEXTS:
        assert contexts[name] / frames > 0.05, name


def test_the_robot_stays_on_the_roadways(drawn) -> None:
    box = np.array([[x, y, 0.0, 1.0] for x in (-REAR_M, 1.4, FRONT_M) for y in (-HALF_WIDTH_M, HALF_WIDTH_M)])
    for seed, (plan, drive) in zip(SEEDS, drawn, strict=True):
        poses = np.stack([drive.world_from_base(t) for t in np.arange(-2.0, DURATION_S + 2.0, 0.25)])
        corners = (poses @ box.T).transpose(0, 2, 1)[..., :2].reshape(-1, 2)
        assert _on_roadway(plan, corners).all(), f"seed {seed}"


def test_bays_that_the_robot_touches_are_taken(drawn) -> None:
    grid = [(x, y) for x in np.linspace(-REAR_M, FRONT_M, 12) for y in np.linspace(-HALF_WIDTH_M, HALF_WIDTH_M, 5)]
    box = np.array([[x, y, 0.0, 1.0] for x, y in grid])
    parked = 0
    for plan, drive in drawn:
        poses = np.stack([drive.world_from_base(t) for t in np.arange(-2.0, DURATION_S + 2.0, 0.2)])
        points = (poses @ box.T).transpose(0, 2, 1)[..., :2].reshape(-1, 2)
        for index, bay in enumerate(plan.bays):
            road, (s, d) = plan.roads[bay.road], plan.bay_centre(bay)
            away = points - road.line.points(s, d)[:2]
            heading = float(road.line.heading(s))
            along, across = away @ [np.cos(heading), np.sin(heading)], away @ [-np.sin(heading), np.cos(heading)]
            inside = ((np.abs(along) < bay.length / 2) & (np.abs(across) < road.parking / 2)).any()
            assert not inside or index in drive.taken_bays
            parked += bool(inside)
    assert parked > 10


def test_the_robot_waits_before_crossings_not_on_them(drawn) -> None:
    waits = 0
    for plan, drive in drawn:
        for wait in drive.waits:
            waits += 1
            assert drive.speed((wait.since + wait.until) / 2) == pytest.approx(0.0, abs=0.01)
            front = drive.world_from_base(wait.since) @ [FRONT_M, 0.0, 0.0, 1.0]
            for crossing in plan.crossings:
                middle = plan.roads[crossing.road].line.points(crossing.s, 0.0)[:2]
                if np.linalg.norm(middle - front[:2]) < 12.0 and crossing.road == wait.road:
                    heading = float(plan.roads[crossing.road].line.heading(crossing.s))
                    along = (front[:2] - middle) @ [np.cos(heading), np.sin(heading)]
                    assert abs(along) > crossing.half_width
    assert waits > 10


@pytest.mark.parametrize("duration_s", [4.0, 60.0])
def test_drives_of_other_lengths_go_on_smoothly(duration_s: float) -> None:
    for seed in range(4):
        plan, drive = _drawn(seed, duration_s)
        times = np.arange(-2.0, duration_s + 2.0, 0.05)
        places = np.stack([drive.world_from_base(t)[:2, 3] for t in times])
        assert np.linalg.norm(np.diff(places, n=2, axis=0), axis=1).max() < 3.5 * 0.05**2
        assert _on_roadway(plan, places).all()


def test_the_drive_begins_at_the_origin_along_x(drawn) -> None:
    for _, drive in drawn:
        pose = drive.world_from_base(0.0)
        assert abs(pose[0, 3]) < 8.0 and abs(pose[1, 3]) < 16.0 and pose[0, 0] > 0.9


def _on_roadway(plan, points):
    """Whether points (N, 2) are on a roadway, the rounded corners of junctions included."""
    result = np.zeros(len(points), bool)
    for road in plan.roads:
        s = np.arange(road.start, road.end, 0.5)
        line = road.line.points(s, 0.0)[:, :2]
        close = np.concatenate(
            [np.linalg.norm(part[:, None] - line, axis=2).min(axis=1) for part in np.array_split(points, 8)]
        )
        result |= close < road.half + 0.02
    main = plan.roads[0]
    for junction in plan.junctions:
        heading = float(main.line.heading(junction.s))
        away = points - main.line.points(junction.s, 0.0)[:2]
        x, y = np.abs(away @ [np.cos(heading), np.sin(heading)]), away @ [-np.sin(heading), np.cos(heading)]
        corner = np.array([plan.roads[junction.other].half, main.half]) + junction.corner
        from_centre = np.hypot(corner[0] - x, corner[1] - np.abs(y))
        within = (x < corner[0]) & (np.abs(y) < corner[1]) & (np.abs(y) > main.half - 0.1)
        result |= within & (from_centre > junction.corner - 0.02) & np.isin(np.sign(y), junction.arms)
    return result
