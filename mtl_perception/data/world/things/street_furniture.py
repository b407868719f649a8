# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What stands on pavements: lamp posts, traffic lights, signs, fences, bollards, benches, bins, shelters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_perception.data.world import shapes
from mtl_perception.data.world.scene import Mesh, Scene, merged

GREEN, AMBER, RED = 0, 1, 2
_SIGNALS = [(0.1, 0.9, 0.5), (1.0, 0.7, 0.1), (1.0, 0.1, 0.1)]


@dataclass(frozen=True, eq=False)
class LampPost:
    """A street lamp that reaches out along +x, and where its light comes from in its own frame."""

    mesh: Mesh
    bulb: tuple[float, float, float]


def lamp_post(scene: Scene, generator: np.random.Generator) -> LampPost:
    """Return a street lamp: a high one on an arm, or a low one with a globe."""
    steel = scene.material("dull", generator.uniform(0.2, 0.6) * np.ones(3), parameters=(0.08, 0.4))
    lamp = scene.material("dull", (0.85, 0.83, 0.75), gloss=0.3, glow=0.3)
    if generator.random() < 0.3:
        height = float(generator.uniform(3.2, 4.4))
        parts = [
            shapes.cylinder((0, 0, -0.2), (0, 0, 0.5), 0.11, steel),
            shapes.cylinder((0, 0, 0.5), (0, 0, height), 0.05, steel, sides=6),
            shapes.ellipsoid((0, 0, height + 0.2), 0.24, lamp, 1),
            shapes.cylinder((0, 0, height + 0.4), (0, 0, height + 0.52), 0.2, steel, 0.03, sides=6),
        ]
        return LampPost(merged(parts), (0.3, 0.0, height))
    height, reach = float(generator.uniform(5.0, 8.5)), float(generator.uniform(0.6, 2.0))
    parts = [
        shapes.cylinder((0, 0, -0.2), (0, 0, 1.0), 0.10, steel),
        shapes.cylinder((0, 0, 1.0), (0, 0, height), 0.065, steel, 0.045),
        shapes.cylinder((0, 0, height), (reach, 0, height + 0.2), 0.04, steel, sides=5),
        shapes.box((0.6, 0.2, 0.1), (reach, 0, height + 0.18), steel),
        shapes.box((0.45, 0.16, 0.03), (reach, 0, height + 0.12), lamp),
    ]
    return LampPost(merged(parts), (reach, 0.0, height))


def traffic_light(scene: Scene, generator: np.random.Generator) -> tuple[Mesh, Mesh]:
    """Return a traffic light's post, and its head, which faces +x: the housing is part 0, lamps are parts 1 to 3."""
    steel = scene.material("dull", generator.uniform(0.15, 0.5) * np.ones(3), parameters=(0.06, 0.4))
    black = scene.material("dull", (0.05, 0.05, 0.05), parameters=(0.05, 0.2))
    height = generator.uniform(2.4, 3.2)
    head = [shapes.box((0.2, 0.32, 0.95), (0, 0, height), black)]
    for signal, colour in enumerate(_SIGNALS):
        off = scene.material("dull", np.array(colour) * 0.2, gloss=0.1)
        lit = scene.material("dull", colour, glow=2.5)
        z = height + (signal - 1) * 0.29
        head.append(shapes.cylinder((0.1, 0, z), (0.12, 0, z), 0.1, off))
        head.append(shapes.box((0.16, 0.24, 0.02), (0.16, 0, z + 0.12), black))
        head.append(shapes.cylinder((0.11, 0, z), (0.13, 0, z), 0.1, lit).as_part(signal + 1))
    return shapes.cylinder((-0.14, 0, -0.2), (-0.14, 0, height + 0.5), 0.06, steel), merged(head)


def lit_parts(signal: int) -> NDArray[np.float64]:
    """Return the poses (4, 4, 4) of a traffic light's parts in its frame: lamps that are off are within the housing."""
    poses = np.tile(np.eye(4), (4, 1, 1))
    poses[1:, 0, 3] = -0.13
    poses[signal + 1, 0, 3] = 0.0
    return poses


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
        plate = _plate(np.array([(-1, -0.65), (1, -0.65), (1, 0.65), (-1, 0.65)]) * radius * 1.4, height, face, back)
    elif kind == 2:
        plate = _plate(np.array([(0, 1.1), (-1, -0.6), (1, -0.6)]) * radius, height, face, back)
    else:
        angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
        plate = _plate(np.stack([np.cos(angle), np.sin(angle)], -1) * radius, height, face, back)
    return post, plate


def bollard(scene: Scene, generator: np.random.Generator) -> Mesh:
    """Return a bollard."""
    paint = scene.material("dull", generator.choice([0.1, 0.35, 0.6]) * np.ones(3), (0, 0, 0), (0.1, 0.2))
    height = generator.uniform(0.8, 1.1)
    return shapes.cylinder((0, 0, -0.1), (0, 0, height), 0.07, paint)


def bench(scene: Scene, generator: np.random.Generator) -> Mesh:
    """Return a bench along y whose front is +x."""
    planks = scene.material(
        "wood", np.array([0.50, 0.36, 0.22]) * generator.uniform(0.6, 1.2), (0.3, 0.2, 0.12), (0.1, 6)
    )
    iron = scene.material("dull", generator.choice([0.1, 0.3]) * np.ones(3), parameters=(0.08, 0.3))
    parts = [
        shapes.box((0.42, 1.6, 0.05), (0, 0, 0.45), planks),
        shapes.box((0.05, 1.6, 0.35), (-0.22, 0, 0.72), planks),
    ]
    parts += [shapes.box((0.4, 0.06, 0.45), (0, y, 0.225), iron) for y in (-0.65, 0.65)]
    parts += [shapes.box((0.05, 0.06, 0.5), (-0.23, y, 0.65), iron) for y in (-0.65, 0.65)]
    return merged(parts)


def cabinet(scene: Scene, generator: np.random.Generator) -> Mesh:
    """Return a bin, a letter box or a switch cabinet; its front is +x."""
    kind = generator.integers(3)
    if kind == 0:
        paint = scene.material("dull", (0.16, 0.30, 0.18) * generator.uniform(0.6, 1.6, 3), parameters=(0.1, 0.3))
        rim = scene.material("dull", (0.08, 0.08, 0.08), parameters=(0.1, 0.3))
        body = shapes.cylinder((0, 0, 0.1), (0, 0, 0.85), 0.22, paint, 0.26)
        return merged([body, shapes.cylinder((0, 0, 0.85), (0, 0, 1.0), 0.28, rim), _foot(rim)])
    colour = [(0.75, 0.62, 0.10), (0.60, 0.10, 0.10), (0.12, 0.22, 0.50)][generator.integers(3)]
    if kind == 1:
        paint = scene.material("dull", np.array(colour), parameters=(0.08, 0.3), gloss=0.15)
        slot = scene.material("dull", (0.05, 0.05, 0.05), parameters=(0.1, 0.3))
        parts = [shapes.box((0.4, 0.45, 0.85), (0, 0, 0.85), paint), shapes.box((0.02, 0.3, 0.05), (0.2, 0, 1.1), slot)]
        return merged([*parts, _foot(slot)])
    grey = generator.uniform(0.4, 0.65) * np.array([0.98, 1.0, 0.96])
    paint = scene.material("slabs", grey, grey * 0.5, (0.45, 1.3, 0.0, 0.015, 0.04))
    return shapes.box(
        (0.35, float(generator.uniform(0.6, 1.3)), float(generator.uniform(0.9, 1.3))), (0, 0, 0.55), paint
    )


def shelter(scene: Scene, generator: np.random.Generator) -> Mesh:
    """Return a bus shelter 4 m long along y, open to +x: posts, roof, poster, bench, boards instead of glass."""
    steel = scene.material("dull", generator.uniform(0.2, 0.45) * np.ones(3), parameters=(0.06, 0.4))
    boards = scene.material("wood", (0.42, 0.32, 0.22), (0.3, 0.23, 0.16), (0.14, 6.0))
    poster = scene.material("picture", generator.uniform(0.2, 0.9, 3), (0.9, 0.9, 0.9), (0.3, 0.8, 0.1), glow=0.2)
    posts = shapes.repeated(
        shapes.cylinder((0, 0, 0), (0, 0, 2.4), 0.04, steel, sides=5), _grid((-0.55, 0.55), (-1.9, 1.9))
    )
    parts = [
        posts,
        shapes.box((1.5, 4.2, 0.08), (0.1, 0, 2.44), steel),
        shapes.box((0.04, 3.8, 1.0), (-0.55, 0, 0.6), boards),
    ]
    parts += [
        shapes.box((0.08, 0.06, 1.7), (0, -1.9, 1.15), steel),
        shapes.box((0.9, 0.05, 1.6), (0, -1.9, 1.2), poster),
    ]
    return merged([*parts, shapes.box((0.35, 2.6, 0.05), (-0.33, 0.3, 0.48), boards)])


def fence(scene: Scene, generator: np.random.Generator, length: float, near: bool, wire: bool) -> Mesh:
    """Return a fence along y from 0 to `length`: boards, wall, railings or wire; with fewer bars if not `near`."""
    height = float(generator.uniform(0.8, 1.7))
    if wire:
        return _wire_fence(scene, length, float(generator.uniform(1.8, 2.4)), 0.3 if near else 1.2)
    kind = generator.integers(4)
    if kind == 0:
        boards = scene.material("wood", (0.48, 0.36, 0.25), (0.36, 0.27, 0.19), (0.14, 6.0))
        sheet = shapes.box((0.05, length, height), (0, length / 2, height / 2), boards)
        turned = sheet.texture[..., [1, 0, 2]]
        return Mesh(sheet.corners, sheet.normals, np.ascontiguousarray(turned), sheet.material, sheet.part)
    tone = np.array([(0.6, 0.5, 0.42), (0.62, 0.60, 0.55), (0.55, 0.32, 0.25)][generator.integers(3)])
    stone = scene.material("slabs", tone, (0.5, 0.48, 0.45), (0.23, 0.075, 0.5, 0.012, 0.2))
    if kind == 1:
        cap = shapes.box((0.34, length, 0.08), (0, length / 2, height + 0.04), stone)
        return merged([shapes.box((0.25, length, height), (0, length / 2, height / 2), stone), cap])
    iron = scene.material("dull", generator.choice([0.1, 0.2, 0.75]) * np.ones(3), parameters=(0.1, 0.3))
    low, parts = 0.0, []
    if kind == 2:
        low = 0.4
        parts.append(shapes.box((0.25, length, low), (0, length / 2, low / 2), stone))
    parts += [shapes.box((0.04, length, 0.05), (0, length / 2, z), iron) for z in (low + 0.1, height - 0.08)]
    return merged([*parts, _bars(length, low, height, 0.18 if near else 0.5, 0.013 if near else 0.025, iron)])


def _wire_fence(scene: Scene, length: float, height: float, gap: float) -> Mesh:
    steel = scene.material("dull", (0.45, 0.47, 0.46), parameters=(0.1, 0.3))
    heights = np.linspace(0.1, height, 6)
    wires = [shapes.box((0.012, length, 0.02), (0, length / 2, z), steel) for z in heights]
    return merged(
        [*wires, _bars(length, 0.0, height, gap, 0.006, steel), _bars(length, 0.0, height + 0.1, 2.5, 0.035, steel)]
    )


def _bars(length: float, low: float, high: float, gap: float, half: float, material: int) -> Mesh:
    """Return square upright bars without lids, every `gap` metres along y."""
    ring = np.array([(half, -half), (half, half), (-half, half), (-half, -half)])
    following = np.roll(ring, -1, axis=0)
    zero = np.zeros((4, 1))
    corners = np.stack(
        [
            np.c_[ring, zero + low],
            np.c_[following, zero + low],
            np.c_[following, zero + high],
            np.c_[ring, zero + high],
        ],
        1,
    )
    bar = shapes.quads(corners, np.broadcast_to([(0, low), (0.05, low), (0.05, high), (0, high)], (4, 4, 2)), material)
    places = np.arange(gap / 2, length, gap)
    return shapes.repeated(bar, np.stack([np.zeros_like(places), places, np.zeros_like(places)], axis=-1))


def _foot(material: int) -> Mesh:
    return shapes.cylinder((0, 0, -0.1), (0, 0, 0.5), 0.06, material, sides=5)


def _grid(x: tuple[float, ...], y: tuple[float, ...]) -> list[tuple[float, float, float]]:
    return [(a, b, 0.0) for a in x for b in y]


def _plate(outline: NDArray[np.float64], height: float, face: int, back: int) -> Mesh:
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
