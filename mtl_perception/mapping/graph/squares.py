# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The squares that the ground is divided into, each with some fields, wherever there are any."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtl_perception.mapping.graph.paged_columns import Field, PagedColumns

BLOCK = 16
"""Squares along the edge of a block."""
SQUARES_OF_BLOCK = BLOCK**2

STEPS = np.array([[1, 0], [0, 1], [1, 1], [-1, 1]], dtype=np.int64)
"""The neighbours (4, 2), x y, to which a square holds its links; the other four hold theirs to it."""


class Squares:
    """A growing set of squares, in blocks that are found by a hash.

    Square (x, y) is a row of the columns of the fields, its node. Nodes are neighbours through their blocks, so
    compiled code can walk from square to square. Who changes a field tells `touch`, for those who look only at what has
    changed.

    Attributes:
        folder: where files for what is not in memory are made; None: see `PagedColumns`.
        neighbours: (B, 3, 3), per block the blocks around it, [y + 1, x + 1]; -1 where there is none.
    """

    def __init__(self, fields: Mapping[str, Field], folder: Path | None = None) -> None:
        """Make an empty set."""
        self._fields, self.folder = dict(fields), folder
        self._clear()

    def __len__(self) -> int:
        """Return the number of nodes."""
        return len(self._blocks) * SQUARES_OF_BLOCK

    def __getitem__(self, field: str) -> NDArray:
        """Return a field of all nodes (N, ...), not a copy."""
        return self._columns[field]

    def nodes(self, squares: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the nodes (N,) of squares (N, 2), x y; -1 where there is none."""
        blocks, which = _blocks_of(squares)
        rows = np.array([self._blocks.get((x, y), -1) for x, y in blocks.tolist()], dtype=np.int64)[which]
        return np.where(rows < 0, -1, rows * SQUARES_OF_BLOCK + _within(squares))

    def make(self, squares: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the nodes (N,) of squares (N, 2), x y, making those that are missing."""
        blocks, which = _blocks_of(squares)
        for x, y in blocks.tolist():
            if (x, y) not in self._blocks:
                self._add(x, y)
        rows = np.array([self._blocks[x, y] for x, y in blocks.tolist()], dtype=np.int64)[which]
        return rows * SQUARES_OF_BLOCK + _within(squares)

    def of(self, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the squares (N, 2), x y, of nodes (N,)."""
        within = nodes % SQUARES_OF_BLOCK
        return self._keys[nodes // SQUARES_OF_BLOCK] * BLOCK + np.stack([within % BLOCK, within // BLOCK], axis=-1)

    def touch(self, nodes: NDArray[np.int64]) -> None:
        """Take notice that fields of nodes (N,) may have changed."""
        self._touched[nodes // SQUARES_OF_BLOCK] = True

    def take_touched(self) -> NDArray[np.int64]:
        """Return the blocks (M,), rising, of which a square was made or touched since this was asked before."""
        blocks = np.flatnonzero(self._touched[: len(self._blocks)])
        self._touched[blocks] = False
        return blocks

    def state(self) -> dict[str, NDArray]:
        """Return all squares with their fields."""
        return {"blocks": self._keys[: len(self._blocks)], **{name: self[name] for name in self._fields}}

    def restore(self, state: dict[str, NDArray]) -> None:
        """Set the squares to what `state` gave."""
        self._clear()
        for x, y in state["blocks"].tolist():
            self._add(x, y)
        for name in self._fields:
            self[name][:] = state[name]

    def _clear(self) -> None:
        self._blocks: dict[tuple[int, int], int] = {}
        self._keys = np.zeros((0, 2), dtype=np.int64)
        self._columns = PagedColumns(self._fields, self.folder)
        self.neighbours = np.zeros((0, 3, 3), dtype=np.int64)
        self._touched = np.zeros(0, dtype=bool)

    def _add(self, x: int, y: int) -> None:
        row = len(self._blocks)
        if row == len(self._keys):
            self._reserve(max(8, 2 * row))
        self._blocks[x, y] = row
        self._columns.grow(len(self))
        self._keys[row] = x, y
        self._touched[row] = True
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                other = self._blocks.get((x + dx, y + dy), -1)
                self.neighbours[row, dy + 1, dx + 1] = other
                if other >= 0:
                    self.neighbours[other, 1 - dy, 1 - dx] = row

    def _reserve(self, blocks: int) -> None:
        """Make room for so many blocks; they double, so that all growing together costs as much as the last."""
        old = len(self._keys)
        keys, neighbours = np.zeros((blocks, 2), dtype=np.int64), np.full((blocks, 3, 3), -1, dtype=np.int64)
        keys[:old], neighbours[:old] = self._keys, self.neighbours
        self._keys, self.neighbours = keys, neighbours
        self._touched = np.append(self._touched, np.zeros(blocks - old, dtype=bool))


def id_of(squares: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a number for each square (N, 2) that no other has, small near the origin.

    Signs are folded (0, -1, 1, -2, ... become 0, 1, 2, 3, ...) and the two numbers paired (Szudzik, "An Elegant Pairing
    Function", 2006). So a square's number needs no memory, and is the same in every run.
    """
    folded = np.where(squares >= 0, 2 * squares, -2 * squares - 1)
    x, y = folded[..., 0], folded[..., 1]
    return np.where(x < y, y * y + x, x * x + x + y)


def square_of(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the squares (N, 2), x y, of which `id_of` made numbers (N,)."""
    root = np.sqrt(ids.astype(np.float64)).astype(np.int64)
    root -= root * root > ids  # of numbers so large that they are no exact doubles
    root += (root + 1) ** 2 <= ids
    rest = ids - root * root
    folded = np.where((rest < root)[:, None], np.stack([rest, root], axis=1), np.stack([root, rest - root], axis=1))
    return np.where(folded % 2 == 0, folded // 2, -(folded + 1) // 2)


def around(squares: NDArray[np.int64], steps: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the distinct squares (M, 2) that are steps (S, 2) away from squares (N, 2), in order."""
    if not len(squares):
        return squares
    reached = (squares[:, None] + steps).reshape(-1, 2)
    low = reached.min(axis=0)
    mask = np.zeros((reached.max(axis=0) - low + 1)[::-1], dtype=bool)
    mask[reached[:, 1] - low[1], reached[:, 0] - low[0]] = True
    y, x = np.nonzero(mask)
    return np.stack([x, y], axis=1) + low


RING = np.array([[x, y] for y in (-1, 0, 1) for x in (-1, 0, 1)], dtype=np.int64)
"""The steps (9, 2) to a square itself and its eight neighbours."""


def _blocks_of(squares: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the distinct blocks (M, 2) of squares (N, 2), in order, and which is whose (N,)."""
    blocks = squares // BLOCK
    packed, which = np.unique((blocks[:, 1] << 32) + blocks[:, 0], return_inverse=True)
    y = (packed + (1 << 31)) >> 32
    return np.stack([packed - (y << 32), y], axis=1), which.reshape(-1)


def _within(squares: NDArray[np.int64]) -> NDArray[np.int64]:
    within = squares % BLOCK
    return within[:, 1] * BLOCK + within[:, 0]
