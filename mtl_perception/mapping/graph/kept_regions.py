# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The regions as they stand, kept: only those are made anew of which a square, a place or a neighbour has changed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mtl_perception.mapping.graph.regions import Region, RegionSquares, regions_of
from mtl_perception.mapping.graph.square_records import RecordChanges, SquareRecords, nodes_of
from mtl_perception.mapping.graph.squares import RING, SQUARES_OF_BLOCK, Squares, around, id_of

WaysOf = Callable[[NDArray[np.int64]], NDArray[np.int64]]
"""Returns the nodes (E, 2) at both ends of the ways that begin or end at places of nodes (N,)."""


class KeptRegions:
    """Makes regions of the records of squares.

    An update costs as much as the blocks of squares in which the changed regions lie.

    Attributes:
        regions: by their ids.
    """

    def __init__(
        self, squares: Squares, records: SquareRecords, ways_of: WaysOf, spacing: float, cell_area: float
    ) -> None:
        """Begin without regions.

        Args:
            squares: of the ground.
            records: of these.
            ways_of: see `PlaceGraph.ways_of`.
            spacing: edge of a square, metres.
            cell_area: square metres of a cell.
        """
        self.regions: dict[int, Region] = {}
        self._squares, self._records, self._ways_of = squares, records, ways_of
        self._spacing, self._cell_area = spacing, cell_area
        self._blocks: dict[int, set[int]] = {}  # per region, those in which it may have squares or places

    def update(self, changes: RecordChanges) -> tuple[list[int], list[Region]]:
        """Follow the records; return the ids of regions that are new or may be others, and those that are gone."""
        affected = self._affected(changes)
        self._note_blocks(changes)
        found = {region.id: region for region in self._made(affected)}
        missing = [number for number in affected.tolist() if number not in found]
        gone = [self.regions.pop(number) for number in missing if number in self.regions]
        self.regions.update(found)
        return sorted(found), gone

    def _affected(self, changes: RecordChanges) -> NDArray[np.int64]:
        """Return the ids (R,), rising, of regions of which something has changed."""
        sides = (changes.before, changes.now)
        ids = [side[name] for side in sides for name in ("region", "place_region")]
        moved = changes.nodes[changes.differ("place", "place_region", "ways")]
        near = self._squares.nodes(around(self._squares.of(moved), RING))  # neighbours may have changed, too
        ids.append(self._records["place_region"][near[near >= 0]])
        affected = np.unique(np.concatenate(ids))
        return affected[affected >= 0]

    def _note_blocks(self, changes: RecordChanges) -> None:
        blocks = changes.nodes // SQUARES_OF_BLOCK
        for name in ("region", "place_region"):
            known = changes.now[name] >= 0
            pairs = np.unique((changes.now[name][known] << 32) + blocks[known])
            for number, block in zip((pairs >> 32).tolist(), (pairs & 0xFFFFFFFF).tolist(), strict=True):
                self._blocks.setdefault(number, set()).add(block)

    def _made(self, ids: NDArray[np.int64]) -> tuple[Region, ...]:
        """Return the regions with these ids (R,), those that there are."""
        blocks = sorted(set().union(*(self._blocks.get(number, ()) for number in ids.tolist())))
        nodes = nodes_of(np.array(blocks, dtype=np.int64))
        records = self._records
        of_squares, of_places = (records[name][nodes] for name in ("region", "place_region"))
        is_square, is_place = np.isin(of_squares, ids), np.isin(of_places, ids)
        self._forget_blocks(ids, nodes, [(of_squares, is_square), (of_places, is_place)])
        nodes, places = nodes[is_square], nodes[is_place]
        ways = self._ways_of(places)
        places = np.union1d(places, ways.reshape(-1))
        numbers = id_of(self._squares.of(places))
        order = np.argsort(numbers)
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        squares = RegionSquares(
            region=records["region"][nodes],
            kind=records["kind"][nodes].astype(np.int64),
            corner=self._squares.of(nodes) * np.float64(self._spacing),
            edge=self._spacing,
            height=records["height"][nodes].astype(np.float64),
            area=records["cells"][nodes] * self._cell_area,
            first_seen_ns=records["first_seen_ns"][nodes],
            last_seen_ns=records["last_seen_ns"][nodes],
        )
        edges = rank[np.searchsorted(places, ways)]
        return regions_of(squares, numbers[order], records["place_region"][places[order]], edges)

    def _forget_blocks(
        self,
        ids: NDArray[np.int64],
        nodes: NDArray[np.int64],
        members: list[tuple[NDArray[np.int64], NDArray[np.bool_]]],
    ) -> None:
        """Keep, of the blocks of regions (R,), those in which they have members among nodes (N,)."""
        blocks = nodes // SQUARES_OF_BLOCK
        pairs = np.unique(np.concatenate([(number[here] << 32) + blocks[here] for number, here in members]))
        for number in ids.tolist():
            self._blocks.pop(number, None)
        for number, block in zip((pairs >> 32).tolist(), (pairs & 0xFFFFFFFF).tolist(), strict=True):
            self._blocks.setdefault(number, set()).add(block)
