# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Boards, screens, radiators, lamps, rugs and machines: back at y = 0, reaching to y = deep, centred about x = 0."""

from __future__ import annotations

import numpy as np

from mtl_perception.data.world import shapes
from mtl_perception.data.world.scene import Mesh, Scene, merged
from mtl_perception.data.world.things.household import coloured, muted, plain, printed, wood_of


def board(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return a whiteboard, blackboard or notice board on the wall."""
    kind = generator.integers(3)
    low = high - 1.15
    frame = plain(scene, 0.6, 0.2) if kind == 0 else wood_of(scene, generator)
    if kind == 0:
        face = scene.material("picture", (0.2, 0.3, 0.7), (0.95, 0.95, 0.95), (0.35, 0.9, 0.8), gloss=0.1)
    elif kind == 1:
        face = scene.material("dull", (0.12, 0.22, 0.17), parameters=(0.25, 0.5))
    else:
        face = scene.material("cloth", (0.62, 0.46, 0.3), parameters=(0.1, 0.1))
    middle = (low + high) / 2
    parts = [shapes.box((wide, 0.03, high - low), (0, 0.015, middle), frame)]
    parts.append(shapes.box((wide - 0.06, 0.012, high - low - 0.06), (0, 0.026, middle), face))
    if kind == 2:
        for _ in range(int(4 * wide)):
            x, z = generator.uniform(-wide / 2 + 0.2, wide / 2 - 0.2), generator.uniform(low + 0.2, high - 0.2)
            parts.append(shapes.box((0.2, 0.003, 0.28), (x, 0.034, z), printed(scene, generator, 0.06, 0.5)))
    else:
        parts.append(shapes.box((wide * 0.6, deep - 0.002, 0.02), (0, deep / 2, low + 0.01), frame))
    return [merged(parts)]


def screen(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return a large screen on the wall."""
    dark, tall = plain(scene, 0.05, 0.2), wide * 0.58
    glow = float(generator.choice([0.0, 0.8]))
    shown = scene.material("picture", generator.uniform(0.1, 0.9, 3), (0.9, 0.9, 0.92), (0.2, 0.7, 0.5), 0.1, glow)
    z = high - tall / 2
    parts = [shapes.box((wide, deep - 0.01, tall), (0, (deep - 0.01) / 2, z), dark)]
    parts.append(shapes.box((wide * 0.96, 0.01, tall * 0.93), (0, deep - 0.008, z), shown))
    return [merged(parts)]


def radiator(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return a ribbed radiator a little above the floor."""
    white = plain(scene, 0.88, 0.1)
    low = 0.12
    parts = [shapes.box((wide, deep * 0.5, high - low), (0, deep * 0.25 + 0.005, (low + high) / 2), white)]
    for x in np.arange(-wide / 2 + 0.04, wide / 2 - 0.03, 0.09):
        parts.append(shapes.box((0.045, deep * 0.4, high - low - 0.06), (x, deep * 0.75, (low + high) / 2), white))
    return [merged(parts)]


def floor_lamp(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return a lamp on a post."""
    steel, centre = plain(scene, float(generator.uniform(0.05, 0.6)), 0.3), (0.0, deep / 2)
    shade = scene.material("cloth", (0.95, 0.88, 0.72), parameters=(0.1, 0.05), glow=0.8)
    return [
        merged(
            [
                shapes.cylinder((*centre, 0), (*centre, 0.03), 0.14, steel, sides=12),
                shapes.cylinder((*centre, 0), (*centre, high - 0.2), 0.015, steel, sides=6),
                shapes.cylinder((*centre, high - 0.3), (*centre, high), min(wide, deep) / 2 * 0.97, shade, 0.11, 12),
            ]
        )
    ]


def copier(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return a photocopier with paper trays."""
    light, dark = plain(scene, 0.8), plain(scene, 0.15)
    parts = [shapes.box((wide, deep - 0.05, high * 0.8), (0, (deep - 0.05) / 2, high * 0.4), light)]
    parts.append(shapes.box((wide * 0.95, (deep - 0.05) * 0.9, high * 0.12), (0, deep * 0.42, high * 0.9), light))
    parts.append(shapes.box((wide * 0.9, (deep - 0.05) * 0.8, 0.06), (0, deep * 0.42, high * 0.81), dark))
    for z in (0.2, 0.4, 0.6):
        parts.append(shapes.box((wide * 0.9, 0.02, 0.015), (0, deep - 0.045, high * z), dark))
    glowing = scene.material("dull", (0.2, 0.5, 0.9), glow=0.8)
    parts.append(shapes.box((0.22, 0.05, 0.14), (wide * 0.2, deep - 0.04, high * 0.9), glowing))
    return [merged(parts)]


def water_dispenser(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return a water dispenser with its bottle."""
    body, blue, middle = plain(scene, 0.85), scene.material("dull", (0.45, 0.65, 0.85), gloss=0.5), (0.0, deep / 2)
    low = high * 0.7
    parts = [shapes.box((wide, deep, low), (*middle, low / 2), body)]
    parts.append(shapes.box((wide * 0.7, 0.01, 0.3), (0, deep - 0.004, low - 0.25), plain(scene, 0.2)))
    radius = min(wide, deep) / 2 * 0.85
    parts.append(shapes.cylinder((*middle, low), (*middle, high), radius, blue, radius * 0.9, 12))
    return [merged(parts)]


def vending_machine(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return a vending machine with a lit window full of goods."""
    body, dark = coloured(scene, generator, 0.2), plain(scene, 0.06, 0.3)
    goods = scene.material("books", (0, 0, 0), (0.9, 0.85, 0.6), (0.07,), gloss=0.2, glow=0.7)
    parts = [shapes.box((wide, deep - 0.03, high), (0, (deep - 0.03) / 2, high / 2), body)]
    pane = wide * 0.66
    for k in range(5):
        z = high * 0.34 + k * high * 0.12
        parts.append(shapes.box((pane, 0.015, high * 0.1), (-wide * 0.13, deep - 0.024, z), goods))
    parts.append(shapes.box((pane, 0.02, 0.2), (-wide * 0.13, deep - 0.02, 0.3), dark))
    parts.append(shapes.box((wide * 0.18, 0.02, 0.5), (wide * 0.36, deep - 0.02, high * 0.6), dark))
    return [merged(parts)]


def column(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return a round or square column up to the ceiling."""
    tone = generator.uniform(0.55, 0.9) * generator.uniform(0.95, 1.05, 3)
    stone = scene.material("dull", tone, parameters=(0.06, 0.8))
    middle = (0.0, deep / 2)
    if generator.random() < 0.5:
        return [shapes.cylinder((*middle, 0), (*middle, high), min(wide, deep) / 2, stone, sides=20)]
    foot = plain(scene, 0.3)
    return [
        merged(
            [
                shapes.box((wide - 0.03, deep - 0.03, high), (*middle, high / 2), stone),
                shapes.box((wide, deep, 0.12), (*middle, 0.06), foot),
            ]
        )
    ]


def rug(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return a rug with a border, 8 mm thick."""
    tone, other = muted(generator), muted(generator)
    border = scene.material("cloth", tone, parameters=(0.3, 0.08))
    field = scene.material("cloth", other, tone, (0.3, 0.08, float(generator.choice([0.0, 0.08, 0.2]))))
    parts = [shapes.box((wide, deep, 0.006), (0, deep / 2, 0.003), border)]
    parts.append(shapes.box((wide - 0.3, deep - 0.3, 0.008), (0, deep / 2, 0.004), field))
    return [merged(parts)]
