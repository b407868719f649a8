# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""LiDAR points in images: where they land, and which ones the camera does not see."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mtl_perception.core.camera import Camera, Rig
from mtl_perception.core.frame import RigFrame
from mtl_perception.core.ground_truth import Sweep
from mtl_perception.core.transforms import inverse, transform_from, transform_points
from mtl_perception.evaluation.projection import (
    hidden,
    in_spacings,
    project_points,
    rays_of,
    sparse_depths,
    visible_depth,
)

START_NS = 1_700_000_000_000_000_000


@pytest.mark.parametrize(("lines", "columns", "removed", "lost"), [(64, 1800, 0.98, 0.02), (32, 1085, 0.96, 0.05)])
def test_points_behind_nearer_surfaces_are_removed(
    made: Any, lines: int, columns: int, removed: float, lost: float
) -> None:
    """In a world where rays tell exactly what a camera sees; hidden is what is behind something by more than 10 %."""
    counts = np.zeros(4, dtype=np.int64)
    for seed in (1, 3):
        world = made.street(seed)
        points = made.sweep(world, lines, columns)
        for camera in (made.camera(), made.camera("back", np.pi, (-1.0, 0.0, 1.3))):
            place = camera.base_from_camera[:3, 3]
            in_camera = transform_points(inverse(camera.base_from_camera), points)
            pinhole = in_camera @ camera.K.T / in_camera[:, 2:]
            inside = (
                (in_camera[:, 2] > 0.2) & (pinhole[:, :2] > 0).all(axis=1) & (pinhole[:, :2] < [799, 449]).all(axis=1)
            )
            pixels, depth = project_points(camera, in_camera[inside])
            assert len(depth) == inside.sum()
            reach = made.reach(world, place, points[inside])
            gone, seen = hidden(in_spacings(pixels), depth), made.seen(points[inside] - place, reach)
            behind = (reach < 0.9) & made.sampled(world, place, points[inside], reach, lines)
            counts += [(gone & seen).sum(), seen.sum(), (gone & behind).sum(), behind.sum()]
    assert counts[3] > 1000
    assert counts[2] / counts[3] > removed
    assert counts[0] / counts[1] < lost


def test_a_wall_behind_a_box_is_seen_beside_it_only(made: Any) -> None:
    """As if a LiDAR saw all of the wall."""
    camera = replace(made.camera(), base_from_camera=np.eye(4))
    wall = np.stack(np.meshgrid(np.arange(-9.0, 9.0, 0.05), np.arange(-4.0, 4.0, 0.05), [20.0]), axis=-1).reshape(-1, 3)
    box = np.stack(np.meshgrid(np.arange(-1.0, 1.0, 0.02), np.arange(-1.0, 1.0, 0.02), [5.0]), axis=-1).reshape(-1, 3)
    behind = (np.abs(wall[:, :2]) < 1.0 / 5.0 * 20.0 - 0.5).all(axis=1)
    beside = (np.abs(wall[:, :2]) > 1.0 / 5.0 * 20.0 + 0.5).any(axis=1)
    found = visible_depth(camera, np.concatenate([box, wall[behind | beside]]))
    inside = (np.abs(found.pixels - [399.5, 224.5]) < 570 / 5.0 - 10).all(axis=1)
    assert set(found.depth[inside]) == {5.0}
    columns, rows = (570 * wall[beside, :2].T / 20.0) + np.array([[399.5], [224.5]])
    in_image = (columns > -0.5) & (columns < 799.5) & (rows > -0.5) & (rows < 449.5)
    assert (found.depth == 20.0).sum() == in_image.sum()


def test_a_road_seen_at_a_grazing_angle_hides_nothing(made: Any) -> None:
    """Every point of it has nearer ones below."""
    world = made.street(0)
    ground = type(world)(world.low[:1], world.high[:1])
    camera = made.camera()
    points = transform_points(inverse(camera.base_from_camera), made.sweep(ground, 64, 1800))
    near = points[points[:, 2] < 40.0]
    assert len(visible_depth(camera, near).depth) > 0.995 * len(project_points(camera, near)[1])


DISTORTIONS: list[tuple[str, list[float]]] = [
    ("", []),
    ("plumb_bob", [-0.32, 0.11, 0.0005, -0.0003, -0.02]),
    ("rational_polynomial", [0.6, 0.05, 0.0002, 0.0001, 0.001, 0.7, 0.1, 0.002]),
    ("equidistant", [0.05, -0.01, 0.004, -0.001]),
]


@pytest.mark.parametrize(("model", "coefficients"), DISTORTIONS)
def test_projection_is_the_inverse_of_the_pixels_rays(made: Any, model: str, coefficients: list[float]) -> None:
    camera = replace(made.camera(), distortion_model=model, distortion=np.array(coefficients))
    pixels = np.stack(np.meshgrid(np.arange(0.0, 800, 37), np.arange(0.0, 450, 31)), axis=-1).reshape(-1, 2)
    rays = rays_of(camera, pixels)
    depth = np.linspace(2.0, 60.0, len(rays))
    found, found_depth = project_points(camera, np.column_stack([rays, np.ones(len(rays))]) * depth[:, None])
    np.testing.assert_allclose(found, pixels, atol=0.02)
    np.testing.assert_allclose(found_depth, depth)


def test_points_outside_the_view_do_not_fold_back_into_the_image(made: Any) -> None:
    """r * (1 - 0.32 r^2) has its largest value at r = 1.02; what is beyond would come back towards the centre."""
    camera = replace(made.camera(), distortion_model="plumb_bob", distortion=np.array([-0.32, 0.0, 0.0, 0.0]))
    radius = np.linspace(1.1, 1.7, 50)
    points = np.stack([radius, np.zeros(50), np.ones(50)], axis=-1) * 10.0
    naive = 399.5 + 570.0 * radius * (1 - 0.32 * radius**2)
    assert (np.abs(naive - 399.5) < 400.0).any()  # the model alone would put them there
    assert len(project_points(camera, points)[1]) == 0
    behind = np.array([[0.5, 0.2, -10.0], [np.nan, 0.0, 5.0], [0.0, 0.0, 0.0]])
    assert len(project_points(camera, behind)[1]) == 0


def frame(camera: Camera, stamp_ns: int, world_from_base: NDArray | None) -> RigFrame:
    image = np.zeros((camera.height, camera.width, 3), np.uint8)
    poses = {} if world_from_base is None else {camera.name: world_from_base @ camera.base_from_camera}
    return RigFrame(Rig((camera,)), stamp_ns, {camera.name: image}, {camera.name: stamp_ns}, poses, world_from_base)


def test_points_move_with_the_rig_between_sweep_and_image(made: Any) -> None:
    """The rig drives 1 m forward after the sweep: what was 10 m away is 9 m away."""
    camera = made.camera(place=(0.0, 0.0, 0.0))
    sweep = Sweep(START_NS, transform_from([5.0, 0.0, 0.0], [0, 0, 0, 1]), np.array([[10.0, 1.0, 0.5]]))
    later = START_NS + 100_000_000
    moved = frame(camera, later, transform_from([6.0, 0.0, 0.0], [0, 0, 0, 1]))
    found = sparse_depths(moved, sweep, ["front"])["front"]
    np.testing.assert_allclose(found.depth, [9.0])
    np.testing.assert_allclose(found.pixels, [[399.5 - 570 / 9.0, 224.5 - 285 / 9.0]], rtol=1e-6)
    # Without poses it is taken to stand still, but not for a tenth of a second.
    assert sparse_depths(frame(camera, later, None), sweep, ["front"]) == {}
    still = sparse_depths(frame(camera, START_NS + 40_000_000, None), sweep, ["front"])["front"]
    np.testing.assert_allclose(still.depth, [10.0])
