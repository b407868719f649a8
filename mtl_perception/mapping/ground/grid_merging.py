# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The 2D grid of another map, moved into the cells of this one and joined with them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.transforms import Transform
from mtl_perception.mapping.ground.cell_moves import CellMoves, Patches
from mtl_perception.mapping.ground.grid_layers import (
    LEAD_BITS,
    LEAST_EVIDENCE,
    MOST_EVIDENCE,
    MOST_LEAD,
    empty_layers,
    grown,
    layers_between,
)
from mtl_perception.mapping.ground.ground_grid import GroundGrid


@dataclass(frozen=True, eq=False)
class Cells:
    """Layers (H, W) of a grid from cell `corner` (2,), x y, on."""

    corner: NDArray[np.int64]
    layers: dict[str, NDArray]

    @classmethod
    def of(cls, grid: GroundGrid) -> Cells:
        """Return what a grid holds now; it stays as it is when the grid gets other layers."""
        return cls(grid.corner, {name: grid.layer(name) for name in empty_layers(grid.corner, grid.corner)})

    @property
    def end(self) -> NDArray[np.int64]:
        """The cell (2,), x y, after the last."""
        return self.corner + np.array(self.layers["seen"].shape[::-1])

    @property
    def known(self) -> NDArray[np.bool_]:
        """Of which cells (H, W) anything is known."""
        layers = self.layers
        known = layers["seen"] | (layers["evidence"] != 0) | (layers["walls"] != 0)
        return known | (layers["ground_vote"] != 0) | ~np.isnan(layers["ground"])

    def between(self, low: NDArray[np.int64], high: NDArray[np.int64]) -> Cells:
        """Return those from cell `low` to cell `high`."""
        return Cells(low, layers_between(self.layers, self.corner, low, high))


def moved_cells(grid: GroundGrid, self_from_other: Transform) -> tuple[Cells, CellMoves] | None:
    """Return the cells of another map's grid in this map, and from where each has come; None if it knows nothing."""

    def rigid(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.broadcast_to(self_from_other, (len(points), 4, 4))

    cells = Cells.of(grid)
    patches = Patches(cells.layers, cells.corner, grid.resolution, grid.ground_height, rigid)
    if (patches.low == patches.high).all():
        return None
    low, high = grown(patches.low, patches.high)
    moved = Cells(low, empty_layers(low, high))
    return moved, patches.move(moved.layers, low)


def both(ours: Cells, theirs: Cells) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first cell (2,), x y, of two grids together, and that after the last; a grid may be empty."""
    there = [cells for cells in (ours, theirs) if cells.layers["seen"].size]
    return np.min([cells.corner for cells in there], axis=0), np.max([cells.end for cells in there], axis=0)


def joined(ours: Cells, theirs: Cells) -> dict[str, NDArray]:
    """Return the layers of two grids of the same cells together.

    Evidence adds up, as that of frames does, to the same bounds. Heights of the ground are those of `ours`, where it
    has any. The votes for the ground's class go against each other.
    """
    result = {}
    for name in ("evidence", "walls"):
        total = ours.layers[name].astype(np.int64) + theirs.layers[name]
        result[name] = np.clip(total, LEAST_EVIDENCE, MOST_EVIDENCE).astype(np.int8)
    result["seen"] = ours.layers["seen"] | theirs.layers["seen"]
    ground = ours.layers["ground"]
    result["ground"] = np.where(np.isnan(ground), theirs.layers["ground"], ground)
    one, other = ours.layers["ground_vote"], theirs.layers["ground_vote"]
    leads = [(vote & MOST_LEAD).astype(np.int64) for vote in (one, other)]
    same = one >> LEAD_BITS == other >> LEAD_BITS
    lead = np.where(same, np.minimum(sum(leads), MOST_LEAD), np.abs(leads[0] - leads[1]))
    winner = np.where((leads[1] > leads[0]) | (one == 0), other, one) >> LEAD_BITS << LEAD_BITS
    result["ground_vote"] = (winner | lead).astype(np.uint8)
    return result
