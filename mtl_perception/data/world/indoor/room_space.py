# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A room while it is furnished: pieces go where they are clear of doors and windows and leave ways to every door."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mtl_perception.data.world.indoor.doors_and_windows import kept_clear, on_wall
from mtl_perception.data.world.indoor.footprint import Footprint
from mtl_perception.data.world.indoor.free_space import FreeSpace
from mtl_perception.data.world.indoor.rooms import FLAT, Opening, Piece, Room, leaf_footprint

WAY_M = 0.33
"""Clearance that ways between a room's doors keep, metres."""

_GAP_M = 0.02


@dataclass(eq=False)
class Space:
    """A room while it is being furnished."""

    room: Room
    index: int
    openings: Sequence[Opening]
    generator: np.random.Generator
    pieces: list[Piece] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Find the ground that doors need and that windows look over."""
        self.clear = kept_clear(self.room, self.index, self.openings)
        ways = [opening for opening in self.openings if opening.is_way]
        self._doors = [self._before(opening) for opening in ways]
        self._leaves = [leaf_footprint(o) for o in ways if o.kind == "door" and o.rooms[1] == self.index]
        self._windows = []
        for opening in self.openings:
            if opening.kind == "window":
                side, along = opening.in_wall_of(self.room, self.index)
                self._windows.append((on_wall(self.room, side, along, opening.width, 0.25), opening.bottom))

    def uniform(self, low: float, high: float) -> float:
        """Draw a number."""
        return float(self.generator.uniform(low, high))

    def chance(self, probability: float) -> bool:
        """Draw whether."""
        return bool(self.generator.random() < probability)

    def put(self, *group: tuple[str, Footprint, float]) -> bool:
        """Put pieces (kind, footprint, height) that belong together if all of them fit; they may touch each other."""
        new = [Piece(kind, self.index, footprint, height) for kind, footprint, height in group]
        if not all(self._fits(piece) for piece in new):
            return False
        if not all(piece.kind in FLAT for piece in new) and not self._ways_left(new):
            return False
        self.pieces += new
        return True

    def along_wall(
        self,
        kind: str,
        width: float,
        depth: float,
        height: float,
        sides: Sequence[int] | None = None,
        tries: int = 10,
        off: float = 0.01,
    ) -> Footprint | None:
        """Put a piece with its back to a wall where it fits, preferably in a corner or beside another piece."""
        for footprint in self.wall_places(width, depth, sides, tries, off):
            if self.put((kind, footprint, height)):
                return footprint
        return None

    def wall_places(
        self, width: float, depth: float, sides: Sequence[int] | None = None, tries: int = 10, off: float = 0.01
    ) -> list[Footprint]:
        """Return places along walls to try, in random order."""
        order = [s for s in (range(4) if sides is None else sides) if self.room.wall_length(s) > width + 0.1]
        places: list[Footprint] = []
        if not order:
            return places
        lengths = np.array([self.room.wall_length(side) for side in order])
        for _ in range(tries):
            side = order[int(self.generator.choice(len(order), p=lengths / lengths.sum()))]
            low, high = width / 2 + 0.02, self.room.wall_length(side) - width / 2 - 0.02
            kind = self.generator.random()
            along = low if kind < 0.25 else high if kind < 0.5 else self.uniform(low, high)
            places.append(on_wall(self.room, side, along, width, depth, off))
        return places

    def anywhere(self, kind: str, depth: float, width: float, height: float, tries: int = 10) -> Footprint | None:
        """Put a piece anywhere on the floor, turned at random."""
        (x0, y0), (x1, y1) = self.room.low, self.room.high
        for _ in range(tries):
            x, y = self.uniform(x0 + 0.3, x1 - 0.3), self.uniform(y0 + 0.3, y1 - 0.3)
            footprint = Footprint(x, y, self.uniform(-np.pi, np.pi), depth, width)
            if self.put((kind, footprint, height)):
                return footprint
        return None

    def _before(self, opening: Opening) -> tuple[float, float]:
        side, along = opening.in_wall_of(self.room, self.index)
        place = on_wall(self.room, side, along, 0.0, 1.0)
        return place.x, place.y

    def _fits(self, piece: Piece) -> bool:
        if not piece.footprint.inside(self.room.low, self.room.high):
            return False
        if piece.kind in FLAT:
            return True
        if any(piece.footprint.overlaps(area) for area in self.clear):
            return False
        if any(piece.height > sill and piece.footprint.overlaps(area) for area, sill in self._windows):
            return False
        return not any(
            piece.footprint.overlaps(other.footprint, _GAP_M) for other in self.pieces if other.kind not in FLAT
        )

    def _ways_left(self, new: Sequence[Piece]) -> bool:
        """Whether one can still get from every door to every other and to a good part of the floor."""
        obstacles = [p.footprint for p in [*self.pieces, *new] if p.kind not in FLAT]
        free = FreeSpace([(self.room.low, self.room.high)], [*obstacles, *self._leaves])
        components = free.components(WAY_M)
        reached = {int(components[free.cell(door)]) for door in self._doors}
        if len(reached) != 1 or 0 in reached:
            return False
        return bool((components == reached.pop()).sum() * 0.05**2 > min(1.2, 0.12 * self.room.area))


def relative(base: Footprint, ahead: float, left: float, turn: float, depth: float, width: float) -> Footprint:
    """Return a footprint whose middle is `ahead` and `left` of another's middle, turned against it."""
    c, s = np.cos(base.yaw), np.sin(base.yaw)
    x, y = base.x + ahead * c - left * s, base.y + ahead * s + left * c
    return Footprint(float(x), float(y), base.yaw + turn, depth, width)


def chairs_around(
    space: Space, table: Footprint, kind: str, share: float, ends: bool = False
) -> list[tuple[str, Footprint, float]]:
    """Return chairs along both long sides of a table (its width), drawn up to it, some of them missing."""
    group = []
    count, size = int(table.width // 0.65), 0.58 if kind == "office chair" else 0.5
    for front in (1, -1):
        for k in range(count):
            if space.chance(share):
                left = (k + 0.5 - count / 2) * table.width / count + space.uniform(-0.04, 0.04)
                ahead = front * (table.depth / 2 + space.uniform(0.05, 0.22))
                turn = (np.pi if front > 0 else 0.0) + float(space.generator.normal(0, 0.12))
                group.append((kind, relative(table, ahead, left, turn, size, size), 0.0))
    for end in (1, -1):
        if ends and space.chance(share):
            beyond = end * (table.width / 2 + 0.15)
            group.append((kind, relative(table, 0.0, beyond, -end * np.pi / 2, size, size), 0.0))
    return group


def workplace(space: Space, desk: Footprint, kind: str = "desk") -> list[tuple[str, Footprint, float]]:
    """Return a desk whose front is where one sits, with an office chair."""
    turn = np.pi + float(space.generator.normal(0, 0.35))
    chair = relative(desk, desk.depth / 2 + space.uniform(0.1, 0.35), space.uniform(-0.15, 0.15), turn, 0.6, 0.6)
    return [(kind, desk, 0.0), ("office chair", chair, 0.0)]
