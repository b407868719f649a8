# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What lies on furniture and stands about: cups, books, paper, boxes, plants, bins; and what furniture is made of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mtl_perception.data.world import shapes
from mtl_perception.data.world.paths import upright
from mtl_perception.data.world.scene import Mesh, Scene, merged

_WOODS = [
    *[(0.55, 0.38, 0.22), (0.38, 0.24, 0.14), (0.75, 0.60, 0.42), (0.86, 0.84, 0.80), (0.22, 0.16, 0.13)],
    *[(0.50, 0.50, 0.52), (0.66, 0.50, 0.32), (0.80, 0.78, 0.72)],
]


def wood_of(scene: Scene, generator: np.random.Generator) -> int:
    """Return a random wood or lacquer."""
    tone = np.array(_WOODS[generator.integers(len(_WOODS))]) * generator.uniform(0.75, 1.1)
    return scene.material("wood", tone, tone * 0.75, (0.0, 7.0), gloss=0.06)


def plain(scene: Scene, tone: float, gloss: float = 0.1) -> int:
    """Return a grey of a screen brightness 0..1: steel, plastic, enamel."""
    return scene.material("dull", tone * np.ones(3), parameters=(0.03, 0.2), gloss=gloss)


def muted(generator: np.random.Generator) -> NDArray[np.float64]:
    """Return a screen colour (3,) as things at home have: seldom a pure one."""
    tone = generator.uniform(0.08, 0.9, 3)
    share = 0.35 if generator.random() < 0.8 else 0.75
    result: NDArray[np.float64] = tone.mean() + (tone - tone.mean()) * share
    return result


def coloured(scene: Scene, generator: np.random.Generator, gloss: float = 0.0) -> int:
    """Return a plain surface of any colour."""
    return scene.material("dull", muted(generator), parameters=(0.03, 0.3), gloss=gloss)


def fabric(scene: Scene, generator: np.random.Generator) -> int:
    """Return a cover of muted colour, sometimes striped."""
    tone = muted(generator) * 0.85
    return scene.material("cloth", tone, tone * 0.85, (0.35, 0.1, float(generator.choice([0.0, 0.0, 0.05]))))


def printed(scene: Scene, generator: np.random.Generator, patch: float = 0.08, paper: float = 0.4) -> int:
    """Return something printed: a box, a magazine, a poster."""
    return scene.material("picture", generator.uniform(0.05, 0.95, 3), (0.92, 0.9, 0.86), (patch, 0.8, paper))


def clutter(
    scene: Scene,
    generator: np.random.Generator,
    wide: float,
    deep: float,
    z: float,
    count: int,
    middle: tuple[float, float] = (0.0, 0.0),
) -> list[Mesh]:
    """Return small things within a rectangle (along x, along y) of a surface at height z."""
    parts: list[Mesh] = []
    for _ in range(count):
        size = generator.uniform([0.08, 0.06, 0.02], [min(0.3, wide), min(0.22, deep), 0.2])
        reach = float(np.hypot(size[0], size[1])) / 2
        if 2 * reach > min(wide, deep):
            reach, size = min(wide, deep) / 2, size * min(wide, deep) / (2 * reach)
        x = middle[0] + generator.uniform(-wide / 2 + reach, wide / 2 - reach)
        y = middle[1] + generator.uniform(-deep / 2 + reach, deep / 2 - reach)
        colour = coloured(scene, generator, float(generator.choice([0.0, 0.15])))
        kind = generator.integers(7)
        if kind == 0:
            parts.append(shapes.cylinder((x, y, z), (x, y, z + generator.uniform(0.07, 0.12)), 0.03, colour))
        elif kind == 1:
            tall = generator.uniform(0.15, 0.3)
            parts.append(shapes.cylinder((x, y, z), (x, y, z + tall * 0.7), 0.03, colour, sides=7))
            parts.append(shapes.cylinder((x, y, z + tall * 0.7), (x, y, z + tall), 0.026, colour, 0.012, sides=6))
        elif kind == 2:
            radius = min(reach, generator.uniform(0.04, 0.09))
            parts.append(shapes.ellipsoid((x, y, z + radius), radius, colour, 1))
        elif kind > 4:  # paper and magazines
            thick = generator.uniform(0.003, 0.012)
            sheet = shapes.box((size[0], size[1], thick), (0, 0, thick / 2), printed(scene, generator, 0.06, 0.6))
            parts.append(sheet.at(x, y, z, generator.uniform(0, 3.1)))
        else:
            mesh = shapes.box(size, (0, 0, size[2] / 2), printed(scene, generator, 0.06, 0.3))
            parts.append(mesh.at(x, y, z, generator.uniform(0, 3.1)))
    return parts


def plant(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return a plant in a pot: bushy, or with long leaves."""
    pot = coloured(scene, generator)
    radius, centre = min(wide, deep) / 2, (0.0, deep / 2)
    tall = min(0.4, high * 0.3)
    parts = [shapes.cylinder((*centre, 0), (*centre, tall), radius * 0.55, pot, radius * 0.7, 10)]
    green = np.array([0.25, 0.42, 0.15]) * generator.uniform(0.7, 1.4, 3)
    leaf = scene.material("foliage", green, green * 0.4, (0.15,))
    if generator.random() < 0.5:
        count = 240
        direction = generator.normal(size=(count, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        half = (high - tall) / 2
        middle = direction * generator.uniform(0.0, 1.0, (count, 1)) ** 0.5 * [radius * 0.8, radius * 0.8, half * 0.9]
        middle += [*centre, tall + half]
        side = np.cross(direction, generator.normal(size=(count, 3)))
        side *= 0.06 / np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-6)
        corners = np.stack([middle - side, middle + side, middle + direction * 0.14 + [0, 0, 0.02]], axis=1)
        stem = scene.material("wood", (0.35, 0.26, 0.16), (0.25, 0.18, 0.1), (0.0, 3.0))
        parts.append(shapes.cylinder((*centre, tall), (*centre, high * 0.7), 0.025, stem, 0.015, 5))
    else:
        count = 28
        angle = generator.uniform(0, 2 * np.pi, count)
        out = np.stack([np.cos(angle), np.sin(angle), np.zeros(count)], axis=1)
        across = np.stack([-np.sin(angle), np.cos(angle), np.zeros(count)], axis=1) * 0.035
        reach = generator.uniform(0.3, 0.95, (count, 1)) * radius
        rise = generator.uniform(0.45, 0.98, (count, 1)) * (high - tall)
        root = np.array([*centre, tall * 0.95])
        knee, tip = root + out * reach * 0.45 + rise * [0, 0, 0.75], root + out * reach + rise * [0, 0, 1.0]
        lower = np.stack([root + 0 * out, knee + across, knee - across], axis=1)
        upper = np.stack([knee - across, knee + across, tip], axis=1)
        corners = np.concatenate([lower, upper])
    low, top = np.array([-radius, deep / 2 - radius, 0.0]), np.array([radius, deep / 2 + radius, high])
    corners = np.clip(corners, low, top)
    parts.append(shapes.triangles(corners, corners, leaf))
    return parts


def boxes(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return a stack of cardboard boxes."""
    parts: list[Mesh] = []
    z = 0.0
    limit = min(wide, deep) / 2 / 0.72
    while z < high - 0.3 and len(parts) < 4 and (not parts or generator.random() < 0.75):
        card = scene.material(
            "dull", np.array([0.62, 0.47, 0.32]) * generator.uniform(0.7, 1.2), parameters=(0.06, 0.3)
        )
        size = generator.uniform([0.25, 0.2, 0.15], [limit, limit, 0.4])
        surface = card if generator.random() < 0.7 else printed(scene, generator, 0.15, 0.6)
        mesh = shapes.box(size, (0, 0, size[2] / 2), surface)
        parts.append(mesh.at(0, deep / 2, z, generator.uniform(-0.3, 0.3)))
        z += size[2]
    return parts


def bin_(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return a waste bin."""
    tone = plain(scene, float(generator.uniform(0.05, 0.7)))
    radius = min(wide, deep) / 2
    return [shapes.cylinder((0, deep / 2, 0), (0, deep / 2, high), radius * 0.75, tone, radius * 0.98, 12)]


def monitor(scene: Scene, generator: np.random.Generator, wide: float) -> Mesh:
    """Return a computer monitor on its foot at z = 0, its back to -y, about x = y = 0."""
    dark = plain(scene, 0.07)
    glow = float(generator.choice([0.0, 0.6, 1.0]))
    shown = scene.material(
        "picture", generator.uniform(0.1, 0.9, 3), (0.85, 0.88, 0.92), (0.09, 0.7, 0.5), gloss=0.1, glow=glow
    )
    middle = 0.12 + wide * 0.3
    parts = [
        shapes.box((wide, 0.035, wide * 0.6), (0, 0, middle), dark),
        shapes.box((wide * 0.95, 0.02, wide * 0.55), (0, 0.012, middle), shown),
        shapes.box((0.05, 0.05, 0.15), (0, -0.02, 0.07), dark),
        shapes.box((0.22, 0.14, 0.015), (0, 0, 0.008), dark),
    ]
    return merged(parts).moved(upright((0, 0, 0), float(generator.uniform(-0.15, 0.15))))
