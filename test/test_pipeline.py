# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The perceiver on rendered frames, with the shipped checkpoint."""

from dataclasses import replace

import numpy as np
import pytest

from mtl_perception.core import Camera, LabelSpace, Rig, RigFrame
from mtl_perception.data.world import World
from mtl_perception.network import load_checkpoint
from mtl_perception.pipeline import MAX_ASPECT_RATIO, Perceiver
from mtl_perception.rectification import Rectification
from mtl_perception.resources import config_file, default_checkpoint

LABELS = LabelSpace.load(config_file("labels", "default"))


@pytest.fixture(scope="module")
def street() -> World:
    """Return a street that no training has seen."""
    return World.generate("street", 2_000_000, LABELS, image_size=(240, 176))


@pytest.fixture(scope="module")
def frames(street: World) -> list[RigFrame]:
    """Return two frames 0.2 s apart."""
    return [street.look(seconds) for seconds in (2.0, 2.2)]


@pytest.fixture
def perceiver() -> Perceiver:
    """Return a perceiver that has seen nothing yet."""
    return Perceiver.from_checkpoint()


def test_every_trained_task_comes_out_in_the_promised_form(perceiver: Perceiver, frames: list[RigFrame]) -> None:
    first, second = perceiver(frames[0]), perceiver(frames[1])
    assert all(camera.motion_mask is None for camera in first.cameras.values())  # there is nothing to compare with
    assert tuple(second.cameras) == frames[1].rig.names and second.missing == ()
    for name, camera in second.cameras.items():
        shape = (camera.camera.height, camera.camera.width)
        assert camera.depth is not None and camera.depth.dtype == np.float32 and camera.depth.shape == shape
        assert camera.depth_std is not None and np.array_equal(np.isnan(camera.depth_std), np.isnan(camera.depth))
        assert camera.semantic is not None and camera.semantic.dtype == np.uint8 and camera.semantic.max() < len(LABELS)
        assert camera.motion_mask is not None and set(np.unique(camera.motion_mask)) <= {0, 255}
        assert camera.camera.is_rectified and camera.stamp_ns == frames[1].image_stamps_ns[name]
        np.testing.assert_array_equal(camera.world_from_camera, frames[1].world_from_camera[name])
    assert second.occupancy is not None and second.occupancy.labels.shape == perceiver.grid.shape
    assert {"preprocess", "network", "postprocess"} == set(second.seconds)


def test_it_has_learnt_something(perceiver: Perceiver, street: World) -> None:
    rendered = street.render(5.0)
    prediction = perceiver(rendered.frame)
    truth = rendered.truth.cameras["front"]
    camera = prediction.cameras["front"]
    assert camera.depth is not None and camera.semantic is not None and prediction.occupancy is not None
    near = np.isfinite(truth.depth) & (truth.depth < 20) & np.isfinite(camera.depth)
    assert np.median(np.abs(camera.depth[near] - truth.depth[near]) / truth.depth[near]) < 0.2
    assert (camera.semantic == truth.semantic).mean() > 0.6
    occupied, seen = rendered.truth.occupancy.occupied, rendered.truth.occupancy.observed
    overlap = (prediction.occupancy.occupied & occupied & seen).sum()
    assert overlap / ((prediction.occupancy.occupied | occupied) & seen).sum() > 0.3


def test_only_the_tasks_asked_for_come_out(perceiver: Perceiver, frames: list[RigFrame]) -> None:
    prediction = perceiver(frames[0], ("semantic",))
    camera = prediction.cameras["front"]
    assert prediction.tasks == ("semantic",) and camera.semantic is not None
    assert camera.depth is None and prediction.occupancy is None


def test_a_task_that_it_does_not_have_is_refused_with_the_reason(frames: list[RigFrame]) -> None:
    checkpoint = replace(load_checkpoint(default_checkpoint()), trained_tasks=("depth", "semantic"))
    perceiver = Perceiver(checkpoint, tasks=("depth", "occupancy"))
    assert perceiver.tasks == ("depth",)
    assert "was not trained for it" in perceiver.tasks_left_out["occupancy"]
    assert perceiver.tasks_left_out["semantic"] == "not asked for"
    with pytest.raises(ValueError, match=r"'occupancy': nano\.safetensors was not trained"):
        perceiver(frames[0], ("occupancy",))
    with pytest.raises(ValueError, match="'telepathy' is not one of"):
        Perceiver(checkpoint, tasks=("telepathy",))


def test_a_missing_camera_is_named_and_its_motion_comes_back_later(
    perceiver: Perceiver, street: World, frames: list[RigFrame]
) -> None:
    without_left = replace(frames[0], images={n: i for n, i in frames[0].images.items() if n != "left"})
    assert perceiver(without_left).missing == ("left",)
    second = perceiver(frames[1])
    assert second.cameras["left"].motion_mask is None and second.cameras["front"].motion_mask is not None
    third = perceiver(street.render(2.4).frame)
    assert third.cameras["left"].motion_mask is not None


def test_without_poses_the_ego_motion_that_the_network_tells_stands_for_them(
    perceiver: Perceiver, frames: list[RigFrame]
) -> None:
    blind = [replace(frame, world_from_base=None, world_from_camera={}) for frame in frames]
    second = [perceiver(frame) for frame in blind][1]
    assert {"ego_motion", "motion_mask", "scene_flow"} <= set(second.tasks) and second.ego_motion is not None
    assert second.cameras["front"].motion_mask is not None and second.cameras["front"].depth is not None


def test_with_neither_poses_nor_ego_motion_nothing_is_said_of_motion(frames: list[RigFrame]) -> None:
    checkpoint = load_checkpoint(default_checkpoint())
    tasks = tuple(task for task in checkpoint.trained_tasks if task != "ego_motion")
    perceiver = Perceiver(replace(checkpoint, trained_tasks=tasks))
    blind = [replace(frame, world_from_base=None, world_from_camera={}) for frame in frames]
    second = [perceiver(frame) for frame in blind][1]
    assert not {"motion_mask", "scene_flow"} & set(second.tasks) and second.cameras["front"].motion_mask is None
    assert second.cameras["front"].depth is not None


def test_time_that_runs_back_or_stands_too_long_forgets_the_past(
    perceiver: Perceiver, street: World, frames: list[RigFrame]
) -> None:
    perceiver(frames[1])
    assert perceiver(frames[0]).cameras["front"].motion_mask is None  # a looping recording
    assert perceiver(street.render(4.0).frame).cameras["front"].motion_mask is None  # 2 s later: too old


def test_the_same_frames_give_the_same_answer(frames: list[RigFrame]) -> None:
    answers = []
    for _ in range(2):
        perceiver = Perceiver.from_checkpoint()
        answers.append([perceiver(frame) for frame in frames][1])
    for name in frames[0].rig.names:
        np.testing.assert_array_equal(answers[0].cameras[name].depth, answers[1].cameras[name].depth)
        np.testing.assert_array_equal(answers[0].cameras[name].motion_mask, answers[1].cameras[name].motion_mask)


def test_a_rig_of_one_camera_and_of_another_shape_works(perceiver: Perceiver, frames: list[RigFrame]) -> None:
    frame = frames[0]
    camera = frame.rig["front"]
    wide = replace(camera, height=120, K=camera.K - np.array([[0, 0, 0], [0, 0, 28], [0, 0, 0]]))
    single = replace(
        frame,
        rig=Rig((wide,)),
        images={"front": np.ascontiguousarray(frame.images["front"][28:148])},
    )
    depth = perceiver(single, ("depth",)).cameras["front"].depth
    assert depth is not None and depth.shape[1] / depth.shape[0] == pytest.approx(2.0, rel=0.15)


def test_maps_are_made_once_for_a_lens_and_anew_when_it_changes(
    perceiver: Perceiver, frames: list[RigFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, prepare = [], Rectification.prepare

    def counted(source: Camera, width: int, height: int) -> Rectification:
        made.append(source.name)
        return prepare(source, width, height)

    monkeypatch.setattr(Rectification, "prepare", counted)
    perceiver(frames[0], ("semantic",))
    lifted = np.eye(4)
    lifted[2, 3] = 0.1
    moved = [replace(camera, base_from_camera=lifted @ camera.base_from_camera) for camera in frames[1].rig]
    prediction = perceiver(replace(frames[1], rig=Rig(tuple(moved))), ("semantic",))
    assert made == list(frames[0].rig.names)
    for camera in moved:
        found = prediction.cameras[camera.name].camera
        np.testing.assert_array_equal(found.base_from_camera, camera.base_from_camera)
    zoomed = [
        replace(camera, K=camera.K * [[1.2], [1.2], [1.0]]) if camera.name == "front" else camera for camera in moved
    ]
    changed = perceiver(replace(frames[1], rig=Rig(tuple(zoomed)), stamp_ns=frames[1].stamp_ns + 1), ("semantic",))
    assert made == [*frames[0].rig.names, "front"]
    expected = 1.2 * prediction.cameras["front"].camera.K[0, 0]
    assert changed.cameras["front"].camera.K[0, 0] == pytest.approx(expected)


def test_an_image_that_is_but_a_strip_costs_what_others_do(perceiver: Perceiver) -> None:
    K = np.array([[900.0, 0, 999.5], [0, 900.0, 0.5], [0, 0, 1]])
    camera = Camera("line", 2000, 2, K, np.eye(4))
    image = np.zeros((2, 2000, 3), np.uint8)
    prediction = perceiver(RigFrame(Rig((camera,)), 0, {"line": image}, {"line": 0}, {}, None), ("semantic",))
    seen = prediction.cameras["line"].camera
    assert seen.width * seen.height < 2 * perceiver.network.config.input_pixels
    assert seen.width / seen.height <= 2 * MAX_ASPECT_RATIO
