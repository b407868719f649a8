# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Kitchen and bathroom fittings: back at y = 0, reaching to y = deep, centred about x = 0."""

from __future__ import annotations

import numpy as np

from mtl_perception.data.world import shapes
from mtl_perception.data.world.scene import Mesh, Scene, merged
from mtl_perception.data.world.things.household import clutter, coloured, muted, plain, wood_of

_WORKTOP_M = 0.92
_CUPBOARDS_M = 1.5


def counter(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return a kitchen counter with sink, hob and oven; with cupboards above it when `high` allows."""
    front = coloured(scene, generator, 0.15) if generator.random() < 0.5 else wood_of(scene, generator)
    top = scene.material("dull", generator.choice([0.12, 0.35, 0.7]) * np.ones(3), parameters=(0.12, 0.06), gloss=0.15)
    dark, metal = plain(scene, 0.06, 0.2), plain(scene, 0.65, 0.4)
    parts = [
        shapes.box((wide, deep - 0.13, 0.1), (0, (deep - 0.13) / 2, 0.05), dark),
        shapes.box((wide, deep - 0.06, 0.78), (0, (deep - 0.06) / 2, 0.49), dark),
        shapes.box((wide, deep, 0.04), (0, deep / 2, _WORKTOP_M - 0.02), top),
    ]
    doors = max(2, round(wide / 0.6))
    for k in range(doors):
        x = (k + 0.5) * wide / doors - wide / 2
        parts.append(shapes.box((wide / doors - 0.012, 0.02, 0.75), (x, deep - 0.05, 0.49), front))
        parts.append(shapes.box((0.16, 0.02, 0.012), (x, deep - 0.03, 0.8), metal))
    places = (generator.permutation(doors) + 0.5) * wide / doors - wide / 2
    sink, hob = float(places[0]), float(places[1])
    parts.append(shapes.box((0.46, 0.38, 0.006), (sink, deep * 0.5, _WORKTOP_M + 0.003), metal))
    parts.append(shapes.box((0.36, 0.28, 0.002), (sink, deep * 0.5, _WORKTOP_M + 0.007), plain(scene, 0.25, 0.2)))
    parts.append(shapes.cylinder((sink, 0.1, _WORKTOP_M), (sink, 0.1, 1.2), 0.015, metal, sides=6))
    parts.append(shapes.cylinder((sink, 0.1, 1.2), (sink, 0.28, 1.17), 0.013, metal, sides=6))
    parts.append(shapes.box((min(0.56, wide / doors), 0.5, 0.008), (hob, deep * 0.5, _WORKTOP_M + 0.004), dark))
    for x in (-0.14, 0.14):
        for y in (-0.11, 0.11):
            centre = (hob + x, deep * 0.5 + y)
            ring = plain(scene, 0.2)
            parts.append(shapes.cylinder((*centre, _WORKTOP_M), (*centre, _WORKTOP_M + 0.011), 0.085, ring, sides=10))
    parts.append(shapes.box((0.5, 0.01, 0.42), (hob, deep - 0.036, 0.45), plain(scene, 0.05, 0.5)))
    parts.append(shapes.box((0.44, 0.025, 0.02), (hob, deep - 0.025, 0.69), metal))
    pan = plain(scene, float(generator.choice([0.1, 0.6])), 0.3)
    parts.append(shapes.cylinder((hob - 0.14, 0.2, 0.935), (hob - 0.14, 0.2, 1.05), 0.1, pan, sides=10))
    tiles = scene.material(
        "slabs", generator.uniform(0.5, 0.95) * np.ones(3), (0.5, 0.5, 0.5), (0.15, 0.15, 0.0, 0.008, 0.08), gloss=0.1
    )
    parts.append(shapes.box((wide, 0.01, 0.5), (0, 0.005, _WORKTOP_M + 0.25), tiles))
    if high > 1.9:
        for k in range(doors):
            x = (k + 0.5) * wide / doors - wide / 2
            if abs(x - hob) < 0.1:
                parts.append(shapes.box((0.55, 0.4, 0.12), (x, 0.2, _CUPBOARDS_M + 0.1), metal))
                parts.append(shapes.box((0.25, 0.25, high - _CUPBOARDS_M - 0.1), (x, 0.13, (high + 1.6) / 2), metal))
            else:
                tall = high - _CUPBOARDS_M
                parts.append(shapes.box((wide / doors - 0.006, 0.33, tall), (x, 0.165, high - tall / 2), front))
    parts += clutter(scene, generator, wide * 0.9, deep * 0.45, _WORKTOP_M + 0.01, int(2 + 3 * wide), (0.0, deep * 0.4))
    return [merged(parts)]


def fridge(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return a fridge over a freezer."""
    enamel, metal = plain(scene, float(generator.choice([0.12, 0.6, 0.92])), 0.3), plain(scene, 0.6, 0.4)
    split = high * 0.35
    parts = [shapes.box((wide, deep - 0.06, high), (0, (deep - 0.06) / 2, high / 2), enamel)]
    for low, top in ((0.04, split), (split + 0.01, high)):
        parts.append(shapes.box((wide - 0.01, 0.035, top - low), (0, deep - 0.04, (low + top) / 2), enamel))
        parts.append(shapes.box((0.02, 0.02, 0.3), (wide / 2 - 0.06, deep - 0.012, (low + top) / 2), metal))
    if generator.random() < 0.5:
        for _ in range(4):
            note = scene.material("dull", generator.uniform(0.3, 0.95, 3))
            x, z = generator.uniform(-wide * 0.3, wide * 0.2), generator.uniform(split + 0.3, high - 0.15)
            parts.append(shapes.box((0.09, 0.004, 0.09), (x, deep - 0.02, z), note))
    return [merged(parts)]


def toilet(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return a toilet with its cistern."""
    white, metal = plain(scene, 0.93, 0.3), plain(scene, 0.6, 0.4)
    bowl = deep * 0.6
    return [
        merged(
            [
                shapes.box((wide * 0.95, 0.18, 0.38), (0, 0.09, 0.6), white),
                shapes.box((0.08, 0.02, 0.03), (0, 0.19, 0.75), metal),
                shapes.cylinder((0, bowl, 0), (0, bowl, 0.36), 0.12, white, 0.17, 12),
                shapes.box((0.22, bowl - 0.05, 0.34), (0, (bowl - 0.05) / 2 + 0.02, 0.17), white),
                shapes.ellipsoid((0, bowl - 0.03, 0.39), (wide * 0.45, deep * 0.36, 0.045), white, 2),
            ]
        )
    ]


def basin(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return a basin on a cupboard, with a mirror above it."""
    white, metal, front = plain(scene, 0.93, 0.3), plain(scene, 0.65, 0.4), wood_of(scene, generator)
    mirror = scene.material("dull", (0.5, 0.56, 0.6), gloss=0.9)
    parts = [
        shapes.box((wide - 0.06, deep - 0.06, 0.5), (0, (deep - 0.06) / 2, 0.55), front),
        shapes.box((wide, deep, 0.08), (0, deep / 2, 0.82), white),
        shapes.ellipsoid((0, deep * 0.55, 0.86), (wide * 0.32, deep * 0.28, 0.012), plain(scene, 0.75, 0.3), 2),
        shapes.cylinder((0, 0.07, 0.86), (0, 0.07, 1.0), 0.018, metal, sides=6),
        shapes.cylinder((0, 0.07, 0.99), (0, 0.19, 0.97), 0.014, metal, sides=6),
        shapes.box((wide * 0.9, 0.02, high - 1.15), (0, 0.012, (high + 1.15) / 2), mirror),
        shapes.box((wide * 0.5, 0.06, 0.05), (0, 0.04, high + 0.03), scene.material("dull", (1, 1, 0.95), glow=1.2)),
    ]
    return [merged([*parts, *clutter(scene, generator, wide * 0.9, 0.1, 0.86, 3, (0.0, deep - 0.07))])]


def bathtub(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return a bathtub: a rim around a hollow."""
    white, metal = plain(scene, 0.93, 0.3), plain(scene, 0.65, 0.4)
    rim, tap = 0.07, wide / 2 - 0.2
    side = scene.material(
        "slabs", generator.uniform(0.5, 0.95) * np.ones(3), (0.6, 0.6, 0.6), (0.3, 0.3, 0.0, 0.008, 0.05), gloss=0.1
    )
    return [
        merged(
            [
                shapes.box((wide, rim, high), (0, rim / 2, high / 2), side, top=white),
                shapes.box((wide, rim, high), (0, deep - rim / 2, high / 2), side, top=white),
                *[
                    shapes.box((rim, deep, high), (end * (wide - rim) / 2, deep / 2, high / 2), side, top=white)
                    for end in (-1, 1)
                ],
                shapes.box((wide - 0.02, deep - 0.02, 0.15), (0, deep / 2, 0.075), white),
                shapes.cylinder((tap, 0.06, high), (tap, 0.06, high + 0.25), 0.02, metal, sides=6),
                shapes.cylinder((tap, 0.06, high + 0.22), (tap, 0.2, high + 0.2), 0.02, metal, sides=6),
            ]
        )
    ]


def shower(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return a shower tray in a frame whose front is open, with a curtain at its sides."""
    white, metal = plain(scene, 0.93, 0.3), plain(scene, 0.65, 0.4)
    curtain = scene.material("cloth", muted(generator), (0.9, 0.9, 0.88), (0.1, 0.2, 0.06))
    half = wide / 2 - 0.02
    parts = [shapes.box((wide, deep, 0.12), (0, deep / 2, 0.06), white)]
    for x in (-half, half):
        parts.append(shapes.box((0.03, 0.03, high - 0.1), (x, deep - 0.02, (high + 0.1) / 2), metal))
        parts.append(shapes.box((0.03, deep - 0.02, 0.03), (x, deep / 2, high - 0.02), metal))
    parts.append(shapes.box((wide, 0.03, 0.03), (0, deep - 0.02, high - 0.02), metal))
    for x in (-half, half):
        parts.append(shapes.box((0.02, deep * 0.9, high - 0.35), (x, deep / 2, (high + 0.2) / 2), curtain))
    parts.append(shapes.box((wide * 0.35, 0.03, high - 0.35), (-wide * 0.3, deep - 0.02, (high + 0.2) / 2), curtain))
    parts.append(shapes.cylinder((0, 0.04, 0.9), (0, 0.04, high - 0.05), 0.012, metal, sides=6))
    parts.append(shapes.cylinder((0, 0.04, high - 0.1), (0, 0.24, high - 0.16), 0.05, metal, 0.09, 8))
    return [merged(parts)]


def washing_machine(scene: Scene, generator: np.random.Generator, wide: float, deep: float, high: float) -> list[Mesh]:
    """Return a washing machine with its round door."""
    white, dark = plain(scene, 0.9, 0.25), plain(scene, 0.1, 0.5)
    ring = plain(scene, 0.6, 0.4)
    body = deep - 0.04
    return [
        merged(
            [
                shapes.box((wide, body, high), (0, body / 2, high / 2), white),
                shapes.cylinder((0, body - 0.01, 0.42), (0, body + 0.02, 0.42), 0.2, ring, sides=16),
                shapes.cylinder((0, body, 0.42), (0, body + 0.035, 0.42), 0.15, dark, 0.12, 16),
                shapes.box((wide * 0.9, 0.012, 0.1), (0, body + 0.005, high - 0.08), plain(scene, 0.5)),
            ]
        )
    ]
