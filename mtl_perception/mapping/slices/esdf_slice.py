# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How far it is to the nearest obstacle of a height band: a slice of a Euclidean signed distance field (ESDF)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from mtl_perception.mapping.ground.ground_grid import OCCUPIED, UNSEEN, GridMap


@dataclass(frozen=True, eq=False)
class EsdfSlice:
    """A distance field in the world frame.

    Attributes:
        origin: (x, y) of the outer corner of cell [0, 0], metres.
        resolution: edge of a cell, metres.
        data: float32 (H, W), row = y, column = x: metres to the nearest obstacle, negative inside; NaN where unknown.
        height: of the middle of the band in the world, over ground that has not been seen, metres.
    """

    origin: tuple[float, float]
    resolution: float
    data: NDArray[np.float32]
    height: float


def esdf_of(grid: GridMap, height: float, max_distance: float, margin: int = 0) -> EsdfSlice:
    """Return the distances in a grid. What is unknown is no obstacle, but has no distance.

    A cell outside of obstacles has the distance from its centre to the centre of the nearest obstacle cell, less half a
    cell; one inside has that to the nearest other cell, less half a cell, as a negative number: it is 0 on the line
    between them.

    Args:
        grid: with `margin` cells on each side whose obstacles count, but which the result leaves out.
        height: see `EsdfSlice`.
        max_distance: distances end here, metres.
        margin: cells.
    """
    occupied = grid.data == OCCUPIED
    distance = np.full(grid.data.shape, max_distance)
    for inside, sign in ((False, 1.0), (True, -1.0)):
        if (occupied != inside).any():
            apart = (distance_transform_edt(occupied == inside) - 0.5) * grid.resolution
            chosen = occupied == inside
            distance[chosen] = sign * np.minimum(apart[chosen], max_distance)
    distance[occupied & (distance > 0)] = -max_distance  # there are obstacles only
    distance[grid.data == UNSEEN] = np.nan
    rows, columns = grid.data.shape
    kept = distance[margin : rows - margin, margin : columns - margin]
    x, y = (float(value) + margin * grid.resolution for value in grid.origin)
    return EsdfSlice((x, y), grid.resolution, kept.astype(np.float32), height)
