# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What is in the holes of walls: reveals, frames, thresholds, doors' leaves and windows' bars."""

from __future__ import annotations

import numpy as np

from mtl_perception.data.world import shapes
from mtl_perception.data.world.indoor.rooms import HANDLE_M, LEAF_M, FloorPlan, Opening, leaf_pose
from mtl_perception.data.world.scene import Mesh, Scene, merged
from mtl_perception.data.world.things.household import coloured, wood_of

_ARCHITRAVE_M = (0.07, 0.015)
_SILL_M = 0.04


def add_openings(scene: Scene, plan: FloorPlan, frame: int, threshold: int, generator: np.random.Generator) -> None:
    """Put frames, thresholds, leaves and windows into a scene; `frame` and `threshold` are materials."""
    leaf = wood_of(scene, generator) if generator.random() < 0.75 else coloured(scene, generator, 0.05)
    metal = scene.material("dull", (0.7, 0.7, 0.68), gloss=0.4)
    white = scene.material("dull", np.ones(3) * generator.uniform(0.25, 0.92), parameters=(0.03, 0.3), gloss=0.1)
    bars = int(generator.integers(1, 3))
    for opening in plan.openings:
        world_from_opening = opening.pose()
        parts = [_reveal(opening, frame)]
        if opening.kind == "window":
            parts += _window(opening, white, bars)
            parts.append(_sill(opening, frame))
        else:
            faces = (1, -1) if opening.is_way else (1,)
            parts += [_architrave(opening, frame, face) for face in faces]
            ground = _threshold(opening, threshold)
            scene.add(ground.moved(world_from_opening), "floor", layer="floor" if opening.is_way else "")
        if opening.kind == "door":
            parts.append(_leaf(opening, leaf, metal).moved(leaf_pose(opening)))
        if opening.kind == "entrance":
            parts.append(_entrance(opening, leaf, metal))
        scene.add(merged(parts).moved(world_from_opening), "wall")


def _reveal(opening: Opening, material: int) -> Mesh:
    """Return the inner faces of the hole at its sides and top, and at its bottom where that is above the floor."""
    half, deep = opening.width / 2, opening.thickness / 2
    low, high = opening.bottom, opening.top
    faces = [
        [(-half, -deep, low), (-half, deep, low), (-half, deep, high), (-half, -deep, high)],
        [(half, deep, low), (half, -deep, low), (half, -deep, high), (half, deep, high)],
        [(-half, -deep, high), (-half, deep, high), (half, deep, high), (half, -deep, high)],
    ]
    if low > 0:
        faces.append([(-half, -deep, low), (half, -deep, low), (half, deep, low), (-half, deep, low)])
    corners = [face[::-1] if index < 2 else face for index, face in enumerate(faces)]
    corners = [_facing_inward(np.array(face), (low + high) / 2) for face in corners]  # type: ignore[misc]
    texture = [[(p[0] + p[1], p[2] + p[1]) for p in face] for face in corners]
    return shapes.quads(corners, texture, material)


def _facing_inward(face: np.ndarray, middle: float) -> np.ndarray:
    normal = np.cross(face[1] - face[0], face[2] - face[0])
    return face if normal @ (np.array([0.0, 0.0, middle]) - face.mean(axis=0)) > 0 else face[::-1]


def _architrave(opening: Opening, material: int, face: int) -> Mesh:
    """Return the trim around a door on one face of the wall (+1 the first room's)."""
    wide, thick = _ARCHITRAVE_M
    half, y, top = opening.width / 2, face * (opening.thickness + thick) / 2, opening.top
    posts = [
        shapes.box((wide, thick, top + wide), (side * (half + wide / 2), y, (top + wide) / 2), material)
        for side in (-1, 1)
    ]
    return merged([*posts, shapes.box((opening.width, thick, wide), (0, y, top + wide / 2), material)])


def _threshold(opening: Opening, material: int) -> Mesh:
    half, deep = opening.width / 2, opening.thickness / 2
    corners = [(-half, -deep, 0.0), (half, -deep, 0.0), (half, deep, 0.0), (-half, deep, 0.0)]
    return shapes.quads([corners], [[corner[:2] for corner in corners]], material)


def _leaf(opening: Opening, material: int, metal: int) -> Mesh:
    """Return a door's leaf with handles, in its own frame."""
    wide, high = opening.width - 0.02, opening.top - 0.02
    parts = [shapes.box((wide, LEAF_M, high), (wide / 2 + 0.01, 0, high / 2 + 0.008), material)]
    for z, tall in ((0.55, 0.75), (1.5, 0.7)):
        parts.append(shapes.box((wide * 0.7, LEAF_M + 0.014, tall), (wide / 2, 0, z), material))
    parts.append(shapes.box((0.02, LEAF_M + 2 * HANDLE_M - 0.01, 0.02), (wide - 0.06, 0, 1.04), metal))
    for y in (-1, 1):
        place = y * (LEAF_M / 2 + HANDLE_M - 0.015)
        parts.append(shapes.box((0.13, 0.02, 0.022), (wide - 0.11, place, 1.04), metal))
    return merged(parts)


def _entrance(opening: Opening, material: int, metal: int) -> Mesh:
    """Return a closed outer door with a lit panel of glass, in the opening's frame."""
    wide, high = opening.width, opening.top
    return merged(
        [
            shapes.box((wide, 0.06, high), (0, 0.0, high / 2), material),
            shapes.box((wide * 0.7, 0.08, 0.75), (0, 0.0, 0.55), material),
            shapes.box((wide * 0.7, 0.08, 0.7), (0, 0.0, 1.5), material),
            shapes.box((0.14, 0.14, 0.025), (wide * 0.36, 0.0, 1.04), metal),
        ]
    )


def _window(opening: Opening, material: int, bars: int) -> list[Mesh]:
    """Return a window's frame with upright bars; nothing is in the panes."""
    wide, low, high = opening.width, opening.bottom, opening.top
    border, deep, y = 0.055, 0.06, -0.03
    tall, middle = high - low, (low + high) / 2
    parts = [shapes.box((border, deep, tall), (side * (wide - border) / 2, y, middle), material) for side in (-1, 1)]
    parts += [shapes.box((wide, deep, border), (0, y, z), material) for z in (low + border / 2, high - border / 2)]
    count = bars if wide > 0.9 else 0
    for k in range(count):
        x = (k + 1) * wide / (count + 1) - wide / 2
        parts.append(shapes.box((border * 1.3, deep, tall), (x, y, middle), material))
    if tall > 1.3 and bars == 2:
        parts.append(shapes.box((wide, deep * 0.8, border * 0.8), (0, y, low + tall * 0.7), material))
    return parts


def _sill(opening: Opening, material: int) -> Mesh:
    deep = opening.thickness / 2 + 0.03 + _SILL_M
    y = opening.thickness / 2 + _SILL_M - deep / 2
    return shapes.box((opening.width - 0.002, deep, 0.025), (0, y, opening.bottom + 0.0125), material)
