# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Built streets, probed with rays of their own: the ground is where the plan says, and nothing stands in the way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open3d as o3d
import pytest

from mtl_perception.core.labels import LabelSpace
from mtl_perception.data.world.scene import Light, Scene, Sensor, merged
from mtl_perception.data.world.street.building import build_street
from mtl_perception.data.world.street.driving import Wait
from mtl_perception.data.world.street.roads import KERB_M, LAYOUTS, StreetPlan, plan_street
from mtl_perception.data.world.street.signals import add_traffic_lights, signal_at
from mtl_perception.data.world.street.site import CLEARANCE_M, Site
from mtl_perception.data.world.things.street_furniture import AMBER, GREEN, RED

LABELS = LabelSpace.load(Path(__file__).parents[4] / "config/labels/default.yaml")
MOST_TRIANGLES = 250_000


@dataclass
class Way:
    """A drive along the outermost lane of road 0 and a turn into the first bay."""

    path_points: np.ndarray
    taken_bays: tuple[int, ...] = ()
    waits: tuple[Wait, ...] = ()


@dataclass
class Street:
    plan: StreetPlan
    way: Way
    scene: Scene

    def __post_init__(self) -> None:
        self.counts = np.array([len(thing.mesh) for thing in self.scene.still])
        self.mesh = merged([thing.mesh for thing in self.scene.still])
        self.thing = np.repeat(np.arange(len(self.counts)), self.counts)
        self.layers = np.array([thing.layer for thing in self.scene.still], dtype=object)
        self.layered = np.flatnonzero(self.layers[self.thing] != "")
        self.rays, self.ground = self.caster(np.arange(len(self.mesh))), self.caster(self.layered)

    def caster(self, chosen: np.ndarray) -> o3d.t.geometry.RaycastingScene:
        scene = o3d.t.geometry.RaycastingScene(nthreads=1)
        corners = np.ascontiguousarray(self.mesh.corners[chosen].reshape(-1, 3))
        scene.add_triangles(
            o3d.core.Tensor.from_numpy(corners),
            o3d.core.Tensor.from_numpy(np.arange(len(corners), dtype=np.uint32).reshape(-1, 3)),
        )
        return scene

    def ground_below(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the heights and layers ("" for none) of the ground with a layer at points (N, 2)."""
        rays = np.zeros((len(points), 6), np.float32)
        rays[:, :2], rays[:, 2], rays[:, 5] = points, 5.0, -1.0
        answer = self.ground.cast_rays(o3d.core.Tensor.from_numpy(rays))
        hit, triangle = np.isfinite(answer["t_hit"].numpy()), answer["primitive_ids"].numpy()
        layers = np.full(len(points), "", dtype=object)
        layers[hit] = self.layers[self.thing[self.layered[triangle[hit]]]]
        return 5.0 - answer["t_hit"].numpy(), layers


def empty_scene() -> Scene:
    white = (1.0, 1.0, 1.0)
    return Scene(LABELS, Light((0.0, 0.6, 0.8), True, white, white), Sensor(1.0, white, 0.0, 0.4, 0.0, 1.0))


def build(layout: str, seed: int) -> Street:
    generator = np.random.default_rng(seed)
    plan = plan_street(generator, 20.0, layout)
    road = plan.roads[0]
    d = road.lane_offset(road.lanes - 1, 1, plan.side)
    points = road.line.points(np.arange(0.0, plan.speed_limit * 20.0, 0.5), d)[:, :2]
    near = [i for i, bay in enumerate(plan.bays) if bay.road == 0 and 0 < bay.s < 100 and bay.side == -plan.side][:2]
    inside = [road.line.points(*plan.bay_centre(plan.bays[i]))[:2] for i in near]
    way = Way(np.concatenate([points, *[np.array(p)[None] for p in inside]]), tuple(near))
    scene = empty_scene()
    build_street(scene, plan, way, generator)
    return Street(plan, way, scene)


@pytest.fixture(scope="module", params=list(LAYOUTS))
def street(request) -> Street:
    return build(request.param, 3)


def label_of(street: Street, name: str) -> np.ndarray:
    """Return which triangles have a label."""
    return np.array([thing.label == LABELS.id_of(name) for thing in street.scene.still])[street.thing]


def test_the_budget_of_triangles_is_kept(street: Street) -> None:
    assert 30_000 < len(street.mesh) < MOST_TRIANGLES


def test_lanes_lie_at_zero_and_pavements_at_the_kerbs_height(street: Street) -> None:
    plan = street.plan
    for index, road in enumerate(plan.roads):
        s = np.arange(road.start + 5.0, road.end - 5.0, 1.7)
        for d in [road.lane_offset(lane, direction, plan.side) for lane in range(road.lanes) for direction in (1, -1)]:
            z, layers = street.ground_below(road.line.points(s, d)[:, :2])
            own = np.abs(s) > plan.roads[0].reach if index else np.ones(len(s), bool)
            assert np.abs(z[own]).max() < 0.01, "paint may be a few millimetres above"
            assert set(layers[own]) <= {"road", "lane_marking", "crossing"}
        for side in (1, -1):
            free = [
                value
                for value in s
                if not plan.is_junction(index, value, 8.0) and (index == 0 or abs(value) > plan.roads[0].reach)
            ]
            z, layers = street.ground_below(road.line.points(free, side * np.mean(road.walkway))[:, :2])
            assert np.allclose(z, KERB_M, atol=1e-3) and set(layers) == {"pavement"}


def test_junctions_have_no_holes_and_no_steps(street: Street) -> None:
    generator = np.random.default_rng(0)
    main = street.plan.roads[0]
    for junction in street.plan.junctions:
        other = street.plan.roads[junction.other]
        for arm in junction.arms:
            s = junction.s + generator.uniform(-1, 1, 400) * (other.half + 3.0)
            d = arm * generator.uniform(0, main.half + 12.0, 400)
            z, _ = street.ground_below(main.line.points(s, d)[:, :2])
            paved = (np.abs(s - junction.s) < other.reach - 0.05) | (np.abs(d) < main.reach - 0.05)
            assert (np.minimum(np.abs(z), np.abs(z - KERB_M))[paved] < 0.015).all()
            driven = (np.abs(s - junction.s) < other.half - 0.05) | (np.abs(d) < main.half - 0.05)
            assert (np.abs(z[driven]) < 0.01).all()


def test_kerbs_at_corners_are_rounded(street: Street) -> None:
    main = street.plan.roads[0]
    for junction in street.plan.junctions:
        other, arm = street.plan.roads[junction.other], junction.arms[0]
        corner = np.array([other.half, main.half]) + junction.corner
        for direction in (1, -1):
            for angle in np.linspace(0.1, np.pi / 2 - 0.1, 5):
                along = np.array([np.cos(angle), np.sin(angle)])
                for radius, height in ((junction.corner - 0.2, KERB_M), (junction.corner + 0.2, 0.0)):
                    x, y = corner - along * radius
                    z, _ = street.ground_below(main.line.points([junction.s + direction * x], [arm * y])[:, :2])
                    assert z[0] == pytest.approx(height, abs=0.01)


def test_crossings_are_seen_from_above_from_kerb_to_kerb(street: Street) -> None:
    for crossing in street.plan.crossings:
        road = street.plan.roads[crossing.road]
        d = np.linspace(-road.half + 0.4, road.half - 0.4, 20)
        z, layers = street.ground_below(road.line.points(np.full(20, crossing.s), d)[:, :2])
        assert set(layers) == {"crossing"} and (z > 0.001).all()


def test_marked_roads_have_marks_and_no_paint_lies_elsewhere(street: Street) -> None:
    marks = [thing for thing in street.scene.still if thing.layer == "lane_marking"]
    assert bool(marks) or not any(road.marked for road in street.plan.roads)
    for thing in marks:
        assert thing.label == LABELS.id_of("road")
        assert np.allclose(thing.mesh.corners[..., 2], 0.004, atol=1e-4)
        _, layers = street.ground_below(thing.mesh.corners.mean(axis=1)[:, :2].astype(float))
        assert set(layers) <= {"lane_marking", "crossing"}


def test_ground_faces_up(street: Street) -> None:
    layered = np.array([thing.layer != "" for thing in street.scene.still])[street.thing]
    corners = street.mesh.corners[layered].astype(float)
    face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    level = np.ptp(corners[..., 2], axis=1) < 1e-4
    assert level.sum() > 200 and (face[level, 2] > 0).all()


def test_nothing_stands_in_the_robots_way(street: Street) -> None:
    corners = street.mesh.corners.astype(float)
    standing = (corners[..., 2] > KERB_M + 0.05) & (corners[..., 2] < 2.2)
    leaves = label_of(street, "vegetation")[:, None]  # twigs may hang over the road
    points = corners[standing & ~leaves]
    path, gaps = street.way.path_points, np.full(len(points), np.inf)
    for place in path[::8]:
        gaps = np.minimum(gaps, np.hypot(*(points[:, :2] - place).T))
    near = points[gaps < CLEARANCE_M + 3.0, :2]
    gaps = np.array([np.hypot(*(path - point).T).min() for point in np.unique(near.round(3), axis=0)])
    assert gaps.min() > CLEARANCE_M


def test_walkways_are_free_of_things(street: Street) -> None:
    things = [thing for thing in street.scene.still if thing.label in {LABELS.id_of(n) for n in ("pole", "pedestrian")}]
    assert things
    road = street.plan.roads[0]
    s = np.arange(0.0, road.end - 20.0, 0.25)
    low, high = road.walkway
    middle = np.concatenate([road.line.points(s, side * (low + high) / 2)[:, :2] for side in (1, -1)])
    for thing in things:
        foot = thing.world_from_object[:2, 3]
        assert np.linalg.norm(middle - foot, axis=1).min() > (high - low) / 2 - 0.05


def test_nothing_at_all_reaches_into_the_walkways_of_the_first_road(street: Street) -> None:
    road = street.plan.roads[0]
    low, high = road.walkway
    s = np.array([v for v in np.arange(0.0, 200.0, 0.05) if not street.plan.is_junction(0, v, 12.0)])
    cell = 0.1
    bands = [road.line.points(s, side * d)[:, :2] for side in (1, -1) for d in np.arange(low + 0.1, high - 0.1, 0.05)]
    taken = {tuple(index) for index in np.unique(np.round(np.concatenate(bands) / cell).astype(int), axis=0)}
    corners = street.mesh.corners.astype(float).reshape(-1, 3)
    labels = np.repeat(np.array([thing.label for thing in street.scene.still])[street.thing], 3)
    standing = (corners[:, 2] > KERB_M + 0.15) & (corners[:, 2] < 1.5)
    inside = [tuple(index) in taken for index in np.round(corners[standing, :2] / cell).astype(int)]
    found = labels[standing][inside]
    leaves = found == LABELS.id_of("vegetation")
    assert leaves.sum() < 30 and leaves.all(), "but for a loose leaf or two"


def test_taken_bays_are_free_and_others_hold_vehicles(street: Street) -> None:
    bays = [bay for bay in street.plan.bays if bay.road == 0]
    vehicles = {LABELS.id_of("car"), LABELS.id_of("truck")}
    parked = [thing.world_from_object[:2, 3] for thing in street.scene.still if thing.label in vehicles]
    assert bool(bays) == bool(street.way.taken_bays) and (parked or not bays)
    for index in street.way.taken_bays:
        bay = street.plan.bays[index]
        centre = street.plan.roads[bay.road].line.points(*street.plan.bay_centre(bay))[:2]
        assert min(np.linalg.norm(place - centre) for place in parked) > bay.length / 2


def test_movable_things_and_poles_have_frames_of_their_own_on_the_ground(street: Street) -> None:
    names = {LABELS.id_of(n) for n in ("car", "truck", "pedestrian", "cyclist", "pole", "sign")}
    found = [thing for thing in street.scene.still if thing.label in names]
    assert found and len({thing.instance for thing in found}) == len(found)
    for thing in found:
        local = (
            np.linalg.inv(thing.world_from_object)
            @ np.c_[thing.mesh.corners.reshape(-1, 3), np.ones(3 * len(thing.mesh))].T
        )
        assert np.abs(local[:2].mean(axis=1)).max() < 2.5, "its frame is below it"
        assert thing.world_from_object[2, 3] in (0.0, 0.01, pytest.approx(KERB_M))


def test_no_view_along_the_ground_runs_into_nothing(street: Street) -> None:
    angles = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    for road in street.plan.roads[:2]:
        for s in np.linspace(max(road.start, 0.0) + 10.0, road.end - 30.0, 4):
            rays = np.zeros((len(angles), 6), np.float32)
            rays[:, :3] = road.line.points(float(s), 1.0, 1.5)
            rays[:, 3], rays[:, 4] = np.cos(angles), np.sin(angles)
            distance = street.rays.cast_rays(o3d.core.Tensor.from_numpy(rays))["t_hit"].numpy()
            assert np.mean(np.isfinite(distance)) > 0.97


def test_regions_are_joined_both_ways_and_hold_the_robots_way(street: Street) -> None:
    regions = {region.name: region for region in street.scene.regions}
    assert len(regions) == len(street.scene.regions)
    assert {region.kind for region in regions.values()} == {"road segment", "junction"}
    for region in regions.values():
        assert region.neighbours
        for name in region.neighbours:
            assert region.name in regions[name].neighbours
        x, y = region.outline.T
        assert np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) > 0, "anticlockwise"
    for point in street.way.path_points[::40]:
        assert any(_is_inside(region.outline, point) for region in regions.values())


def test_lights_are_red_for_the_robot_while_it_waits_and_never_green_for_both_roads() -> None:
    stops = [(8.0, 12.0)]
    times = np.arange(-2.0, 22.0, 0.05)
    main, other = ([signal_at(t, stops, is_main) for t in times] for is_main in (True, False))
    for t, first, second in zip(times, main, other, strict=True):
        assert RED in (first, second)
        assert first == RED or not 5.0 < t < 11.0
        assert first == GREEN or 1.0 < t < 12.0
    assert GREEN in other and AMBER in main and AMBER in other
    assert signal_at(9.0, [], True) == GREEN and signal_at(9.0, [], False) == RED


def test_lights_that_change_are_actors_whose_lit_lamp_is_the_foremost() -> None:
    plan = plan_street(np.random.default_rng(1), 20.0, "crossroads")
    junction = next(junction for junction in plan.junctions if junction.has_traffic_lights)
    waits = (Wait(8.0, 12.0, 0, junction.s, "junction"),)
    points = plan.roads[0].line.points(np.arange(0.0, 150.0), 0.0)[:, :2]
    scene = empty_scene()
    add_traffic_lights(scene, plan, Site(plan, points), waits, np.random.default_rng(0))
    assert len(scene.actors) >= 4
    signals = {7.0: {RED, GREEN}, 20.0: {GREEN, RED}}
    for seconds, expected in signals.items():
        shown = set()
        for actor in scene.actors:
            assert actor.label == LABELS.id_of("sign") and not actor.moves(seconds)
            poses = actor.poses(seconds)
            light_from_part = np.linalg.inv(poses[0]) @ poses
            front = [
                (actor.mesh.corners[actor.mesh.part == part][..., 0] + light_from_part[part, 0, 3]).max()
                for part in (1, 2, 3)
            ]
            lit = int(np.argmax(front))
            housing = actor.mesh.corners[(actor.mesh.part == 0)]
            assert front[lit] > 0.125 and max(np.delete(front, lit)) < 0.02 and housing.shape[0] > 20
            shown.add(lit)
        assert shown == expected


def test_lamps_hang_above_the_street(street: Street) -> None:
    assert len(street.scene.lamps) > 5
    for lamp in street.scene.lamps:
        assert 2.5 < lamp.position[2] < 9.5 and lamp.strength[0] >= lamp.strength[2]


def test_the_same_seed_builds_the_same_street() -> None:
    first, again, other = (build("suburb", seed) for seed in (5, 5, 6))
    assert np.array_equal(first.mesh.corners, again.mesh.corners)
    assert first.scene.materials == again.scene.materials and first.scene.lamps == again.scene.lamps
    assert len(first.mesh) != len(other.mesh)


def _is_inside(outline: np.ndarray, point: np.ndarray) -> bool:
    a, b = outline, np.roll(outline, -1, axis=0)
    spans = (a[:, 1] > point[1]) != (b[:, 1] > point[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        x = a[:, 0] + (point[1] - a[:, 1]) / (b[:, 1] - a[:, 1]) * (b[:, 0] - a[:, 0])
    return bool(np.sum(spans & (x > point[0])) % 2)
