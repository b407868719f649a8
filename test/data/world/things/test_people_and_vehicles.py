# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""People, cyclists and vehicles: what they measure, and that their parts stay together as they move."""

from pathlib import Path

import numpy as np
import pytest

from mtl_perception.core.labels import LabelSpace
from mtl_perception.data.world.paths import upright
from mtl_perception.data.world.rendering.light import street_light, street_sensor
from mtl_perception.data.world.scene import Scene, posed
from mtl_perception.data.world.things import people, vehicles


@pytest.fixture
def scene() -> Scene:
    generator = np.random.default_rng(0)
    labels = LabelSpace.load(Path(__file__).parents[4] / "config/labels/default.yaml")
    return Scene(labels, street_light(generator), street_sensor(generator))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "make, length, width, height",
    [
        (vehicles.car, (3.5, 5.2), (1.5, 2.0), (1.2, 2.3)),
        (vehicles.lorry, (5.4, 9.7), (2.1, 2.7), (2.6, 3.7)),
        (vehicles.bus, (8.9, 12.2), (2.2, 2.7), (2.8, 3.4)),
        (vehicles.bicycle, (1.5, 2.0), (0.4, 0.7), (0.9, 1.2)),
    ],
)
def test_vehicles_have_the_size_of_real_ones_and_stand_on_the_ground(scene, make, length, width, height, seed) -> None:
    mesh = make(scene, np.random.default_rng(seed))
    low, high = mesh.corners.min(axis=(0, 1)), mesh.corners.max(axis=(0, 1))
    for size, (least, most) in zip(high - low, (length, width, height), strict=True):
        assert least < size < most
    assert low[2] == pytest.approx(0.0, abs=0.03)
    assert abs(low[0] + high[0]) < 0.3 and abs(low[1] + high[1]) < 0.1, "the origin is below the middle"


def test_a_bus_is_longer_than_a_lorry(scene) -> None:
    lorries, buses = (
        [np.ptp(make(scene, np.random.default_rng(seed)).corners[..., 0]) for seed in range(12)]
        for make in (vehicles.lorry, vehicles.bus)
    )
    assert min(lorries) < 8.0 and np.mean(lorries) + 1.0 < np.mean(buses) and max(buses) > 9.8


@pytest.mark.parametrize("way", np.linspace(0.0, 1.5, 7))
@pytest.mark.parametrize("speed", [0.0, 0.5, 1.4])
def test_who_walks_keeps_a_foot_on_the_ground_and_none_below(scene, way: float, speed: float) -> None:
    mesh, height = people.person(scene, np.random.default_rng(3))
    body = posed(mesh, people.walking_pose(height, way, speed, upright((2.0, 1.0, 0.12), 0.7)))
    assert -0.06 < body.corners[..., 2].min() - 0.12 < 0.13
    assert body.corners[..., 2].max() == pytest.approx(0.12 + height, abs=0.16)


def test_legs_swing_with_the_way_and_rest_when_standing() -> None:
    body = np.eye(4)
    half = 0.85 * 1.7 / 2
    there, back = (people.walking_pose(1.7, way, 1.4, body)[1, 0, 2] for way in (half / 2, 1.5 * half))
    assert there == pytest.approx(-back) and abs(there) > 0.3
    standing = people.walking_pose(1.7, half / 2, 0.0, body)
    assert np.allclose(standing[:, :3, :3], np.eye(3))


@pytest.mark.parametrize(
    "poses",
    [
        people.walking_pose(1.7, 0.3, 1.4, upright((1, 2, 0), 0.4)),
        people.standing_pose(1.7, 0.1, upright((1, 2, 0), 0.4)),
        people.sitting_pose(1.7, 0.45, upright((1, 2, 0), 0.4)),
        people.riding_pose(1.7, 1.1, upright((1, 2, 0), 0.4)),
    ],
    ids=["walking", "standing", "sitting", "riding"],
)
def test_shins_hang_on_the_ends_of_thighs(poses) -> None:
    for thigh, shin in ((1, 5), (2, 6)):
        knee = poses[thigh] @ [0.0, 0.0, -(0.50 - 0.255) * 1.7, 1.0]
        assert poses[shin][:3, 3] == pytest.approx(knee[:3], abs=1e-9)


def test_poses_are_rigid_and_change_smoothly() -> None:
    body = np.eye(4)
    for make in (
        lambda t: people.walking_pose(1.7, 1.3 * t, 1.3, body),
        lambda t: people.riding_pose(1.7, 5 * t, body),
    ):
        steps = np.stack([make(t) for t in np.arange(0.0, 3.0, 0.01)])
        rotations = steps[..., :3, :3]
        assert np.allclose(rotations @ rotations.transpose(0, 1, 3, 2), np.eye(3))
        assert np.abs(np.diff(steps, n=2, axis=0)).max() < 0.02, "no jerk from one hundredth of a second to the next"


def test_a_cyclist_sits_on_the_saddle_with_a_foot_on_each_pedal(scene) -> None:
    for turn in np.linspace(0.0, 2 * np.pi, 9):
        poses = people.riding_pose(1.75, turn, np.eye(4))
        ankles = [poses[shin] @ [0.0, 0.0, -0.255 * 1.75, 1.0] for shin in (5, 6)]
        crank = np.array([-0.05, 0.37])
        for ankle in ankles:
            assert np.hypot(*(ankle[[0, 2]] - crank)) == pytest.approx(0.15, abs=0.02)
        assert np.allclose(ankles[0][[0, 2]] + ankles[1][[0, 2]], 2 * crank, atol=0.03), "pedals are opposite"
    mesh, _ = people.cyclist(scene, np.random.default_rng(1))
    assert set(np.unique(mesh.part)) == set(range(8))


def test_who_sits_has_the_feet_at_the_ground_and_the_seat_below() -> None:
    poses = people.sitting_pose(1.7, 0.45, np.eye(4))
    sole = poses[5] @ [0.0, 0.0, -0.255 * 1.7, 1.0]
    assert sole[2] == pytest.approx(0.04, abs=0.08)
    assert poses[1][2, 3] == pytest.approx(0.53)


def test_walker_follows_its_body() -> None:
    poses = people.walker(1.8, lambda t: upright((1.2 * t, 0.0, 0.0), 0.0), lambda t: 1.2 * t)
    assert poses(2.0)[0, :3, 3] == pytest.approx([2.4, 0.0, 0.0])
    assert np.allclose(poses(2.0), people.walking_pose(1.8, 2.4, 1.2, upright((2.4, 0, 0), 0.0)))
