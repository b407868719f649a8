# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The cabin: what the joints, images and classes say of the driver must agree."""

from pathlib import Path

import numpy as np
import pytest

from mtl_perception.core.labels import LabelSpace
from mtl_perception.core.scene_classes import DRIVER_BEHAVIOURS, DRIVER_EMOTIONS
from mtl_perception.core.transforms import inverse, transform_points
from mtl_perception.data.world.cabin.behaviour import Behaviour
from mtl_perception.data.world.cabin.cabin import DRIVER, FACE, Cabin
from mtl_perception.data.world.cabin.driver import Skeleton

LABELS = LabelSpace.load(Path(__file__).parents[4] / "config/labels/default.yaml")
TIMES = np.arange(0.0, 60.0, 0.2)
LEFT_EAR, RIGHT_EAR, NOSE, LEFT_SHOULDER, LEFT_ELBOW, LEFT_WRIST, RIGHT_WRIST = 3, 4, 0, 5, 7, 9, 10


@pytest.fixture(scope="module")
def cabin() -> Cabin:
    return Cabin(np.random.default_rng(3), LABELS, (96, 72))


@pytest.fixture(scope="module")
def behaviours() -> list[Behaviour]:
    return [Behaviour(np.random.default_rng(seed), 60.0) for seed in range(12)]


def during(behaviours: list[Behaviour], task: str, name: str) -> list[Skeleton]:
    """Return the skeletons of the times at which a class holds, and has held for half a second."""
    return [
        Skeleton(b.state(t))
        for b in behaviours
        for t in TIMES
        if all(b.labels(t + offset)[task] == name for offset in (-0.4, 0.0, 0.4))
    ]


def test_all_classes_come_up(behaviours: list[Behaviour]) -> None:
    labels = [b.labels(t) for b in behaviours for t in TIMES]
    for task, names in (("driver_behaviour", DRIVER_BEHAVIOURS), ("driver_emotion", DRIVER_EMOTIONS)):
        shares = {name: np.mean([label[task] == name for label in labels]) for name in names}
        assert sum(shares.values()) == pytest.approx(1.0)
        assert min(shares.values()) > 0.04, shares


def test_frame_has_two_images_and_the_joints_that_are_seen(cabin: Cabin) -> None:
    frame, labels = cabin.frame(1.0)
    assert set(frame.images) == {DRIVER, FACE} and set(labels) == {"driver_behaviour", "driver_emotion"}
    assert all(image.shape == (72, 96, 3) and image.std() > 10 for image in frame.images.values())
    assert frame.posture is not None and frame.gestures is not None
    seen = np.isfinite(frame.posture).all(axis=1)
    assert seen[[NOSE, LEFT_SHOULDER, LEFT_ELBOW]].all()
    assert not seen[-6:].any(), "the feet are outside the image"
    assert np.array_equal(np.isfinite(frame.posture).any(axis=1), seen), "a joint is seen or it is not"


def test_the_same_seed_gives_the_same_frame_in_any_order(cabin: Cabin) -> None:
    first, labels = cabin.frame(7.3)
    cabin.frame(2.0)
    again, same = Cabin(np.random.default_rng(3), LABELS, (96, 72)).frame(7.3)
    assert labels == same
    assert all(np.array_equal(first.images[name], again.images[name]) for name in first.images)
    np.testing.assert_array_equal(first.posture, again.posture)


def test_joints_are_metres_in_the_cameras_optical_frame(cabin: Cabin) -> None:
    frame, _ = cabin.frame(1.0)
    assert frame.posture is not None
    camera = cabin._cameras[DRIVER]
    joints = transform_points(inverse(camera.base_from_camera), cabin._skeleton_at(1.0).posture())
    seen = np.isfinite(frame.posture).all(axis=1)
    np.testing.assert_allclose(frame.posture[seen], joints[seen])
    assert (frame.posture[seen, 2] > 0.3).all() and (frame.posture[seen, 2] < 1.6).all()


def test_bones_keep_their_length(behaviours: list[Behaviour]) -> None:
    skeletons = [Skeleton(b.state(t)) for b in behaviours[:4] for t in TIMES]
    arms = np.stack([s.arms for s in skeletons])
    np.testing.assert_allclose(np.linalg.norm(arms[:, :, 1] - arms[:, :, 0], axis=-1), 0.29, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(arms[:, :, 2] - arms[:, :, 1], axis=-1), 0.27, atol=1e-6)
    fingers = np.stack([s.fingers for s in skeletons])
    lengths = np.linalg.norm(np.diff(fingers, axis=-2), axis=-1)
    np.testing.assert_allclose(lengths, np.broadcast_to(lengths[0], lengths.shape), atol=1e-6)


def test_movements_are_smooth(behaviours: list[Behaviour]) -> None:
    step = 0.02
    for behaviour in behaviours[:4]:
        joints = np.stack([Skeleton(behaviour.state(t)).posture() for t in np.arange(0.0, 30.0, step)])
        assert np.linalg.norm(np.diff(joints, axis=0), axis=-1).max() < 3.5 * step, "metres a second"


def test_a_phone_is_at_the_ear(behaviours: list[Behaviour]) -> None:
    for skeleton in during(behaviours, "driver_behaviour", "making phone"):
        joints = skeleton.posture()
        assert skeleton.state.phone == 1.0
        assert np.linalg.norm(skeleton.gestures()[21 + 5] - joints[RIGHT_EAR]) < 0.14, "metres, the index finger's base"


def test_a_cigarette_goes_to_the_mouth_and_away(behaviours: list[Behaviour]) -> None:
    skeletons = during(behaviours, "driver_behaviour", "smoking")
    distances = [np.linalg.norm(s.posture()[NOSE] - s.posture()[RIGHT_WRIST]) for s in skeletons]
    assert min(distances) < 0.2 < 0.35 < max(distances)


def test_who_looks_around_turns_the_head_and_who_dozes_closes_the_eyes(behaviours: list[Behaviour]) -> None:
    def yaws(name: str) -> np.ndarray:
        return np.array([np.arctan2(s.head[1, 0], s.head[0, 0]) for s in during(behaviours, "driver_behaviour", name)])

    assert np.ptp(yaws("looking around")) > 1.5 > 0.5 > np.ptp(yaws("normal driving"))
    assert all(s.state.eyelids > 0.9 for s in during(behaviours, "driver_behaviour", "dozing off"))
    awake = during(behaviours, "driver_behaviour", "normal driving")
    assert all(s.state.eyelids < 0.8 for s in awake)


def test_hands_of_a_normal_driver_are_at_the_wheel(behaviours: list[Behaviour]) -> None:
    for skeleton in during(behaviours, "driver_behaviour", "normal driving"):
        for wrist in skeleton.posture()[[LEFT_WRIST, RIGHT_WRIST]]:
            assert np.linalg.norm(wrist - [0.40, 0.0, 0.27]) < 0.28, "metres from the wheel's middle"


def test_emotions_show_in_the_face(cabin: Cabin) -> None:
    """The face's image changes from one emotion to another by far more than by its noise."""
    behaviour = cabin._behaviour
    times: dict[str, float] = {}
    for t in np.arange(0.0, 120.0, 0.5):
        held = [behaviour.labels(t + offset) for offset in (-0.4, 0.4)]
        if held[0] == held[1] and held[0]["driver_behaviour"] == "normal driving":
            times.setdefault(held[0]["driver_emotion"], t)
    assert len(times) >= 3
    faces = {emotion: _face(cabin, t) for emotion, t in times.items()}
    usual, t = next(iter(times.items()))
    noise = np.abs(_face(cabin, t + 0.001) - faces[usual]).mean()
    for emotion, face in faces.items():
        if emotion != usual:
            assert np.abs(face - faces[usual]).mean() > 1.3 * noise, emotion


def _face(cabin: Cabin, seconds: float) -> np.ndarray:
    return cabin.frame(seconds)[0].images[FACE].astype(float)[20:60, 25:70]
