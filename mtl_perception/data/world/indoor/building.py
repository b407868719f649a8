# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Builds a planned floor: floors, walls with openings, ceilings, lamps, furniture, and what windows look out on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mtl_perception.data.world import shapes
from mtl_perception.data.world.indoor.frames import add_openings
from mtl_perception.data.world.indoor.outside import add_outside
from mtl_perception.data.world.indoor.rooms import FloorPlan, Room
from mtl_perception.data.world.indoor.wall_things import wall_things
from mtl_perception.data.world.scene import Lamp, Mesh, Region, Scene, merged
from mtl_perception.data.world.things.furnishings import furnishing
from mtl_perception.data.world.things.household import muted, wood_of

_PAINTS = [
    *[(0.88, 0.86, 0.80), (0.82, 0.78, 0.68), (0.72, 0.76, 0.80), (0.80, 0.80, 0.80), (0.66, 0.58, 0.48)],
    *[(0.70, 0.75, 0.62), (0.78, 0.62, 0.52), (0.55, 0.60, 0.66), (0.90, 0.88, 0.86), (0.86, 0.78, 0.55)],
]
_WET = ("bathroom", "kitchen")
_WORK = ("office", "meeting room", "open-plan office", "classroom", "hall")
_AREA_PER_LAMP_M2 = 22.0
_ALIKE = ("chair", "office chair", "desk", "school desk", "radiator", "column")
"""Kinds of which a room has several that look the same."""

_SKIRTING_M = (0.012, 0.08)


def build_indoor(scene: Scene, plan: FloorPlan, generator: np.random.Generator) -> None:
    """Put a whole floor into a scene, its regions and lamps too."""
    style = _Style(
        bool(plan.layout in ("open office", "long corridor", "public hall")),
        scene.material("dull", np.ones(3) * generator.uniform(0.8, 0.95), parameters=(0.025, 1.5)),
        _paint(scene, generator),
        _floor(scene, "corridor", plan.layout, generator),
        wood_of(scene, generator)
        if generator.random() < 0.4
        else scene.material("dull", np.ones(3) * generator.uniform(0.75, 0.92), parameters=(0.02, 0.5), gloss=0.05),
    )
    for index in range(len(plan.rooms)):
        _room(scene, plan, index, style, generator)
        _lamps(scene, plan.rooms[index], style, generator)
    add_openings(scene, plan, style.frame, style.floor, generator)
    alike: dict[tuple[int, str, float, float], Mesh] = {}
    for piece in plan.pieces:
        footprint = piece.footprint
        mesh = alike.get(key := (piece.room, piece.kind, footprint.depth, footprint.width))
        if mesh is None:
            mesh = furnishing(piece.kind, scene, generator, footprint.depth, footprint.width, piece.height)
        if piece.kind in _ALIKE:
            alike[key] = mesh
        if piece.kind == "desk":
            things = furnishing("desk things", scene, generator, footprint.depth, footprint.width, piece.height)
            mesh = merged([mesh, things])
        label = {"column": "wall", "rug": "floor"}.get(piece.kind, "furniture")
        layer = "floor" if label == "floor" else ""
        scene.add(mesh, label, footprint.pose(), layer)
    add_outside(scene, plan, generator)
    scene.regions += regions(plan)


def regions(plan: FloorPlan) -> list[Region]:
    """Return the rooms and corridors; neighbours are those behind doors and passages."""
    return [
        Region(
            room.name,
            "corridor" if room.use == "corridor" else "room",
            room.outline(),
            0.0,
            room.height,
            tuple(plan.rooms[other].name for other in plan.neighbours(index)),
        )
        for index, room in enumerate(plan.rooms)
    ]


@dataclass(frozen=True)
class _Style:
    """What a building's rooms have in common: whether people work there, and materials."""

    is_workplace: bool
    ceiling: int
    paint: int
    floor: int
    frame: int


def _room(scene: Scene, plan: FloorPlan, index: int, style: _Style, generator: np.random.Generator) -> None:
    room = plan.rooms[index]
    (x0, y0), (x1, y1) = room.low, room.high
    floor = style.floor if room.use in ("corridor", "hall") else _floor(scene, room.use, plan.layout, generator)
    ceiling = style.ceiling
    if style.is_workplace and room.use != "bathroom":
        ceiling = scene.material("slabs", (0.86, 0.86, 0.84), (0.62, 0.62, 0.62), (0.6, 0.6, 0.0, 0.02, 0.03))
    ground = [(x0, y0, 0.0), (x1, y0, 0.0), (x1, y1, 0.0), (x0, y1, 0.0)]
    above = [(x, y, room.height) for x, y, _ in ground[::-1]]
    scene.add(_flat(ground, floor), "floor", layer="floor")
    scene.add(_flat(above, ceiling), "ceiling")
    lower, split = _lower_wall(scene, room, generator)
    paint = style.paint if generator.random() < 0.4 else _paint(scene, generator)
    accent = _paint(scene, generator) if generator.random() < 0.3 else paint
    accent_side = int(generator.integers(4))
    skirting = style.frame if lower is None else None
    for side in range(4):
        upper = accent if side == accent_side else paint
        parts = _wall(plan, index, side, upper, lower, split, skirting)
        parts += wall_things(scene, plan, index, side, generator)
        scene.add(merged(parts).moved(room.wall_pose(side)), "wall")


def _wall(
    plan: FloorPlan, index: int, side: int, upper: int, lower: int | None, split: float, skirting: int | None
) -> list[Mesh]:
    """Return a wall's face with its openings left out, in the wall's frame."""
    room = plan.rooms[index]
    holes = []
    for opening in plan.openings:
        if index in opening.rooms:
            where, along = opening.in_wall_of(room, index)
            if where == side:
                holes.append((along - opening.width / 2, along + opening.width / 2, opening.bottom, opening.top))
    panels = _without_holes(room.wall_length(side), room.height, sorted(holes))
    if lower is None:
        parts = [_panels(panels, upper)]
    else:
        below = [(a, b, c, min(d, split)) for a, b, c, d in panels if c < split]
        above = [(a, b, max(c, split), d) for a, b, c, d in panels if d > split]
        parts = [_panels(below, lower), _panels(above, upper)]
    if skirting is not None:
        thick, high = _SKIRTING_M
        for a, b, bottom, _ in panels:
            if bottom == 0.0:
                parts.append(shapes.box((b - a, thick, high), ((a + b) / 2, thick / 2, high / 2), skirting))
    return parts


Panel = tuple[float, float, float, float]


def _without_holes(length: float, height: float, holes: list[Panel]) -> list[Panel]:
    """Return rectangles (from, to, bottom, top) that cover a wall but not its holes, which come sorted."""
    panels, start = [], 0.0
    for low, high, bottom, top in holes:
        panels.append((start, low, 0.0, height))
        panels.append((low, high, 0.0, bottom))
        panels.append((low, high, top, height))
        start = high
    panels.append((start, length, 0.0, height))
    return [panel for panel in panels if panel[1] - panel[0] > 1e-6 and panel[3] - panel[2] > 1e-6]


def _panels(panels: list[Panel], material: int) -> Mesh:
    """Return upright rectangles at y = 0 that face +y."""
    corners = [[(b, 0, c), (a, 0, c), (a, 0, d), (b, 0, d)] for a, b, c, d in panels]
    texture = [[(b, c), (a, c), (a, d), (b, d)] for a, b, c, d in panels]
    return shapes.quads(corners, texture, material)


def _flat(corners: list[tuple[float, float, float]], material: int) -> Mesh:
    return shapes.quads([corners], [[corner[:2] for corner in corners]], material)


def _lamps(scene: Scene, room: Room, style: _Style, generator: np.random.Generator) -> None:
    """Hang lamps from a room's ceiling, one for every 22 square metres."""
    warm = (0.92, 0.97, 1.0) if style.is_workplace else (1.0, 0.88, 0.70)
    colour = np.array(warm) * generator.uniform(0.95, 1.05, 3)
    glowing = scene.material("dull", np.minimum(colour, 1.0), glow=1.6)
    sx, sy = room.size
    columns = max(1, round(np.sqrt(room.area / _AREA_PER_LAMP_M2 * sx / sy)))
    rows = max(1, round(np.sqrt(room.area / _AREA_PER_LAMP_M2 * sy / sx)))
    panel, drop = style.is_workplace, 0.06
    if not panel and room.use in ("living room", "dining room", "bedroom"):
        drop = float(generator.uniform(0.25, 0.5)) * min(1.0, room.height - 2.2)
    # Where walls are near, weaker lamps will do.
    bright = generator.uniform(0.8, 1.2) * (room.height - 0.4) ** 2 * float(np.clip(min(sx, sy) / 3.2, 0.45, 1.0))
    for i in range(columns):
        for j in range(rows):
            x, y = room.low[0] + (i + 0.5) * sx / columns, room.low[1] + (j + 0.5) * sy / rows
            low = room.height - drop
            if panel:
                size = (1.2, 0.3, 0.05) if sx > sy else (0.3, 1.2, 0.05)
                body = shapes.box(size, (x, y, room.height - 0.025), glowing)
            else:
                body = shapes.cylinder((x, y, low), (x, y, min(low + 0.14, room.height)), 0.2, glowing, 0.13, 12)
                if drop > 0.15:
                    cable = scene.material("dull", (0.1, 0.1, 0.1))
                    body = merged([body, shapes.cylinder((x, y, low + 0.1), (x, y, room.height), 0.01, cable, sides=4)])
            scene.add(body, "ceiling")
            r, g, b = (float(v) for v in colour * bright)
            # Well below its shade, or the ceiling around it would be far too bright.
            scene.lamps.append(Lamp((float(x), float(y), low - 0.25), (r, g, b), 0.2))


def _paint(scene: Scene, generator: np.random.Generator) -> int:
    """Return what covers a wall: mostly paint on plaster, or woodchip, striped wallpaper, bricks, boards."""
    tone = np.array(_PAINTS[generator.integers(len(_PAINTS))]) * generator.uniform(0.75, 1.05)
    kind = generator.random()
    if kind < 0.45:
        return scene.material("dull", tone, parameters=(0.03, float(generator.uniform(0.8, 2.0))))
    if kind < 0.65:
        return scene.material("cloth", tone, tone * 0.9, (0.5, 0.03, 0.0))
    if kind < 0.82:
        # Slabs as high as the room are upright stripes.
        other = tone * generator.uniform(0.8, 0.93)
        return scene.material("slabs", tone, other, (float(generator.uniform(0.1, 0.3)), 5.0, 0.0, 0.02, 0.03))
    if kind < 0.92:
        return scene.material("slabs", tone, tone * 0.8, (0.25, 0.075, 0.5, 0.012, 0.09))
    return scene.material("wood", tone * 0.9, tone * 0.75, (float(generator.uniform(0.09, 0.16)), 8.0))


def _lower_wall(scene: Scene, room: Room, generator: np.random.Generator) -> tuple[int | None, float]:
    """Return what covers the lower part of the walls and up to where, for rooms that have it."""
    if room.use == "bathroom":
        tone = generator.uniform(0.55, 0.95) * generator.uniform(0.9, 1.05, 3)
        size = float(generator.uniform(0.12, 0.35))
        tiles = (size, size * float(generator.choice([1.0, 0.5])), 0.0, 0.006, 0.06)
        return scene.material("slabs", tone, tone * 0.7, tiles, gloss=0.15), float(generator.uniform(1.3, 2.1))
    if room.use in ("corridor", "classroom", "dining room") and generator.random() < 0.4:
        if generator.random() < 0.5:
            return wood_of(scene, generator), float(generator.uniform(0.8, 1.2))
        tone = muted(generator)
        return scene.material("dull", tone, parameters=(0.02, 2.0), gloss=0.08), float(generator.uniform(1.0, 1.4))
    return None, 0.0


def _floor(scene: Scene, use: str, layout: str, generator: np.random.Generator) -> int:
    """Return boards, carpet, tiles or linoleum, as suits the room."""
    if use in _WET or (use == "corridor" and generator.random() < 0.35) or layout == "public hall":
        tone = generator.uniform(0.4, 0.85) * generator.uniform(0.9, 1.06, 3)
        size = float(generator.uniform(0.25, 0.7))
        return scene.material("slabs", tone, tone * 0.6, (size, size, 0.0, 0.008, 0.06), gloss=0.08)
    if use == "store room" or (use == "classroom" and generator.random() < 0.6):
        tone = generator.uniform(0.35, 0.65) * generator.uniform(0.85, 1.1, 3)
        return scene.material("dull", tone, parameters=(0.08, 0.6), gloss=0.06)
    if use in _WORK and generator.random() < 0.7:
        tone = generator.uniform(0.2, 0.55) * generator.uniform(0.85, 1.15, 3)
        return scene.material("cloth", tone, tone * 0.8, (0.6, 0.07, 0.0))
    tone = np.array([(0.62, 0.44, 0.28), (0.45, 0.30, 0.18), (0.72, 0.58, 0.40)][generator.integers(3)])
    return scene.material("wood", tone, tone * 0.75, (generator.uniform(0.07, 0.18), 6.0), gloss=0.08)
