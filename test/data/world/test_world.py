# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Worlds as a whole: what they are made from decides every byte, and nothing else does. Geometry: test_geometry.py."""

from pathlib import Path

import numpy as np
import pytest

from mtl_perception.core import Box, CameraTruth, LabelSpace, Sample
from mtl_perception.core.scene_classes import SCENE_CLASSES
from mtl_perception.core.transforms import inverse
from mtl_perception.data.world import World
from mtl_perception.data.world.cameras.rigs import load_rig
from mtl_perception.data.world.conditions import Conditions
from mtl_perception.data.world.world import LONGEST_S, START_NS

LABELS = LabelSpace.load(Path(__file__).parents[3] / "config/labels/default.yaml")
SMALL = (96, 72)
KINDS = ("street", "indoor")
TRUTHS = tuple(CameraTruth.__dataclass_fields__)


def generate(kind: str, seed: int = 5, **options: object) -> World:
    return World.generate(kind, seed, LABELS, **{"image_size": SMALL, "duration_s": 10.0, **options})  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=KINDS)
def world(request: pytest.FixtureRequest) -> World:
    return generate(request.param)


@pytest.fixture(scope="module")
def cabin_street() -> World:
    return generate("street", cabin=True)


def assert_same_truth(first: Sample, second: Sample) -> None:
    for name, truth in first.truth.cameras.items():
        for what in TRUTHS:
            np.testing.assert_array_equal(getattr(truth, what), getattr(second.truth.cameras[name], what), err_msg=what)
    assert first.truth.occupancy is not None and second.truth.occupancy is not None
    np.testing.assert_array_equal(first.truth.occupancy.labels, second.truth.occupancy.labels)


def test_a_frame_has_all_cameras_and_all_truth(world: World) -> None:
    sample = world.render(3.0, previous_s=2.9)
    frame, truth = sample.frame, sample.truth
    assert frame.present == ("front", "left", "right", "back") and frame.stamp_ns == START_NS + 3_000_000_000
    for camera in world.rig:
        stamp_ns = frame.image_stamps_ns[camera.name]
        assert stamp_ns - frame.stamp_ns == world.layout.exposure_offsets_ns[camera.name]
        seconds = (stamp_ns - START_NS) * 1e-9
        expected = world.world_from_base(seconds) @ camera.base_from_camera
        np.testing.assert_allclose(frame.world_from_camera[camera.name], expected, atol=1e-6)
        seen = truth.cameras[camera.name]
        assert all(getattr(seen, what).shape[:2] == SMALL[::-1] for what in TRUTHS)
        assert frame.images[camera.name].std() > 8
    assert truth.ego_motion is not None and truth.ego_motion.previous_stamp_ns == START_NS + 2_900_000_000
    expected = inverse(world.world_from_base(2.9)) @ world.world_from_base(3.0)
    np.testing.assert_allclose(truth.ego_motion.previous_base_from_base, expected, atol=1e-9)
    assert truth.sweep is not None and truth.sweep.boxes is not None and truth.bev_map is not None
    if world.kind == "street":
        assert truth.steering is not None
        assert {task: name in SCENE_CLASSES[task] for task, name in truth.driving_context.items()} == {
            "vehicle_behaviour": True,
            "traffic_context": True,
        }


def test_the_same_seed_gives_the_same_bytes_in_any_order(world: World) -> None:
    first = world.render(4.0)
    world.render(7.0)
    again = generate(world.kind).render(4.0)
    for name, image in first.frame.images.items():
        np.testing.assert_array_equal(image, again.frame.images[name])
    assert_same_truth(first, again)
    assert _boxes(first) == _boxes(again)


def test_a_look_is_the_frame_without_the_truth(world: World) -> None:
    seen, frame = world.look(4.0), world.render(4.0).frame
    assert seen.stamp_ns == frame.stamp_ns and seen.image_stamps_ns == frame.image_stamps_ns
    for name, image in frame.images.items():
        np.testing.assert_array_equal(seen.images[name], image)
        np.testing.assert_array_equal(seen.world_from_camera[name], frame.world_from_camera[name])
    np.testing.assert_array_equal(seen.world_from_base, frame.world_from_base)


def test_seeds_differ(world: World) -> None:
    other = generate(world.kind, 6)
    a, b = (w.render(3.0).frame.images["front"].astype(float) for w in (world, other))
    assert np.abs(a - b).mean() > 8
    assert not np.allclose(world.world_from_base(10.0), other.world_from_base(10.0))


def test_conditions_change_the_image_and_not_the_truth(world: World) -> None:
    fair = world.render(3.0)
    for conditions in (
        Conditions(night=True),
        Conditions(fog_visibility_m=20.0),
        Conditions(noise=3.0, exposure_changes=0.4, lens_dirt=0.6),
        Conditions(motion_blur_s=0.04),
    ):
        hard = generate(world.kind, conditions=conditions).render(3.0)
        assert_same_truth(fair, hard)
        changes = [np.abs(hard.frame.images[n].astype(float) - i).mean() for n, i in fair.frame.images.items()]
        # Fog stays outside: indoors it only dims what comes in by the windows.
        fog_indoors = world.kind == "indoor" and conditions.fog_visibility_m is not None
        assert max(changes) > (0.3 if fog_indoors else 1.5), conditions


def test_any_rig_sees_the_same_world() -> None:
    four, one = generate("street"), generate("street", cameras="mono")
    np.testing.assert_array_equal(four.world_from_base(8.0), one.world_from_base(8.0))
    assert one.rig.names == load_rig("mono").rig.names
    varied = generate("street", vary_rig=True)
    assert varied.rig.names == four.rig.names
    assert not np.allclose(varied.rig["front"].K, four.rig["front"].K)


def test_the_driver_is_shown_when_asked_for(cabin_street: World, world: World) -> None:
    sample = cabin_street.render(1.0)
    assert sample.cabin is not None and sample.cabin.posture is not None
    assert set(sample.truth.driving_context) == set(SCENE_CLASSES)
    assert world.render(1.0).cabin is None


def test_a_drive_is_the_frame_with_the_truth_of_the_drive_alone(cabin_street: World) -> None:
    short, whole = cabin_street.drive(1.0), cabin_street.render(1.0)
    assert short.truth.steering == whole.truth.steering is not None
    assert short.truth.driving_context == whole.truth.driving_context
    assert not short.truth.cameras and short.truth.occupancy is None
    assert short.cabin is not None and whole.cabin is not None
    for few, all_of_it in ((short.frame.images, whole.frame.images), (short.cabin.images, whole.cabin.images)):
        assert few.keys() == all_of_it.keys()
        for name, image in few.items():
            np.testing.assert_array_equal(image, all_of_it[name])
    np.testing.assert_array_equal(short.cabin.posture, whole.cabin.posture)


def test_scene_flow_of_the_past_is_seen_from_the_past(world: World) -> None:
    """Over a still second half of the interval it is the mean of both ways: only the sign of the interval differs."""
    past, future = (world.render(5.0, flow_interval_s=interval).truth.cameras for interval in (-0.1, 0.1))
    for name in past:
        still = past[name].motion_mask == 0
        moving = past[name].motion_mask == 255
        for flow in (past[name].scene_flow, future[name].scene_flow):
            assert flow is not None
            assert np.nanmax(np.abs(flow[still]), initial=0.0) < 0.2
            assert np.nanmax(np.abs(flow[moving]), initial=0.0) < 30


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="kind 'forest'"):
        generate("forest")
    with pytest.raises(ValueError, match="seed -1"):
        generate("street", -1)
    with pytest.raises(ValueError, match=f"at most {LONGEST_S:g} s"):
        generate("street", duration_s=LONGEST_S + 1)
    with pytest.raises(FileNotFoundError, match="surround4"):
        generate("street", cameras="surround5")
    world = generate("indoor", duration_s=5.0)
    with pytest.raises(ValueError, match=r"outside the world's 0\.\.5"):
        world.render(5.1)
    with pytest.raises(KeyError, match="no label 'road'"):
        World.generate("street", 0, LabelSpace.from_dict({"name": "none", "labels": [_LABEL]}))


_LABEL = {"id": 0, "name": "thing", "colour": [1, 2, 3], "thing": True, "movable": False}


def _boxes(sample: Sample) -> list[tuple[str, str, bytes, tuple[float, float, float]]]:
    assert sample.truth.sweep is not None and sample.truth.sweep.boxes is not None
    boxes: tuple[Box, ...] = sample.truth.sweep.boxes
    return [(box.track, box.label, box.frame_from_box.tobytes(), box.size) for box in boxes]
