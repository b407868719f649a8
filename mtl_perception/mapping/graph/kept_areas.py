# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The areas as they stand, kept: which regions hang together is found from links between parts of blocks of squares.

In a block of 16x16 squares, squares between which there are links are one part. Where a block changes, its parts are
found again, and the links that parts have with regions and with parts of other blocks; only if one of these links is
another one are areas put together again, from links alone. These are few: as in hierarchical path planning, blocks
stand for their squares (Botea et al., "Near Optimal Hierarchical Path-Finding", 2004).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numba import float32, int64, uint8
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mtl_perception.core.compiled import compiled
from mtl_perception.mapping.graph.paged_columns import PagedColumns
from mtl_perception.mapping.graph.regions import Area, Region, area_of
from mtl_perception.mapping.graph.square_ways import WAYS, neighbour, over_way
from mtl_perception.mapping.graph.squares import BLOCK, SQUARES_OF_BLOCK, STEPS, Squares


class KeptAreas:
    """Puts regions together to areas.

    Attributes:
        areas: by their ids.
    """

    def __init__(self, squares: Squares) -> None:
        """Begin without areas."""
        self.areas: dict[int, Area] = {}
        self._squares = squares
        self._columns = PagedColumns({"part": (np.int64, (), 0)}, squares.folder)  # per node, the least of its part
        self._links: dict[int, NDArray[np.int64]] = {}  # per block, those that its squares have or hold
        self._area_of: dict[int, int] = {}  # per region
        self._members: dict[int, list[int]] = {}  # per area, its regions, rising

    def update(
        self,
        blocks: NDArray[np.int64],
        square_region: NDArray[np.int64],
        regions: Mapping[int, Region],
        changed: Iterable[int],
    ) -> tuple[list[int], list[int]]:
        """Follow the squares; return the ids of areas that are new or may be others, and of those that are gone.

        Args:
            blocks: (B,) in which squares or their regions may have changed.
            square_region: (N,) id of the region of every square, -1 for none.
            regions: all that there are, by id.
            changed: ids of those that may be others.
        """
        affected = set[int]()
        if self._find_links(blocks, square_region):
            affected = self._put_together()
        affected |= {self._area_of[number] for number in changed}
        for number in affected & self._members.keys():
            self.areas[number] = area_of([regions[member] for member in self._members[number]])
        gone = sorted(affected - self._members.keys())
        for number in gone:
            self.areas.pop(number, None)
        return sorted(affected & self._members.keys()), gone

    def _find_links(self, blocks: NDArray[np.int64], square_region: NDArray[np.int64]) -> bool:
        """Find the parts and links of blocks (B,) again; return whether any link is another one."""
        if not len(blocks):
            return False
        squares = self._squares
        self._columns.grow(len(squares))
        part = self._columns["part"]
        fields = STEPS, squares.neighbours, squares["ways"], squares["necks"], squares["road_kind"]
        find_parts(blocks, *fields, part)
        around = np.unique(squares.neighbours[blocks])
        around = around[around >= 0]
        links, counts = find_links(around, *fields, part, square_region)
        has_changed = False
        for block, of_block in zip(around.tolist(), np.split(links, np.cumsum(counts)[:-1]), strict=True):
            if not np.array_equal(of_block, self._links.get(block, _NO_LINKS)):
                self._links[block] = of_block.copy()
                has_changed = True
        return has_changed

    def _put_together(self) -> set[int]:
        """Find which regions hang together; return the ids of areas that have others than before, or are gone."""
        links = np.concatenate(list(self._links.values()))
        codes, which = np.unique(np.stack([links >> 32, links & 0xFFFFFFFF]), return_inverse=True)
        one, other = which.reshape(2, -1)
        size = max(len(codes), 1)
        joined = coo_array((np.ones(len(one), dtype=bool), (one, other)), shape=(size, size))
        label = connected_components(joined, directed=False)[1][: len(codes)]
        is_region = codes % 2 == 1
        ids, label = codes[is_region] // 2, label[is_region]  # rising, so the first of an area is its oldest region
        before, self._members = self._members, {}
        first: dict[int, int] = {}
        self._area_of = {}
        for number, part in zip(ids.tolist(), label.tolist(), strict=True):
            area = first.setdefault(part, number)
            self._area_of[number] = area
            self._members.setdefault(area, []).append(number)
        ids_of_areas = before.keys() | self._members.keys()
        return {number for number in ids_of_areas if before.get(number) != self._members.get(number)}


_NO_LINKS = np.zeros(0, dtype=np.int64)


def prepare() -> None:
    """Compile the functions of this module unless that has been done: so that no frame waits for it."""
    nodes, fields = int64[::1], (*WAYS, float32[:, ::1], uint8[::1])
    find_parts.compile((nodes, *fields, nodes))
    find_links.compile((nodes, *fields, nodes, int64[:]))


@compiled
def find_parts(blocks, steps, neighbours, ways, necks, kinds, part):  # type: ignore[no-untyped-def]
    """Find what hangs together within blocks.

    Args:
        blocks: (B,).
        steps, neighbours, ways: see `square_ways`.
        necks, kinds: fields of squares, see `rooms.Rooms.links` and `road_segments.RoadSegments.links`.
        part: per node, set to the least node of its part.
    """
    for block in blocks:
        first = block * SQUARES_OF_BLOCK
        for node in range(first, first + SQUARES_OF_BLOCK):
            part[node] = node
        for node in range(first, first + SQUARES_OF_BLOCK):
            for way in range(len(steps)):
                other = _linked(node, way, steps, neighbours, ways, necks, kinds)
                if other >= 0 and other // SQUARES_OF_BLOCK == block:
                    one, other = _least(part, node), _least(part, other)
                    part[max(one, other)] = min(one, other)
        for node in range(first, first + SQUARES_OF_BLOCK):
            part[node] = _least(part, node)


@compiled
def find_links(blocks, steps, neighbours, ways, necks, kinds, part, square_region):  # type: ignore[no-untyped-def]
    """Return the links (L,) of parts, block by block, each once and in order, and how many each block has (B,).

    A link is the code of a part, shifted by 32 bits, and that of a region or of a part of another block. The code of a
    part is twice its least node, that of a region twice its id and one.
    """
    links = np.empty(len(blocks) * SQUARES_OF_BLOCK * (len(steps) + 1), dtype=np.int64)
    counts = np.zeros(len(blocks), dtype=np.int64)
    total = 0
    for index in range(len(blocks)):
        start = total
        first, last = blocks[index] * SQUARES_OF_BLOCK, np.int64(-1)
        for within in range(SQUARES_OF_BLOCK):
            node = first + within
            own = 2 * part[node] << 32
            link = own | (2 * square_region[node] + 1)
            if square_region[node] >= 0 and link != last:
                links[total] = last = link
                total += 1
            for way in range(len(steps)):
                x, y = within % BLOCK + steps[way, 0], within // BLOCK + steps[way, 1]
                if 0 <= x < BLOCK and y < BLOCK:
                    continue
                other = _linked(node, way, steps, neighbours, ways, necks, kinds)
                if other >= 0:
                    links[total] = own | 2 * part[other]
                    total += 1
        links[start:total].sort()
        end = start
        for at in range(start, total):
            if at == start or links[at] != links[end - 1]:
                links[end] = links[at]
                end += 1
        total, counts[index] = end, end - start
    return links[:total], counts


@compiled
def _linked(node, way, steps, neighbours, ways, necks, kinds):  # type: ignore[no-untyped-def]
    """Return the node to which a square holds a link, or -1: no wall is between, or a way of streets leads there."""
    other = neighbour(node, steps[way, 0], steps[way, 1], neighbours)
    if other >= 0 and necks[node, way] > 0.0:
        return other
    if kinds[node] == 0:
        return np.int64(-1)
    other = over_way(node, way, np.int64(1), steps, neighbours, ways)  # a literal would be a type of its own
    return other if other >= 0 and kinds[other] != 0 else np.int64(-1)


@compiled
def _least(part, node):  # type: ignore[no-untyped-def]
    while part[node] != node:
        node = part[node]
    return node
