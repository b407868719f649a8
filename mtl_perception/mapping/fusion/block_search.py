# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which blocks a depth image is about, compiled: those at its surfaces, and those that it looks at or through."""

from __future__ import annotations

import numpy as np
from numba import types

from mtl_perception.core.compiled import compiled

_Floats = types.Array(types.float32, 2, "C")
_Doubles = types.Array(types.float64, 2, "C")
_Vector = types.Array(types.float64, 1, "C")
_AT_SURFACES = (
    *(_Floats, types.Array(types.float32, 3, "C"), _Floats, types.float32, types.int64),
    *(_Doubles, _Vector, types.float64, types.Array(types.int64, 1, "C")),
)
_FARTHEST = (_Floats, types.int64, _Floats)
_IN_SIGHT = (
    *(_Doubles, _Doubles, types.float64, types.float64, types.float32),
    *(types.int64, types.int64, types.int64, _Floats, types.Array(types.boolean, 1, "C")),
)


def prepare() -> None:
    """Compile the functions of this module unless that has been done: so that no frame waits for it."""
    blocks_at_surfaces.compile(_AT_SURFACES)
    farthest_of_tiles.compile(_FARTHEST)
    blocks_in_sight.compile(_IN_SIGHT)


@compiled
def blocks_at_surfaces(depth, rays, facing, band, stride, rotation, translation, edge, found):  # type: ignore[no-untyped-def]
    """Find the blocks that the band around a measured surface reaches.

    Args:
        depth: (H, W) metres along the optical axis; NaN or infinite where there is no surface.
        rays: (H, W, 3) with z = 1.
        facing: (H, W), what `surface_facing` finds.
        band: metres before and behind the surface, at a right angle to it.
        stride: pixels from one that is looked at to the next.
        rotation: (3, 3), world from camera.
        translation: (3,), world from camera.
        edge: of a block, metres.
        found: (N,) with room for three keys of each pixel that is looked at; set to packed keys, in no order, some of
            them several times.

    Returns:
        How many keys were found.
    """
    height, width = depth.shape
    margin = 1e-6  # of an edge; nearer to a face than that only the exact division tells the block
    inner = 1.0 - margin
    edges = 1.0 / edge
    cells = np.empty((3, 3))  # per place in the band, the block of the pixel before
    for place in range(3):
        cells[place, 0] = np.inf
    count = 0
    for i in range(0, height, stride):
        for j in range(0, width, stride):
            if not np.isfinite(depth[i, j]):
                continue
            for place in range(3):
                along = depth[i, j] + np.float32(place - 1) * band / facing[i, j]
                x = np.float64(rays[i, j, 0] * along)
                y = np.float64(rays[i, j, 1] * along)
                z = np.float64(rays[i, j, 2] * along)
                world_x = rotation[0, 0] * x + rotation[0, 1] * y + rotation[0, 2] * z + translation[0]
                world_y = rotation[1, 0] * x + rotation[1, 1] * y + rotation[1, 2] * z + translation[1]
                world_z = rotation[2, 0] * x + rotation[2, 1] * y + rotation[2, 2] * z + translation[2]
                within_x = world_x * edges - cells[place, 0]
                within_y = world_y * edges - cells[place, 1]
                within_z = world_z * edges - cells[place, 2]
                if margin < within_x < inner and margin < within_y < inner and margin < within_z < inner:
                    continue  # neighbours mostly lie in one block
                cells[place, 0] = np.floor(world_x / edge)
                cells[place, 1] = np.floor(world_y / edge)
                cells[place, 2] = np.floor(world_z / edge)
                key_x, key_y, key_z = np.int64(cells[place, 0]), np.int64(cells[place, 1]), np.int64(cells[place, 2])
                found[count] = ((key_x + (1 << 20)) << 42) | ((key_y + (1 << 20)) << 21) | (key_z + (1 << 20))
                count += 1
    return count


@compiled
def farthest_of_tiles(depth, tile, farthest):  # type: ignore[no-untyped-def]
    """Find the largest depth of each tile of an image and its neighbours.

    Args:
        depth: (H, W) metres, NaN where nothing is measured.
        tile: pixels along a tile's edge.
        farthest: (rows, columns) of tiles, as many as the image needs; set to metres, -1 where nothing is measured.
    """
    height, width = depth.shape
    rows, columns = farthest.shape
    largest = np.empty(width, np.float32)
    for row in range(rows):
        for column in range(columns):
            farthest[row, column] = np.float32(-1.0)
    for row in range(rows):
        for j in range(width):
            largest[j] = np.float32(-1.0)
        for i in range(row * tile, min((row + 1) * tile, height)):
            for j in range(width):
                largest[j] = depth[i, j] if depth[i, j] > largest[j] else largest[j]  # NaN compares false
        for column in range(columns):
            most = np.float32(-1.0)
            for j in range(column * tile, min((column + 1) * tile, width)):
                most = max(most, largest[j])
            for near_row in range(max(row - 1, 0), min(row + 2, rows)):
                for near_column in range(max(column - 1, 0), min(column + 2, columns)):
                    farthest[near_row, near_column] = max(farthest[near_row, near_column], most)


@compiled
def blocks_in_sight(  # type: ignore[no-untyped-def]
    centres, K, radius, max_depth, truncation, height, width, tile, farthest, sees
):
    """Find the blocks that a camera looks at or through, which are not hidden behind what it measured.

    Args:
        centres: (N, 3) of blocks in the camera's optical frame, metres.
        K: (3, 3) intrinsics.
        radius: of a sphere around a block, metres.
        max_depth: metres; what lies farther is out of reach.
        truncation: metres; this far behind a surface, along the ray, blocks are still seen.
        height, width: of the image, pixels.
        tile: pixels along a tile's edge.
        farthest: what `farthest_of_tiles` finds.
        sees: (N,), set.
    """
    rows, columns = farthest.shape
    for block in range(len(centres)):
        x, y, z = centres[block, 0], centres[block, 1], centres[block, 2]
        sees[block] = False
        if not -radius < z < max_depth + radius:
            continue
        if z < 2.0 * radius:  # the projection of a block around the camera means nothing
            sees[block] = True
            continue
        away = max(z, 1e-3)
        margin = radius * K[0, 0] / away
        u = K[0, 0] * (x / away) + K[0, 1] * (y / away) + K[0, 2] * (z / away)
        v = K[1, 0] * (x / away) + K[1, 1] * (y / away) + K[1, 2] * (z / away)
        if not (-margin < u < width + margin and -margin < v < height + margin):
            continue
        column = np.int64(min(max(u / tile, 0.0), columns - 1.0))
        row = np.int64(min(max(v / tile, 0.0), rows - 1.0))
        hidden = z - radius > farthest[row, column] + truncation
        sees[block] = margin > tile or not hidden  # a near block covers more than its tile and the neighbours
