# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What windows look out on: lawn or paving below, trees, and houses across."""

from __future__ import annotations

import numpy as np

from mtl_perception.data.world import shapes
from mtl_perception.data.world.indoor.rooms import FloorPlan
from mtl_perception.data.world.scene import Scene, merged

_FAR_M = 150.0


def add_outside(scene: Scene, plan: FloorPlan, generator: np.random.Generator) -> None:
    """Put the surroundings of a building into a scene; brighter than rooms by day."""
    # The light from everywhere is that of rooms; outdoors there is more of it by day, given here as a glow.
    daylight = 0.6 * float(np.mean(scene.light.sky))
    low, high = (np.array([getattr(room, end) for room in plan.rooms]) for end in ("low", "high"))
    (x0, y0), (x1, y1) = low.min(axis=0), high.max(axis=0)
    ground = -plan.storey - 0.02
    lawn = scene.material("grass", (0.33, 0.45, 0.2), (0.4, 0.42, 0.24), glow=daylight)
    west, south, east, north = x0 - _FAR_M, y0 - _FAR_M, x1 + _FAR_M, y1 + _FAR_M
    corners = [(west, south), (east, south), (east, north), (west, north)]
    scene.add(shapes.quads([[(x, y, ground) for x, y in corners]], [corners], lawn), "vegetation")
    houses, trees = [], []
    crowded = generator.uniform(0.3, 1.0)
    for side in range(4):
        length = (x1 - x0, y1 - y0)[side % 2]
        away = generator.uniform(10.0, 30.0)
        origin = [(x0, y0 - away), (x1 + away, y0), (x1, y1 + away), (x0 - away, y1)][side]
        along = np.array([(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)][side])
        out = np.array([along[1], -along[0]])
        place = -30.0
        while place < length + 30.0:
            wide = generator.uniform(9.0, 20.0)
            if generator.random() < crowded:
                tall, deep = generator.uniform(5.0, 16.0), 10.0
                middle = np.array(origin) + along * (place + wide / 2) + out * (deep / 2 + generator.uniform(0, 4))
                front = scene.material(
                    "facade",
                    generator.uniform(0.5, 0.9) * generator.uniform(0.85, 1.05, 3),
                    (0.9, 0.9, 0.88),
                    (2.9, generator.uniform(2.0, 3.2), 0.42, 0.5, 0, float(generator.integers(3)), 0.4, 0.1),
                    glow=daylight * 0.8,
                )
                roof = scene.material("dull", (0.45, 0.3, 0.25), parameters=(0.1, 0.5), glow=daylight)
                size = (wide, deep, tall) if side % 2 == 0 else (deep, wide, tall)
                houses.append(shapes.box(size, (*middle, ground + tall / 2), front, top=roof))
            place += wide + generator.uniform(0.5, 9.0)
        for _ in range(int(generator.integers(2, 7))):
            nearer = out * generator.uniform(2.5, away - 4)
            spot = np.array(origin) + along * generator.uniform(-15, length + 15) - nearer
            green = np.array([0.3, 0.45, 0.18]) * generator.uniform(0.6, 1.3)
            leaf = scene.material("foliage", green, green * 0.35, (0.5,), glow=daylight * 0.9)
            bark = scene.material("wood", (0.35, 0.27, 0.2), (0.25, 0.2, 0.15), (0.0, 4.0), glow=daylight * 0.6)
            tall, radius = generator.uniform(4.0, 9.0), generator.uniform(1.2, 2.2)
            trees.append(shapes.cylinder((*spot, ground), (*spot, ground + tall * 0.6), 0.16, bark, 0.1, 7))
            for _ in range(4):
                centre = np.array([*spot, ground + tall * 0.7]) + generator.normal(0, 0.4, 3) * radius
                trees.append(shapes.ellipsoid(centre, radius * generator.uniform(0.6, 1.0, 3), leaf, 2))
    if houses:
        scene.add(merged(houses), "building")
    if trees:
        scene.add(merged(trees), "vegetation")
