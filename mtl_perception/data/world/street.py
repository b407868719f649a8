# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A street: roadway, pavements, and what stands along it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mtl_perception.data.world import buildings, figures, shapes
from mtl_perception.data.world.course import KERB_M, Plan
from mtl_perception.data.world.scene import Mesh, Scene, posed
from mtl_perception.data.world.traffic import Traffic
from mtl_perception.data.world.trajectory import upright


def build_street(scene: Scene, plan: Plan, generator: np.random.Generator) -> None:
    """Put a whole street into a scene."""
    winter = generator.choice([0.0, 0.3, 1.0], p=[0.55, 0.25, 0.2])
    for _ in range(7):
        grow = buildings.bare_tree if generator.random() < winter else buildings.tree
        plan.trees.append(grow(scene, generator))
    _ground(scene, plan, generator)
    for side in (1, -1):
        _houses(scene, plan, generator, side)
        _furnish(scene, plan, generator, side)
        _parked(scene, plan, generator, side)
    _far_ends(scene, plan, generator)
    Traffic(scene, plan, generator).fill()


def _ground(scene: Scene, plan: Plan, generator: np.random.Generator) -> None:
    grey = generator.uniform(0.28, 0.48)
    tint = grey * generator.uniform(0.97, 1.03, 3)
    numbers = (
        plan.half,
        plan.lanes,
        plan.zebra_period,
        plan.zebra_place,
        plan.parking,
        float(generator.random() < 0.7),
    )
    road = scene.material("asphalt", tint, (0.85, 0.85, 0.82), (*numbers, generator.uniform(0.1, 0.6)))
    plain = scene.material("asphalt", tint, (0.85, 0.85, 0.82), (4.0, 1, 0, 0, 0, 1.0, generator.uniform(0.2, 0.8)))
    tone = generator.uniform(0.45, 0.68) * generator.uniform(0.95, 1.05, 3)
    stone = (generator.uniform(0.3, 0.9), generator.uniform(0.3, 0.6), 0.5, 0.02, 0.08)
    paving = scene.material("slabs", tone, tone * 0.6, stone)
    kerb = scene.material("slabs", tone * 1.08, tone * 0.6, (1.0, 5.0, 0.0, 0.02, 0.08))
    soil = scene.material("grass", (0.36, 0.42, 0.18), (0.42, 0.38, 0.22))
    green = generator.random() < 0.5
    s = np.arange(plan.start, plan.end + 1, 2.0)
    scene.add(_band(plan, s, plan.half, -plan.half, 0.0, road), "road")
    pieces = _pieces(plan)
    reach = plan.half + plan.pavement
    for side in (1, -1):
        for low, high in pieces:
            along = np.linspace(low, high, max(2, int((high - low) / 2) + 1))
            inner, outer = side * plan.half, side * reach
            left, right = max(inner, outer), min(inner, outer)
            scene.add(_band(plan, along, left, right, KERB_M, paving), "pavement")
            scene.add(_kerb(plan, along, inner, side, kerb), "pavement")
            far = side * (reach + 45.0)
            left, right = max(outer, far), min(outer, far)
            yard = _band(plan, along, left, right, KERB_M - 0.01, soil if green else paving)
            scene.add(yard, "vegetation" if green else "pavement")
        for index in range(len(plan.junctions)):
            low, high = plan.ends_of(index)
            scene.add(_side_road(plan, low, high, side, plain), "road")
    x, y = plan.line.points((plan.start + plan.end) / 2, 0.0)[:2]
    plane = shapes.box((1500, 1500, 0.1), (x, y, -0.35), soil)
    scene.add(plane, "vegetation")


def _pieces(plan: Plan) -> list[tuple[float, float]]:
    """Return the stretches of the street between side streets."""
    cuts = [plan.start] + [edge for i in range(len(plan.junctions)) for edge in plan.ends_of(i)] + [plan.end]
    return [(low, high) for low, high in zip(cuts[::2], cuts[1::2], strict=True) if high - low > 1.0]


def _band(plan: Plan, s: NDArray, left: float, right: float, z: float, material: int) -> Mesh:
    """Return a horizontal band between two offsets of the centre line; texture is d, s."""
    on_left, on_right = (np.stack([np.full(len(s), d), s], axis=-1) for d in (left, right))
    return shapes.strip(plan.line.points(s, left, z), plan.line.points(s, right, z), on_left, on_right, material)


def _kerb(plan: Plan, s: NDArray, d: float, side: int, material: int) -> Mesh:
    low, high = plan.line.points(s, d, -0.02), plan.line.points(s, d, KERB_M)
    texture = [np.stack([s, np.full(len(s), z)], axis=-1) for z in (0.0, KERB_M)]
    if side > 0:  # the kerb of the left pavement faces right
        return shapes.strip(high, low, texture[1], texture[0], material)
    return shapes.strip(low, high, texture[0], texture[1], material)


def _side_road(plan: Plan, low: float, high: float, side: int, material: int) -> Mesh:
    d = np.arange(plan.half - 0.2, plan.half + plan.pavement + 46.0, 2.0) * side
    first = np.stack([plan.line.points(low, value, -0.01) for value in d])
    second = np.stack([plan.line.points(high, value, -0.01) for value in d])
    half = (high - low) / 2
    texture = [np.stack([np.full(len(d), value), d], axis=-1) for value in (-half, half)]
    if side > 0:
        return shapes.strip(first, second, texture[0], texture[1], material)
    return shapes.strip(second, first, texture[1], texture[0], material)


def _houses(scene: Scene, plan: Plan, generator: np.random.Generator, side: int) -> None:
    """Build rows of houses, with gaps that fences, hedges and trees fill."""
    typical, setback = generator.uniform(5, 20), float(generator.choice([0.0, 0.0, 2.0, 5.0]))
    gap_share = generator.uniform(0.05, 0.5)
    front = plan.half + plan.pavement
    for low, high in _pieces(plan):
        s = low + generator.uniform(0.5, 3.0)
        while s < high - 6:
            width = min(generator.uniform(7, 22), high - s - 0.5)
            if generator.random() < gap_share:
                gap = min(generator.uniform(3, 14), high - s - 0.5)
                _boundary(scene, plan, generator, side, s, gap, front + 0.3)
                for _ in range(int(gap / 4)):
                    place = s + generator.uniform(1, max(1.1, gap - 1))
                    _plant(scene, plan, generator, place, side * (front + generator.uniform(3, 16)), 1.2)
                s += gap
                continue
            back = setback + generator.uniform(0, 0.6)
            height = np.clip(typical * generator.uniform(0.6, 1.4), 4, 32)
            mesh = buildings.house(scene, generator, width, height, generator.uniform(9, 14))
            scene.add(_beside(plan, mesh, s, width, side, front + back), "building")
            if setback > 1 and generator.random() < 0.6:
                _boundary(scene, plan, generator, side, s, width, front + 0.3)
            s += width + float(generator.choice([0.0, 0.0, 0.05, 1.5]))


def _boundary(
    scene: Scene, plan: Plan, generator: np.random.Generator, side: int, s: float, length: float, d: float
) -> None:
    if generator.random() < 0.55:
        scene.add(_beside(plan, buildings.fence(scene, generator, length), s, length, side, d), "fence")
    else:
        mesh = buildings.hedge(scene, generator, length, generator.uniform(0.7, 1.8))
        scene.add(_beside(plan, mesh, s, length, side, d), "vegetation")


def _beside(plan: Plan, mesh: Mesh, s: float, length: float, side: int, d: float) -> Mesh:
    """Return a mesh that runs along +y and faces +x, put beside the street from s on, facing it."""
    first, last = plan.line.points(s, side * d, KERB_M - 0.02), plan.line.points(s + length, side * d, KERB_M - 0.02)
    if side > 0:  # on the left, +x must point to the right of the course: +y points along it
        direction, origin = last - first, first
    else:
        direction, origin = first - last, last
    yaw = float(np.arctan2(direction[1], direction[0])) - np.pi / 2
    return mesh.at(origin[0], origin[1], origin[2], yaw)


def _plant(scene: Scene, plan: Plan, generator: np.random.Generator, s: float, d: float, size: float) -> None:
    x, y, _ = plan.line.points(s, d)
    mesh = plan.trees[generator.integers(len(plan.trees))]
    scene.add(mesh.at(x, y, KERB_M, generator.uniform(0, 6.3), size * generator.uniform(0.7, 1.35)), "vegetation")


def _furnish(scene: Scene, plan: Plan, generator: np.random.Generator, side: int) -> None:
    """Put trees, lamps, signs, bollards and standing people on a pavement."""
    edge = plan.half + 0.5
    tree_gap = float(generator.choice([9.0, 14.0, 25.0, 1e9], p=[0.25, 0.3, 0.25, 0.2]))
    lamp_gap, sign_gap = generator.uniform(18, 35), generator.uniform(15, 60)
    near, far = -40.0, min(plan.end, 260.0)

    def places(gap: float) -> NDArray[np.float64]:
        spots = np.arange(near + generator.uniform(0, min(gap, 30)), far, gap)
        spots = spots + generator.uniform(-1.5, 1.5, len(spots))
        return np.array([spot for spot in spots if not plan.is_junction(spot, 2.0)])

    for s in places(tree_gap):
        _plant(scene, plan, generator, s, side * (edge + 0.3), 0.95)
    for s in places(lamp_gap):
        x, y, _ = plan.line.points(s, side * edge)
        yaw = float(plan.line.heading(s)) - side * np.pi / 2
        scene.add(buildings.lamp_post(scene, generator).at(x, y, KERB_M, yaw), "pole")
    for s in places(sign_gap):
        x, y, _ = plan.line.points(s, side * edge)
        facing = float(plan.line.heading(s)) + (np.pi if generator.random() < 0.65 else 0.0)
        post, plate = buildings.sign(scene, generator)
        scene.add(post.at(x, y, KERB_M, facing), "pole")
        scene.add(plate.at(x, y, KERB_M, facing), "sign")
    for index in range(len(plan.junctions)):
        if generator.random() < 0.4:
            s, along = plan.ends_of(index)[0] - 0.8, float(plan.line.heading(plan.junctions[index][0]))
            x, y, _ = plan.line.points(s, side * edge)
            post, housing = buildings.traffic_light(scene, generator)
            facing = along + (np.pi if generator.random() < 0.7 else 0.0)
            scene.add(post.at(x, y, KERB_M, facing), "pole")
            scene.add(housing.at(x, y, KERB_M, facing), "sign")
    if generator.random() < 0.4:
        for s in places(generator.uniform(2.5, 6)):
            x, y, _ = plan.line.points(s, side * (plan.half + 0.3))
            scene.add(buildings.bollard(scene, generator).at(x, y, KERB_M), "pole")
    for s in places(generator.uniform(12, 60)):
        x, y, _ = plan.line.points(s, side * (edge + generator.uniform(0.4, max(0.5, plan.pavement - 0.9))))
        mesh, height = figures.person(scene, generator)
        body = upright((x, y, KERB_M), generator.uniform(0, 6.3))
        scene.add(posed(mesh, figures.standing_pose(height, generator.uniform(-0.15, 0.15), body)), "pedestrian")


def _parked(scene: Scene, plan: Plan, generator: np.random.Generator, side: int) -> None:
    if plan.parking == 0:
        return
    full = generator.uniform(0.3, 0.95)
    fleet = [figures.car(scene, generator) for _ in range(8)]
    s = -40.0
    while s < min(plan.end, 240.0):
        s += generator.uniform(5.2, 6.4)
        crossing = (
            plan.zebra_period
            and abs((s - plan.zebra_place + plan.zebra_period / 2) % plan.zebra_period - plan.zebra_period / 2) < 5
        )
        if generator.random() > full or plan.is_junction(s, 4.0) or crossing:
            continue
        mesh, label = fleet[generator.integers(len(fleet))], "car"
        if generator.random() < 0.05:
            mesh, label = figures.truck(scene, generator), "truck"
            s += 4.0
        d = side * (plan.half - plan.parking / 2 + generator.uniform(-0.1, 0.15))
        x, y, _ = plan.line.points(s, d)
        turned = side * plan.side > 0 if generator.random() < 0.85 else side * plan.side < 0
        scene.add(mesh.at(x, y, 0.0, float(plan.line.heading(s)) + np.pi * turned + generator.normal(0, 0.02)), label)
        s += 4.0 if label == "truck" else 0.0


def _far_ends(scene: Scene, plan: Plan, generator: np.random.Generator) -> None:
    """Close the view at both ends with buildings and trees, as streets do not run into nothing."""
    for s, turned in ((plan.end + 5, np.pi), (plan.start - 5, 0.0)):
        heading = float(plan.line.heading(s)) + turned
        centre = plan.line.points(s, 0.0)
        across = np.array([-np.sin(heading), np.cos(heading)])
        y = -60.0
        while y < 60:
            width = generator.uniform(10, 25)
            mesh = buildings.house(scene, generator, width, generator.uniform(6, 24), 12.0)
            x0, y0 = centre[:2] + across * y
            scene.add(mesh.at(x0, y0, 0.0, heading), "building")
            y += width + generator.uniform(0, 6)
