# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where doors, passages and windows are in the walls of a floor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mtl_perception.data.world.indoor.footprint import Footprint
from mtl_perception.data.world.indoor.layouts import Draft
from mtl_perception.data.world.indoor.rooms import OUTSIDE, Opening, Room
from mtl_perception.data.world.paths import upright

OUTER_WALL_M = 0.3
_CORNER_M = 0.2
_WINDOWLESS = ("store room",)


def cut_openings(
    draft: Draft, rooms: Sequence[Room], wall: float, generator: np.random.Generator
) -> tuple[Opening, ...]:
    """Return the openings of a floor whose rooms are the draft's cells less the walls between them.

    Raises:
        ValueError: two rooms that should be joined share too little wall.
    """
    openings: list[Opening] = []
    for first, second in draft.passages:
        openings.append(_between(rooms, (first, second), wall, openings, generator, passage=True))
    for first, second in draft.ways:
        openings.append(_between(rooms, (first, second), wall, openings, generator, passage=False))
    openings += _entrance(draft, rooms, openings, generator)
    sill = float(generator.uniform(0.3, 0.6) if generator.random() < 0.25 else generator.uniform(0.85, 1.0))
    for index, room in enumerate(rooms):
        if room.use not in _WINDOWLESS:
            for side in _outer_sides(draft, index):
                openings += _windows(index, room, side, sill, openings, generator)
    return tuple(openings)


def kept_clear(room: Room, index: int, openings: Sequence[Opening]) -> list[Footprint]:
    """Return the ground in a room where nothing may stand, for doors to open and people to pass."""
    areas = []
    for opening in openings:
        if opening.kind == "window" or index not in opening.rooms:
            continue
        side, along = opening.in_wall_of(room, index)
        areas.append(on_wall(room, side, along, opening.width + 0.2, max(1.0, min(opening.width, 1.2) + 0.05)))
        if opening.swing > 2.0 and opening.rooms[1] == index:
            # A leaf folded back to the wall; the second room's wall runs against the first's.
            areas.append(on_wall(room, side, along - opening.hinge * opening.width, opening.width + 0.2, 0.45))
    return areas


def on_wall(room: Room, side: int, along: float, width: float, depth: float, off: float = 0.0) -> Footprint:
    """Return the ground of something with its back to a wall, its middle `along` it, `off` metres from it."""
    x, y, _ = (room.wall_pose(side) @ [along, off + depth / 2, 0.0, 1.0])[:3]
    return Footprint(float(x), float(y), float((side + 1) * np.pi / 2), depth, width)


def _between(
    rooms: Sequence[Room],
    pair: tuple[int, int],
    wall: float,
    others: Sequence[Opening],
    generator: np.random.Generator,
    passage: bool,
) -> Opening:
    first, second = (rooms[index] for index in pair)
    side, low, high = _shared_wall(first, second, wall)
    width = min(float(generator.uniform(1.3, 2.4) if passage else generator.uniform(0.92, 1.05)), high - low - 0.16)
    if width < 0.9:
        raise ValueError(f"{first.name} and {second.name} share only {high - low:.2f} m of wall")
    along = _free_place(rooms, pair, side, (low, high), width, others, generator)
    x, y = _in_wall(first, side, along, wall)
    top = min(first.height, second.height) - 0.2 if passage and generator.random() < 0.6 else 2.02
    swing, hinge = 0.0, 1
    if not passage:
        swing, hinge = _leaf(second, Opening("door", pair, side, x, y, width, 0.0, top, wall), others, generator)
    return Opening("passage" if passage else "door", pair, side, x, y, width, 0.0, top, wall, swing, hinge)


def _leaf(
    room: Room, opening: Opening, others: Sequence[Opening], generator: np.random.Generator
) -> tuple[float, int]:
    """Return how far a door into a room stands open and at which end its hinges are."""
    side, place = opening.in_wall_of(room, opening.rooms[1])
    hinge = int(generator.choice([-1, 1]))
    for end in (hinge, -hinge):
        beside = place - end * opening.width
        if opening.width * 0.6 < beside < room.wall_length(side) - opening.width * 0.6 and generator.random() < 0.4:
            folded = on_wall(room, side, beside, opening.width, 0.3)
            if not any(folded.overlaps(area) for area in kept_clear(room, opening.rooms[1], others)):
                return float(generator.uniform(2.7, 2.85)), end
    to_corner = min(place, room.wall_length(side) - place) - opening.width / 2
    return float(generator.uniform(1.56, 1.6 + 0.8 * np.clip(to_corner - 0.1, 0.0, 0.4))), hinge


def _shared_wall(first: Room, second: Room, wall: float) -> tuple[int, float, float]:
    """Return in which wall of the first room the second lies, and from where to where along that wall."""
    for side in range(4):
        facing, across = first.wall_pose(side), second.wall_pose((side + 2) % 4)
        apart = across[:2, 3] - facing[:2, 3]
        if abs(-(apart @ facing[:2, 1]) - wall) > 1e-6:
            continue
        end = float(apart @ facing[:2, 0])
        low, high = max(0.0, end - second.wall_length(side)), min(first.wall_length(side), end)
        if high > low:
            return side, low, high
    raise ValueError(f"{first.name} and {second.name} share no wall")


def _free_place(
    rooms: Sequence[Room],
    pair: tuple[int, int],
    side: int,
    stretch: tuple[float, float],
    width: float,
    others: Sequence[Opening],
    generator: np.random.Generator,
) -> float:
    """Return where in a stretch of the first room's wall a door is to be: away from corners and other doors."""
    corner = min(_CORNER_M, (stretch[1] - stretch[0] - width) / 2)
    least = stretch[0] + corner + width / 2
    most = max(least, stretch[1] - corner - width / 2)
    places = [float(v) for v in generator.uniform(least, most, 16)]
    # Doors near a corner leave more wall for furniture.
    for near in (least, most):
        if generator.random() < 0.6:
            places.insert(0, float(np.clip(near + generator.uniform(-0.3, 0.3), least, most)))
    first = rooms[pair[0]]
    taken = [area for index in pair for area in kept_clear(rooms[index], index, others)]

    def crossed(along: float) -> float:
        here = on_wall(first, side, along, width + 0.2, 2.4, -1.2)
        return sum(1 / (0.1 + np.hypot(area.x - here.x, area.y - here.y)) for area in taken if here.overlaps(area))

    return min(places, key=crossed)


def _in_wall(room: Room, side: int, along: float, thickness: float) -> tuple[float, float]:
    x, y = (room.wall_pose(side) @ upright((along, -thickness / 2, 0.0), 0.0))[:2, 3]
    return float(x), float(y)


def _outer_sides(draft: Draft, index: int) -> list[int]:
    """Return which walls of a cell are outer walls over their whole length."""
    cell = draft.cells[index]
    x0, y0 = min(c.x0 for c in draft.cells), min(c.y0 for c in draft.cells)
    x1, y1 = max(c.x1 for c in draft.cells), max(c.y1 for c in draft.cells)
    outer = (abs(cell.y0 - y0), abs(cell.x1 - x1), abs(cell.y1 - y1), abs(cell.x0 - x0))
    return [side for side, distance in enumerate(outer) if distance < 1e-6]


def _entrance(
    draft: Draft, rooms: Sequence[Room], others: Sequence[Opening], generator: np.random.Generator
) -> list[Opening]:
    index = draft.entrance
    room, sides = rooms[index], _outer_sides(draft, index)
    if not sides:
        return []
    side = min(sides, key=room.wall_length)
    width = min(float(generator.uniform(0.95, 1.1)), room.wall_length(side) - 2 * 0.1)
    length = room.wall_length(side)
    along = float(np.clip(length * generator.uniform(0.3, 0.7), width / 2 + 0.1, length - width / 2 - 0.1))
    x, y = _in_wall(room, side, along, OUTER_WALL_M)
    return [Opening("entrance", (index, OUTSIDE), side, x, y, width, 0.0, 2.1, OUTER_WALL_M)]


def _windows(
    index: int, room: Room, side: int, sill: float, others: Sequence[Opening], generator: np.random.Generator
) -> list[Opening]:
    """Return a row of windows in an outer wall, left out where the entrance is."""
    length, small = room.wall_length(side), room.use == "bathroom"
    if room.use == "corridor" and length > 4:  # light comes from the ends
        return []
    bottom = max(sill, 1.2) if small else sill
    if room.use == "kitchen":
        bottom = max(bottom, 1.05)
    top = min(room.height - 0.25, bottom + (0.7 if small else float(generator.uniform(1.25, 1.7))))
    width = 0.6 if small else float(generator.uniform(1.0, 1.8))
    count = 1 if small else max(1, int((length - 0.5) // (width + float(generator.uniform(0.6, 1.2)))))
    pitch = length / count
    windows = []
    for k in range(count):
        along = (k + 0.5) * pitch
        wide = min(width, pitch - 0.3)
        clash = any(
            place[0] == side and abs(place[1] - along) < (other.width + wide) / 2 + 0.2
            for other in others
            if index in other.rooms and (place := other.in_wall_of(room, index))
        )
        if wide >= 0.5 and not clash:
            x, y = _in_wall(room, side, along, OUTER_WALL_M)
            windows.append(Opening("window", (index, OUTSIDE), side, x, y, wide, bottom, top, OUTER_WALL_M))
    return windows
