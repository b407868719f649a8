# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Boundaries of plots, and a park along a road."""

from __future__ import annotations

import numpy as np

from mtl_perception.data.world import shapes
from mtl_perception.data.world.scene import Scene, merged, pose
from mtl_perception.data.world.street.ground import LAND_M, Ground
from mtl_perception.data.world.street.planting import Planting
from mtl_perception.data.world.street.roads import Road
from mtl_perception.data.world.street.site import Frontage, Site, frontage
from mtl_perception.data.world.things import plants, street_furniture

DETAILED_M = 22.0
"""Hedges and fences nearer to the robot's way are detailed."""

PARK_M = 42.0
"""How deep a park is."""

BEHIND_LINE_M = 0.3
PATH_WIDTH_M, PATH_M = 2.4, LAND_M + 0.01
_STEP_M = 8.0


def add_boundary(
    scene: Scene,
    site: Site,
    line: Frontage,
    begin: float,
    length: float,
    kind: str,
    generator: np.random.Generator,
) -> None:
    """Add a "hedge", "fence" or "wire" fence just behind a line, from `begin` metres along it on."""
    height = float(generator.uniform(0.7, 1.7))
    thickness = 0.7 * height if kind == "hedge" else 0.0
    ((x, y),) = line.points(np.array([-BEHIND_LINE_M - thickness]), np.array([begin]))
    middle = line.points(np.array([0.0]), np.array([begin + length / 2]))
    near = bool(site.way_to_drive(middle)[0] < DETAILED_M + length / 2)
    place = pose(float(x), float(y), LAND_M, line.yaw)
    if kind == "hedge":
        mesh = plants.hedge(scene, generator, length, height, near)
        scene.add(mesh.moved(place), "vegetation")
    else:
        scene.add(street_furniture.fence(scene, generator, length, near, kind == "wire").moved(place), "fence")


def add_park(
    scene: Scene,
    site: Site,
    planting: Planting,
    ground: Ground,
    road: Road,
    side: int,
    generator: np.random.Generator,
) -> None:
    """Add a park along one side of a road: a boundary with gaps, a path with benches, groves and bushes."""
    g = generator
    boundary, look = str(g.choice(["hedge", "fence"])), int(g.integers(2**31))
    phase, closed = g.uniform(0.0, 6.0), g.uniform(0.4, 0.95)
    starts = np.arange(road.start, road.end - _STEP_M, _STEP_M)
    lines = [frontage(road, side, float(s), _STEP_M, road.reach) for s in starts]
    open_land = [site.is_free(line.rectangle(-PARK_M, -1.0)) for line in lines]
    path = []
    for s, line, is_open in zip(starts, lines, open_land, strict=True):
        if not is_open:
            continue
        if g.random() < closed:
            add_boundary(scene, site, line, 0.0, _STEP_M + 0.05, boundary, np.random.default_rng(look))
        along = np.linspace(s, s + _STEP_M, 5)
        middle = _path_offset(road, along, phase)
        edges = [
            road.line.points(along, side * (middle + away), PATH_M) for away in (PATH_WIDTH_M / 2, -PATH_WIDTH_M / 2)
        ]
        left, right = edges if side > 0 else edges[::-1]
        path.append(shapes.strip(left, right, left[:, :2], right[:, :2], ground.gravel))
        for _ in range(int(g.integers(2, 7))):
            place = float(g.uniform(s, s + _STEP_M))
            d = road.reach + 2.0 + (PARK_M - 4.0) * float(g.random()) ** 1.3
            if abs(d - _path_offset(road, place, phase)) > 2.2:
                x, y, _ = road.line.points(place, side * d)
                if g.random() < 0.65:
                    planting.add_tree(x, y, LAND_M, g.uniform(0.7, 1.3))
                else:
                    planting.add_bush(x, y, LAND_M)
        if g.random() < 0.3:
            x, y, _ = road.line.points(s + 2.0, side * (_path_offset(road, s + 2.0, phase) + 1.9))
            facing = pose(float(x), float(y), LAND_M, float(road.line.heading(s + 2.0)) - side * np.pi / 2)
            scene.add(street_furniture.bench(scene, g), "fence", facing)
    if path:
        scene.add(merged(path), "pavement", layer="pavement")
    for line, is_open in zip(lines, open_land, strict=True):
        if is_open:
            site.take(line.rectangle(-PARK_M, -1.0))


def _path_offset(road: Road, s: float | np.ndarray, phase: float) -> np.ndarray:
    """Return how far from the road's middle the path runs at s."""
    return road.reach + 11.0 + 3.5 * np.sin(np.asarray(s) / 17.0 + phase)
