# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Things along a street that do not move: houses, trees, poles, signs, fences."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mtl_perception.data.world import shapes
from mtl_perception.data.world.scene import Mesh, Scene, merged

_WALLS = [
    *[(0.55, 0.28, 0.20), (0.62, 0.38, 0.28), (0.48, 0.33, 0.26), (0.72, 0.60, 0.45), (0.80, 0.74, 0.62)],
    *[
        (0.85, 0.82, 0.76),
        (0.70, 0.66, 0.60),
        (0.58, 0.58, 0.58),
        (0.76, 0.68, 0.52),
        (0.62, 0.66, 0.68),
        (0.82, 0.70, 0.60),
    ],
]


def house(scene: Scene, generator: np.random.Generator, width: float, height: float, depth: float) -> Mesh:
    """Return a house whose front is the plane x = 0, facing +x, from y = 0 to `width`, and whose back is x = -depth."""
    storey = generator.uniform(2.7, 3.7)
    storeys = max(1, round(height / storey))
    height = storeys * storey + generator.uniform(0.2, 0.9)
    bay = width / max(1, round(width / generator.uniform(1.9, 4.2)))
    wall_kind = float(generator.choice([0, 1, 1, 2], p=[0.4, 0.3, 0.2, 0.1]))
    wall = np.array(_WALLS[generator.integers(len(_WALLS))]) * generator.uniform(0.75, 1.1)
    trim = generator.choice([0.9, 0.75, 0.3, 0.12]) * np.array([1.0, 0.98, 0.93])
    shop = float(generator.random() < 0.35)
    numbers = (storey, bay, generator.uniform(0.3, 0.75), generator.uniform(0.4, 0.72), shop, wall_kind)
    front = scene.material(
        "facade", wall, trim, (*numbers, generator.uniform(0, 0.6), generator.uniform(0, 0.12)), gloss=0.04
    )
    plain = scene.material("facade", wall, trim, (storey, bay * 2.3, 0.2, 0.4, 0.0, wall_kind, 0.5, 0.02))
    roof_colour = np.array([(0.42, 0.22, 0.17), (0.30, 0.28, 0.28), (0.45, 0.33, 0.25)][generator.integers(3)])
    roof = scene.material(
        "slabs", roof_colour * generator.uniform(0.7, 1.1), roof_colour * 0.4, (0.25, 0.3, 0.5, 0.03, 0.2)
    )
    body = shapes.box((depth, width, height), (-depth / 2, width / 2, height / 2), plain, top=roof)
    face = shapes.quads(
        [[(0.02, 0, 0), (0.02, width, 0), (0.02, width, height), (0.02, 0, height)]],
        [[(0, 0), (width, 0), (width, height), (0, height)]],
        front,
    )
    parts = [body, face]
    stone = scene.material("dull", wall * 0.9 + 0.05, parameters=(0.08, 0.5))
    if generator.random() < 0.55:
        parts.append(_gable(width, height, depth, generator.uniform(2.0, 4.5), roof, plain))
    else:
        parts.append(shapes.box((0.5, width, 0.35), (0.05, width / 2, height + 0.1), stone))
    if generator.random() < 0.5:
        for level in range(1, storeys):
            parts.append(shapes.box((0.25, width, 0.16), (0.06, width / 2, level * storey), stone))
    if generator.random() < 0.35:
        rail = scene.material("dull", generator.uniform(0.15, 0.6) * np.ones(3), parameters=(0.1, 0.3))
        column = generator.integers(0, max(1, round(width / bay)))
        for level in range(1, storeys):
            middle = (column + 0.5) * bay
            parts.append(shapes.box((1.1, bay * 0.9, 0.15), (0.55, middle, level * storey + 0.05), stone))
            parts.append(shapes.box((0.06, bay * 0.9, 0.9), (1.08, middle, level * storey + 0.55), rail))
    if shop and generator.random() < 0.6:
        awning = scene.material("cloth", generator.uniform(0.1, 0.9, 3), (0.9, 0.9, 0.88), (0.5, 0.05, 0.3))
        low, high, reach = storey * 0.72, storey * 0.95, generator.uniform(0.8, 1.5)
        sheet = [(0.03, 0, high), (reach, 0, low), (reach, width, low), (0.03, width, high)]
        parts.append(shapes.quads([sheet], [[(0, 0), (0, reach), (width, reach), (width, 0)]], awning))
    return merged(parts)


def _gable(width: float, height: float, depth: float, rise: float, roof: int, wall: int) -> Mesh:
    """Return a roof with its ridge along the street."""
    front, back, ridge = 0.4, -depth - 0.4, -depth / 2
    slopes = [
        [(front, 0, height), (front, width, height), (ridge, width, height + rise), (ridge, 0, height + rise)],
        [(back, width, height), (back, 0, height), (ridge, 0, height + rise), (ridge, width, height + rise)],
    ]
    run = float(np.hypot(depth / 2 + 0.4, rise))
    ends: list[list[tuple[float, float, float]]] = [
        [(0, width, height), (-depth, width, height), (ridge, width, height + rise), (ridge, width, height + rise)],
        [(-depth, 0, height), (0, 0, height), (ridge, 0, height + rise), (ridge, 0, height + rise)],
    ]
    tiles = shapes.quads(slopes, [[(0, 0), (width, 0), (width, run), (0, run)]] * 2, roof)
    return merged([tiles, shapes.quads(ends, [[(p[0], p[2]) for p in end] for end in ends], wall)])


def tree(scene: Scene, generator: np.random.Generator) -> Mesh:
    """Return a tree about 6 m high: a trunk, a crown of lumpy balls, and loose leaves around them."""
    bark = scene.material("wood", (0.36, 0.28, 0.22), (0.20, 0.16, 0.13), (0.0, 0.3))
    green = np.array(
        [(0.36, 0.46, 0.16), (0.26, 0.38, 0.14), (0.46, 0.46, 0.20), (0.40, 0.34, 0.18)][generator.integers(4)]
    )
    green = green * generator.uniform(0.75, 1.2)
    leaf = scene.material("foliage", green, green * 0.28, (generator.uniform(0.4, 0.9),))
    slim = generator.random() < 0.25
    clear = generator.uniform(1.4, 2.6)
    parts = [
        shapes.cylinder((0, 0, -0.3), (0.05, 0.05, clear + 1.5), generator.uniform(0.12, 0.24), bark, 0.08, sides=7)
    ]
    centres, radii = [], []
    for _ in range(int(generator.integers(6, 11))):
        radius = generator.uniform(0.7, 1.3) * (0.6 if slim else 1.0)
        spread = generator.uniform(0, 0.5 if slim else 1.5)
        angle = generator.uniform(0, 2 * np.pi)
        z = generator.uniform(clear + 0.6, 5.6)
        centres.append((spread * np.cos(angle), spread * np.sin(angle), z))
        radii.append(radius)
    for centre, radius in zip(centres, radii, strict=True):
        parts.append(_lumpy(centre, radius, leaf, generator, 2))
    parts.append(_leaves(np.array(centres), np.array(radii), leaf, generator, 1300))
    return merged(parts)


def bare_tree(scene: Scene, generator: np.random.Generator) -> Mesh:
    """Return a tree about 6 m high without leaves: a trunk that forks into boughs, branches and twigs."""
    tone = np.array([0.34, 0.29, 0.25]) * generator.uniform(0.6, 1.3)
    bark = scene.material("wood", tone, tone * 0.55, (0.0, 0.3))
    clear, radius = generator.uniform(1.5, 2.5), generator.uniform(0.10, 0.18)
    top = np.array([generator.normal(0, 0.15), generator.normal(0, 0.15), clear])
    parts = [shapes.cylinder((0, 0, -0.3), top, radius * 1.2, bark, radius, sides=7)]
    tips = [(top, np.array([0.0, 0.0, 1.0]), radius, 1.5)]
    for forks, sides in ((5, 5), (4, 4), (4, 3), (3, 3)):
        grown = []
        for start, direction, thick, length in tips:
            for _ in range(forks):
                way = direction + generator.normal(0, 0.45, 3) + [0, 0, 0.15]
                way /= np.linalg.norm(way)
                end = start + way * length * generator.uniform(0.6, 1.25)
                parts.append(shapes.cylinder(start, end, thick * 0.65, bark, thick * 0.4, sides=sides))
                grown.append((start + (end - start) * generator.uniform(0.6, 1.0), way, thick * 0.5, length * 0.72))
        tips = grown
    return merged(parts)


def traffic_light(scene: Scene, generator: np.random.Generator) -> tuple[Mesh, Mesh]:
    """Return a traffic light's post and its housing with one lamp lit, which faces +x."""
    steel = scene.material("dull", generator.uniform(0.15, 0.5) * np.ones(3), parameters=(0.06, 0.4))
    black = scene.material("dull", (0.05, 0.05, 0.05), parameters=(0.05, 0.2))
    height = generator.uniform(2.4, 3.2)
    lit = int(generator.integers(3))
    housing = [shapes.box((0.2, 0.32, 0.95), (0, 0, height), black)]
    for index, colour in enumerate([(0.1, 0.9, 0.5), (1.0, 0.7, 0.1), (1.0, 0.1, 0.1)]):
        lamp = scene.material("dull", np.array(colour) * (1.0 if index == lit else 0.2), glow=2.5 * (index == lit))
        z = height + (index - 1) * 0.29
        housing.append(shapes.cylinder((0.1, 0, z), (0.12, 0, z), 0.1, lamp))
    return shapes.cylinder((-0.1, 0, -0.2), (-0.1, 0, height + 0.5), 0.06, steel), merged(housing)


def hedge(scene: Scene, generator: np.random.Generator, length: float, height: float) -> Mesh:
    """Return a hedge or row of bushes along y from 0 to `length`."""
    green = np.array([0.30, 0.40, 0.16]) * generator.uniform(0.7, 1.3)
    leaf = scene.material("foliage", green, green * 0.3, (0.3,))
    step = height * 0.55
    places = np.arange(step / 2, length, step)
    centres = np.stack([generator.normal(0, 0.08, len(places)), places, np.full(len(places), height * 0.5)], -1)
    parts = [_lumpy(c, height * generator.uniform(0.48, 0.62), leaf, generator, 1) for c in centres]
    parts.append(_leaves(centres, np.full(len(centres), height * 0.55), leaf, generator, int(130 * length)))
    return merged(parts)


def fence(scene: Scene, generator: np.random.Generator, length: float) -> Mesh:
    """Return a fence along y from 0 to `length`: boards, railings or a low wall with railings."""
    height = generator.uniform(0.8, 1.8)
    kind = generator.integers(3)
    if kind == 0:
        boards = scene.material("wood", (0.48, 0.36, 0.25), (0.36, 0.27, 0.19), (0.14, 6.0))
        sheet = shapes.box((0.05, length, height), (0, length / 2, height / 2), boards)
        turned = sheet.texture[..., [1, 0, 2]]
        return Mesh(sheet.corners, sheet.normals, np.ascontiguousarray(turned), sheet.material, sheet.part)
    iron = scene.material("dull", generator.choice([0.1, 0.2, 0.75]) * np.ones(3), parameters=(0.1, 0.3))
    parts = []
    low = 0.0
    if kind == 1:
        low = 0.4
        stone = scene.material("slabs", (0.6, 0.5, 0.42), (0.5, 0.48, 0.45), (0.23, 0.075, 0.5, 0.012, 0.2))
        parts.append(shapes.box((0.25, length, low), (0, length / 2, low / 2), stone))
    for z in (low + 0.1, height - 0.08):
        parts.append(shapes.box((0.04, length, 0.05), (0, length / 2, z), iron))
    for y in np.arange(0.1, length, 0.16):
        parts.append(shapes.box((0.025, 0.025, height - low), (0, y, (height + low) / 2), iron))
    return merged(parts)


def lamp_post(scene: Scene, generator: np.random.Generator) -> Mesh:
    """Return a street lamp that reaches out along +x."""
    steel = scene.material("dull", generator.uniform(0.2, 0.6) * np.ones(3), parameters=(0.08, 0.4))
    height, reach = generator.uniform(4.5, 8.5), generator.uniform(0.6, 2.0)
    lamp = scene.material("dull", (0.8, 0.8, 0.75), gloss=0.3)
    return merged(
        [
            shapes.cylinder((0, 0, -0.2), (0, 0, 1.0), 0.10, steel),
            shapes.cylinder((0, 0, 1.0), (0, 0, height), 0.065, steel, 0.045),
            shapes.cylinder((0, 0, height), (reach, 0, height + 0.2), 0.04, steel, sides=5),
            shapes.box((0.6, 0.2, 0.1), (reach, 0, height + 0.18), lamp),
        ]
    )


def bollard(scene: Scene, generator: np.random.Generator) -> Mesh:
    """Return a bollard."""
    paint = scene.material("dull", generator.choice([0.1, 0.35, 0.6]) * np.ones(3), (0, 0, 0), (0.1, 0.2))
    height = generator.uniform(0.8, 1.1)
    return shapes.cylinder((0, 0, -0.1), (0, 0, height), 0.07, paint)


def sign(scene: Scene, generator: np.random.Generator) -> tuple[Mesh, Mesh]:
    """Return a traffic sign's post and its plate, which faces +x."""
    steel = scene.material("dull", (0.5, 0.5, 0.5), parameters=(0.06, 0.4))
    height = generator.uniform(2.1, 2.9)
    radius = generator.uniform(0.28, 0.45)
    kind = generator.integers(4)
    red, blue, yellow, green = (0.75, 0.07, 0.09), (0.07, 0.22, 0.62), (0.90, 0.70, 0.10), (0.05, 0.40, 0.22)
    colour = [red, blue, yellow, green][generator.integers(4)] if kind else red
    face = scene.material("plate", colour, (0.05, 0.05, 0.05), (radius, float(generator.integers(3))), gloss=0.08)
    back = scene.material("dull", (0.55, 0.56, 0.57), parameters=(0.05, 0.3))
    post = shapes.cylinder((0, 0, -0.2), (0, 0, height + radius), 0.035, steel, sides=6)
    if kind == 3:
        plate = _polygon(np.array([(-1, -0.65), (1, -0.65), (1, 0.65), (-1, 0.65)]) * radius * 1.4, height, face, back)
    elif kind == 2:
        plate = _polygon(np.array([(0, 1.1), (-1, -0.6), (1, -0.6)]) * radius, height, face, back)
    else:
        angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
        plate = _polygon(np.stack([np.cos(angle), np.sin(angle)], -1) * radius, height, face, back)
    return post, plate


def _polygon(outline: NDArray[np.float64], height: float, face: int, back: int) -> Mesh:
    """Return a thin plate (N, 2 in y, z about its middle) facing +x with a plain back."""
    following = np.roll(outline, -1, axis=0)
    area = np.sum(outline[:, 0] * following[:, 1] - outline[:, 1] * following[:, 0])
    if area < 0:
        outline, following = following, outline
    zero = np.zeros(len(outline))
    texture = np.stack([np.zeros((len(outline), 3)), np.c_[outline, zero], np.c_[following, zero]], axis=1)
    front = np.stack([np.full(texture.shape[:2], 0.05), texture[..., 0], texture[..., 1] + height], axis=-1)
    behind = front[:, ::-1] - [0.015, 0, 0]
    return merged([shapes.triangles(front, texture, face), shapes.triangles(behind, texture[:, ::-1], back)])


def _lumpy(centre: NDArray | tuple, radius: float, material: int, generator: np.random.Generator, detail: int) -> Mesh:
    """Return a ball with an uneven surface."""
    unit = shapes.icosphere(detail)
    waves = generator.normal(0, 3.0, (5, 3))
    bumps = 1 + 0.09 * np.sin(unit @ waves.T + generator.uniform(0, 6, 5)).sum(axis=-1)
    points = unit * bumps[..., None] * radius
    return shapes.triangles(points + np.asarray(centre), points, material, unit)


def _leaves(
    centres: NDArray[np.float64], radii: NDArray[np.float64], material: int, generator: np.random.Generator, count: int
) -> Mesh:
    """Return loose triangles that make the outline of balls ragged."""
    which = generator.integers(len(centres), size=count)
    outward = generator.normal(size=(count, 3))
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    places = centres[which] + outward * (radii[which] * generator.uniform(0.9, 1.25, count))[:, None]
    size = 0.05 * radii[which] + 0.05
    corners = places[:, None] + generator.normal(size=(count, 3, 3)) * size[:, None, None]
    return shapes.triangles(corners, corners, material, np.repeat(outward[:, None], 3, axis=1))
