# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The renderer against closed forms: planes, spheres, moving bodies, lenses, lamps."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mtl_perception.core.camera import Camera
from mtl_perception.core.ground_truth import CameraTruth
from mtl_perception.core.labels import UNKNOWN, LabelSpace
from mtl_perception.core.transforms import BODY_FROM_OPTICAL, Transform, inverse, transform_points
from mtl_perception.data.world import shapes
from mtl_perception.data.world.cameras.lens import project_distorted
from mtl_perception.data.world.conditions import Conditions
from mtl_perception.data.world.paths import upright
from mtl_perception.data.world.rendering.renderer import Renderer
from mtl_perception.data.world.scene import Lamp, Light, Mesh, Scene, Sensor, merged, pose

LABELS = LabelSpace.load(Path(__file__).parents[4] / "config/labels/default.yaml")
NOON = Light((0.0, 0.0, 1.0), True, (1.0, 1.0, 1.0), (0.3, 0.3, 0.3), radius=0.0, visibility=1e6)
DARK = replace(NOON, strength=(0.0, 0.0, 0.0), ambient=(0.01, 0.01, 0.01))
CLEAN = Sensor(1.0, (1.0, 1.0, 1.0), noise=0.0, blur=0.3, vignetting=0.0, contrast=1.0)
MAST = upright((0.3, -0.2, 1.5), 0.05, 0.1, 0.02)
"""base_from_body of the camera."""


def scene_of(light: Light = NOON) -> Scene:
    return Scene(LABELS, light, CLEAN)


def ground(scene: Scene, half: float = 300.0) -> None:
    grey = scene.material("dull", (0.6, 0.6, 0.6))
    corners = np.array([[(-half, -half, 0), (half, -half, 0), (half, half, 0), (-half, half, 0)]])
    scene.add(shapes.quads(corners, corners[..., :2], grey), "road", layer="road")


def camera(width: int = 80, height: int = 60, model: str = "", distortion: tuple[float, ...] = ()) -> Camera:
    K = np.array([[60.0, 0, 39.0], [0, 61.0, 30.5], [0, 0, 1]])
    return Camera("front", width, height, K, MAST @ BODY_FROM_OPTICAL, model, np.array(distortion), "front")


def standing(base: Transform, of: Camera) -> Callable[[float], Transform]:
    return lambda seconds: base @ of.base_from_camera


def render(
    scene: Scene, of: Camera | None = None, base: Transform | None = None, seconds: float = 1.0, **options: float
) -> tuple[np.ndarray, CameraTruth]:
    of = of or camera()
    way = standing(np.eye(4) if base is None else base, of)
    return Renderer(scene).render(of, way, seconds, np.random.default_rng(0), **options)


def rays_by_projection(of: Camera) -> np.ndarray:
    """Return the rays (H, W, 3) of pixels, found without the renderer."""
    y, x = np.mgrid[: of.height, : of.width].astype(float)
    return np.stack([(x - of.K[0, 2]) / of.K[0, 0], (y - of.K[1, 2]) / of.K[1, 1], np.ones_like(x)], -1)


def test_depth_and_normals_of_the_ground_are_those_of_a_plane() -> None:
    scene = scene_of()
    ground(scene)
    base = upright((3.0, 5.0, 0.0), 0.7)
    truth = render(scene, base=base)[1]
    world_from_camera = base @ camera().base_from_camera
    rays = rays_by_projection(camera()) @ world_from_camera[:3, :3].T
    with np.errstate(divide="ignore"):
        expected = -world_from_camera[2, 3] / rays[..., 2]
    hit = truth.semantic == LABELS.id_of("road")
    assert hit[30:].all()
    assert np.allclose(truth.depth[hit], expected[hit], rtol=1e-5)
    assert np.allclose(truth.normals[hit], inverse(world_from_camera)[:3, :3] @ [0, 0, 1], atol=1e-6)
    assert (truth.depth[~hit] == np.inf).all() and (truth.semantic[~hit] == LABELS.id_of("sky")).all()
    assert np.isnan(truth.normals[~hit]).all() and np.isnan(truth.scene_flow[~hit]).all()
    assert (truth.scene_flow[hit] == 0).all() and not truth.motion_mask.any()


def test_normals_are_those_of_the_flat_triangles_and_face_the_camera() -> None:
    scene = scene_of()
    grey = scene.material("dull", (0.6, 0.6, 0.6))
    ball = shapes.ellipsoid((0, 0, 0), (2, 2, 2), grey, 4)
    inside_out = Mesh(ball.corners[:, ::-1], -ball.normals, ball.texture, ball.material, ball.part)
    for mesh in (ball, inside_out):
        scene.still.clear()
        scene.add(mesh, "building", pose(8.0, 0.0, 1.0))
        truth = render(scene)[1]
        hit = np.isfinite(truth.depth)
        assert 500 < hit.sum() < hit.size
        world_from_camera = camera().base_from_camera
        points = transform_points(world_from_camera, rays_by_projection(camera())[hit] * truth.depth[hit, None])
        away = points - [8.0, 0.0, 1.0]
        assert np.allclose(np.linalg.norm(away, axis=1), 2.0, atol=0.01)
        normals = truth.normals[hit] @ world_from_camera[:3, :3].T
        assert np.allclose(np.linalg.norm(normals, axis=1), 1.0, atol=1e-5)
        assert np.einsum("ij,ij->i", normals, away).min() / 2 > 0.995
        assert (np.einsum("ij,ij->i", truth.normals[hit], rays_by_projection(camera())[hit]) < 0).all()


@pytest.mark.parametrize("interval_s", [0.1, -0.25])
@pytest.mark.parametrize("parts", [1, 2])
def test_flow_is_where_the_same_point_of_an_actor_is_later_over_the_interval(interval_s: float, parts: int) -> None:
    scene = scene_of()
    ground(scene)
    grey = scene.material("dull", (0.6, 0.6, 0.6))
    body = shapes.box((2.0, 1.5, 1.2), (0, 0, 0.8), grey)
    arm = shapes.box((0.4, 3.0, 0.4), (0, 0, 1.8), grey).as_part(1)

    def poses(t: float) -> np.ndarray:
        root = upright((6.0 + 1.5 * t - t * t, 2.0 * np.sin(t), 0.1 * t), 0.9 * t * t)
        return np.stack([root, root @ upright((0, 0, 0), 0.4 * t, 0.3 * np.sin(3 * t))][:parts])

    scene.add_actor(merged([body, arm]) if parts == 2 else body, "car", poses)
    base = upright((0.5, 0.2, 0.0), 0.1)
    truth = render(scene, base=base, seconds=1.3, flow_interval_s=interval_s)[1]
    on = truth.semantic == LABELS.id_of("car")
    assert on.sum() > 200 and (truth.motion_mask[on] == 255).all() and (truth.motion_mask[~on] == 0).all()
    world_from_camera = base @ camera().base_from_camera
    points = transform_points(world_from_camera, rays_by_projection(camera())[on] * truth.depth[on, None])
    answers = []
    for part in range(parts):
        now, later = poses(1.3)[part], poses(1.3 + interval_s)[part]
        moved = transform_points(later @ inverse(now), points) - points
        answers.append(moved @ base[:3, :3] / interval_s)
    error = np.stack([np.abs(truth.scene_flow[on] - answer).max(axis=1) for answer in answers])
    assert error.min(axis=0).max() < 1e-4
    assert all((row < 1e-4).sum() > 20 for row in error), "every part is seen"
    assert (truth.scene_flow[~on & np.isfinite(truth.depth)] == 0).all()


def test_walker_on_the_spot_has_flow_but_no_motion_mask() -> None:
    scene = scene_of()
    ground(scene)
    body = shapes.box((1.0, 1.0, 2.0), (0, 0, 1.0), scene.material("dull", (0.5, 0.5, 0.5)))
    scene.add_actor(body, "pedestrian", lambda t: upright((5.0, 0.0, 0.0), t)[None])
    truth = render(scene)[1]
    on = truth.instance == 1
    assert on.any() and not truth.motion_mask.any()
    assert np.abs(truth.scene_flow[on]).max() > 0.1


@pytest.mark.parametrize(
    "model, distortion",
    [("plumb_bob", (-0.28, 0.07, 1e-3, -5e-4, 0.0)), ("equidistant", (0.03, -0.01, 0.002, 0.0))],
)
def test_distorted_cameras_show_points_where_the_lens_puts_them(model: str, distortion: tuple[float, ...]) -> None:
    scene = scene_of()
    grey = scene.material("dull", (0.6, 0.6, 0.6))
    of = camera(model=model, distortion=distortion)
    places = [(9.0, 4.0, 1.0), (9.0, -4.5, 2.5), (7.0, 0.0, 0.6), (11.0, 3.0, 4.0)]
    for place in places:
        scene.add(shapes.ellipsoid((0, 0, 0), 0.35, grey, 2), "car", pose(*place))
    truth = render(scene, of)[1]
    for number, place in enumerate(places, start=1):
        rows, columns = np.nonzero(truth.instance == number)
        assert len(rows) > 6
        pixel, depth = project_distorted(of, transform_points(inverse(of.base_from_camera), np.array([place])))
        assert np.abs(pixel[0] - [columns.mean(), rows.mean()]).max() < 0.5
        assert truth.depth[rows, columns].mean() == pytest.approx(depth[0] - 0.25, abs=0.1)


def test_what_the_lens_does_not_see_is_black_and_unknown() -> None:
    scene = scene_of()
    ground(scene)
    of = replace(camera(model="equidistant", distortion=(0.0, 0.0, 0.0, 0.0)), K=np.diag([20.0, 20.0, 1.0]))
    of.K[:2, 2] = (39.5, 29.5)
    image, truth = render(scene, of)
    blind = np.isnan(truth.depth)
    y, x = np.mgrid[:60, :80]
    assert np.array_equal(blind, np.hypot(x - 39.5, y - 29.5) > 20 * np.deg2rad(88.0))
    assert (image[blind] == 0).all() and image[~blind].any()
    assert (truth.semantic[blind] == UNKNOWN).all() and (truth.panoptic[blind] == -1).all()
    assert (truth.instance[blind] == 0).all() and not truth.edges[blind].any() and not truth.motion_mask[blind].any()
    assert np.isnan(truth.normals[blind]).all() and np.isnan(truth.scene_flow[blind]).all()


def test_the_same_image_comes_out_whatever_was_rendered_before() -> None:
    scene = scene_of(replace(NOON, radius=0.1))
    ground(scene)
    box = shapes.box((2.0, 1.5, 1.2), (0, 0, 0.8), scene.material("dull", (0.7, 0.2, 0.2), parameters=(0.2, 0.3)))
    for k in range(3):
        scene.add_actor(box, "car", lambda t, k=k: upright((8 + 3 * k - 2 * t, 4 * k - 4, 0), 0.2 * t)[None])
    of = camera()

    def shot(renderer: Renderer, seconds: float) -> tuple[np.ndarray, CameraTruth]:
        return renderer.render(of, standing(np.eye(4), of), seconds, np.random.default_rng(5))

    renderer = Renderer(scene)
    expected = shot(Renderer(scene), 2.5)
    for seconds in (0.0, 7.7, 2.5, -1.0):
        again = shot(renderer, seconds)
        if seconds == 2.5:
            assert np.array_equal(expected[0], again[0])
            for name in ("depth", "semantic", "instance", "panoptic", "normals", "edges", "motion_mask", "scene_flow"):
                assert getattr(expected[1], name).tobytes() == getattr(again[1], name).tobytes()


def test_actors_are_found_wherever_they_are_in_view() -> None:
    """Few actors are looked at for every image; none that is in the image may be forgotten."""
    scene, everything = scene_of(), scene_of()
    ground(scene)
    ground(everything)
    generator = np.random.default_rng(4)
    for _ in range(60):
        x, y, vx, vy, sway = *generator.uniform(-60, 60, 2), *generator.uniform(-9, 9, 2), generator.uniform(-0.6, 0.6)

        def way(t: float, x: float = x, y: float = y, vx: float = vx, vy: float = vy, sway: float = sway) -> np.ndarray:
            return upright((x + vx * t, y + vy * t + sway * np.cos(np.pi * t), 0), 0.0)[None]

        box = shapes.box(generator.uniform(0.2, 4, 3), (0, 0, 1), scene.material("dull", (0.5, 0.5, 0.5)))
        everything.material("dull", (0.5, 0.5, 0.5))
        scene.add_actor(box, "car", way)
        everything.add(box, "car", way(2.5)[0])
    for heading in np.arange(0.0, 2 * np.pi, 0.25):
        one = render(scene, base=upright((0, 0, 0), heading), seconds=2.5)[1]
        other = render(everything, base=upright((0, 0, 0), heading))[1]
        assert (one.instance != other.instance).mean() < 1e-3, "but where two surfaces are equally far"
        both = (one.instance == other.instance) & np.isfinite(other.depth)
        assert np.allclose(one.depth[both], other.depth[both], rtol=1e-4)


def test_shadow_of_the_sun_falls_opposite_to_it_also_from_out_of_view() -> None:
    scene = scene_of(replace(NOON, position=(0.0, np.cos(0.26), np.sin(0.26)), ambient=(0.05, 0.05, 0.05)))
    ground(scene)
    van = shapes.box((6.0, 3.0, 4.0), (0, 0, 2.0), scene.material("dull", (0.5, 0.5, 0.5)))
    scene.add_actor(van, "car", lambda t: upright((20.0, 17.0, 0.0), 0.0)[None])
    base = upright((0, 0, 0), -0.35)
    image, truth = render(scene, base=base)
    assert not (truth.instance > 0).any(), "out of view"
    shaded, lit = (pixel_of((20.0, y, 0.0), base) for y in (2.8, -4.0))
    assert image[shaded].mean() < 0.9 * image[lit].mean()


def test_lamps_light_what_is_near_and_things_stand_in_their_way() -> None:
    scene = scene_of(DARK)
    ground(scene)
    grey = scene.material("dull", (0.5, 0.5, 0.5))
    scene.add(shapes.box((0.1, 2.0, 2.0), (7.0, 0.0, 1.0), grey), "building")
    image = render(scene)[0]
    scene.lamps.append(Lamp((6.0, 0.0, 3.0), (8.0, 8.0, 8.0)))
    with_lamp = render(scene)[0]
    scene.still.pop()
    without_wall = render(scene)[0]
    before, behind = pixel_of((5.5, 0.0, 0.0)), pixel_of((7.35, 1.7, 0.0))
    assert with_lamp[before].mean() > image[before].mean() + 60
    assert without_wall[behind].mean() > 60
    scene.lamps.append(Lamp((5.0, 3.0, 3.0), (0.0, 0.0, 9.0)))
    blue = render(scene)[0].astype(int)
    assert blue[before][2] > without_wall[before][2] + 8 and blue[before][0] <= without_wall[before][0] + 2


def test_a_wall_keeps_a_lamp_out() -> None:
    scene = scene_of(DARK)
    ground(scene)
    scene.lamps.append(Lamp((10.0, 0.0, 2.0), (20.0, 20.0, 20.0)))
    open_image = render(scene)[0]
    scene.add(shapes.box((0.1, 40.0, 8.0), (9.0, 0.0, 4.0), scene.material("dull", (0.5, 0.5, 0.5))), "building")
    image = render(scene)[0]
    place = pixel_of((7.0, 0.0, 0.0))
    assert open_image[place].mean() > image[place].mean() + 60


def test_headlights_move_with_the_robot_and_shine_ahead_only() -> None:
    scene = scene_of(DARK)
    ground(scene)
    scene.robot_lamps.append(Lamp((1.0, 0.0, 1.0), (60.0, 60.0, 60.0), direction=(0.96, 0.0, -0.28), cone=0.9))
    base = upright((50.0, 20.0, 0.0), 2.0)
    image = render(scene, base=base)[0]
    ahead = pixel_of(tuple(transform_points(base, np.array([5.0, 0.0, 0.0]))), base)
    aside = pixel_of(tuple(transform_points(base, np.array([5.0, 3.2, 0.0]))), base)
    assert image[ahead].mean() > image[aside].mean() + 60
    scene.light = replace(DARK, lamps_lit=False)
    assert render(scene, base=base)[0][ahead].mean() < 40


def test_colours_of_vertices_are_shown() -> None:
    scene = scene_of(replace(NOON, strength=(0.0, 0.0, 0.0), ambient=(1.0, 1.0, 1.0)))
    face = np.array([[(6, 2, 0), (6, -2, 0), (6, -2, 4), (6, 2, 4)]], float)
    colours = np.array([[(1, 0, 0), (0, 0, 1), (0, 0, 1), (1, 0, 0)]], float)
    scene.add(shapes.quads(face, colours, scene.material("vertex_colour", (1, 1, 1))), "building")
    image = render(scene)[0].astype(int)
    left, right = image[pixel_of((6, 1.8, 2))], image[pixel_of((6, -1.8, 2))]
    assert left[0] > left[2] + 80 and right[2] > right[0] + 80 and abs(left[1] - right[1]) < 30


def test_motion_blur_follows_the_movement_in_the_image() -> None:
    scene = scene_of(replace(NOON, strength=(0.0, 0.0, 0.0), ambient=(1.0, 1.0, 1.0)))
    white, black = scene.material("dull", (0.9, 0.9, 0.9)), scene.material("dull", (0.02, 0.02, 0.02))
    scene.add(shapes.box((0.2, 40.0, 20.0), (10.0, 0.0, 5.0), black), "building")
    scene.add_actor(shapes.box((0.2, 1.0, 1.0), (0, 0, 0), white), "car", lambda t: upright((9, 8 * t - 8, 2), 0)[None])
    of = camera()
    still = standing(np.eye(4), of)
    sharp = Renderer(scene).render(of, still, 1.0, np.random.default_rng(0))[0][..., 0].astype(int)
    blurred_renderer = Renderer(scene, Conditions(motion_blur_s=0.1))
    blurred, truth = blurred_renderer.render(of, still, 1.0, np.random.default_rng(0))
    rows, columns = np.nonzero(truth.instance)
    row, column = int(rows.mean()), int(columns.mean())
    # 8 m/s for 0.1 s are 0.8 m: the square of 1 m, 7 pixels, keeps its rows, and its columns run out.
    assert (sharp[row] > 100).sum() == pytest.approx((sharp[:, column] > 100).sum(), abs=2)
    assert ((blurred[row, :, 0] > 40) & (blurred[row, :, 0] < sharp.max() - 20)).sum() >= 4
    assert ((blurred[:, column, 0] > 40) & (blurred[:, column, 0] < sharp.max() - 20)).sum() <= 2

    turning = blurred_renderer.render(
        of, lambda t: upright((0, 0, 0), 1.5 * (t - 1.0)) @ of.base_from_camera, 1.0, np.random.default_rng(0)
    )[0]
    assert np.abs(turning.astype(int) - blurred.astype(int)).max() > 40, "the camera's own movement blurs too"


def pixel_of(place: tuple[float, ...], base: Transform | None = None) -> tuple[int, int]:
    """Return row and column where a point of the world is seen."""
    world_from_camera = (np.eye(4) if base is None else base) @ camera().base_from_camera
    pixel, _ = project_distorted(camera(), transform_points(inverse(world_from_camera), np.array([place])))
    column, row = np.rint(pixel[0]).astype(int)
    assert 0 <= row < 60 and 0 <= column < 80
    return int(row), int(column)
