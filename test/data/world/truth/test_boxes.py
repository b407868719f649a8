# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Boxes hold what they are around, at every time, and tell how it moves."""

from pathlib import Path

import numpy as np
import pytest

from mtl_perception.core import LabelSpace
from mtl_perception.core.transforms import inverse, transform_points
from mtl_perception.data.world import shapes
from mtl_perception.data.world.paths import upright
from mtl_perception.data.world.scene import Light, Scene, Sensor, merged, pose, posed
from mtl_perception.data.world.truth.boxes import BoxTruth

LABELS = LabelSpace.load(Path(__file__).parents[4] / "config" / "labels" / "default.yaml")
CAR = shapes.box((4.0, 1.8, 1.5), (0.4, 0.0, 0.75), 0)
BASE = upright((1.0, 2.0, 0.0), 0.7, 0.01, -0.02)


def empty_scene() -> Scene:
    return Scene(LABELS, Light((0, 0, 1), True, (1, 1, 1), (1, 1, 1)), Sensor(1, (1, 1, 1), 0, 0.1, 0, 1))


def body(seconds: float) -> np.ndarray:
    """A car's body on a circle of 20 m about the origin at 0.4 rad/s."""
    return upright((20 * np.cos(0.4 * seconds), 20 * np.sin(0.4 * seconds), 0.0), 0.4 * seconds + np.pi / 2)


def walking(seconds: float) -> np.ndarray:
    """A trunk with a leg hinged one metre up, which swings for the time from 3 to 9 s only."""
    trunk = upright((seconds, 5.0, 0.0), 0.2)
    swing = 0.5 * np.sin(np.pi / 6 * (seconds - 3)) ** 2 * np.sin(9.0 * seconds) if 3 < seconds < 9 else 0.0
    return np.stack([trunk, trunk @ upright((0.0, 0.1, 1.0), 0.0, swing)])


def test_box_of_a_parked_car_in_the_base_frame() -> None:
    scene = empty_scene()
    world_from_car = upright((8.0, -3.0, 0.0), 1.1)
    scene.add(CAR, "car", world_from_car)
    (box,) = BoxTruth(scene).boxes(BASE, 3.0)
    assert (box.label, box.track, box.score) == ("car", "1", 1.0)
    assert box.size == pytest.approx((4.0, 1.8, 1.5), abs=0.01)
    expected = inverse(BASE) @ world_from_car
    assert box.frame_from_box[:3, :3] == pytest.approx(expected[:3, :3])
    assert box.frame_from_box[:3, 3] == pytest.approx((expected @ [0.4, 0, 0.75, 1])[:3])
    assert box.velocity is not None and (box.velocity == 0).all()


def test_a_scaled_thing_has_a_box_of_its_true_size() -> None:
    scene = empty_scene()
    scene.add(CAR, "car", pose(3.0, 0.0, 0.1, 0.5, 1.5))
    (box,) = BoxTruth(scene).boxes(np.eye(4), 0.0)
    assert box.size == pytest.approx((6.0, 2.7, 2.25), abs=0.01)
    assert np.linalg.det(box.frame_from_box[:3, :3]) == pytest.approx(1.0)
    assert box.frame_from_box[2, 3] == pytest.approx(0.1 + 1.125, abs=1e-3)


@pytest.mark.parametrize("seconds", [0.0, 3.7, 19.9])
def test_velocity_is_the_derivative_of_the_centre_in_base_axes(seconds: float) -> None:
    scene = empty_scene()
    scene.add_actor(CAR, "car", lambda t: body(t)[None])
    (box,) = BoxTruth(scene).boxes(BASE, seconds)
    lever = 0.4 * body(seconds)[:3, 1]  # the centre is 0.4 m before the body's origin
    expected = 0.4 * 20 * body(seconds)[:3, 0] + 0.4 * lever
    assert box.velocity == pytest.approx(BASE[:3, :3].T @ expected, abs=1e-4)
    assert np.linalg.norm(box.velocity) == pytest.approx(np.hypot(8.0, 0.16), abs=1e-4)


def test_box_of_a_walking_person_holds_every_limb_at_every_time_and_is_not_much_larger() -> None:
    scene = empty_scene()
    trunk = shapes.box((0.3, 0.4, 0.8), (0, 0, 1.4), 0)
    leg = shapes.box((0.25, 0.15, 1.0), (0.05, 0, -0.5), 0).as_part(1)
    mesh = merged([trunk, leg])
    scene.add_actor(mesh, "pedestrian", walking)
    truth = BoxTruth(scene)
    sizes, low, high = set(), np.full(3, np.inf), np.full(3, -np.inf)
    for seconds in np.random.default_rng(0).uniform(-2, 22, 300):
        (box,) = truth.boxes(BASE, float(seconds))
        points = posed(mesh, walking(float(seconds))).corners.reshape(-1, 3)
        inside = transform_points(inverse(BASE @ box.frame_from_box), points)
        assert (np.abs(inside) <= np.array(box.size) / 2).all()
        low, high = np.minimum(low, inside.min(axis=0)), np.maximum(high, inside.max(axis=0))
        sizes.add(box.size)
    (size,) = sizes
    assert (np.array(size) - (high - low) < 0.05).all(), "no larger than the swing asks for"
    assert size[0] > 0.9, "the swing is in it"


def test_only_what_is_near_and_to_be_detected_has_a_box() -> None:
    scene = empty_scene()
    for x in (5.0, 50.0, 70.0):
        scene.add(CAR, "car", upright((x, 0, 0), 0.0))
        scene.add_actor(CAR, "truck", lambda t, x=x: upright((x + 5 * t, 5, 0), 0.0)[None])
    scene.add(shapes.cylinder((0, 0, 0), (0, 0, 4), 0.1, 0), "pole", upright((3, 0, 0), 0.0))
    truth = BoxTruth(scene)
    tracks = {seconds: {b.track for b in truth.boxes(np.eye(4), seconds)} for seconds in (0.0, 4.0, 1.0, 0.0)}
    assert tracks == {0.0: {"1", "3", "2", "4"}, 4.0: {"1", "3", "2"}, 1.0: {"1", "3", "2", "4"}}
    assert {b.track for b in truth.boxes(np.eye(4), 0.0, range_m=30.0)} == {"1", "2"}
    assert len({b.track for b in truth.boxes(np.eye(4), 0.0)}) == 4


def test_answers_do_not_depend_on_what_was_asked_before() -> None:
    def made() -> BoxTruth:
        scene = empty_scene()
        scene.add_actor(CAR, "car", lambda t: body(t)[None])
        scene.add_actor(CAR, "truck", lambda t: upright((-200 + 40 * t, 0, 0), 0.0)[None])
        return BoxTruth(scene)

    used = made()
    for seconds in (19.0, 0.0, 7.0, 4.0):
        used.boxes(np.eye(4), seconds)
    for seconds in (4.0, 5.0, 6.0):
        fresh, again = made().boxes(np.eye(4), seconds), used.boxes(np.eye(4), seconds)
        assert [b.track for b in fresh] == [b.track for b in again]
        assert all(np.array_equal(a.frame_from_box, b.frame_from_box) for a, b in zip(fresh, again, strict=True))
    assert {len(made().boxes(np.eye(4), t)) for t in (0.0, 5.0)} == {1, 2}, "one comes near"
