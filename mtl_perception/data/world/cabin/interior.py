# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The inside of a car around the driver's seat, in the seat's frame (x forward, y left, z up, metres)."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from mtl_perception.data.world import shapes
from mtl_perception.data.world.cabin.behaviour import WHEEL_CENTRE, WHEEL_RADIUS, WHEEL_TILT
from mtl_perception.data.world.paths import upright
from mtl_perception.data.world.scene import Mesh, Scene, merged

_LEFT, _RIGHT, _BACK, _FRONT, _FLOOR, _ROOF, _SILL = 0.40, -1.05, -1.35, 0.95, -0.42, 0.92, 0.36


def add_interior(scene: Scene, generator: np.random.Generator) -> None:
    """Put seats, doors, pillars, roof, dashboard and steering wheel into a scene; the windows are open to the sky."""
    fabric = generator.uniform(0.10, 0.55) * generator.uniform(0.85, 1.1, 3)
    cover = scene.material("cloth", fabric, fabric * 1.5, (0.12, 0.10, float(generator.choice([0.0, 0.05]))))
    plastic = scene.material("dull", np.ones(3) * generator.uniform(0.08, 0.3), parameters=(0.06, 0.2), gloss=0.1)
    lining = scene.material("dull", np.ones(3) * generator.uniform(0.45, 0.85), parameters=(0.03, 0.5))
    parts = [*_seat(cover, 0.0), *_seat(cover, -0.65), *_bench(cover), *_shell(plastic, lining)]
    scene.add(merged(parts), "furniture")
    scene.add(_steering_wheel(plastic), "furniture")


def _seat(cover: int, y: float) -> list[Mesh]:
    back = merged(
        [
            shapes.box((0.13, 0.48, 0.62), (0, 0, 0.31), cover),
            shapes.box((0.16, 0.07, 0.52), (0.03, 0.22, 0.28), cover),
            shapes.box((0.16, 0.07, 0.52), (0.03, -0.22, 0.28), cover),
            shapes.box((0.09, 0.26, 0.17), (0.0, 0, 0.72), cover),
        ]
    )
    cushion = shapes.box((0.56, 0.50, 0.16), (0.17, y, -0.17), cover)
    return [cushion, back.moved(upright((-0.20, y, -0.08), 0.0, -0.16))]


def _bench(cover: int) -> list[Mesh]:
    back = shapes.box((0.15, 1.35, 0.62), (_BACK + 0.12, (_LEFT + _RIGHT) / 2, 0.20), cover)
    heads = [shapes.box((0.09, 0.26, 0.16), (_BACK + 0.12, y, 0.60), cover) for y in (0.05, -0.70)]
    return [back, *heads]


def _shell(plastic: int, lining: int) -> list[Mesh]:
    middle, width, length = (_LEFT + _RIGHT) / 2, _LEFT - _RIGHT, _FRONT - _BACK
    centre = (_FRONT + _BACK) / 2
    parts = [
        shapes.box((length, width, 0.04), (centre, middle, _FLOOR), plastic),
        shapes.box((length - 0.5, width - 0.1, 0.04), (centre - 0.15, middle, _ROOF), lining),
        shapes.box((0.30, width, 0.30), (_FRONT, middle, 0.20), plastic),  # dashboard
        shapes.box((0.9, 0.16, 0.22), (0.25, -0.325, -0.28), plastic),  # console
        shapes.box((0.06, width, 0.60), (_BACK, middle, 0.06), lining),
    ]
    for y in (_LEFT + 0.04, _RIGHT - 0.04):
        parts.append(shapes.box((length, 0.08, _SILL - _FLOOR), (centre, y, (_SILL + _FLOOR) / 2), plastic))
        parts.append(shapes.box((0.45, 0.10, 0.05), (0.25, y - 0.05 * np.sign(y), 0.12), lining))
        for x in (_BACK + 0.05, -0.30):
            parts.append(shapes.box((0.12, 0.05, _ROOF - _SILL), (x, y, (_ROOF + _SILL) / 2), lining))
    return parts


def _steering_wheel(material: int) -> Mesh:
    angles = np.linspace(0, 2 * np.pi, 25)
    rim = np.stack([np.zeros(25), np.sin(angles) * WHEEL_RADIUS, np.cos(angles) * WHEEL_RADIUS], axis=1)
    bars = [shapes.cylinder(a, b, 0.015, material, sides=6) for a, b in pairwise(rim)]
    spokes = [shapes.cylinder((0.03, 0, 0), rim[index], 0.014, material, sides=5) for index in (6, 12, 18)]
    hub = shapes.ellipsoid((0.03, 0, 0), (0.025, 0.06, 0.06), material, 1)
    column = shapes.cylinder((0.03, 0, 0), (0.5, 0, -0.02), 0.035, material)
    return merged([*bars, *spokes, hub, column]).moved(upright(WHEEL_CENTRE, 0.0, WHEEL_TILT))
