# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Tables, desks and counters with what is on them: back at y = 0, reaching to y = deep, centred about x = 0."""

from __future__ import annotations

import numpy as np

from mtl_perception.data.world import shapes
from mtl_perception.data.world.paths import upright
from mtl_perception.data.world.scene import Mesh, Scene, merged
from mtl_perception.data.world.things.household import clutter, coloured, monitor, plain, printed, wood_of

DESK_M = 0.73
"""Height of a desk."""


def table(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return a table on four legs, laid or littered."""
    top = wood_of(scene, generator)
    legs = top if generator.random() < 0.6 else plain(scene, float(generator.uniform(0.05, 0.8)), 0.2)
    count = int(generator.integers(2, int(4 + 6 * wide * deep)))
    return [merged([*_on_legs(top, legs, wide, deep, high), *_littered(scene, generator, wide, deep, high, count)])]


def coffee_table(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return a low table with a board under its top."""
    top = wood_of(scene, generator)
    parts = _on_legs(top, top, wide, deep, high)
    parts.append(shapes.box((wide * 0.86, deep * 0.8, 0.02), (0, deep / 2, high * 0.35), top))
    return [merged([*parts, *_littered(scene, generator, wide, deep, high, int(generator.integers(1, 6)))])]


def meeting_table(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return a big table on two pedestals with papers and laptops."""
    top, steel = wood_of(scene, generator), plain(scene, float(generator.uniform(0.05, 0.7)), 0.2)
    parts = [shapes.box((wide, deep, 0.04), (0, deep / 2, high - 0.02), top)]
    for x in (-wide / 2 + min(0.5, wide / 4), wide / 2 - min(0.5, wide / 4)):
        parts.append(shapes.box((0.1, deep * 0.5, high - 0.06), (x, deep / 2, (high - 0.06) / 2 + 0.02), steel))
        parts.append(shapes.box((0.12, deep * 0.8, 0.03), (x, deep / 2, 0.015), steel))
    for _ in range(int(generator.integers(1, 4))):
        x, side = generator.uniform(-wide / 2 + 0.3, wide / 2 - 0.3), int(generator.integers(2))
        place = upright((x, 0.2 if side else deep - 0.2, high), np.pi * side)
        parts.append(_laptop(scene, generator).moved(place))
    return [merged([*parts, *_littered(scene, generator, wide, deep * 0.5, high, int(3 * wide), deep / 2)])]


def desk(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return a desk whose user sits at y > deep, with drawers or a screen to the neighbour; `high` is not used."""
    top, steel = wood_of(scene, generator), plain(scene, float(generator.uniform(0.1, 0.85)), 0.2)
    parts = _on_legs(top, steel, wide, deep, DESK_M)
    if generator.random() < 0.6:
        front = wood_of(scene, generator)
        x = float(generator.choice([-1, 1])) * (wide / 2 - 0.27)
        parts.append(shapes.box((0.4, deep * 0.75, 0.55), (x, deep * 0.45, 0.33), front))
        for z in (0.18, 0.36, 0.5):
            parts.append(shapes.box((0.12, 0.02, 0.015), (x, deep * 0.825 + 0.01, z), steel))
    if generator.random() < 0.3:
        parts.append(shapes.box((wide * 0.98, 0.03, 0.4), (0, 0.02, DESK_M + 0.1), coloured(scene, generator)))
    return [merged(parts)]


def desk_things(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return what is on a desk of this size: monitors, keyboard, mouse, papers; `high` is not used."""
    parts, height = [], DESK_M
    screens = int(generator.integers(1, 3)) if wide > 1.3 else 1
    for k in range(screens):
        x = (k + 0.5 - screens / 2) * 0.62
        parts.append(monitor(scene, generator, float(generator.uniform(0.46, 0.58))).at(x, 0.22, height))
    keys = scene.material("books", (0, 0, 0), (0.5, 0.5, 0.5), (0.03,))
    parts.append(shapes.box((0.42, 0.14, 0.025), (0, deep - 0.2, height + 0.013), keys))
    parts.append(shapes.box((0.06, 0.1, 0.03), (0.3, deep - 0.2, height + 0.015), plain(scene, 0.1)))
    for side in (-1, 1):
        count = int(generator.integers(1, 5))
        room, middle = (wide - 0.75) / 2, (side * (wide + 0.75) / 4, deep * 0.5)
        if room > 0.15:
            parts += clutter(scene, generator, room, deep * 0.7, height, count, middle)
    return [merged(parts)]


def school_desk(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return a pupils' desk on steel legs."""
    top = scene.material("wood", (0.75, 0.62, 0.45), (0.6, 0.48, 0.33), (0.0, 7.0), gloss=0.08)
    steel = plain(scene, 0.35, 0.2)
    parts = _on_legs(top, steel, wide, deep, high)
    parts.append(shapes.box((wide * 0.9, 0.02, 0.25), (0, 0.04, high - 0.2), steel))
    return [merged([*parts, *_littered(scene, generator, wide, deep, high, int(generator.integers(0, 5)))])]


def reception(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return a reception counter: a high front towards the visitors at y = deep, a desk behind it."""
    front, top, accent = wood_of(scene, generator), wood_of(scene, generator), coloured(scene, generator, 0.1)
    parts = [
        shapes.box((wide, 0.06, high - 0.04), (0, deep - 0.07, (high - 0.04) / 2), front),
        shapes.box((wide, 0.3, 0.04), (0, deep - 0.15, high - 0.02), top),
        shapes.box((wide, deep - 0.06, 0.04), (0, (deep - 0.06) / 2, 0.74), top),
        shapes.box((wide * 0.5, 0.02, 0.3), (0, deep - 0.03, high * 0.6), accent),
    ]
    for x in (-wide / 2 + 0.03, wide / 2 - 0.03):
        parts.append(shapes.box((0.06, deep - 0.08, 0.74), (x, (deep - 0.08) / 2, 0.37), front))
    parts.append(monitor(scene, generator, 0.5).at(-wide * 0.2, deep * 0.4, 0.76, np.pi))
    parts += clutter(scene, generator, wide * 0.4, 0.2, high, 4, (wide * 0.2, deep - 0.16))
    return [merged(parts)]


def _on_legs(top: int, legs: int, wide: float, deep: float, high: float) -> list[Mesh]:
    parts = [shapes.box((wide, deep, 0.035), (0, deep / 2, high - 0.0175), top)]
    for x in (-wide / 2 + 0.05, wide / 2 - 0.05):
        for y in (0.05, deep - 0.05):
            parts.append(shapes.box((0.055, 0.055, high - 0.035), (x, y, (high - 0.035) / 2), legs))
    return parts


def _littered(
    scene: Scene,
    generator: np.random.Generator,
    wide: float,
    deep: float,
    high: float,
    count: int,
    middle: float | None = None,
) -> list[Mesh]:
    centre = (0.0, deep / 2 if middle is None else middle)
    return clutter(scene, generator, wide * 0.92, deep * 0.9, high, count, centre)


def _laptop(scene: Scene, generator: np.random.Generator) -> Mesh:
    """Return an open laptop about x = y = 0 whose screen faces +y."""
    grey, keys = plain(scene, float(generator.choice([0.1, 0.7]))), plain(scene, 0.08)
    screen = printed(scene, generator, 0.07, 0.5)
    return merged(
        [
            shapes.box((0.32, 0.22, 0.018), (0, 0, 0.009), grey),
            shapes.box((0.28, 0.1, 0.004), (0, -0.02, 0.02), keys),
            shapes.box((0.32, 0.012, 0.2), (0, -0.115, 0.118), grey),
            shapes.box((0.29, 0.006, 0.17), (0, -0.108, 0.118), screen),
        ]
    )
