# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Shelves, cabinets, racks and what is in them: back at y = 0, reaching to y = deep, centred about x = 0."""

from __future__ import annotations

import numpy as np

from mtl_perception.data.world import shapes
from mtl_perception.data.world.paths import upright
from mtl_perception.data.world.scene import Mesh, Scene, merged
from mtl_perception.data.world.things.household import clutter, coloured, monitor, plain, printed, wood_of


def shelf(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return a shelf with books, boxes and gaps."""
    wood = wood_of(scene, generator)
    boards = max(2, round(high / generator.uniform(0.3, 0.45)))
    gap = (high - 0.03) / boards
    parts = [shapes.box((0.03, deep, high), (side * (wide / 2 - 0.015), deep / 2, high / 2), wood) for side in (-1, 1)]
    parts.append(shapes.box((wide, 0.015, high), (0, 0.008, high / 2), wood))
    for level in range(boards + 1):
        z = level * gap + 0.015
        parts.append(shapes.box((wide - 0.02, deep - 0.005, 0.025), (0, deep / 2, z), wood))
        if level < boards:
            parts += _row(scene, generator, (-wide / 2 + 0.04, wide / 2 - 0.04), deep, z + 0.0125, gap - 0.04)
    return [merged(parts)]


def bookcase(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return two shelves back to back, as in a library."""
    front = merged(shelf(scene, generator, wide, deep / 2, high))
    back = merged(shelf(scene, generator, wide, deep / 2, high))
    middle = upright((0, deep / 2, 0), 0.0)
    return [merged([front.moved(middle), back.moved(middle @ upright((0, 0, 0), np.pi))])]


def cabinet(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return a chest of drawers or a cupboard, with things on it when it is low."""
    wood = wood_of(scene, generator)
    front = wood if generator.random() < 0.4 else wood_of(scene, generator)
    columns, rows = max(1, round(wide / 0.5)), max(1, min(5, round(high / generator.uniform(0.25, 0.7))))
    parts = _fronts(scene, wood, front, (wide, deep, high), columns, rows)
    if high < 1.5:
        parts += clutter(scene, generator, wide * 0.9, deep * 0.8, high, int(generator.integers(1, 7)), (0.0, deep / 2))
    return [merged(parts)]


def wardrobe(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return a wardrobe with tall doors, sometimes a mirror in one."""
    wood = wood_of(scene, generator)
    front = wood if generator.random() < 0.6 else wood_of(scene, generator)
    columns = max(2, round(wide / 0.5))
    parts = _fronts(scene, wood, front, (wide, deep, high), columns, 1)
    if generator.random() < 0.4:
        mirror = scene.material("dull", (0.5, 0.55, 0.58), gloss=0.9)
        x = (generator.integers(columns) + 0.5) * wide / columns - wide / 2
        parts.append(shapes.box((wide / columns * 0.7, 0.01, high * 0.75), (x, deep - 0.012, high * 0.52), mirror))
    return [merged(parts)]


def lockers(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return a row of steel lockers."""
    body = plain(scene, float(generator.uniform(0.3, 0.7)), 0.15)
    front = coloured(scene, generator, 0.15)
    return [merged(_fronts(scene, body, front, (wide, deep, high), max(2, round(wide / 0.4)), 2))]


def nightstand(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return a small chest with a lamp."""
    wood = wood_of(scene, generator)
    parts = _fronts(scene, wood, wood, (wide, deep, high), 1, 2)
    shade = scene.material("cloth", (0.9, 0.85, 0.7), parameters=(0.1, 0.05), glow=0.5)
    x, y = generator.uniform(-0.05, 0.05), deep * 0.45
    parts.append(shapes.cylinder((x, y, high), (x, y, high + 0.22), 0.02, plain(scene, 0.4), sides=6))
    parts.append(shapes.cylinder((x, y, high + 0.18), (x, y, high + 0.36), 0.12, shade, 0.08, 10))
    return [merged(parts)]


def tv_board(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return a low board with a television."""
    wood = wood_of(scene, generator)
    parts = _fronts(scene, wood, wood, (wide, deep, high), max(2, round(wide / 0.6)), 1)
    size = min(wide * 0.85, float(generator.uniform(0.9, 1.4)))
    parts.append(monitor(scene, generator, size).moved(upright((0, deep * 0.5, high), 0.0)))
    return [merged(parts)]


def rack(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return a steel rack full of boxes, crates and cans."""
    steel = plain(scene, float(generator.uniform(0.3, 0.75)), 0.2)
    board = wood_of(scene, generator)
    levels = max(3, round(high / 0.5))
    parts = []
    for x in (-wide / 2 + 0.02, wide / 2 - 0.02):
        parts += [shapes.box((0.04, 0.04, high), (x, y, high / 2), steel) for y in (0.02, deep - 0.02)]
    for level in range(levels):
        z = 0.08 + level * (high - 0.1) / (levels - 1 + 0.25)
        gap = (high - 0.1) / (levels + 0.25)
        parts.append(shapes.box((wide, deep, 0.03), (0, deep / 2, z), board))
        x = -wide / 2 + 0.05
        while level < levels - (generator.random() < 0.5) and x < wide / 2 - 0.2:
            span = min(float(generator.uniform(0.15, 0.5)), wide / 2 - 0.05 - x)
            tall, back = gap * generator.uniform(0.4, 0.9), deep * generator.uniform(0.6, 0.95)
            card = np.array([0.62, 0.47, 0.32]) * generator.uniform(0.7, 1.2)
            look = [
                scene.material("dull", card, parameters=(0.06, 0.3)),
                coloured(scene, generator),
                printed(scene, generator, 0.12, 0.5),
            ][int(generator.integers(3))]
            if generator.random() < 0.85:
                size = (span * 0.93, back, tall)
                parts.append(shapes.box(size, (x + span / 2, deep / 2, z + 0.015 + tall / 2), look))
            x += span
    return [merged(parts)]


def coat_rack(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return hooks on a board with coats, and shoes below."""
    wood = wood_of(scene, generator)
    parts = [shapes.box((wide, 0.03, 0.12), (0, 0.015, high - 0.15), wood)]
    parts.append(shapes.box((wide, deep * 0.9, 0.025), (0, deep * 0.45, high - 0.02), wood))
    count = int(wide / 0.2)
    for k in range(count):
        if generator.random() < 0.7:
            x = (k + 0.5 - count / 2) * wide / count
            long = generator.uniform(0.6, 1.1)
            coat = scene.material("cloth", generator.uniform(0.05, 0.7, 3), parameters=(0.15, 0.25))
            top = high - 0.2
            parts.append(
                shapes.ellipsoid((x, 0.1, top - long / 2), (min(0.16, wide / count * 0.7), 0.085, long / 2), coat, 2)
            )
    for k in range(int(generator.integers(1, 5))):
        x = generator.uniform(-wide / 2 + 0.12, wide / 2 - 0.12)
        shoe = plain(scene, float(generator.uniform(0.05, 0.6)))
        parts.append(shapes.box((0.09, min(0.24, deep), 0.09), (x, deep / 2, 0.045 + 0.0 * k), shoe))
    return [merged(_within(parts, wide, deep))]


def _within(parts: list[Mesh], wide: float, deep: float) -> list[Mesh]:
    """Return the parts that lie inside the footprint."""
    reach = [(np.abs(part.corners[..., 0]).max(), part.corners[..., 1].max()) for part in parts]
    return [part for part, (x, y) in zip(parts, reach, strict=True) if x <= wide / 2 + 1e-6 and y <= deep + 1e-6]


def _row(
    scene: Scene, generator: np.random.Generator, span: tuple[float, float], deep: float, z: float, gap: float
) -> list[Mesh]:
    """Return books and boxes on a board from x = span[0] to span[1]."""
    parts, x = [], span[0]
    while x < span[1] - 0.1:
        wide = min(float(generator.uniform(0.1, 0.5)), span[1] - x)
        tall, back = gap * generator.uniform(0.45, 0.95), deep * generator.uniform(0.5, 0.92)
        if generator.random() < 0.55:
            look = scene.material("books", (0, 0, 0), (0.85, 0.8, 0.6), (generator.uniform(0.02, 0.05),))
        elif generator.random() < 0.5:
            look = coloured(scene, generator)
        else:
            look = printed(scene, generator, 0.07, 0.2)
        if generator.random() < 0.85:
            parts.append(shapes.box((wide * 0.97, back, tall), (x + wide / 2, back / 2 + 0.02, z + tall / 2), look))
        x += wide
    return parts


def _fronts(
    scene: Scene, body: int, front: int, size: tuple[float, float, float], columns: int, rows: int
) -> list[Mesh]:
    """Return a box (wide, deep, high) with doors or drawers and handles in its front, which ends at y = deep."""
    wide, deep, high = size
    metal = scene.material("dull", (0.6, 0.6, 0.58), gloss=0.3)
    parts = [shapes.box((wide, deep - 0.04, high), (0, (deep - 0.04) / 2, high / 2), body)]
    for c in range(columns):
        for r in range(rows):
            x, z = (c + 0.5) / columns * wide - wide / 2, 0.06 + (r + 0.5) / rows * (high - 0.08)
            panel = (wide / columns - 0.016, 0.02, (high - 0.08) / rows - 0.016)
            parts.append(shapes.box(panel, (x, deep - 0.03, z), front))
            if rows > 1 or high < 0.7:
                parts.append(shapes.box((0.1, 0.02, 0.015), (x, deep - 0.01, z + panel[2] * 0.25), metal))
            else:
                edge = x + (panel[0] / 2 - 0.05) * (1 if c % 2 == 0 else -1)
                parts.append(shapes.box((0.015, 0.02, 0.18), (edge, deep - 0.01, min(z, 1.05)), metal))
    return parts
