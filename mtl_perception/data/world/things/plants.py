# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Trees, hedges and bushes. What stands far away can be had with few triangles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_perception.data.world import shapes
from mtl_perception.data.world.scene import Mesh, Scene, merged

_GREENS = [(0.36, 0.46, 0.16), (0.26, 0.38, 0.14), (0.46, 0.46, 0.20), (0.40, 0.34, 0.18), (0.52, 0.36, 0.14)]


@dataclass(frozen=True, eq=False)
class Tree:
    """A tree about 6 m high around z; `levels` are of about the same shape with ever fewer triangles."""

    levels: tuple[Mesh, ...]


def tree(scene: Scene, generator: np.random.Generator) -> Tree:
    """Return a tree in leaf: a trunk, a crown of lumpy balls, and loose leaves around them."""
    bark = scene.material("wood", (0.36, 0.28, 0.22), (0.20, 0.16, 0.13), (0.0, 0.3))
    green = np.array(_GREENS[generator.integers(len(_GREENS))]) * generator.uniform(0.75, 1.2)
    leaf = scene.material("foliage", green, green * 0.28, (generator.uniform(0.4, 0.9),))
    slim = generator.random() < 0.25
    clear = generator.uniform(1.6, 2.6)
    count = int(generator.integers(5, 9))
    angle, spread = generator.uniform(0, 2 * np.pi, count), generator.uniform(0, 0.5 if slim else 1.5, count)
    z = generator.uniform(clear + 0.6, 5.6, count)
    centres = np.stack([spread * np.cos(angle), spread * np.sin(angle), z], axis=-1)
    radii = generator.uniform(0.75, 1.3, count) * (0.6 if slim else 1.0)
    girth = generator.uniform(0.12, 0.24)
    return Tree(
        tuple(
            merged(
                [
                    shapes.cylinder((0, 0, -0.3), (0.05, 0.05, clear + 1.5), girth, bark, 0.08, sides=sides),
                    *(_lumpy(c, r, leaf, generator, detail) for c, r in zip(centres, radii, strict=True)),
                    _leaves(centres, radii, leaf, generator, leaves, size),
                ]
            )
            for sides, detail, leaves, size in ((7, 2, 900, 0.055), (4, 1, 160, 0.11), (3, 0, 24, 0.25))
        )
    )


def bare_tree(scene: Scene, generator: np.random.Generator) -> Tree:
    """Return a tree without leaves: a trunk that forks into boughs, branches and twigs."""
    tone = np.array([0.34, 0.29, 0.25]) * generator.uniform(0.6, 1.3)
    bark = scene.material("wood", tone, tone * 0.55, (0.0, 0.3))
    clear, radius = generator.uniform(1.5, 2.5), generator.uniform(0.10, 0.18)
    top = np.array([generator.normal(0, 0.15), generator.normal(0, 0.15), clear])
    trunk = shapes.cylinder((0, 0, -0.3), top, radius * 1.2, bark, radius, sides=7)
    starts, ways, thick, length = top[None], np.array([[0.0, 0.0, 1.0]]), radius, 1.5
    levels: list[list[Mesh]] = [[trunk], [trunk], [trunk]]
    for level, forks in enumerate((5, 4, 4, 3)):
        starts, ways = np.repeat(starts, forks, axis=0), np.repeat(ways, forks, axis=0)
        ways = ways + generator.normal(0, 0.45, ways.shape) + [0, 0, 0.15]
        ways /= np.linalg.norm(ways, axis=1, keepdims=True)
        ends = starts + ways * (length * generator.uniform(0.6, 1.25, len(ways)))[:, None]
        boughs = _branches(starts, ends, thick * 0.65, thick * 0.4, bark)
        for parts, finest in zip(levels, (3, 2, 1), strict=True):
            if level <= finest:
                parts.append(boughs)
        starts = starts + (ends - starts) * generator.uniform(0.6, 1.0, len(ways))[:, None]
        thick, length = thick * 0.5, length * 0.72
    return Tree(tuple(merged(parts) for parts in levels))


def conifer(scene: Scene, generator: np.random.Generator) -> Tree:
    """Return a spruce: a cone of branches that hang in rings, dark green in winter too."""
    bark = scene.material("wood", (0.30, 0.23, 0.18), (0.18, 0.14, 0.11), (0.0, 0.3))
    green = np.array([0.20, 0.30, 0.16]) * generator.uniform(0.8, 1.3)
    leaf = scene.material("foliage", green, green * 0.25, (0.4,))
    height, base, clear = generator.uniform(5.5, 8.0), generator.uniform(1.2, 1.9), generator.uniform(0.4, 1.2)
    result = []
    for sides, rings, leaves, size in ((14, 7, 700, 0.06), (8, 4, 120, 0.12), (6, 3, 30, 0.2)):
        parts = [shapes.cylinder((0, 0, -0.3), (0, 0, height * 0.9), 0.13, bark, 0.04, sides=5)]
        step = (height - clear) / rings
        for ring in range(rings):
            wide = base * (1 - ring / rings) + 0.15
            low = clear + ring * step
            parts.append(shapes.cylinder((0, 0, low), (0, 0, low + step * 1.7), wide, leaf, 0.05, sides=sides))
        level = generator.uniform(0, 1, 12) ** 1.3
        centres = np.stack([np.zeros(12), np.zeros(12), clear + level * (height - clear)], axis=-1)
        parts.append(_leaves(centres, (base * (1 - level) + 0.2) * 0.9, leaf, generator, leaves, size))
        result.append(merged(parts))
    return Tree(tuple(result))


def hedge(scene: Scene, generator: np.random.Generator, length: float, height: float, near: bool) -> Mesh:
    """Return a hedge or row of bushes along y from 0 to `length`."""
    green = np.array([0.30, 0.40, 0.16]) * generator.uniform(0.7, 1.3)
    leaf = scene.material("foliage", green, green * 0.3, (0.3,))
    step = height * (0.6 if near else 0.9)
    places = np.arange(step / 2, length, step)
    centres = np.stack([generator.normal(0, 0.08, len(places)), places, np.full(len(places), height * 0.5)], -1)
    detail = 1 if near else 0
    parts = [_lumpy(c, height * generator.uniform(0.48, 0.62), leaf, generator, detail) for c in centres]
    parts.append(
        _leaves(
            centres, np.full(len(centres), height * 0.55), leaf, generator, int((70 if near else 12) * length), 0.06
        )
    )
    return merged(parts)


def bush(scene: Scene, generator: np.random.Generator) -> tuple[Mesh, Mesh]:
    """Return a bush about 1 m high around z, as it is seen from near and from far."""
    green = np.array(_GREENS[generator.integers(len(_GREENS))]) * generator.uniform(0.7, 1.2)
    leaf = scene.material("foliage", green, green * 0.3, (0.25,))
    centres = generator.uniform([-0.4, -0.4, 0.25], [0.4, 0.4, 0.6], (3, 3))
    radii = generator.uniform(0.35, 0.55, 3)

    def grown(detail: int, leaves: int) -> Mesh:
        balls = [_lumpy(c, r, leaf, generator, detail) for c, r in zip(centres, radii, strict=True)]
        return merged([*balls, _leaves(centres, radii, leaf, generator, leaves, 0.06)])

    return grown(1, 90), grown(0, 12)


def _lumpy(centre: NDArray | tuple, radius: float, material: int, generator: np.random.Generator, detail: int) -> Mesh:
    """Return a ball with an uneven surface."""
    unit = shapes.icosphere(detail)
    waves = generator.normal(0, 3.0, (5, 3))
    bumps = 1 + 0.09 * np.sin(unit @ waves.T + generator.uniform(0, 6, 5)).sum(axis=-1)
    points = unit * bumps[..., None] * radius
    return shapes.triangles(points + np.asarray(centre), points, material, unit)


def _leaves(
    centres: NDArray[np.float64],
    radii: NDArray[np.float64],
    material: int,
    generator: np.random.Generator,
    count: int,
    size: float,
) -> Mesh:
    """Return loose triangles, `size` of a ball's radius large, that make the outline of balls ragged."""
    which = generator.integers(len(centres), size=count)
    outward = generator.normal(size=(count, 3))
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    places = centres[which] + outward * (radii[which] * generator.uniform(0.9, 1.25, count))[:, None]
    spread = size * radii[which] + size
    corners = places[:, None] + generator.normal(size=(count, 3, 3)) * spread[:, None, None]
    return shapes.triangles(corners, corners, material, np.repeat(outward[:, None], 3, axis=1))


def _branches(
    starts: NDArray[np.float64], ends: NDArray[np.float64], radius: float, end_radius: float, material: int
) -> Mesh:
    """Return three-sided cones without lids from starts (N, 3) to ends (N, 3)."""
    axis = ends - starts
    across = np.cross(axis, [0.31, 0.95, 0.05])
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    other = np.cross(axis / np.linalg.norm(axis, axis=1, keepdims=True), across)
    angles = np.arange(3) * 2 * np.pi / 3
    spokes = np.cos(angles)[:, None, None] * across + np.sin(angles)[:, None, None] * other
    following = np.roll(spokes, -1, axis=0)
    corners = np.stack(
        [
            starts + spokes * radius,
            starts + following * radius,
            ends + following * end_radius,
            ends + spokes * end_radius,
        ],
        axis=2,
    ).reshape(-1, 4, 3)
    smooth = np.stack([spokes, following, following, spokes], axis=2).reshape(-1, 4, 3)
    split = [0, 1, 2, 0, 2, 3]
    points, normals = (a[:, split].reshape(-1, 3, 3) for a in (corners, smooth))
    return shapes.triangles(points, points, material, normals)
