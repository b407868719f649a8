# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which furniture stands in a room of a given use, and where."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mtl_perception.data.world.indoor.doors_and_windows import on_wall
from mtl_perception.data.world.indoor.footprint import Footprint
from mtl_perception.data.world.indoor.room_space import Space, chairs_around, relative, workplace
from mtl_perception.data.world.indoor.rooms import Opening, Piece, Room


def furnish(
    rooms: Sequence[Room], index: int, openings: Sequence[Opening], generator: np.random.Generator
) -> list[Piece]:
    """Return the furniture of a room.

    Raises:
        KeyError: the room's use is unknown.
    """
    here = [opening for opening in openings if index in opening.rooms]
    space = Space(rooms[index], index, here, generator)
    PROGRAMMES[rooms[index].use](space)
    _radiators(space)
    return space.pieces


def _living_room(space: Space) -> None:
    width, depth = space.uniform(1.7, 2.5), space.uniform(0.85, 0.98)
    for sofa in space.wall_places(width, depth, tries=20):
        table = relative(sofa, depth / 2 + space.uniform(0.65, 0.8), 0.0, 0.0, 0.55, space.uniform(0.8, 1.2))
        if space.put(("sofa", sofa, 0.8), ("coffee table", table, 0.45)):
            rug = relative(table, 0.0, 0.0, 0.0, space.uniform(1.3, 1.7), space.uniform(1.8, 2.4))
            space.put(("rug", rug, 0.0))
            _facing_sofa(space, sofa, table)
            break
    else:
        space.along_wall("sofa", 1.5, 0.85, 0.8, tries=20)
        space.along_wall("tv board", 1.4, 0.42, 0.55, tries=20)
    space.along_wall("shelf", space.uniform(0.8, 2.0), space.uniform(0.28, 0.38), space.uniform(1.5, 2.2))
    if space.room.area > 16:
        _dining_table(space, tries=20)
    for _ in range(int(space.room.area // 14)):
        space.along_wall("shelf", space.uniform(0.8, 1.6), 0.34, space.uniform(1.2, 2.2))
        space.along_wall("armchair", 0.78, 0.8, 0.8, tries=4)
    space.along_wall("sideboard", space.uniform(1.0, 1.8), 0.42, space.uniform(0.7, 0.95))
    space.along_wall("cabinet", space.uniform(0.6, 1.2), 0.4, space.uniform(1.0, 1.9))
    space.along_wall("floor lamp", 0.36, 0.36, 1.7)
    for _ in range(2):
        space.along_wall("plant", 0.5, 0.5, 1.3)


def _facing_sofa(space: Space, sofa: Footprint, table: Footprint) -> None:
    """Put a television opposite the sofa and armchairs beside the table."""
    side = (round(sofa.yaw / (np.pi / 2)) - 1) % 4
    opposite = (side + 2) % 4
    to_wall = space.room.wall_pose(opposite)
    along = float((np.array([sofa.x, sofa.y, 0.0]) - to_wall[:3, 3]) @ to_wall[:3, 0])
    board = on_wall(space.room, opposite, along, space.uniform(1.3, 1.8), 0.42, 0.01)
    if not space.put(("tv board", board, 0.5)):
        space.along_wall("tv board", 1.4, 0.42, 0.5, sides=[opposite])
    for left in (1, -1):
        if space.chance(0.6):
            chair = relative(table, 0.0, left * (table.width / 2 + 0.75), -left * np.pi / 2, 0.8, 0.78)
            space.put(("armchair", chair, 0.8))


def _dining_room(space: Space) -> None:
    _dining_table(space, tries=30)
    space.along_wall("sideboard", space.uniform(1.2, 1.8), 0.45, space.uniform(0.75, 0.95))
    space.along_wall("cabinet", space.uniform(0.8, 1.2), 0.42, space.uniform(1.6, 2.0))
    space.along_wall("plant", 0.5, 0.5, 1.4)
    space.along_wall("floor lamp", 0.36, 0.36, 1.7)


def _dining_table(space: Space, tries: int) -> None:
    (x0, y0), (x1, y1) = space.room.low, space.room.high
    for attempt in range(tries):
        long = space.uniform(1.2, 2.0) if attempt < tries // 2 else space.uniform(0.8, 1.2)
        mid = space.room.middle
        spread = 0.25 if attempt < tries // 2 else 0.42
        x, y = mid[0] + space.uniform(-spread, spread) * (x1 - x0), mid[1] + space.uniform(-spread, spread) * (y1 - y0)
        table = Footprint(x, y, float(space.generator.integers(2)) * np.pi / 2, space.uniform(0.75, 0.95), long)
        chairs = chairs_around(space, table, "chair", 0.85, ends=space.chance(0.4))
        if space.put(("table", table, 0.74), *chairs):
            return


def _kitchen(space: Space) -> None:
    walls = sorted(range(4), key=lambda side: -space.room.wall_length(side))
    for width in (4.2, 3.6, 3.0, 2.4, 1.8, 1.4):
        # Cupboards above the worktop make a kitchen too high for a wall with windows.
        for high in (2.1, 0.95):
            if space.along_wall("counter", width, 0.63, high, sides=walls, tries=6):
                break
        else:
            continue
        break
    space.along_wall("fridge", 0.62, 0.64, space.uniform(1.6, 2.0), tries=20)
    if space.room.area > 9:
        space.along_wall("counter", space.uniform(1.2, 1.8), 0.63, 0.95, tries=8)
    _dining_table(space, tries=16)
    space.along_wall("shelf", space.uniform(0.6, 1.0), 0.3, space.uniform(1.2, 2.0))
    space.along_wall("bin", 0.36, 0.36, 0.5)


def _bedroom(space: Space) -> None:
    wide = space.uniform(1.4, 1.9) if space.room.area > 10 else space.uniform(0.9, 1.2)
    for size in (wide, 0.95):
        bed = space.along_wall("bed", size, 2.08, 0.9, tries=24)
        if bed is not None:
            for left in (1, -1):
                stand = relative(bed, -bed.depth / 2 + 0.22, left * (size / 2 + 0.28), 0.0, 0.4, 0.45)
                space.put(("nightstand", stand, 0.5))
            space.put(("rug", relative(bed, 0.5, 0.0, 0.0, 1.8, size + 1.0), 0.0))
            break
    space.along_wall("wardrobe", space.uniform(1.2, 2.4), 0.6, space.uniform(1.9, 2.2), tries=16)
    for desk in space.wall_places(space.uniform(1.0, 1.4), 0.6, tries=8):
        if space.chance(0.5) and space.put(*workplace(space, desk)):
            break
    space.along_wall("cabinet", space.uniform(0.7, 1.1), 0.42, space.uniform(0.75, 1.1))
    space.along_wall("armchair", 0.76, 0.78, 0.8, tries=4)
    space.along_wall("plant", 0.45, 0.45, 1.2)


def _bathroom(space: Space) -> None:
    if not space.chance(0.6) or space.along_wall("bathtub", 1.7, 0.75, 0.58, tries=16) is None:
        space.along_wall("shower", 0.9, 0.9, 2.0, tries=16)
    space.along_wall("toilet", 0.4, 0.66, 0.8, tries=24)
    space.along_wall("basin", space.uniform(0.6, 0.9), 0.48, 1.9, tries=24)
    space.along_wall("washing machine", 0.6, 0.6, 0.86, tries=10)
    space.along_wall("shelf", 0.5, 0.26, 1.4, tries=6)


def _office(space: Space) -> None:
    wanted = 1 if space.room.area < 9 else 2 if space.room.area < 16 else 4
    for _ in range(wanted):
        width, depth = space.uniform(1.3, 1.8), space.uniform(0.7, 0.8)
        for desk in space.wall_places(width, depth, tries=12):
            if space.put(*workplace(space, desk)):
                break
    for _ in range(2):
        space.along_wall("shelf", space.uniform(0.8, 1.8), 0.34, space.uniform(1.6, 2.2))
    space.along_wall("cabinet", space.uniform(0.8, 1.2), 0.45, space.uniform(0.75, 1.3))
    space.along_wall("board", space.uniform(1.2, 1.8), 0.05, 2.0)
    for kind, size in (("plant", 0.5), ("bin", 0.32), ("boxes", 0.6)):
        space.along_wall(kind, size, size, 1.2 if kind == "plant" else 0.5)


def _meeting_room(space: Space) -> None:
    lengthwise = 0 if space.room.size[1] > space.room.size[0] else 1
    long, short = max(space.room.size), min(space.room.size)
    for shrink in (1.0, 0.85, 0.7, 0.55, 0.4):
        width, depth = (long - 2.2) * shrink, min(1.4, short - 2.4)
        for _ in range(4):
            x, y = (m + space.uniform(-0.2, 0.2) for m in space.room.middle)
            table = Footprint(x, y, lengthwise * np.pi / 2, max(0.8, depth), max(1.0, width))
            if space.put(("meeting table", table, 0.74), *chairs_around(space, table, "office chair", 0.85, ends=True)):
                break
        else:
            continue
        break
    ends = [1, 3] if lengthwise else [0, 2]
    space.along_wall("board", space.uniform(1.4, 2.2), 0.05, 2.0, sides=ends)
    space.along_wall("screen", space.uniform(1.2, 1.8), 0.08, 1.9)
    space.along_wall("sideboard", space.uniform(1.0, 1.8), 0.42, 0.8)
    space.along_wall("plant", 0.5, 0.5, 1.4)


def _store_room(space: Space) -> None:
    for _ in range(7):
        space.along_wall("rack", space.uniform(0.9, 1.9), space.uniform(0.4, 0.6), space.uniform(1.7, 2.2), tries=8)
    for _ in range(4):
        space.along_wall("boxes", 0.62, 0.62, 1.0, off=0.05)
    space.anywhere("boxes", 0.62, 0.62, 1.0)


def _classroom(space: Space) -> None:
    front = int(space.generator.integers(4))
    for side in (front, front + 1, front + 2, front + 3):
        if space.along_wall("board", space.uniform(2.0, 3.0), 0.05, 2.0, sides=[side % 4]):
            front = side % 4
            break
    length, deep = space.room.wall_length(front), space.room.wall_length(front + 1)
    teacher = on_wall(space.room, front, length * space.uniform(0.25, 0.75), 1.4, 0.7, 1.0)
    space.put(*workplace(space, relative(teacher, 0.0, 0.0, np.pi, 0.7, 1.4)))
    columns, rows = max(1, int((length - 0.8) // 1.9)), max(1, int((deep - 2.0) // 1.2))
    for row in range(rows):
        for column in range(columns):
            along = (column + 0.5) * (length / columns) + space.uniform(-0.05, 0.05)
            place = on_wall(space.room, front, along, 1.3, 0.55, 1.9 + row * 1.2)
            desk = relative(place, 0.0, 0.0, float(space.generator.normal(0, 0.03)), 0.55, 1.3)
            seats = [
                ("chair", relative(desk, 0.4 + space.uniform(0, 0.1), left, np.pi, 0.5, 0.5), 0.0)
                for left in (-0.32, 0.32)
                if space.chance(0.9)
            ]
            space.put(("school desk", desk, 0.72), *seats)
    space.along_wall("shelf", space.uniform(0.9, 1.6), 0.34, space.uniform(1.2, 2.0))
    space.along_wall("cabinet", space.uniform(0.9, 1.4), 0.45, space.uniform(1.0, 1.8))


def _open_plan_office(space: Space) -> None:
    (x0, y0), (x1, y1) = space.room.low, space.room.high
    seats, aisle = int(space.generator.integers(2, 4)), space.uniform(1.4, 1.8)
    width, depth = space.uniform(1.4, 1.6), 0.8
    block = (2 * depth + 1.7, seats * width)
    columns, rows = int((x1 - x0 - 1.0) // (block[0] + 0.4)), int((y1 - y0 - 1.0) // (block[1] + aisle - 0.6))
    for column in range(columns):
        for row in range(rows):
            x = x0 + (column + 0.5) * (x1 - x0) / columns
            y = y0 + (row + 0.5) * (y1 - y0) / rows
            block_at = Footprint(x, y, 0.0, 0.0, 0.0)
            group = []
            for k in range(seats):
                for front in (1, -1):
                    turn = 0.0 if front > 0 else np.pi
                    left = (k + 0.5 - seats / 2) * width
                    group += workplace(space, relative(block_at, front * depth / 2, left, turn, depth, width))
            if not space.put(*group) and seats > 1:
                space.put(*[piece for piece in group if abs(piece[1].y - y) < width * 0.8])
    for _ in range(4):
        space.along_wall("cabinet", space.uniform(0.8, 1.6), 0.45, space.uniform(0.75, 1.4), tries=6)
    space.along_wall("copier", 0.65, 0.65, 1.1)
    space.along_wall("board", space.uniform(1.4, 2.0), 0.05, 2.0)
    space.along_wall("water dispenser", 0.34, 0.36, 1.3)
    for _ in range(3):
        space.along_wall("plant", 0.5, 0.5, 1.4)
    space.anywhere("plant", 0.5, 0.5, 1.5)


def _hall(space: Space) -> None:
    (x0, y0), (x1, y1) = space.room.low, space.room.high
    inset = space.uniform(0.22, 0.3)
    size = space.uniform(0.35, 0.55)
    for fx in (inset, 1 - inset):
        for fy in (inset, 1 - inset):
            place = Footprint(x0 + fx * (x1 - x0), y0 + fy * (y1 - y0), 0.0, size, size)
            space.put(("column", place, space.room.height))
    for counter in space.wall_places(space.uniform(2.2, 3.2), 0.8, tries=12, off=1.3):
        chair = relative(counter, -0.8, space.uniform(-0.4, 0.4), 0.0, 0.6, 0.6)
        if space.put(("reception", counter, 1.1), ("office chair", chair, 0.0)):
            break
    library = space.chance(0.5)
    for _ in range(8):
        x, y = space.uniform(x0 + 1.5, x1 - 1.5), space.uniform(y0 + 1.5, y1 - 1.5)
        yaw = float(space.generator.integers(4)) * np.pi / 2
        if library:
            space.put(("bookcase", Footprint(x, y, yaw, 0.62, space.uniform(1.6, 2.6)), space.uniform(1.5, 2.0)))
        else:
            sofa = Footprint(x, y, yaw, 0.88, space.uniform(1.5, 2.0))
            table = relative(sofa, 1.1, 0.0, 0.0, 0.55, 0.9)
            other = relative(table, 1.1, 0.0, np.pi, 0.88, sofa.width)
            rug = relative(table, 0.0, 0.0, 0.0, 2.6, sofa.width + 0.6)
            if space.put(("sofa", sofa, 0.8), ("coffee table", table, 0.42), ("sofa", other, 0.8)):
                space.put(("rug", rug, 0.0))
    for _ in range(3):
        space.along_wall("bench", space.uniform(1.2, 1.8), 0.45, 0.46, tries=6)
        space.along_wall("plant", 0.6, 0.6, 1.6, tries=6)
    space.along_wall("vending machine", 0.9, 0.8, 1.85)
    space.along_wall("board", space.uniform(1.2, 2.0), 0.05, 2.0)
    if library:
        for _ in range(4):
            space.along_wall("shelf", space.uniform(1.2, 2.2), 0.34, 2.1, tries=6)
        _dining_table(space, tries=10)


def _corridor(space: Space) -> None:
    narrow = min(space.room.size) < 1.7
    deep = 0.28 if narrow else 0.4
    kinds = [("coat rack", 0.9, 0.25, 1.85), ("cabinet", 0.8, deep, 0.9), ("bench", 1.2, deep, 0.45)]
    kinds += [("plant", 0.4, 0.4, 1.2), ("shelf", 0.8, 0.26, 1.6), ("bin", 0.3, 0.3, 0.5)]
    if not narrow:
        kinds += [("bench", 1.4, 0.42, 0.45), ("lockers", 1.6, 0.4, 1.8), ("board", 1.2, 0.05, 2.0)]
    wanted = int(min(6, 1 + space.room.area // 5))
    for k in space.generator.permutation(len(kinds))[:wanted]:
        kind, width, depth, height = kinds[k]
        space.along_wall(kind, width, depth, height, tries=12)
    long = max(space.room.size)
    if space.chance(0.4):
        yaw = 0.0 if space.room.size[0] > space.room.size[1] else np.pi / 2
        rug = Footprint(*space.room.middle, yaw, min(long * 0.6, 3.5), min(space.room.size) * 0.5)
        space.put(("rug", rug, 0.0))


def _radiators(space: Space) -> None:
    """Put radiators under windows where nothing stands."""
    for opening in space.openings:
        if opening.kind == "window" and opening.bottom > 0.7:
            side, along = opening.in_wall_of(space.room, space.index)
            high = min(0.7, opening.bottom - 0.15)
            space.put(("radiator", on_wall(space.room, side, along, min(1.2, opening.width * 0.9), 0.1, 0.03), high))


PROGRAMMES: dict[str, Callable[[Space], None]] = {
    "living room": _living_room,
    "dining room": _dining_room,
    "kitchen": _kitchen,
    "bedroom": _bedroom,
    "bathroom": _bathroom,
    "office": _office,
    "meeting room": _meeting_room,
    "store room": _store_room,
    "classroom": _classroom,
    "open-plan office": _open_plan_office,
    "hall": _hall,
    "corridor": _corridor,
}
