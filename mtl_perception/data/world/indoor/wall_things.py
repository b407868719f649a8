# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What hangs flat on walls: pictures, posters, switches, clocks, curtains. All of it is thinner than 5 cm."""

from __future__ import annotations

import numpy as np

from mtl_perception.data.world import shapes
from mtl_perception.data.world.indoor.doors_and_windows import on_wall
from mtl_perception.data.world.indoor.rooms import FLAT, FloorPlan
from mtl_perception.data.world.scene import Mesh, Scene
from mtl_perception.data.world.things.household import muted, plain

_PICTURES_PER_M = {
    "living room": 0.5,
    "corridor": 0.55,
    "hall": 0.35,
    "bedroom": 0.3,
    "classroom": 0.4,
    "store room": 0.05,
    "bathroom": 0.05,
}
_CURTAINED = ("living room", "bedroom", "dining room", "office", "hall", "meeting room", "kitchen")


def wall_things(
    scene: Scene, plan: FloorPlan, index: int, side: int, generator: np.random.Generator
) -> list[Mesh]:
    """Return what hangs on a wall, in the wall's frame, where no opening and no furniture is."""
    room = plan.rooms[index]
    length = room.wall_length(side)
    taken = _openings_in(plan, index, side)
    parts: list[Mesh] = []
    for low, high, bottom, top, kind in list(taken):
        if kind in ("door", "entrance") and generator.random() < 0.9:
            place = high + 0.2 if generator.random() < 0.5 else low - 0.2
            if 0.1 < place < length - 0.1:
                parts.append(shapes.box((0.08, 0.012, 0.08), (place, 0.006, 1.1), plain(scene, 0.92)))
        if kind == "entrance" and plan.layout in ("open office", "long corridor", "public hall"):
            green = scene.material("picture", (0.1, 0.6, 0.25), (0.9, 0.95, 0.9), (0.07, 0.1, 0.3), glow=0.8)
            parts.append(shapes.box((0.36, 0.04, 0.18), ((low + high) / 2, 0.02, top + 0.2), green))
        if kind == "window" and room.use in _CURTAINED:
            parts += _curtains(scene, plan, index, side, (low, high, bottom, top), generator)
            taken.append((low - 0.5, high + 0.5, 0.0, room.height, "curtain"))
    count = generator.poisson(_PICTURES_PER_M.get(room.use, 0.3) * length)
    for _ in range(int(count)):
        wide, tall = generator.uniform(0.2, 0.9), generator.uniform(0.25, 0.75)
        along, z = generator.uniform(0.0, length), generator.uniform(1.45, 1.7)
        art = _picture(scene, generator, along, z, wide, tall)
        if not wide / 2 + 0.1 < along < length - wide / 2 - 0.1:
            continue
        if any(along + wide / 2 > low - 0.15 and along - wide / 2 < high + 0.15 for low, high, *_ in taken):
            continue
        if _furniture_at(plan, index, side, along, wide, z - tall / 2):
            continue
        taken.append((along - wide / 2, along + wide / 2, 0.0, room.height, "picture"))
        parts += art
    if room.use in ("classroom", "kitchen", "office", "hall") and side == 0:
        parts += _clock(scene, min(length - 0.3, max(0.3, length * 0.5)), min(room.height - 0.35, 2.5))
    return parts


def _openings_in(plan: FloorPlan, index: int, side: int) -> list[tuple[float, float, float, float, str]]:
    found = []
    for opening in plan.openings:
        if index in opening.rooms:
            where, along = opening.in_wall_of(plan.rooms[index], index)
            if where == side:
                half = opening.width / 2
                found.append((along - half, along + half, opening.bottom, opening.top, opening.kind))
    return found


def _furniture_at(plan: FloorPlan, index: int, side: int, along: float, wide: float, z: float) -> bool:
    strip = on_wall(plan.rooms[index], side, along, wide, 0.05)
    return any(
        piece.footprint.overlaps(strip)
        for piece in plan.pieces
        if piece.room == index and piece.kind not in FLAT and max(piece.height, 0.8) > z
    )


def _picture(scene: Scene, generator: np.random.Generator, x: float, z: float, wide: float, tall: float) -> list[Mesh]:
    art = scene.material(
        "picture",
        generator.uniform(0.05, 0.95, 3),
        (0.92, 0.9, 0.85),
        (generator.uniform(0.05, 0.3), generator.uniform(0.1, 0.9), 0.4),
    )
    rim = scene.material("dull", generator.choice([0.08, 0.5, 0.85]) * np.ones(3))
    return [
        shapes.box((wide + 0.05, 0.02, tall + 0.05), (x, 0.01, z), rim),
        shapes.box((wide, 0.025, tall), (x, 0.0135, z), art),
    ]


def _clock(scene: Scene, x: float, z: float) -> list[Mesh]:
    dark, face = plain(scene, 0.1), plain(scene, 0.95)
    return [
        shapes.cylinder((x, 0.0, z), (x, 0.03, z), 0.16, dark, sides=16),
        shapes.cylinder((x, 0.0, z), (x, 0.035, z), 0.14, face, sides=16),
        shapes.box((0.015, 0.04, 0.1), (x, 0.02, z + 0.045), dark),
        shapes.box((0.08, 0.04, 0.015), (x + 0.035, 0.02, z), dark),
    ]


def _curtains(
    scene: Scene,
    plan: FloorPlan,
    index: int,
    side: int,
    hole: tuple[float, float, float, float],
    generator: np.random.Generator,
) -> list[Mesh]:
    """Return curtains beside a window, or a blind over its upper part, or nothing."""
    kind, tone = generator.random(), muted(generator)
    low, high, bottom, top = hole
    if kind < 0.4:
        drape = scene.material("slabs", tone, tone * 0.72, (0.07, 5.0, 0.0, 0.03, 0.06))  # upright folds
        wide = 0.28
        parts = []
        for along in (low - wide / 2 + 0.05, high + wide / 2 - 0.05):
            end = 0.05 if generator.random() < 0.5 else bottom - 0.15
            fits = wide / 2 < along < plan.rooms[index].wall_length(side) - wide / 2
            others = [hole_ for hole_ in _openings_in(plan, index, side) if hole_[0] != low]
            clear = all(along + wide / 2 < a - 0.05 or along - wide / 2 > b + 0.05 for a, b, *_ in others)
            if fits and clear and not _furniture_at(plan, index, side, along, wide, end):
                parts.append(shapes.box((wide, 0.045, top + 0.1 - end), (along, 0.024, (top + 0.1 + end) / 2), drape))
        rail = plain(scene, 0.4, 0.2)
        middle, long = (low + high) / 2, high - low + 2 * wide
        if parts:
            parts.append(shapes.box((long, 0.03, 0.03), (middle, 0.02, top + 0.11), rail))
        return parts
    if kind < 0.6:
        blind = scene.material("cloth", tone, tone * 0.75, (0.5, 0.02, 0.02))
        down = (top - bottom) * generator.uniform(0.15, 0.6)
        return [shapes.box((high - low, 0.02, down), ((low + high) / 2, -0.02, top - down / 2), blind)]
    return []
