# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Everybody who moves around the robot's drive: where they are, how they move, and that nobody runs into anybody."""

import time
from pathlib import Path

import numpy as np
import pytest

from mtl_perception.core.labels import LabelSpace
from mtl_perception.data.world.rendering.light import street_light, street_sensor
from mtl_perception.data.world.scene import Scene, posed
from mtl_perception.data.world.street.actors import add_traffic
from mtl_perception.data.world.street.driving import plan_drive
from mtl_perception.data.world.street.roads import KERB_M, plan_street
from mtl_perception.data.world.street.route import FRONT_M, HALF_WIDTH_M, REAR_M

LABELS = LabelSpace.load(Path(__file__).parents[4] / "config/labels/default.yaml")
DURATION_S = 20.0
VEHICLES = {LABELS.id_of("car"), LABELS.id_of("truck")}
CYCLIST, PEDESTRIAN = LABELS.id_of("cyclist"), LABELS.id_of("pedestrian")


def _street(seed: int):
    generator = np.random.default_rng(seed)
    plan = plan_street(generator, DURATION_S)
    drive = plan_drive(plan, generator, DURATION_S)
    scene = Scene(LABELS, street_light(generator), street_sensor(generator))
    add_traffic(scene, plan, drive, generator)
    return plan, drive, scene.actors


@pytest.fixture(scope="module")
def streets():
    return [_street(seed) for seed in range(7)]


@pytest.fixture(scope="module")
def moved(streets):
    """Per street: times, and the bodies' poses over time (actors, times, 4, 4)."""
    times = np.arange(-1.9, DURATION_S + 1.9, 0.1)
    return [(times, np.array([[actor.poses(t)[0] for t in times] for actor in actors])) for _, _, actors in streets]


def test_the_same_seed_gives_the_same_traffic() -> None:
    (_, _, first), (_, _, again) = _street(5), _street(5)
    assert len(first) == len(again)
    for one, other in zip(first, again, strict=True):
        assert (one.poses(3.3) == other.poses(3.3)).all()
        assert (one.mesh.corners == other.mesh.corners).all() and one.label == other.label


def test_streets_are_busy_with_all_kinds(streets) -> None:
    counts = np.array([[sum(a.label == label for a in actors) for label in range(12)] for _, _, actors in streets])
    assert (counts.sum(axis=1) >= 8).all()
    total = counts.sum(axis=0)
    assert total[LABELS.id_of("car")] > 50 and total[PEDESTRIAN] > 80
    assert total[LABELS.id_of("truck")] > 3 and total[CYCLIST] > 3


def test_nobody_is_ever_within_the_robots_box(streets, moved) -> None:
    for (_, drive, actors), (times, _) in zip(streets, moved, strict=True):
        for seconds in times[::5]:
            base_from_world = np.linalg.inv(drive.world_from_base(seconds))
            for actor in actors:
                poses = actor.poses(seconds)
                if np.linalg.norm((base_from_world @ poses[0])[:2, 3]) > 12.0:
                    continue
                x, y, z = (base_from_world @ _corners(actor, poses).T)[:3]
                inside = (x > -REAR_M) & (x < FRONT_M) & (np.abs(y) < HALF_WIDTH_M) & (z < 1.6)
                assert not inside.any()


def test_vehicles_do_not_run_through_each_other(streets, moved) -> None:
    for (_, drive, actors), (times, poses) in zip(streets, moved, strict=True):
        chosen = [index for index, actor in enumerate(actors) if actor.label in VEHICLES]
        robot = np.stack([drive.world_from_base(t)[:2, 3] for t in times])
        outlines = [_outline(actors[index]) for index in chosen]
        for first, (one, outline) in enumerate(zip(chosen, outlines, strict=True)):
            points = (poses[one] @ outline.T).transpose(0, 2, 1)
            for two, other in zip(chosen[first + 1 :], outlines[first + 1 :], strict=True):
                near = np.linalg.norm(poses[one, :, :2, 3] - poses[two, :, :2, 3], axis=1) < 12.0
                near &= np.linalg.norm(poses[one, :, :2, 3] - robot, axis=1) < 120.0
                if not near.any():
                    continue
                local = points[near] @ np.linalg.inv(poses[two, near]).transpose(0, 2, 1)
                reach = np.abs(other[:, :2]).max(axis=0)
                assert not (np.abs(local[..., :2]) < reach).all(axis=-1).any()


def test_everybody_moves_smoothly_in_the_direction_they_face(streets, moved) -> None:
    for (_, _, actors), (times, poses) in zip(streets, moved, strict=True):
        place, step = poses[..., :3, 3], times[1] - times[0]
        velocity = (place[:, 2:] - place[:, :-2]) / (2 * step)
        acceleration = (place[:, 2:] - 2 * place[:, 1:-1] + place[:, :-2]) / step**2
        assert np.abs(acceleration[..., :2]).max() < 5.0
        for actor, moving, forward in zip(actors, velocity, poses[:, 1:-1, :3, 0], strict=True):
            speed = np.linalg.norm(moving[:, :2], axis=1)
            assert speed.max() < (2.2 if actor.label == PEDESTRIAN else 15.0)
            walks = speed > 0.5
            along = np.einsum("ij,ij->i", moving[walks, :2], forward[walks, :2])
            assert (along > 0.93 * speed[walks]).all(), "nobody goes sideways or backward"


def test_positions_and_their_derivative_have_no_steps(streets) -> None:
    step = 1e-4
    for _, _, actors in streets[:3]:
        for actor in actors:
            for seconds in (0.0, 0.1, 3.0, 7.3, 7.4):  # nodes of the actors' courses among them
                before, now, after = (actor.poses(seconds + k * step)[0, :3, 3] for k in (-1, 0, 1))
                assert np.abs(after - 2 * now + before).max() < 40.0 * step**2


def test_people_stand_on_the_ground_and_on_pavements_unless_they_cross(streets, moved) -> None:
    crossing, walking = 0, 0
    for (plan, _, actors), (_, poses) in zip(streets, moved, strict=True):
        main = plan.roads[0]
        s = np.arange(main.start, main.end, 0.5)
        line = main.line.points(s, 0.0)[:, :2]
        for actor, body in zip(actors, poses, strict=True):
            if actor.label != PEDESTRIAN:
                continue
            place = body[::10, :3, 3]
            assert (place[:, 2] > -0.01).all() and (place[:, 2] < KERB_M + 0.01).all()
            away = np.linalg.norm(place[:, None, :2] - line, axis=2)
            nearest = s[away.argmin(axis=1)]
            on_road, on_kerb = away.min(axis=1) < main.half - 0.4, np.abs(place[:, 2] - KERB_M) < 1e-3
            assert not (on_road & on_kerb).any(), "the roadway is low"
            aside = (away.min(axis=1) > main.half + 0.5) & (away.min(axis=1) < main.reach)
            aside &= ~np.array([plan.is_junction(0, place, 1.0) for place in nearest])
            assert on_kerb[aside].all(), "pavements are high"
            crossing, walking = crossing + int(on_road.sum()), walking + int(aside.sum())
    assert walking > 500 and 10 < crossing < walking / 3


def test_vehicles_keep_to_their_side_of_the_road(streets, moved) -> None:
    checked = 0
    for (plan, _, actors), (_, poses) in zip(streets, moved, strict=True):
        main = plan.roads[0]
        s = np.arange(main.start, main.end, 0.5)
        line, heading = main.line.points(s, 0.0)[:, :2], main.line.heading(s)
        for actor, body in zip(actors, poses, strict=True):
            if actor.label not in VEHICLES or np.ptp(body[:, :2, 3], axis=0).max() < 5.0:
                continue
            away = body[::10, None, :2, 3] - line
            index = np.linalg.norm(away, axis=2).argmin(axis=1)
            on_main = ~np.array([plan.is_junction(0, place, 3.0) for place in s[index]])
            turned = heading[index]
            d = np.einsum(
                "ij,ij->i", away[np.arange(len(index)), index], np.stack([-np.sin(turned), np.cos(turned)], 1)
            )
            direction = np.einsum("ij,ij->i", body[::10, :2, 0], np.stack([np.cos(turned), np.sin(turned)], 1))
            on_main &= (np.abs(d) < main.half) & (np.abs(direction) > 0.99)
            wrong = (d * direction * plan.side)[on_main] > 0
            checked += int(on_main.sum())
            assert wrong.mean() < 0.9 if on_main.any() else True, "who passes an obstacle comes back"
    assert checked > 500


def test_in_a_jam_there_is_somebody_close_ahead_who_stands_when_the_robot_does() -> None:
    found = 0
    for seed in range(40):
        generator = np.random.default_rng(seed)
        plan = plan_street(generator, DURATION_S)
        drive = plan_drive(plan, generator, DURATION_S)
        if not drive.jams or drive.jams[0][0] > 10.0 or drive.jams[0][1] < 12.0 or not drive.is_free_running:
            continue
        scene = Scene(LABELS, street_light(generator), street_sensor(generator))
        add_traffic(scene, plan, drive, generator)
        base_from_world = np.linalg.inv(drive.world_from_base(11.0))
        places = np.array(
            [(base_from_world @ actor.poses(11.0)[0])[:2, 3] for actor in scene.actors if actor.label in VEHICLES]
        )
        assert ((places[:, 0] > 4.0) & (places[:, 0] < 25.0) & (np.abs(places[:, 1]) < 2.0)).any()
        found += 1
        if found == 2:
            return
    raise AssertionError("no two jams in 40 seeds")


def test_posing_everybody_takes_little_time(streets) -> None:
    for _, _, actors in streets[:4]:
        started = time.process_time()
        for seconds in np.linspace(0.0, DURATION_S, 10):
            for actor in actors:
                actor.poses(seconds)
        assert (time.process_time() - started) / 10 < 3e-3


def _corners(actor, poses):
    corners = posed(actor.mesh, poses).corners.reshape(-1, 3)
    return np.concatenate([corners, np.ones((len(corners), 1))], axis=1)


def _outline(actor):
    """Points around and across a vehicle's footprint, a little smaller than it, homogeneous (N, 4)."""
    low, high = actor.mesh.corners.min(axis=(0, 1))[:2] * 0.97, actor.mesh.corners.max(axis=(0, 1))[:2] * 0.97
    x, y = np.meshgrid(np.linspace(low[0], high[0], 9), np.linspace(low[1], high[1], 4))
    return np.stack([x.ravel(), y.ravel(), 0 * x.ravel(), 1 + 0 * x.ravel()], axis=1)
