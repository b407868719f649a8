# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Furniture and what lies on it. Pieces stand with their back at y = 0, reach into +y, and are centred about x = 0."""

from __future__ import annotations

import numpy as np

from mtl_perception.data.world import shapes
from mtl_perception.data.world.scene import Mesh, Scene, merged
from mtl_perception.data.world.trajectory import upright

_WOODS = [
    (0.55, 0.38, 0.22),
    (0.38, 0.24, 0.14),
    (0.75, 0.60, 0.42),
    (0.86, 0.84, 0.80),
    (0.22, 0.16, 0.13),
    (0.50, 0.50, 0.52),
]


def piece(scene: Scene, generator: np.random.Generator, room: float, height: float) -> tuple[list[Mesh], float]:
    """Return a random piece of furniture at most `room` wide, as things of their own, and its width."""
    kinds = [
        k
        for k, least in (
            ("shelf", 0.6),
            ("desk", 1.0),
            ("sofa", 1.5),
            ("cabinet", 0.5),
            ("bed", 1.4),
            ("kitchen", 1.2),
            ("chair", 0.6),
        )
        if room >= least
    ]
    if not kinds:
        return [pile(scene, generator).moved(upright((0, 0.3, 0), 0.0))], 0.6
    kind = str(generator.choice(kinds))
    if kind == "shelf":
        return _shelf(
            scene, generator, min(room, generator.uniform(0.6, 1.9)), min(height - 0.2, generator.uniform(0.9, 2.3))
        )
    if kind == "desk":
        return _desk(scene, generator, min(room, generator.uniform(1.1, 2.0)))
    if kind == "kitchen":
        return _kitchen(scene, generator, min(room, generator.uniform(1.2, 2.2)))
    if kind == "sofa":
        return _sofa(scene, generator, min(room, generator.uniform(1.5, 2.2)))
    if kind == "cabinet":
        return _cabinet(scene, generator, min(room, generator.uniform(0.5, 1.5)), generator.uniform(0.6, 2.0))
    if kind == "bed":
        return _bed(scene, generator, min(room, generator.uniform(1.4, 2.0)))
    return [chair(scene, generator).moved(upright((0, 0.35, 0), np.pi / 2 + generator.uniform(-0.6, 0.6)))], 0.7


def wood_of(scene: Scene, generator: np.random.Generator) -> int:
    """Return a random wood or lacquer."""
    tone = np.array(_WOODS[generator.integers(len(_WOODS))]) * generator.uniform(0.75, 1.1)
    return scene.material("wood", tone, tone * 0.75, (0.0, 7.0), gloss=0.06)


def table(scene: Scene, generator: np.random.Generator, long: float, wide: float) -> Mesh:
    """Return a table in its middle, with things on it."""
    wood = wood_of(scene, generator)
    high = generator.uniform(0.68, 0.76)
    parts = [shapes.box((long, wide, 0.04), (0, 0, high - 0.02), wood)]
    for x in (-1, 1):
        for y in (-1, 1):
            parts.append(
                shapes.box(
                    (0.06, 0.06, high - 0.04), (x * (long / 2 - 0.06), y * (wide / 2 - 0.06), (high - 0.04) / 2), wood
                )
            )
    parts += clutter(scene, generator, long * 0.9, wide * 0.85, high, int(generator.integers(3, 12)))
    return merged(parts)


def clutter(scene: Scene, generator: np.random.Generator, long: float, wide: float, z: float, count: int) -> list[Mesh]:
    """Return small things on a surface about x = y = 0: boxes, books, cups, bottles, balls."""
    parts = []
    for _ in range(count):
        x, y = generator.uniform(-long / 2, long / 2), generator.uniform(-wide / 2, wide / 2)
        colour = generator.uniform(0.05, 0.95, 3)
        plain = scene.material("dull", colour, parameters=(0.05, 0.1), gloss=float(generator.choice([0.0, 0.15])))
        kind = generator.integers(7)
        if kind == 0:
            parts.append(shapes.cylinder((x, y, z), (x, y, z + generator.uniform(0.07, 0.12)), 0.04, plain))
        elif kind == 1:
            tall = generator.uniform(0.15, 0.3)
            parts.append(shapes.cylinder((x, y, z), (x, y, z + tall * 0.7), 0.035, plain))
            parts.append(shapes.cylinder((x, y, z + tall * 0.7), (x, y, z + tall), 0.03, plain, 0.013))
        elif kind == 2:
            radius = generator.uniform(0.04, 0.1)
            parts.append(shapes.ellipsoid((x, y, z + radius), radius, plain, 2))
        elif kind > 4:  # sheets of paper and magazines
            sheet = scene.material("picture", colour, (0.93, 0.92, 0.9), (generator.uniform(0.04, 0.15), 0.6, 0.7))
            thick = generator.uniform(0.002, 0.01)
            parts.append(
                shapes.box((0.21, 0.297, thick), (0, 0, thick / 2), sheet).at(x, y, z, generator.uniform(0, 3.1))
            )
        else:
            printed = scene.material("picture", colour, (0.9, 0.9, 0.85), (generator.uniform(0.03, 0.1), 0.8, 0.3))
            size = generator.uniform([0.08, 0.06, 0.02], [0.32, 0.24, 0.22])
            mesh = shapes.box(size, (0, 0, size[2] / 2), printed if generator.random() < 0.7 else plain)
            parts.append(mesh.at(x, y, z, generator.uniform(0, 3.1)))
    return parts


def pile(scene: Scene, generator: np.random.Generator) -> Mesh:
    """Return boxes, a bin, a plant or a bag on the floor."""
    kind = generator.integers(4)
    if kind == 0:
        pot = scene.material("dull", generator.uniform(0.2, 0.8, 3), parameters=(0.1, 0.1))
        green = np.array([0.25, 0.42, 0.15]) * generator.uniform(0.7, 1.3)
        leaf = scene.material("foliage", green, green * 0.35, (0.15,))
        parts = [shapes.cylinder((0, 0, 0), (0, 0, 0.3), 0.13, pot, 0.17)]
        tips = generator.normal(0, 0.22, (70, 3)) * [1, 1, 1.3] + [0, 0, 0.85]
        corners = np.stack([np.tile([0.0, 0, 0.45], (70, 1)), tips, tips + generator.normal(0, 0.08, (70, 3))], axis=1)
        parts.append(shapes.triangles(corners, corners, leaf))
        return merged(parts)
    if kind == 1:
        bin_ = scene.material("dull", generator.uniform(0.05, 0.6) * np.ones(3), parameters=(0.05, 0.2), gloss=0.1)
        return shapes.cylinder((0, 0, 0), (0, 0, generator.uniform(0.3, 0.6)), 0.14, bin_, 0.18, 12)
    parts, z = [], 0.0
    for _ in range(int(generator.integers(1, 4))):
        card = scene.material(
            "dull", np.array([0.62, 0.47, 0.32]) * generator.uniform(0.7, 1.2), parameters=(0.06, 0.3)
        )
        print_ = scene.material("picture", generator.uniform(0.1, 0.9, 3), (0.8, 0.75, 0.65), (0.15, 0.6, 0.6))
        size = generator.uniform([0.25, 0.2, 0.15], [0.55, 0.45, 0.4])
        parts.append(
            shapes.box(size, (0, 0, size[2] / 2), card if generator.random() < 0.6 else print_).at(
                0, 0, z, generator.uniform(-0.4, 0.4)
            )
        )
        z += size[2]
    return merged(parts)


def chair(scene: Scene, generator: np.random.Generator) -> Mesh:
    """Return a chair about its middle, facing +x: with four legs, or on a swivel foot."""
    colour = generator.uniform(0.05, 0.8, 3) * generator.uniform(0.4, 1.0)
    seat = (
        scene.material("cloth", colour, parameters=(0.1, 0.1))
        if generator.random() < 0.6
        else wood_of(scene, generator)
    )
    steel = scene.material("dull", generator.uniform(0.05, 0.6) * np.ones(3), gloss=0.2)
    high = 0.46
    parts = [shapes.box((0.45, 0.45, 0.06), (0, 0, high), seat), *_chair_back(generator, high, seat)]
    if generator.random() < 0.5:
        parts += [
            shapes.cylinder((x * 0.2, y * 0.2, 0), (x * 0.19, y * 0.19, high), 0.018, steel, sides=6)
            for x in (-1, 1)
            for y in (-1, 1)
        ]
    else:
        parts.append(shapes.cylinder((0, 0, 0.08), (0, 0, high), 0.03, steel))
        for angle in np.arange(5) * 2 * np.pi / 5:
            parts.append(
                shapes.cylinder((0, 0, 0.1), (0.3 * np.cos(angle), 0.3 * np.sin(angle), 0.05), 0.025, steel, sides=5)
            )
        parts.append(shapes.box((0.04, 0.1, 0.3), (-0.23, 0, high + 0.05), steel))
    return merged(parts)


def _chair_back(generator: np.random.Generator, high: float, material: int) -> list[Mesh]:
    """Return a chair's back: closed, or slats between two posts."""
    if generator.random() < 0.5:
        return [shapes.box((0.05, 0.42, 0.45), (-0.22, 0, high + 0.35), material)]
    posts = [shapes.box((0.04, 0.04, 0.55), (-0.22, side * 0.2, high + 0.27), material) for side in (-1, 1)]
    slats = [shapes.box((0.03, 0.38, 0.05), (-0.22, 0, high + z), material) for z in (0.16, 0.28, 0.40, 0.52)]
    return posts + slats


def wall_decorations(scene: Scene, generator: np.random.Generator, length: float, height: float) -> list[Mesh]:
    """Return what hangs on or sits in a wall along x that faces +y: a door or window, pictures, switches."""
    parts: list[Mesh] = []
    middle = length / 2
    kind = generator.integers(4)
    if kind == 0:
        wood, frame = wood_of(scene, generator), wood_of(scene, generator)
        x = generator.uniform(0.7, length - 0.7)
        parts.append(shapes.box((1.0, 0.05, 2.08), (x, 0.025, 1.04), frame))
        parts.append(shapes.box((0.85, 0.04, 2.0), (x, 0.045, 1.0), wood))
        metal = scene.material("dull", (0.7, 0.7, 0.7), gloss=0.4)
        parts.append(shapes.box((0.12, 0.06, 0.03), (x + 0.34, 0.09, 1.02), metal))
    elif kind == 1:
        wide, high = generator.uniform(0.9, max(1.0, length * 0.55)), generator.uniform(0.9, 1.4)
        white = scene.material("dull", (0.9, 0.9, 0.88), parameters=(0.03, 0.3))
        bright = generator.uniform(0.6, 2.2)
        outside = scene.material("foliage", (0.75, 0.85, 0.95), (0.35, 0.45, 0.40), (1.2,), glow=bright, gloss=0.1)
        z = 0.9 + high / 2
        parts.append(shapes.box((wide + 0.14, 0.06, high + 0.14), (middle, 0.0, z), white))
        parts.append(shapes.box((wide, 0.07, high), (middle, 0.005, z), outside))
        for x in np.linspace(-wide / 2, wide / 2, int(generator.integers(3, 5))):
            parts.append(shapes.box((0.05, 0.09, high), (middle + x, 0.02, z), white))
        parts.append(shapes.box((wide + 0.2, 0.2, 0.03), (middle, 0.06, 0.87), white))
        if generator.random() < 0.5:
            tone = generator.uniform(0.3, 0.9, 3)
            drape = scene.material("cloth", tone, tone * 0.8, (0.12, 0.25, 0.0))
            for side in (-1, 1):
                parts.append(
                    shapes.box((0.35, 0.08, high + 0.7), (middle + side * (wide / 2 + 0.1), 0.12, z - 0.1), drape)
                )
    for _ in range(int(generator.integers(0, 6))):
        wide, high = generator.uniform(0.2, 0.9), generator.uniform(0.2, 0.7)
        rich = generator.uniform(0.1, 0.9)
        art = scene.material(
            "picture", generator.uniform(0.05, 0.95, 3), (0.92, 0.9, 0.85), (generator.uniform(0.05, 0.3), rich, 0.4)
        )
        rim = scene.material("dull", generator.choice([0.08, 0.5, 0.85]) * np.ones(3))
        x, z = generator.uniform(0.5, max(0.6, length - 0.5)), generator.uniform(1.15, max(1.2, height - 0.6))
        if kind < 2 and abs(x - middle) < 1.2:
            continue
        parts.append(shapes.box((wide + 0.05, 0.02, high + 0.05), (x, 0.01, z), rim))
        parts.append(shapes.box((wide, 0.025, high), (x, 0.0135, z), art))
    return parts


def _shelf(scene: Scene, generator: np.random.Generator, wide: float, high: float) -> tuple[list[Mesh], float]:
    wood, deep = wood_of(scene, generator), generator.uniform(0.25, 0.4)
    boards = max(2, round(high / generator.uniform(0.3, 0.45)))
    gap = high / boards
    frame = [shapes.box((0.03, deep, high), (side * (wide / 2 - 0.015), deep / 2, high / 2), wood) for side in (-1, 1)]
    frame.append(shapes.box((wide, 0.015, high), (0, 0.008, high / 2), wood))
    for level in range(boards + 1):
        z = level * gap + 0.012
        frame.append(shapes.box((wide - 0.02, deep, 0.025), (0, deep / 2, z), wood))
        x = -wide / 2 + 0.06
        while level < boards and x < wide / 2 - 0.12:
            span = min(generator.uniform(0.08, 0.5), wide / 2 - 0.05 - x)
            tall = gap * generator.uniform(0.35, 0.85)
            back = generator.uniform(0.5, 0.95)
            if generator.random() < 0.55:
                look = scene.material("books", (0, 0, 0), (0.85, 0.8, 0.6), (generator.uniform(0.02, 0.05),))
            elif generator.random() < 0.5:
                look = scene.material("dull", generator.uniform(0.05, 0.95, 3), parameters=(0.06, 0.1))
            else:
                look = scene.material("picture", generator.uniform(0.05, 0.95, 3), (0.9, 0.9, 0.85), (0.07, 0.9, 0.2))
            if generator.random() < 0.85:
                frame.append(
                    shapes.box(
                        (span * 0.97, deep * back, tall), (x + span / 2, deep * back / 2 + 0.02, z + tall / 2), look
                    )
                )
            x += span
    return [merged(frame)], wide


def _desk(scene: Scene, generator: np.random.Generator, wide: float) -> tuple[list[Mesh], float]:
    deep = generator.uniform(0.6, 0.8)
    parts = [table(scene, generator, wide, deep).moved(upright((0, deep / 2, 0), 0.0))]
    dark = scene.material("dull", (0.07, 0.07, 0.08), gloss=0.1)
    for x in np.linspace(-wide * 0.22, wide * 0.22, int(generator.integers(1, 3))):
        screen = scene.material(
            "picture",
            generator.uniform(0.1, 0.9, 3),
            (0.85, 0.88, 0.92),
            (0.09, 0.7, 0.5),
            glow=float(generator.choice([0.0, 0.5, 0.9])),
        )
        size = generator.uniform(0.42, 0.6)
        turned = upright((x, 0.25, 0.72), generator.uniform(-0.3, 0.3))
        monitor = [
            shapes.box((size, 0.04, size * 0.6), (0, 0, 0.12 + size * 0.3), dark),
            shapes.box((size * 0.94, 0.02, size * 0.54), (0, 0.02, 0.12 + size * 0.3), screen),
            shapes.box((0.05, 0.05, 0.15), (0, -0.02, 0.07), dark),
            shapes.box((0.22, 0.16, 0.02), (0, 0, 0.01), dark),
        ]
        parts.append(merged(monitor).moved(turned))
    keys = scene.material("books", (0, 0, 0), (0.5, 0.5, 0.5), (0.03,))
    parts[0] = merged([parts[0], shapes.box((0.42, 0.14, 0.025), (0, deep - 0.2, 0.745), keys)])
    if generator.random() < 0.8:
        swivel = upright((generator.uniform(-0.2, 0.2), deep + 0.15, 0), -np.pi / 2 + generator.uniform(-0.7, 0.7))
        parts.append(chair(scene, generator).moved(swivel))
    return parts, wide


def _sofa(scene: Scene, generator: np.random.Generator, wide: float) -> tuple[list[Mesh], float]:
    tone = generator.uniform(0.15, 0.75, 3)
    tone = tone.mean() + (tone - tone.mean()) * 0.6
    cover = scene.material("cloth", tone, tone * 0.85, (0.35, 0.1, float(generator.choice([0.0, 0.0, 0.05]))))
    deep = 0.85
    parts = [
        shapes.box((wide, deep, 0.30), (0, deep / 2, 0.18), cover),
        shapes.box((wide, 0.22, 0.55), (0, 0.11, 0.55), cover),
        *[shapes.box((0.18, deep, 0.30), (side * (wide / 2 - 0.09), deep / 2, 0.45), cover) for side in (-1, 1)],
    ]
    seats = 2 if wide < 1.8 else 3
    for k in range(seats):
        x = (k + 0.5 - seats / 2) * (wide - 0.4) / seats
        parts.append(shapes.box(((wide - 0.42) / seats, 0.6, 0.14), (x, 0.52, 0.39), cover))
        if generator.random() < 0.6:
            pillow = scene.material(
                "cloth", generator.uniform(0.1, 0.9, 3), generator.uniform(0.1, 0.9, 3), (0.1, 0.1, 0.06)
            )
            parts.append(shapes.ellipsoid((x, 0.33, 0.6), (0.22, 0.09, 0.2), pillow, 2))
    return [merged(parts)], wide


def _cabinet(scene: Scene, generator: np.random.Generator, wide: float, high: float) -> tuple[list[Mesh], float]:
    wood, deep = wood_of(scene, generator), generator.uniform(0.35, 0.6)
    front, metal = wood_of(scene, generator), scene.material("dull", (0.6, 0.6, 0.58), gloss=0.3)
    parts = [shapes.box((wide, deep, high), (0, deep / 2, high / 2), wood)]
    columns, rows = max(1, round(wide / 0.5)), int(generator.integers(1, 5))
    for c in range(columns):
        for r in range(rows):
            x, z = (c + 0.5) / columns * wide - wide / 2, 0.06 + (r + 0.5) / rows * (high - 0.08)
            parts.append(
                shapes.box((wide / columns - 0.02, 0.02, (high - 0.08) / rows - 0.02), (x, deep + 0.01, z), front)
            )
            parts.append(shapes.box((0.1, 0.02, 0.015), (x, deep + 0.03, z + 0.06), metal))
    if high < 1.5:
        things = clutter(scene, generator, wide * 0.9, deep * 0.8, high, int(generator.integers(1, 7)))
        parts += [mesh.moved(upright((0, deep / 2, 0), 0.0)) for mesh in things]
    return [merged(parts)], wide


def _kitchen(scene: Scene, generator: np.random.Generator, wide: float) -> tuple[list[Mesh], float]:
    """Return painted cupboards under a worktop, wall cupboards or a shelf above it, and things on both."""
    paint = generator.uniform(0.1, 0.9, 3)
    front = scene.material("dull", paint, parameters=(0.02, 0.5), gloss=0.15)
    top_tone = generator.choice([0.12, 0.35, 0.7]) * np.ones(3)
    top = scene.material("dull", top_tone, parameters=(0.12, 0.06), gloss=0.15)
    dark, metal = scene.material("dull", (0.1, 0.1, 0.1)), scene.material("dull", (0.65, 0.65, 0.65), gloss=0.4)
    splash = scene.material(
        "slabs", generator.uniform(0.5, 0.95) * np.ones(3), (0.5, 0.5, 0.5), (0.15, 0.15, 0.0, 0.008, 0.08), gloss=0.1
    )
    parts = [
        shapes.box((wide, 0.5, 0.1), (0, 0.25, 0.05), dark),
        shapes.box((wide, 0.58, 0.77), (0, 0.29, 0.485), dark),
        shapes.box((wide, 0.63, 0.04), (0, 0.315, 0.89), top),
        shapes.box((wide, 0.01, 0.5), (0, 0.005, 1.16), splash),
    ]
    doors = max(2, round(wide / 0.5))
    for k in range(doors):
        x = (k + 0.5) * wide / doors - wide / 2
        parts.append(shapes.box((wide / doors - 0.012, 0.02, 0.75), (x, 0.59, 0.49), front))
        parts.append(shapes.box((0.14, 0.02, 0.012), (x, 0.61, 0.8), metal))
        if wide > 1.5:
            parts.append(shapes.box((wide / doors - 0.012, 0.32, 0.6), (x, 0.16, 1.75), front))
    if wide <= 1.5:
        parts.append(shapes.box((wide, 0.22, 0.03), (0, 0.11, 1.45), front))
        things = clutter(scene, generator, wide * 0.9, 0.16, 1.465, int(generator.integers(2, 8)))
        parts += [mesh.moved(upright((0, 0.11, 0), 0.0)) for mesh in things]
    things = clutter(scene, generator, wide * 0.9, 0.45, 0.91, int(generator.integers(3, 12)))
    return [merged(parts + [mesh.moved(upright((0, 0.3, 0), 0.0)) for mesh in things])], wide


def _bed(scene: Scene, generator: np.random.Generator, wide: float) -> tuple[list[Mesh], float]:
    wood = wood_of(scene, generator)
    sheet = scene.material(
        "cloth",
        generator.uniform(0.5, 0.95, 3),
        generator.uniform(0.2, 0.9, 3),
        (0.3, 0.08, float(generator.choice([0, 0.1]))),
    )
    cushion = scene.material("cloth", (0.9, 0.9, 0.88), parameters=(0.12, 0.08))
    deep = 0.95
    parts = [
        shapes.box((wide, deep, 0.3), (0, deep / 2, 0.15), wood),
        shapes.box((wide * 0.98, deep, 0.2), (0, deep / 2, 0.4), sheet),
        shapes.box((0.05, deep, 0.9), (-wide / 2, deep / 2, 0.45), wood),
        shapes.ellipsoid((-wide / 2 + 0.3, deep / 2, 0.54), (0.2, 0.35, 0.09), cushion, 2),
    ]
    return [merged(parts)], wide
