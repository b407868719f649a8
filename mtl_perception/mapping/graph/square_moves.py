# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which squares of the ground have come from which, after the cells of the grid have moved."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mtl_perception.mapping.graph.squares import Squares


class SquareMoves:
    """How many cells have come from each old square to each new one.

    Attributes:
        old: the squares as they were.
    """

    def __init__(
        self, old: Squares, new: Squares, new_squares: NDArray[np.int64], old_squares: NDArray[np.int64]
    ) -> None:
        """Count for cells (N,) the squares (N, 2), x y, that they are in now, and those that they have come from.

        Squares that are not in `new` or not in `old` do not count.
        """
        self.old = old
        to, back = _nodes(new, new_squares), _nodes(old, old_squares)
        known = (to >= 0) & (back >= 0)
        pairs, self._counts = np.unique(to[known] * max(len(old), 1) + back[known], return_counts=True)
        self._to, self._from = np.divmod(pairs, max(len(old), 1))

    def most(self, names: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the new nodes (M,) to which something with a name has come, and of which name most of it is (M,).

        Args:
            names: (N,) one for each old node; -1 for none, which does not count.
        """
        named = names[self._from] >= 0
        numbers, which = np.unique(names[self._from[named]], return_inverse=True)
        count = max(len(numbers), 1)
        pairs, back = np.unique(self._to[named] * count + which, return_inverse=True)
        cells = np.bincount(back.reshape(-1), weights=self._counts[named], minlength=len(pairs))
        node, number = np.divmod(pairs, count)
        node, number = _largest(node, number, cells)
        return node, numbers[number]

    def targets(self, nodes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return those of old nodes (N,) that have come somewhere, and to which new ones most of them has."""
        chosen = np.isin(self._from, nodes)
        return _largest(self._from[chosen], self._to[chosen], self._counts[chosen])

    def extremes(self, stamps: NDArray[np.int64], which: np.ufunc) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the new nodes (M,) to which something with a stamp has come, and the least or greatest stamp (M,).

        Args:
            stamps: (N,) one for each old node; -1 for none.
            which: `np.minimum` or `np.maximum`.
        """
        known = stamps[self._from] >= 0
        nodes, first = np.unique(self._to[known], return_index=True)  # in order, so those of a node lie together
        if not len(nodes):
            return nodes, nodes
        return nodes, which.reduceat(stamps[self._from[known]], first)


def _nodes(squares: Squares, at: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the nodes (N,) of many squares (N, 2) that are mostly the same; -1 where there is none."""
    if not len(at):
        return np.zeros(0, dtype=np.int64)
    low = at.min(axis=0)
    width, height = (at.max(axis=0) - low + 1).tolist()
    y, x = np.divmod(np.arange(width * height), width)
    offset = at - low
    return squares.nodes(np.stack([x, y], axis=1) + low)[offset[:, 1] * width + offset[:, 0]]


def _largest(
    keys: NDArray[np.int64], values: NDArray[np.int64], sizes: NDArray
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the distinct keys (M,), and for each of them the value (M,) of the greatest size; of equals the least."""
    order = np.lexsort((values, -sizes, keys))
    distinct, first = np.unique(keys[order], return_index=True)
    return distinct, values[order[first]]
