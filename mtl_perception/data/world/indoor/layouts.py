# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How floors of buildings are divided: which rooms there are, where, and between which of them one can walk.

A layout divides a rectangle without gaps into cells; half of the walls' thickness is taken from the cells later.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Cell:
    """A room with its share of the walls: its use, its rectangle x0, y0, x1, y1, and the ceiling's height, metres."""

    use: str
    x0: float
    y0: float
    x1: float
    y1: float
    height: float


@dataclass
class Draft:
    """A divided floor.

    Attributes:
        cells: the rooms.
        ways: pairs of cells with a door between them.
        passages: pairs of cells with a wide opening without a leaf between them.
        entrance: the cell that the outer door leads to.
        storey: height of the floor above the ground outside, metres.
    """

    cells: list[Cell] = field(default_factory=list)
    ways: list[tuple[int, int]] = field(default_factory=list)
    passages: list[tuple[int, int]] = field(default_factory=list)
    entrance: int = 0
    storey: float = 0.0

    def add(self, use: str, x0: float, y0: float, x1: float, y1: float, height: float) -> int:
        """Add a cell and return its index."""
        self.cells.append(Cell(use, x0, y0, x1, y1, height))
        return len(self.cells) - 1


def flat(generator: np.random.Generator) -> Draft:
    """A flat: a corridor through the middle, small rooms at its sides, the living room across its end."""
    draft, height = Draft(storey=_upstairs(generator)), generator.uniform(2.4, 2.8)
    corridor, deep_south, deep_north = generator.uniform(1.35, 1.8), *generator.uniform(3.2, 4.4, 2)
    living = generator.uniform(4.4, 5.6)
    long, y0, y1 = generator.uniform(7.2, 9.5), deep_south, deep_south + corridor
    top = y1 + deep_north
    middle = draft.add("corridor", 0, y0, long, y1, height)
    lounge = draft.add("living room", long, 0, long + living, top, height)
    draft.ways.append((middle, lounge))
    south, north = _shares(generator, long, [3.4, 3.0]), _shares(generator, long, [2.2, 2.0, 3.0])
    uses = [str(use) for use in generator.permutation(["bedroom", "office"])]
    for use, (x0, x1) in zip(uses, south, strict=True):
        draft.ways.append((middle, draft.add(use, x0, 0, x1, y0, height)))
    uses = [*(str(use) for use in generator.permutation(["bathroom", "store room"])), "kitchen"]
    for use, (x0, x1) in zip(uses, north, strict=True):
        draft.ways.append((middle, draft.add(use, x0, y1, x1, top, height)))
    if generator.random() < 0.6:
        draft.passages.append((len(draft.cells) - 1, lounge))
    draft.entrance = middle
    return draft


def old_house(generator: np.random.Generator) -> Draft:
    """An old house: high rooms that lead into one another in a ring, and a small hallway."""
    draft, height = Draft(storey=generator.uniform(0.4, 1.2)), generator.uniform(2.8, 3.4)
    columns = np.concatenate([[0.0], np.cumsum(generator.uniform([3.6, 2.8, 3.6], [5.0, 3.6, 4.8]))])
    south, north = generator.uniform(3.8, 4.8), generator.uniform(3.4, 4.4)
    hallway = south * generator.uniform(0.5, 0.6)
    top = south + north
    living = draft.add("living room", columns[0], 0, columns[1], south, height)
    hall = draft.add("corridor", columns[1], 0, columns[2], hallway, height)
    bath = draft.add("bathroom", columns[1], hallway, columns[2], south, height)
    study = draft.add("office", columns[2], 0, columns[3], south, height)
    split = columns[1] - generator.uniform(0.0, 0.7)
    dining = draft.add("dining room", columns[0], south, split, top, height)
    kitchen = draft.add("kitchen", split, south, columns[2], top, height)
    bedroom = draft.add("bedroom", columns[2], south, columns[3], top, height)
    draft.ways += [(hall, living), (hall, study), (hall, bath), (dining, kitchen), (kitchen, bedroom), (study, bedroom)]
    (draft.passages if generator.random() < 0.5 else draft.ways).append((living, dining))
    draft.entrance = hall
    return draft


def open_office(generator: np.random.Generator) -> Draft:
    """An open-plan office full of desks, with meeting rooms along one side and a corridor along another."""
    draft, height = Draft(storey=_upstairs(generator) + 3.0), generator.uniform(2.7, 3.2)
    corridor, long = generator.uniform(1.8, 2.4), generator.uniform(11.0, 15.0)
    deep, side = generator.uniform(7.0, 9.0), generator.uniform(3.2, 4.2)
    right, top = corridor + long, deep + side
    hall = draft.add("corridor", 0, 0, corridor, top, height)
    desks = draft.add("open-plan office", corridor, 0, right, deep, height)
    draft.ways.append((hall, desks))
    uses = ["meeting room", "office", str(generator.choice(["kitchen", "store room"]))]
    if long > 13:
        uses.append("meeting room")
    least = {"meeting room": 3.6, "office": 2.8, "kitchen": 2.6, "store room": 2.2}
    order = [str(use) for use in generator.permutation(uses)]
    shares = _shares(generator, long, [least[use] for use in order])
    for index, (use, (x0, x1)) in enumerate(zip(order, shares, strict=True)):
        room = draft.add(use, corridor + x0, deep, corridor + x1, top, height)
        draft.ways.append((desks, room))
        if index == 0 and generator.random() < 0.7:
            draft.ways.append((hall, room))
    draft.entrance = hall
    return draft


def long_corridor(generator: np.random.Generator) -> Draft:
    """A school, a hotel or offices: a long corridor with rooms at both sides."""
    draft, height = Draft(storey=_upstairs(generator)), generator.uniform(2.6, 3.3)
    kind = str(generator.choice(["school", "hotel", "offices"]))
    corridor = generator.uniform(1.9, 2.8) if kind == "school" else generator.uniform(1.6, 2.1)
    uses, least = {
        "school": (["classroom", "store room", "classroom", "bathroom", "classroom", "meeting room"], 5.0),
        "hotel": (["bedroom"] * 6 + ["store room", "bedroom"], 3.6),
        "offices": (["office", "meeting room", "office", "office", "store room", "kitchen", "office", "bathroom"], 3.0),
    }[kind]
    order = [str(use) for use in generator.permutation(uses)]
    half = len(order) // 2
    small = {"store room": 2.2, "bathroom": 2.4, "kitchen": 2.8, "meeting room": 3.8}
    sides = [[small.get(use, least) for use in part] for part in (order[:half], order[half:])]
    long = max(sum(side) for side in sides) * generator.uniform(1.02, 1.15)
    south, north = generator.uniform(3.6, 5.0, 2) + (1.0 if kind == "school" else 0.0)
    middle = draft.add("corridor", 0, south, long, south + corridor, height)
    for part, widths, (y0, y1) in zip(
        (order[:half], order[half:]), sides, ((0.0, south), (south + corridor, south + corridor + north)), strict=True
    ):
        for use, (x0, x1) in zip(part, _shares(generator, long, widths), strict=True):
            draft.ways.append((middle, draft.add(use, x0, y0, x1, y1, height)))
    draft.entrance = middle
    return draft


def public_hall(generator: np.random.Generator) -> Draft:
    """A high hall with columns, as of a library or a lobby; rooms on two sides, a corridor leads on to more."""
    draft = Draft(storey=generator.uniform(0.0, 0.5))
    height, low = generator.uniform(3.6, 4.8), generator.uniform(2.6, 3.0)
    long, deep = generator.uniform(9.0, 12.5), generator.uniform(7.5, 10.0)
    corridor, side = generator.uniform(1.9, 2.4), generator.uniform(3.4, 4.4)
    wing = generator.uniform(3.4, 4.4)
    hall = draft.add("hall", 0, 0, long, deep, height)
    y = generator.uniform(corridor / 2 + 2.9, 0.62 * deep)
    passage = draft.add("corridor", long, y - corridor / 2, long + wing + 1.5, y + corridor / 2, low)
    draft.passages.append((hall, passage))
    for use, y0, y1 in (("meeting room", y + corridor / 2, deep + side), ("office", 0.0, y - corridor / 2)):
        draft.ways.append((passage, draft.add(use, long, y0, long + wing + 1.5, y1, low)))
    uses = [str(use) for use in generator.permutation(["kitchen", "store room", "office"])]
    for use, (x0, x1) in zip(uses, _shares(generator, long, [2.8, 2.4, 2.8]), strict=True):
        draft.ways.append((hall, draft.add(use, x0, deep, x1, deep + side, low)))
    draft.entrance = hall
    return draft


LAYOUTS: dict[str, Callable[[np.random.Generator], Draft]] = {
    "flat": flat,
    "old house": old_house,
    "open office": open_office,
    "long corridor": long_corridor,
    "public hall": public_hall,
}


def _shares(generator: np.random.Generator, long: float, least: list[float]) -> list[tuple[float, float]]:
    """Divide a length into parts at least that long, the rest at random; return their starts and ends."""
    spare = generator.uniform(0.4, 1.0, len(least)) * np.array(least)
    widths = np.array(least) * min(1.0, long / sum(least))
    widths = widths + spare / spare.sum() * max(0.0, long - float(widths.sum()))
    ends = np.cumsum(widths)
    ends[-1] = long
    return [(float(end - width), float(end)) for width, end in zip(widths, ends, strict=True)]


def _upstairs(generator: np.random.Generator) -> float:
    return float(generator.integers(0, 4) * 3.0 + generator.uniform(0.3, 0.8))
