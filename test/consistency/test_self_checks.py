# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The self-checks on a rendered room: silent with the true depth, and not with a wrong one or wrong poses."""

import dataclasses
from functools import partial

import cv2
import numpy as np
import pytest

from mtl_perception.consistency import SelfChecks
from mtl_perception.consistency.depths import compare
from mtl_perception.core import Camera, CameraPrediction, LabelSpace, Prediction
from mtl_perception.core.camera import pixel_rays
from mtl_perception.data.world import World
from mtl_perception.resources import config_file

PAIRS = 6
PERIOD_NS = 400_000_000


def perfect(world, seconds) -> dict[str, CameraPrediction]:
    sample = world.render(seconds)
    return {
        name: CameraPrediction(
            world.rig[name],
            sample.frame.image_stamps_ns[name],
            sample.frame.world_from_camera[name],
            sample.frame.images[name],
            depth=np.where(np.isfinite(truth.depth), truth.depth, np.float32(np.nan)),
            motion_mask=truth.motion_mask,
        )
        for name, truth in sample.truth.cameras.items()
    }


@pytest.fixture(scope="module")
def walk() -> list[dict[str, CameraPrediction]]:
    """Pairs of images of a room, from a robot that moves; between them it goes further unseen."""
    labels = LabelSpace.load(config_file("labels", "default"))
    world = World.generate("indoor", 3, labels, cameras="mono", image_size=(160, 120))
    start = next(s for s in np.arange(0, 60, 0.5) if distance(world, s, s + 1) > 0.4)
    return [perfect(world, start + 0.45 * pair + step) for pair in range(PAIRS) for step in (0.0, 0.2)]


def facing_a_wall(name, yaw) -> CameraPrediction:
    """A camera at the origin, turned by `yaw`, before a wall at z = 4 m, which it sees from the side."""
    turn = np.eye(4)
    turn[:3, :3] = cv2.Rodrigues(np.array([0.0, yaw, 0.0]))[0]
    camera = Camera(name, 160, 120, np.array([[100.0, 0, 79.5], [0, 100.0, 59.5], [0, 0, 1]]), turn)
    depth = 4.0 / (pixel_rays(camera) @ turn[:3, :3].T)[..., 2]
    return CameraPrediction(camera, 0, None, np.zeros((120, 160, 3), np.uint8), depth=depth.astype(np.float32))


def distance(world, first_s, second_s) -> float:
    return float(np.linalg.norm(world.world_from_base(second_s)[:3, 3] - world.world_from_base(first_s)[:3, 3]))


def problems(frames, change) -> str:
    """Return what the checks say in the end of frames that are changed one by one."""
    checks = SelfChecks()
    for index, cameras in enumerate(frames):
        checks.add(prediction({name: change(index, camera) for name, camera in cameras.items()}))
    return "; ".join(checks.problems)


def prediction(cameras) -> Prediction:
    return Prediction(next(iter(cameras.values())).stamp_ns, cameras, "base_link", "odom", None)


def scaled(factor, _index, camera) -> CameraPrediction:
    return dataclasses.replace(camera, depth=camera.depth * np.float32(factor))


def blotted(index, camera) -> CameraPrediction:
    """Wrong by 15 % here and there, as a network that has seen no such room may be."""
    noise = np.random.default_rng(index).normal(0.0, 0.15, (5, 6)).astype(np.float32)
    return dataclasses.replace(camera, depth=camera.depth * np.exp(cv2.resize(noise, camera.depth.shape[::-1])))


def random_depth(index, camera) -> CameraPrediction:
    depth = np.random.default_rng(index).uniform(1.0, 30.0, camera.depth.shape).astype(np.float32)
    return dataclasses.replace(camera, depth=depth)


def brightened(index, camera) -> CameraPrediction:
    colour = camera.colour.astype(np.float32) * (1.0 + 0.4 * (index % 2))
    return dataclasses.replace(camera, colour=np.clip(colour, 0, 255).astype(np.uint8))


def without_pose(_index, camera) -> CameraPrediction:
    return dataclasses.replace(camera, world_from_camera=None)


@pytest.mark.parametrize("change", [partial(scaled, 1.0), brightened, blotted, without_pose])
def test_what_is_right_raises_no_alarm(walk, change):
    assert problems(walk, change) == ""


@pytest.mark.parametrize(("factor", "told"), [(1.5, "0.67"), (0.67, "1.5")])
def test_depth_of_a_wrong_scale_is_told_with_the_factor(walk, factor, told):
    assert f"fit better with all depths times {told}" in problems(walk, partial(scaled, factor))


def test_random_depth_is_told(walk):
    assert "depth changes by" in problems(walk, random_depth)


def test_poses_of_other_moments_are_told(walk):
    order = np.random.default_rng(1).permutation(len(walk))

    def shuffled(index, camera):
        return dataclasses.replace(camera, world_from_camera=walk[order[index]]["front"].world_from_camera)

    assert problems(walk, shuffled) != ""


@pytest.mark.parametrize("factor", [1.0, 0.67])
def test_cameras_with_few_results_each_are_judged_together(walk, factor):
    checks = SelfChecks()
    for index, cameras in enumerate(walk):
        name = ("left", "right")[index // 2 % 2]
        camera = scaled(factor, index, cameras["front"])
        camera = dataclasses.replace(camera, camera=dataclasses.replace(camera.camera, name=name))
        checks.add(prediction({name: camera}))
    assert checks.has_verdict
    told = ["cameras left, right together: the images fit better with all depths times 1.5"] if factor < 1 else []
    assert len(checks.problems) == len(told)
    assert all(problem.startswith(each) for problem, each in zip(checks.problems, told, strict=True))


def test_a_time_that_begins_anew_forgets_the_old_one(walk):
    checks = SelfChecks()
    for index, cameras in enumerate(walk):
        checks.add(prediction({name: scaled(1.5, index, camera) for name, camera in cameras.items()}))
    assert checks.problems
    checks.add(prediction(walk[0]))
    assert checks.problems == () and not checks.values()


def test_cameras_that_disagree_where_they_overlap_are_named():
    left, right, behind = (facing_a_wall(name, yaw) for name, yaw in (("left", -0.4), ("right", 0.4), ("apart", 1.3)))
    assert compare(left, right).difference < 0.02 and compare(left, behind) is None
    for wrong in (1.0, 1.5):
        checks = SelfChecks()
        for step in range(10):
            cameras = {"left": left, "right": scaled(wrong, step, right), "apart": behind}
            moved = {name: dataclasses.replace(camera, stamp_ns=step * PERIOD_NS) for name, camera in cameras.items()}
            checks.add(prediction(moved))
        assert bool(checks.problems) == (wrong > 1.0)
        assert all("right" in problem and "of what both see" in problem for problem in checks.problems)
    assert "cameras left and right differ by 50 %" in checks.problems[0]


def test_what_shows_nothing_is_not_judged():
    checks = SelfChecks()
    camera = Camera("front", 64, 48, np.array([[50.0, 0, 32], [0, 50.0, 24], [0, 0, 1]]), np.eye(4))
    for step in range(40):
        pose = np.eye(4)
        pose[0, 3] = 0.1 * step
        grey = np.full((48, 64, 3), 100, np.uint8)
        seen = CameraPrediction(camera, step * 100_000_000, pose, grey, depth=np.full((48, 64), 2.0, np.float32))
        checks.add(prediction({"front": seen}))
        checks.add(prediction({"front": dataclasses.replace(seen, stamp_ns=seen.stamp_ns + 1, depth=None)}))
    assert checks.problems == ()
