# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What has changed in a 2D grid: for those who look at it again, and for those who keep a copy."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mtl_perception.mapping.ground.grid_layers import TILE, Rectangle

if TYPE_CHECKING:
    from mtl_perception.mapping.ground.occupancy_follower import OccupancyFollower


@dataclass(frozen=True, eq=False)
class GridChanges:
    """What has changed, as tiles, each int64 (N, 2), x y, in order.

    Attributes:
        cells: some cell was seen first, or became an obstacle, a wall or free.
        ground: a height or a class of the ground changed.
        seen: something was seen, changed or not.
    """

    cells: NDArray[np.int64]
    ground: NDArray[np.int64]
    seen: NDArray[np.int64]


class GridNews:
    """Collects what changes in a grid until it is asked for, and passes it on to followers."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._tiles = _no_tiles()
        self._followers: weakref.WeakSet[OccupancyFollower] = weakref.WeakSet()

    def note(self, what: str, changed: NDArray[np.bool_], low: NDArray[np.int64]) -> None:
        """Keep that something has changed in cells (H, W), of which [0, 0] has index `low`; both in whole tiles.

        Args:
            what: a name of `GridChanges`.
            changed: which cells.
            low: (2,), x y.
        """
        rows, columns = changed.shape
        y, x = np.nonzero(changed.reshape(rows // TILE, TILE, columns // TILE, TILE).any(axis=(1, 3)))
        if not len(x):
            return
        x, y = x + low[0] // TILE, y + low[1] // TILE
        self._tiles[what].update(zip(x.tolist(), y.tolist(), strict=True))
        if what == "cells" and self._followers:
            ends = x.min(), y.min(), x.max() + 1, y.max() + 1
            left, bottom, right, top = (TILE * int(end) for end in ends)
            for follower in self._followers:
                follower.note_changed((left, bottom, right, top))

    def note_window(self, old: Rectangle, new: Rectangle) -> None:
        """Keep that the grid has the cells of another rectangle now; those that are in both are as they were."""
        for follower in self._followers:
            follower.note_window(old, new)

    def start_anew(self) -> None:
        """Let followers start anew, for the grid is another one."""
        for follower in self._followers:
            follower.start_anew()

    def take(self) -> GridChanges:
        """Return in which tiles something has changed since this was asked before."""
        tiles = {name: np.array(sorted(tiles), dtype=np.int64).reshape(-1, 2) for name, tiles in self._tiles.items()}
        self._tiles = _no_tiles()
        return GridChanges(**tiles)

    def add(self, follower: OccupancyFollower) -> None:
        """Let somebody be told, too, from now on and as long as others need them."""
        self._followers.add(follower)


def _no_tiles() -> dict[str, set[tuple[int, int]]]:
    return {"cells": set(), "ground": set(), "seen": set()}
