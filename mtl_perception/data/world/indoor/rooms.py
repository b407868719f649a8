# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a floor of a building is made of, on paper: rooms, openings in walls, and where furniture stands."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.transforms import Transform
from mtl_perception.data.world.indoor.footprint import Footprint
from mtl_perception.data.world.indoor.free_space import FreeSpace
from mtl_perception.data.world.paths import upright

OUTSIDE = -1
"""Stands for what is beyond an outer wall where a room's index is expected."""


@dataclass(frozen=True)
class Room:
    """A rectangle between walls.

    Attributes:
        name: unique, e.g. "bedroom 2".
        use: "living room", "kitchen", ..., see furnishing.py; "corridor" for what only joins others.
        low, high: the corners of the floor with the smallest and largest x and y, between the walls' faces, metres.
        height: of the ceiling over the floor, metres.
    """

    name: str
    use: str
    low: tuple[float, float]
    high: tuple[float, float]
    height: float

    @property
    def size(self) -> tuple[float, float]:
        """Return the floor's lengths along x and y."""
        return self.high[0] - self.low[0], self.high[1] - self.low[1]

    @property
    def middle(self) -> tuple[float, float]:
        """Return the middle of the floor."""
        return (self.low[0] + self.high[0]) / 2, (self.low[1] + self.high[1]) / 2

    @property
    def area(self) -> float:
        """Return the floor's area in square metres."""
        return self.size[0] * self.size[1]

    def wall_length(self, side: int) -> float:
        """Return the length of a wall: 0 at low y, 1 at high x, 2 at high y, 3 at low x."""
        return self.size[side % 2]

    def wall_pose(self, side: int) -> Transform:
        """Return world_from_wall: x runs along the wall from its start, y into the room, z up from the floor."""
        (x0, y0), (x1, y1) = self.low, self.high
        corner = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)][side]
        return upright((*corner, 0.0), side * np.pi / 2)

    def outline(self) -> NDArray[np.float64]:
        """Return the floor's corners (4, 2), anticlockwise."""
        (x0, y0), (x1, y1) = self.low, self.high
        return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


@dataclass(frozen=True)
class Opening:
    """A hole through a wall.

    Attributes:
        kind: "door" (with a leaf that stands open), "passage" (without), "window", "entrance" (a closed outer door).
        rooms: indices of the rooms on both sides; the second is `OUTSIDE` for windows and entrances.
        side: which wall of the first room it is in.
        x, y: its middle, in the middle of the wall.
        width, bottom, top: metres.
        thickness: of the wall.
        swing: angle that the leaf stands open, radians; it opens into the second room.
        hinge: +1 or -1: at which end along the first room's wall the hinges are.
    """

    kind: str
    rooms: tuple[int, int]
    side: int
    x: float
    y: float
    width: float
    bottom: float
    top: float
    thickness: float
    swing: float = 0.0
    hinge: int = 1

    @property
    def is_way(self) -> bool:
        """Whether one can walk through."""
        return self.kind in ("door", "passage")

    def pose(self) -> Transform:
        """Return world_from_opening: x along the wall, y into the first room, z up, origin on the floor in the wall."""
        return upright((self.x, self.y, 0.0), self.side * np.pi / 2)

    def in_wall_of(self, room: Room, index: int) -> tuple[int, float]:
        """Return in which wall of a room (that one of `rooms`) it is, and how far along that wall its middle is."""
        side = self.side if index == self.rooms[0] else (self.side + 2) % 4
        offset = np.array([self.x, self.y, 0.0]) - room.wall_pose(side)[:3, 3]
        return side, float(offset @ room.wall_pose(side)[:3, 0])


@dataclass(frozen=True)
class Piece:
    """A piece of furniture.

    Attributes:
        kind: name in things/furnishings.py.
        room: index of its room.
        footprint: the ground it takes.
        height: metres; 0 where the kind has one height only.
    """

    kind: str
    room: int
    footprint: Footprint
    height: float = 0.0


@dataclass(frozen=True, eq=False)
class FloorPlan:
    """A floor of a building.

    Attributes:
        layout: name in layouts.LAYOUTS.
        rooms: their floors do not overlap; walls are between them.
        openings: doors, passages and windows.
        pieces: furniture, clear of doors, and leaving ways to every room.
        wall: thickness of inner walls, metres.
        storey: height of the floor above the ground outside, metres.
    """

    layout: str
    rooms: tuple[Room, ...]
    openings: tuple[Opening, ...]
    pieces: tuple[Piece, ...]
    wall: float
    storey: float

    def neighbours(self, room: int) -> tuple[int, ...]:
        """Return the rooms that one can walk to directly, ascending."""
        ways = [opening.rooms for opening in self.openings if opening.is_way and room in opening.rooms]
        return tuple(sorted({b if a == room else a for a, b in ways}))

    def room_at(self, x: float, y: float) -> int | None:
        """Return the room whose floor holds a point, None within walls and outside."""
        for index, room in enumerate(self.rooms):
            if room.low[0] <= x <= room.high[0] and room.low[1] <= y <= room.high[1]:
                return index
        return None

    @cached_property
    def free_space(self) -> FreeSpace:
        """Where one can walk."""
        floors = [(room.low, room.high) for room in self.rooms]
        for opening in self.openings:
            if opening.is_way:
                floors.append(way_through(opening))
        leaves = [leaf_footprint(opening) for opening in self.openings if opening.kind == "door"]
        return FreeSpace(floors, [piece.footprint for piece in self.pieces if piece.kind not in FLAT] + leaves)


FLAT = ("rug", "mat")
"""Kinds of pieces that one walks over."""

LEAF_M = 0.04
HANDLE_M = 0.06


def way_through(opening: Opening) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the low and high corner of the floor in an opening, through the wall's whole thickness."""
    half = np.array([opening.width / 2, opening.thickness / 2 + 0.03])
    if opening.side % 2:
        half = half[::-1]
    middle = np.array([opening.x, opening.y])
    low, high = middle - half, middle + half
    return (float(low[0]), float(low[1])), (float(high[0]), float(high[1]))


def leaf_pose(opening: Opening) -> Transform:
    """Return opening_from_leaf of a door: x from the hinges along the leaf, y to the side that it opens away from."""
    hinges = (opening.hinge * opening.width / 2, -opening.thickness / 2, 0.0)
    closed = np.pi if opening.hinge > 0 else 0.0
    return upright(hinges, closed + opening.hinge * opening.swing)


def leaf_footprint(opening: Opening) -> Footprint:
    """Return the ground under a door's leaf and its handles as it stands."""
    pose = opening.pose() @ leaf_pose(opening)
    middle = pose @ [opening.width / 2, 0.0, 0.0, 1.0]
    yaw = float(np.arctan2(pose[1, 0], pose[0, 0]))
    return Footprint(float(middle[0]), float(middle[1]), yaw, opening.width, LEAF_M + 2 * HANDLE_M)
