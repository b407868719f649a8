# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Chairs, sofas, benches and beds: back at y = 0, reaching to y = deep, centred about x = 0."""

from __future__ import annotations

import numpy as np

from mtl_perception.data.world import shapes
from mtl_perception.data.world.paths import upright
from mtl_perception.data.world.scene import Mesh, Scene, merged
from mtl_perception.data.world.things.household import coloured, fabric, muted, plain, wood_of

SEAT_M = 0.46
"""Height of a chair's seat."""


def chair(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return a chair on four legs, as wide and deep as 0.45 m or a little more."""
    seat = fabric(scene, generator) if generator.random() < 0.5 else wood_of(scene, generator)
    legs = seat if generator.random() < 0.5 else plain(scene, float(generator.uniform(0.05, 0.6)), 0.2)
    parts = [shapes.box((0.44, 0.44, 0.05), (0, 0, SEAT_M - 0.025), seat)]
    for x in (-0.2, 0.2):
        for y in (-0.2, 0.2):
            parts.append(shapes.cylinder((x, y, 0.002), (x * 0.95, y * 0.95, SEAT_M - 0.04), 0.018, legs, sides=5))
    if generator.random() < 0.5:
        parts.append(shapes.box((0.42, 0.04, 0.42), (0, -0.2, SEAT_M + 0.3), seat))
        parts += [shapes.box((0.03, 0.03, 0.2), (x, -0.2, SEAT_M + 0.05), legs) for x in (-0.16, 0.16)]
    else:
        parts += [shapes.box((0.04, 0.04, 0.5), (x, -0.2, SEAT_M + 0.25), legs) for x in (-0.19, 0.19)]
        parts += [shapes.box((0.36, 0.025, 0.05), (0, -0.2, SEAT_M + z), seat) for z in (0.18, 0.32, 0.46)]
    return [merged(parts).moved(upright((0, deep / 2, 0), 0.0))]


def office_chair(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return a swivel chair on five castors, 0.58 m across."""
    cover, steel = fabric(scene, generator), plain(scene, float(generator.uniform(0.05, 0.5)), 0.2)
    seat = float(generator.uniform(0.44, 0.52))
    parts = [
        shapes.box((0.46, 0.45, 0.08), (0, 0, seat - 0.04), cover),
        shapes.box((0.42, 0.06, 0.5), (0, -0.22, seat + 0.38), cover),
        shapes.box((0.06, 0.04, 0.25), (0, -0.24, seat + 0.05), steel),
        shapes.cylinder((0, 0, 0.08), (0, 0, seat - 0.06), 0.03, steel, sides=7),
    ]
    for angle in np.arange(5) * 2 * np.pi / 5:
        tip = (0.25 * np.cos(angle), 0.25 * np.sin(angle))
        parts.append(shapes.cylinder((0, 0, 0.11), (*tip, 0.06), 0.02, steel, sides=5))
        parts.append(shapes.ellipsoid((*tip, 0.03), 0.03, steel, 0))
    if generator.random() < 0.6:
        for x in (-0.25, 0.25):
            parts.append(shapes.box((0.04, 0.26, 0.03), (x, 0.0, seat + 0.2), steel))
            parts.append(shapes.box((0.03, 0.04, 0.22), (x, -0.02, seat + 0.08), steel))
    return [merged(parts).moved(upright((0, deep / 2, 0), 0.0))]


def sofa(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return a sofa or, when narrow, an armchair, with cushions."""
    cover = fabric(scene, generator)
    arm = 0.16
    parts = [
        shapes.box((wide, deep - 0.04, 0.26), (0, deep / 2, 0.19), cover),
        shapes.box((wide, 0.22, high - 0.1), (0, 0.11, 0.1 + (high - 0.1) / 2), cover),
        *[shapes.box((arm, deep, 0.5), (side * (wide - arm) / 2, deep / 2, 0.33), cover) for side in (-1, 1)],
    ]
    foot = plain(scene, 0.15)
    for x in (-1, 1):
        for y in (0.08, deep - 0.08):
            parts.append(shapes.box((0.05, 0.05, 0.08), (x * (wide / 2 - 0.1), y, 0.04), foot))
    inner = wide - 2 * arm - 0.02
    seats = max(1, round(inner / 0.65))
    for x in (np.arange(seats) + 0.5 - seats / 2) * inner / seats:
        parts.append(shapes.box((inner / seats - 0.015, deep - 0.26, 0.14), (x, 0.22 + (deep - 0.26) / 2, 0.39), cover))
        if generator.random() < 0.5:
            pillow = scene.material("cloth", muted(generator), muted(generator), (0.1, 0.1, 0.06))
            parts.append(shapes.ellipsoid((x, 0.3, 0.6), (min(0.22, inner / seats / 2.2), 0.09, 0.18), pillow, 2))
    return [merged(parts)]


def bench(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return a bench without a back: boards on steel, or upholstered."""
    top = fabric(scene, generator) if generator.random() < 0.4 else wood_of(scene, generator)
    steel = plain(scene, float(generator.uniform(0.05, 0.6)), 0.2)
    boards = 3
    parts = []
    for k in range(boards):
        y = (k + 0.5) * deep / boards
        parts.append(shapes.box((wide, deep / boards - 0.015, 0.05), (0, y, high - 0.025), top))
    for x in (-wide / 2 + 0.15, wide / 2 - 0.15):
        parts.append(shapes.box((0.05, deep * 0.9, 0.03), (x, deep / 2, high - 0.065), steel))
        for y in (deep * 0.12, deep * 0.88):
            parts.append(shapes.box((0.05, 0.04, high - 0.08), (x, y, (high - 0.08) / 2), steel))
    return [merged(parts)]


def bed(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return a bed whose head is at the wall, with pillows and a blanket."""
    wood = wood_of(scene, generator)
    sheet = scene.material("cloth", generator.uniform(0.75, 0.95) * np.ones(3), parameters=(0.3, 0.06))
    tone, other = muted(generator), muted(generator)
    blanket = scene.material("cloth", tone, other, (0.35, 0.12, float(generator.choice([0.0, 0.1]))))
    pillow = scene.material("cloth", generator.uniform(0.8, 0.95) * np.ones(3), parameters=(0.12, 0.08))
    parts = [
        shapes.box((wide, deep - 0.06, 0.22), (0, deep / 2, 0.17), wood),
        shapes.box((wide, 0.06, high), (0, 0.03, high / 2), wood),
        shapes.box((wide - 0.04, deep - 0.1, 0.2), (0, 0.06 + (deep - 0.1) / 2, 0.38), sheet),
    ]
    covered = deep * generator.uniform(0.55, 0.72)
    parts.append(shapes.box((wide - 0.005, covered, 0.24), (0, deep - covered / 2 - 0.002, 0.39), blanket))
    count = 2 if wide > 1.25 else 1
    for k in range(count):
        x = (k + 0.5 - count / 2) * wide / count
        parts.append(shapes.ellipsoid((x, 0.34, 0.54), (0.42 * wide / count, 0.22, 0.1), pillow, 2))
    for x in (-wide / 2 + 0.05, wide / 2 - 0.05):
        parts.append(shapes.box((0.06, 0.06, 0.08), (x, deep - 0.1, 0.04), wood))
    if generator.random() < 0.4:
        throw = coloured(scene, generator)
        parts.append(shapes.box((wide - 0.002, 0.45, 0.245), (0, deep - 0.4, 0.395), throw))
    return [merged(parts)]
