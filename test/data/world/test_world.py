# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Worlds: what the renderer says is true is checked by geometry."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from mtl_perception.core import FREE, Camera, LabelSpace, backproject, project
from mtl_perception.core.transforms import inverse, transform_points
from mtl_perception.data.world import World

LABELS = LabelSpace.load(Path(__file__).parents[3] / "config/labels/default.yaml")
SMALL = (128, 96)
WORLDS = [("street", 1), ("street", 2), ("room", 5), ("room", 8)]


@pytest.fixture(scope="module", params=WORLDS, ids=lambda w: f"{w[0]}{w[1]}")
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    yield World.generate(*request.param, LABELS, SMALL)


@pytest.fixture(scope="module")
def street() -> World:
    return World.generate("street", 2, LABELS, SMALL)


def test_frame_has_every_camera_with_its_stamp_pose_and_truth(world: World) -> None:
    rendered = world.render(3.0)
    frame = rendered.frame
    assert frame.present == world.rig.names
    assert world.rig.names == (("front", "left", "right", "back") if world.kind == "street" else ("camera",))
    assert frame.image_stamps_ns[world.rig.names[0]] == frame.stamp_ns
    for camera in world.rig:
        assert camera.frame_id == f"{camera.name}_optical_frame"
        seconds = 3.0 + (frame.image_stamps_ns[camera.name] - frame.stamp_ns) * 1e-9
        expected = world.world_from_base(seconds) @ camera.base_from_camera
        assert np.allclose(frame.world_from_camera[camera.name], expected, atol=1e-6)
        truth = rendered.truth[camera.name]
        assert truth.depth.dtype == np.float32 and truth.depth.shape == (96, 128)
        assert truth.semantic.dtype == np.uint8 and truth.semantic.max() < len(LABELS)
        assert truth.instance.dtype == np.int32 and set(np.unique(truth.motion_mask)) <= {0, 255}


def test_same_seed_and_time_give_the_same_bytes(world: World) -> None:
    first = world.render(4.0)
    world.render(7.0)
    again = World.generate(world.kind, world.seed, LABELS, SMALL).render(4.0)
    for name in world.rig.names:
        assert np.array_equal(first.frame.images[name], again.frame.images[name])
        assert first.truth[name].depth.tobytes() == again.truth[name].depth.tobytes()
    assert np.array_equal(first.occupancy.labels, again.occupancy.labels)


def test_depth_of_one_frame_lands_on_the_next(world: World) -> None:
    """Points of still surfaces, moved by the poses alone, must meet the depth and label of the next frame."""
    step = 0.2
    before, after = world.render(5.0), world.render(5.0 + step)
    name = world.rig.names[0]
    camera, truth, other = world.rig[name], before.truth[name], after.truth[name]
    still = np.isfinite(truth.depth) & (truth.motion_mask == 0) & (truth.depth < 40)
    points = backproject(camera, truth.depth)[still]
    after_from_before = inverse(after.frame.world_from_camera[name]) @ before.frame.world_from_camera[name]
    pixels, depth = project(camera, transform_points(after_from_before, points))
    u, v = np.rint(np.nan_to_num(pixels, nan=-1)).astype(int).T
    inside = (depth > 0) & (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    assert inside.mean() > 0.3
    # Between pixels, the inverse depth of a plane is linear: interpolated like that, only edges and curves are off.
    where = pixels[inside].astype(np.float32)
    seen = 1 / cv2.remap(1 / other.depth, where[:, 0], where[:, 1], cv2.INTER_LINEAR)[:, 0]
    error = np.abs(seen - depth[inside])
    assert np.nanmedian(error) < 0.005, "metres"
    assert np.nanmean(error < 0.02 * depth[inside]) > 0.85
    same = other.semantic[v[inside], u[inside]] == truth.semantic[still][inside]
    assert same.mean() > 0.93


def test_ground_is_where_the_ground_is(world: World) -> None:
    label = "road" if world.kind == "street" else "floor"
    rendered = world.render(6.0)
    for camera in world.rig:
        heights = _world_points(camera, rendered, rendered.truth[camera.name].semantic == LABELS.id_of(label))[:, 2]
        assert np.abs(heights).max(initial=0.0) < 0.02, camera.name


def test_street_base_frame_is_on_the_road_and_drives_forward(street: World) -> None:
    for seconds in np.linspace(0, street.duration_s, 21):
        pose = street.world_from_base(seconds)
        assert pose[2, 3] == 0
        assert np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-12)
        step = inverse(pose) @ street.world_from_base(seconds + 0.05)
        assert -1e-6 <= step[0, 3] < 0.55 and abs(step[1, 3]) < 0.02


def test_motion_mask_is_on_what_moves_and_not_on_what_is_parked(street: World) -> None:
    """Things in the mask move in the world by their own; things of movable classes outside of it do not."""
    before, after = street.render(2.0), street.render(2.3)
    moved, parked = [], []
    for camera in street.rig:
        a, b = before.truth[camera.name], after.truth[camera.name]
        for instance in np.unique(a.instance[(a.instance > 0) & (a.depth < 25)]):
            mine, later = a.instance == instance, b.instance == instance
            if min(mine.sum(), later.sum()) < 40 or _touches_border(mine) or _touches_border(later):
                continue
            middles = [np.median(_world_points(camera, f, m), axis=0) for f, m in ((before, mine), (after, later))]
            way = np.linalg.norm((middles[1] - middles[0])[:2])
            masks = {int(value) for value in np.unique(a.motion_mask[mine])}
            assert len(masks) == 1, "a thing moves as a whole"
            (moved if 255 in masks else parked).append(way)
    assert moved and parked
    assert np.median(moved) > 0.15
    assert np.median(parked) < 0.1


def test_streets_are_busy() -> None:
    """Over several seeds, at least half of the frames show a few percent of moving things in one of the cameras."""
    shares = []
    for seed in range(20, 26):
        world = World.generate("street", seed, LABELS, (64, 48))
        for seconds in (3.0, 9.0, 15.0):
            shares.append(np.mean([t.motion_mask > 0 for t in world.render(seconds).truth.values()]))
    assert np.median(shares) > 0.02


def test_seeds_differ(world: World) -> None:
    other = World.generate(world.kind, world.seed + 1, LABELS, SMALL)
    name = world.rig.names[0]
    a, b = (w.render(3.0).frame.images[name].astype(float) for w in (world, other))
    assert np.abs(a - b).mean() > 8
    assert not np.allclose(world.rig[name].K, other.rig[name].K)


def test_sky_has_no_depth_and_everything_else_has(street: World) -> None:
    for truth in street.render(1.0).truth.values():
        sky = truth.semantic == LABELS.id_of("sky")
        assert np.array_equal(np.isnan(truth.depth), sky)
        assert (truth.depth[~sky] > 0).all()


def test_occupancy_agrees_with_the_depth(street: World) -> None:
    rendered = street.render(1.0)
    occupancy = rendered.occupancy
    camera = street.rig["front"]
    near = np.nan_to_num(rendered.truth["front"].depth, nan=1e9) < 12
    points = transform_points(camera.base_from_camera, backproject(camera, rendered.truth["front"].depth)[near])
    indices, inside = occupancy.grid.indices(points)
    assert occupancy.occupied[tuple(indices[inside].T)].all()
    floor = occupancy.labels[:, :, 2][np.hypot(*occupancy.grid.centres()[:, :, 2, :2].transpose(2, 0, 1)) < 8]
    assert (floor == FREE).mean() < 0.9, "the ground at z = 0 is the floor of layer 2"


def test_images_use_the_range_of_the_sensor(world: World) -> None:
    image = world.render(3.0).frame.images[world.rig.names[0]]
    assert image.std() > 12 and 15 < image.mean() < 235


@pytest.mark.parametrize(
    "kind, cameras, message", [("forest", None, "forest"), ("street", 5, "cameras=5"), ("room", 2, "cameras=2")]
)
def test_wrong_arguments_are_named(kind: str, cameras: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        World.generate(kind, 0, LABELS, SMALL, cameras)


def test_time_outside_the_drive_is_refused(world: World) -> None:
    with pytest.raises(ValueError, match="21"):
        world.render(21.0)


def test_one_camera_of_a_street() -> None:
    assert World.generate("street", 3, LABELS, SMALL, cameras=1).rig.names == ("front",)


def _world_points(camera: Camera, rendered, chosen: np.ndarray) -> np.ndarray:
    points = backproject(camera, rendered.truth[camera.name].depth)[chosen]
    return transform_points(rendered.frame.world_from_camera[camera.name], points)


def _touches_border(mask: np.ndarray) -> bool:
    return bool(mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())
