# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Built interiors: walls with real openings, furniture in its place, a walk and people that keep clear of it all."""

from dataclasses import dataclass

import numpy as np
import open3d as o3d
import pytest

from mtl_perception.core.labels import LabelSpace
from mtl_perception.data.world.indoor.building import build_indoor
from mtl_perception.data.world.indoor.floor_plan import plan_indoor
from mtl_perception.data.world.indoor.layouts import LAYOUTS
from mtl_perception.data.world.indoor.people import add_people
from mtl_perception.data.world.indoor.rooms import FloorPlan
from mtl_perception.data.world.indoor.walking import Walk, plan_walk
from mtl_perception.data.world.rendering.light import indoor_light, indoor_sensor
from mtl_perception.data.world.scene import Scene, merged
from mtl_perception.data.world.things.furnishings import KINDS, furnishing

DURATION_S = 20.0
TIMES = np.arange(-2.0, DURATION_S + 2.0, 0.1)
LABELS = LabelSpace.load("config/labels/default.yaml")


@dataclass(frozen=True, eq=False)
class Interior:
    plan: FloorPlan
    scene: Scene
    walk: Walk
    still: o3d.t.geometry.RaycastingScene


def interior(seed: int, layout: str | None = None) -> Interior:
    generator = np.random.default_rng(seed)
    scene = Scene(LABELS, indoor_light(generator), indoor_sensor(generator))
    plan = plan_indoor(generator, DURATION_S, layout)
    build_indoor(scene, plan, generator)
    walk = plan_walk(plan, generator, DURATION_S)
    add_people(scene, plan, walk, generator)
    still = o3d.t.geometry.RaycastingScene(nthreads=1)
    corners = merged([thing.mesh for thing in scene.still]).corners.reshape(-1, 3)
    still.add_triangles(corners, np.arange(len(corners), dtype=np.uint32).reshape(-1, 3))
    return Interior(plan, scene, walk, still)


@pytest.fixture(scope="module")
def interiors() -> list[Interior]:
    return [interior(11 + index, layout) for index, layout in enumerate(LAYOUTS)]


def blocked(still: o3d.t.geometry.RaycastingScene, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return which straight lines between points (N, 3) hit something."""
    rays = np.concatenate([start, end - start], axis=1).astype(np.float32)
    return still.test_occlusions(rays, tnear=0.0, tfar=1.0, nthreads=1).numpy()


def test_walls_have_holes_where_the_plan_has_openings_and_only_there(interiors) -> None:
    for world in interiors:
        for opening in world.plan.openings:
            # Blinds may hang over the upper part of a window.
            pose, high = opening.pose(), opening.bottom + (opening.top - opening.bottom) * 0.3
            reach = opening.thickness / 2 + 0.15
            along = np.linspace(-0.4, 0.4, 9) * opening.width
            start = np.stack([along, np.full(9, reach), np.full(9, high)], axis=1) @ pose[:3, :3].T + pose[:3, 3]
            end = start - 2 * reach * pose[:3, 1]
            through = ~blocked(world.still, start, end)
            if opening.kind == "entrance":
                assert not through.any(), "the entrance is shut"
            else:  # monitors on desks and bars may hide a part of windows
                least = 0.05 if opening.kind == "window" else 0.7
                assert through.mean() > least, f"{opening.kind} in the {world.plan.layout}"
            above = np.array([[0.0, 0.0, opening.top + 0.1 - high]])
            assert blocked(world.still, start[4:5] + above, end[4:5] + above).all(), "wall above the opening"


def test_rooms_are_closed_but_for_their_openings(interiors) -> None:
    generator = np.random.default_rng(0)
    for world in interiors:
        for room in world.plan.rooms:
            directions = generator.normal(size=(200, 3))
            start = np.tile([*room.middle, room.height - 0.7], (200, 1))
            rays = np.concatenate([start, directions], axis=1).astype(np.float32)
            hits = world.still.cast_rays(rays, nthreads=1)["t_hit"].numpy()
            ends = start + directions * np.minimum(hits, 1e3)[:, None]
            inside = (ends[:, :2] > np.subtract(room.low, 0.01)).all(1) & (ends[:, :2] < np.add(room.high, 0.01)).all(1)
            for end in ends[~inside]:
                # Where the line leaves the room's walls, an opening has to be.
                share = min(
                    (bound - middle) / (value - middle)
                    for low, high, middle, value in zip(room.low, room.high, room.middle, end, strict=False)
                    for bound in (low, high)
                    if abs(value - middle) > 1e-9 and (bound - middle) / (value - middle) > 0
                )
                left = start[0] + (end - start[0]) * share
                assert any(
                    np.hypot(left[0] - o.x, left[1] - o.y) < o.width / 2 + o.thickness
                    and o.bottom - 0.02 < left[2] < o.top + 0.02
                    for o in world.plan.openings
                ), f"{room.name} leaks at {left}"


def test_regions_are_the_rooms_and_their_neighbours_are_mutual(interiors) -> None:
    for world in interiors:
        regions = {region.name: region for region in world.scene.regions}
        assert set(regions) == {room.name for room in world.plan.rooms}
        ways = {frozenset(world.plan.rooms[k].name for k in o.rooms) for o in world.plan.openings if o.is_way}
        for name, region in regions.items():
            assert region.kind == ("corridor" if name.startswith("corridor") else "room")
            assert {frozenset((name, other)) for other in region.neighbours} == {way for way in ways if name in way}
            assert all(name in regions[other].neighbours for other in region.neighbours)
            x, y = region.outline.T
            assert (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() > 0, "anticlockwise"


def test_scenes_have_lamps_floors_and_furniture_and_are_not_too_heavy(interiors) -> None:
    for world in interiors:
        assert sum(len(thing.mesh) for thing in world.scene.still) + 1000 * len(world.scene.actors) < 150_000
        assert len(world.scene.lamps) >= len(world.plan.rooms)
        floors = [thing for thing in world.scene.still if thing.layer == "floor"]
        assert all(thing.label == LABELS.id_of("floor") for thing in floors)
        assert all(thing.mesh.normals[..., 2].max() > 0.99 for thing in floors)
        shadow = blocked(
            world.still,
            np.array([lamp.position for lamp in world.scene.lamps]),
            np.array([(*lamp.position[:2], 1.2) for lamp in world.scene.lamps]),
        )
        assert shadow.mean() < 0.2, "lamps shine down, not into their own shades"


def test_furniture_stands_on_the_floor_within_its_footprint() -> None:
    generator = np.random.default_rng(5)
    scene = Scene(LABELS, indoor_light(generator), indoor_sensor(generator))
    seen = set()
    for seed in range(8):
        for piece in plan_indoor(np.random.default_rng(seed), DURATION_S).pieces:
            footprint = piece.footprint
            mesh = furnishing(piece.kind, scene, generator, footprint.depth, footprint.width, piece.height)
            reach = np.abs(mesh.corners).max(axis=(0, 1)) - (footprint.depth / 2, footprint.width / 2, 0)
            assert reach[:2].max() < 0.012, piece.kind
            assert mesh.corners[..., 2].min() > -0.003
            seen.add(piece.kind)
    assert len(seen) > 0.8 * len(KINDS)


def test_the_walk_keeps_away_from_walls_and_furniture(interiors) -> None:
    for world in interiors:
        places = np.array([world.walk.world_from_base(t)[:3, 3] for t in TIMES])
        for height in np.arange(0.3, 1.31, 0.2):
            points = (places * [1, 1, 0] + [0, 0, height]).astype(np.float32)
            distance = world.still.compute_distance(points, nthreads=1).numpy()
            assert distance.min() >= 0.25, f"{world.plan.layout}: {distance.min():.2f} m at {height:.1f} m"
        assert np.abs(places[:, 2]).max() < 0.03


def test_the_walk_is_smooth_and_passes_through_doors() -> None:
    for seed in range(6):
        generator = np.random.default_rng(seed)
        plan = plan_indoor(generator, DURATION_S)
        walk = plan_walk(plan, generator, DURATION_S)
        step = 0.02
        times = np.arange(-2.0, DURATION_S + 2.0, step)
        poses = np.array([walk.world_from_base(t) for t in times])
        velocity = np.diff(poses[:, :2, 3], axis=0) / step
        assert np.linalg.norm(velocity, axis=1).max() < 1.2
        assert np.linalg.norm(np.diff(velocity, axis=0), axis=1).max() / step < 1.0
        yaw = np.unwrap(np.arctan2(poses[:, 1, 0], poses[:, 0, 0]))
        rate = np.diff(yaw) / step
        assert np.abs(rate).max() < 1.2
        assert np.abs(np.diff(rate)).max() < 0.3, "no jumps of the yaw rate"
        forward = np.einsum("ij,ij->i", velocity, poses[:-1, :2, 0])
        assert forward.min() > -0.05, "it walks ahead"
        assert np.linalg.norm(velocity, axis=1).mean() > 0.25, "it does walk"
        rooms = {plan.room_at(*pose[:2, 3]) for pose in poses[::10]} - {None}
        assert len(rooms) >= 2
        outside = [pose for pose in poses[::10] if plan.room_at(*pose[:2, 3]) is None]
        assert all(
            min(np.hypot(pose[0, 3] - o.x, pose[1, 3] - o.y) for o in plan.openings if o.is_way) < 1.3
            for pose in outside
        )


def test_the_walk_is_smooth_between_its_samples() -> None:
    generator = np.random.default_rng(2)
    walk = plan_walk(plan_indoor(generator, DURATION_S), generator, DURATION_S)
    generator = np.random.default_rng(7)
    for t in generator.uniform(-1.9, DURATION_S + 1.9, 50):
        before, here, after = (walk.world_from_base(t + d) for d in (-1e-4, 0.0, 1e-4))
        assert np.abs(after - 2 * here + before).max() < 1e-6, "no kink in any number of the pose"


def test_long_walks_last_and_short_ones_work() -> None:
    for duration_s in (3.0, 120.0):
        generator = np.random.default_rng(8)
        plan = plan_indoor(generator, duration_s, "flat")
        walk = plan_walk(plan, generator, duration_s)
        end = [walk.world_from_base(duration_s + d)[:2, 3] for d in (-20.0, 0.0, 2.0)]
        if duration_s > 100:
            assert np.linalg.norm(end[0] - end[1]) + np.linalg.norm(end[1] - end[2]) > 0.1, "still walking at the end"


def test_people_never_walk_through_anything(interiors) -> None:
    for world in interiors:
        robot = np.array([world.walk.world_from_base(t)[:2, 3] for t in TIMES])
        tracks = [np.array([actor.poses(t)[0, :3, 3] for t in TIMES]) for actor in world.scene.actors]
        moving = [track for track in tracks if np.ptp(track[:, :2], axis=0).max() > 0.5]
        for track in tracks:
            assert np.linalg.norm(track[:, :2] - robot, axis=1).min() > 0.6
        for index, track in enumerate(tracks):
            for other in tracks[index + 1 :]:
                assert np.linalg.norm(track[:, :2] - other[:, :2], axis=1).min() > 0.4
        for track in moving:
            for height in (0.3, 0.8, 1.3):
                points = (track * [1, 1, 0] + [0, 0, height]).astype(np.float32)
                assert world.still.compute_distance(points, nthreads=1).numpy().min() > 0.2
                assert not blocked(world.still, points[:-1], points[1:] + 1e-5).any()
            speed = np.linalg.norm(np.diff(track[:, :2], axis=0), axis=1) / 0.1
            assert speed.max() < 2.0


def test_some_people_walk_some_stay_and_standing_ones_do_not_stand_in_furniture(interiors) -> None:
    walking = staying = 0
    for world in interiors:
        for actor in world.scene.actors:
            assert actor.label == LABELS.id_of("pedestrian")
            places = np.array([actor.poses(t)[0, :2, 3] for t in TIMES[::5]])
            walks = np.ptp(places, axis=0).max() > 0.5
            walking, staying = walking + walks, staying + (not walks)
            assert all(world.plan.free_space.grid[world.plan.free_space.cell(p)] > 0.2 for p in places) or not walks
    assert walking >= 4 and staying >= 2


def test_the_same_seed_gives_the_same_interior() -> None:
    first, again = interior(21), interior(21)
    for a, b in zip(first.scene.still, again.scene.still, strict=True):
        assert np.array_equal(a.mesh.corners, b.mesh.corners)
    assert first.scene.materials == again.scene.materials
    for t in (-2.0, 3.3, 22.0):
        assert np.array_equal(first.walk.world_from_base(t), again.walk.world_from_base(t))
        for a, b in zip(first.scene.actors, again.scene.actors, strict=True):
            assert np.array_equal(a.poses(t), b.poses(t))
