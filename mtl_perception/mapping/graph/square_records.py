# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the scene graph shows of squares of the ground, kept: so that it is known what has changed, and where."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_perception.mapping.graph.paged_columns import PagedColumns
from mtl_perception.mapping.graph.road_segments import RoadSegments
from mtl_perception.mapping.graph.rooms import Rooms
from mtl_perception.mapping.graph.squares import SQUARES_OF_BLOCK, Squares

RECORD = np.dtype(
    [
        ("first_seen_ns", np.int64),
        ("last_seen_ns", np.int64),
        ("region", np.int64),  # id of the region in which the square is; -1 none
        ("place_region", np.int64),  # id of the region of which its place is; -1 none
        ("place_cell", np.int32, 2),
        ("place_height", np.float32),
        ("place_clearance", np.float32),
        ("height", np.float32),  # of its ground, for its region
        ("cells", np.uint16),  # that its region counts
        ("place", np.bool_),
        ("place_class", np.uint8),
        ("ways", np.uint8),
        ("kind", np.uint8),  # index into `regions.KINDS`
        ("_unused", np.uint8, 6),  # so that all bytes can be compared
    ]
)
"""What is kept of a square, 64 bytes; 0, or -1 for ids, is whatever does not apply."""


_NOTHING = np.zeros((), RECORD)
_NOTHING["region"] = _NOTHING["place_region"] = -1


@dataclass(frozen=True, eq=False)
class RecordChanges:
    """What a look at the squares has found.

    Attributes:
        blocks: (B,) of `Squares`, rising, that were looked at; nothing has changed in others.
        nodes: (N,) of which the record is another one.
        before, now: `RECORD` (N,).
    """

    blocks: NDArray[np.int64]
    nodes: NDArray[np.int64]
    before: NDArray[np.void]
    now: NDArray[np.void]

    def differ(self, *names: str) -> NDArray[np.bool_]:
        """Return whether (N,) any of these fields is another one; heights that are unknown are equal."""
        result = np.zeros(len(self.nodes), dtype=bool)
        for name in names:
            # as bytes, for NaN does not equal itself
            one, other = (np.ascontiguousarray(side[name]) for side in (self.before, self.now))
            width = RECORD[name].itemsize
            one, other = (side.view(np.uint8).reshape(len(side), width) for side in (one, other))
            result |= (one != other).any(axis=1)
        return result


class SquareRecords:
    """Looks again at the blocks of squares that were touched, and at those that depend on them.

    A square's region follows from fields of other squares that it names: that with which it goes to a room, that on the
    road beside which it lies. So a block depends on those in which its squares name others.
    """

    def __init__(self, squares: Squares, rooms: Rooms, segments: RoadSegments) -> None:
        """Know nothing yet of squares, of which nobody else takes what was touched."""
        self._squares, self._rooms, self._segments = squares, rooms, segments
        self._columns = PagedColumns({"record": (RECORD, (), _NOTHING)}, squares.folder)
        self._dependents: dict[int, set[int]] = {}  # per block, those that name squares of it

    def __getitem__(self, field: str) -> NDArray:
        """Return a field of all nodes (N, ...) as they were looked at last, not a copy."""
        return self._columns["record"][field]

    def update(self) -> RecordChanges:
        """Look again; return what has changed."""
        touched = self._squares.take_touched()
        depending = [self._dependents.get(block, ()) for block in touched.tolist()]
        blocks = np.union1d(touched, np.array([block for each in depending for block in each], dtype=np.int64))
        nodes = nodes_of(blocks)
        self._columns.grow(len(self._squares))
        records = self._columns["record"]
        before, now = records[nodes], self._found(nodes)
        self._note_dependents(nodes)
        changed = (_as_bytes(before) != _as_bytes(now)).any(axis=1)
        records[nodes[changed]] = now[changed]
        return RecordChanges(blocks, nodes[changed], before[changed], now[changed])

    def _found(self, nodes: NDArray[np.int64]) -> NDArray[np.void]:
        """Return the records (N,) of nodes (N,) as they should be now."""
        squares, records = self._squares, np.zeros(len(nodes), RECORD)
        room, segment = self._rooms.of(nodes), self._segments.of(nodes)
        place = squares["linked"][nodes]
        home = self._rooms.of(squares["home"][nodes])
        region = np.where(room >= 0, room, segment)
        height = squares["ground_height"][nodes]
        columns = {
            "region": region,
            "place_region": np.where(place, np.where(home >= 0, home, segment), -1),
            "place": place,
            "height": np.where(np.isnan(height), squares["place_height"][nodes], height),
            "cells": np.where(room >= 0, squares["open_cells"][nodes], squares["ground_cells"][nodes]),
            "kind": np.where(room >= 0, 0, np.where(self._segments.are_junctions(nodes), 2, 1)),
        }
        for name in ("place_cell", "place_height", "place_clearance", "place_class", "ways"):
            columns[name] = squares[name][nodes]
            columns[name][~place] = 0
        for name in ("first_seen_ns", "last_seen_ns"):
            columns[name] = np.where(place | (region >= 0), squares[name][nodes], 0)
        for name in ("height", "cells", "kind"):
            columns[name][region < 0] = 0
        for name, column in columns.items():
            records[name] = column
        return records

    def _note_dependents(self, nodes: NDArray[np.int64]) -> None:
        squares = self._squares
        home = squares["home"][nodes]
        named = (
            squares["root"][nodes],
            squares["road_place"][nodes],
            home,
            np.where(home >= 0, squares["root"][home], -1),
        )
        own = nodes // SQUARES_OF_BLOCK
        for others in named:
            away = np.flatnonzero((others >= 0) & (others // SQUARES_OF_BLOCK != own))
            pairs = np.unique((others[away] // SQUARES_OF_BLOCK << 32) + own[away])
            for other, block in zip((pairs >> 32).tolist(), (pairs & 0xFFFFFFFF).tolist(), strict=True):
                self._dependents.setdefault(other, set()).add(block)


def nodes_of(blocks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the nodes (N,), rising, of blocks (B,), rising."""
    return (blocks[:, None] * SQUARES_OF_BLOCK + np.arange(SQUARES_OF_BLOCK)).reshape(-1)


def _as_bytes(records: NDArray[np.void]) -> NDArray[np.uint64]:
    return np.ascontiguousarray(records).view(np.uint64).reshape(len(records), RECORD.itemsize // 8)
