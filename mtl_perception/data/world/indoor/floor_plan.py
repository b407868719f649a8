# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Draws floors of buildings: rooms of different use, doors between them, windows, and where the furniture stands."""

from __future__ import annotations

from collections import Counter

import numpy as np

from mtl_perception.data.world.indoor.doors_and_windows import cut_openings
from mtl_perception.data.world.indoor.furnishing import furnish
from mtl_perception.data.world.indoor.layouts import LAYOUTS, Cell
from mtl_perception.data.world.indoor.rooms import FloorPlan, Room

__all__ = ["FloorPlan", "plan_indoor"]


def plan_indoor(generator: np.random.Generator, duration_s: float, layout: str | None = None) -> FloorPlan:
    """Draw a floor; the longer the robot walks the same floor may be, `duration_s` only has to be positive.

    `layout` names one of layouts.LAYOUTS, None draws it too.

    Raises:
        ValueError: the duration is not positive.
        KeyError: there is no such layout.
    """
    if not duration_s > 0:
        raise ValueError(f"duration_s is {duration_s}, it must be positive")
    chosen = str(generator.choice(list(LAYOUTS))) if layout is None else layout
    draft = LAYOUTS[chosen](generator)
    wall = float(generator.uniform(0.1, 0.16))
    rooms = _rooms(draft.cells, wall)
    openings = cut_openings(draft, rooms, wall, generator)
    pieces = [piece for index in range(len(rooms)) for piece in furnish(rooms, index, openings, generator)]
    return FloorPlan(chosen, rooms, openings, tuple(pieces), wall, draft.storey)


def _rooms(cells: list[Cell], wall: float) -> tuple[Room, ...]:
    total, seen, rooms = Counter(cell.use for cell in cells), Counter[str](), []
    for cell in cells:
        seen[cell.use] += 1
        name = f"{cell.use} {seen[cell.use]}" if total[cell.use] > 1 else cell.use
        half = wall / 2
        low, high = (cell.x0 + half, cell.y0 + half), (cell.x1 - half, cell.y1 - half)
        rooms.append(Room(name, cell.use, low, high, float(cell.height)))
    return tuple(rooms)
