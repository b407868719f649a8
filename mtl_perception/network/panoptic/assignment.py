# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The assignment problem: which row takes which column so that the sum of costs is smallest."""

from __future__ import annotations

import numpy as np


def assign(cost: np.ndarray) -> np.ndarray:
    """Return for each row (R,) its column, all different, at the smallest total cost.

    Shortest augmenting paths (Kuhn 1955, Munkres 1957, in the form of Jonker and Volgenant 1987): R^2 steps over C
    columns. SciPy has the same, but is no dependency of this package.

    Args:
        cost: (R, C) finite, R <= C.

    Raises:
        ValueError: if there are fewer columns than rows, or a cost is not finite.
    """
    rows, columns = cost.shape
    if rows > columns:
        raise ValueError(f"cost: {rows} rows cannot have different ones of {columns} columns")
    if not np.isfinite(cost).all():
        raise ValueError("cost: must be finite")
    cost = cost.astype(np.float64)
    row_price, column_price = np.zeros(rows), np.zeros(columns)
    row_of = np.full(columns, -1)
    for row in range(rows):
        distance, came_from = np.full(columns, np.inf), np.full(columns, -1)
        visited = np.zeros(columns, dtype=bool)
        current, column, shortest = row, -1, 0.0
        while current >= 0:  # until the cheapest column to reach is free
            reduced = shortest + cost[current] - row_price[current] - column_price
            closer = ~visited & (reduced < distance)
            distance[closer], came_from[closer] = reduced[closer], column
            column = int(np.where(visited, np.inf, distance).argmin())
            shortest = distance[column]
            visited[column] = True
            current = int(row_of[column])
        row_price[row] += shortest
        inner = visited & (row_of >= 0)
        row_price[row_of[inner]] += shortest - distance[inner]
        column_price[visited] -= shortest - distance[visited]
        while column >= 0:  # along the path, each column goes to the row before
            before = int(came_from[column])
            row_of[column] = row_of[before] if before >= 0 else row
            column = before
    result = np.empty(rows, dtype=np.int64)
    taken = np.flatnonzero(row_of >= 0)
    result[row_of[taken]] = taken
    return result
