# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What one camera view says about the cells of a 2D grid, compiled: surfaces, and the free space before them."""

from __future__ import annotations

import numpy as np
from numba import types

from mtl_perception.core.compiled import compiled

GROUND, LOW_SURFACE, LOW_FREE, HIGH_SURFACE, HIGH_FREE = 1, 2, 4, 8, 16
"""Bits of a cell's mark: its ground was seen; there is a surface, or a ray goes through, within the heights of
obstacles; there is a wall, or a ray or something else, within the heights of walls."""

NOT_LABELLED, NO_GROUND = 0, 31
"""Numbers of classes that are not one of the ground's, which are 1, 2, ..."""

_Image = types.Array(types.float32, 2, "C")
_Rays = types.Array(types.float32, 3, "C")
_Bytes = types.Array(types.uint8, 1, "C")
_Labels = types.Array(types.uint8, 2, "C")
_Flags = types.Array(types.boolean, 1, "C")
_Points = types.Array(types.float64, 2, "C")
_Vector = types.Array(types.float64, 1, "C")
_Corner = types.Array(types.int64, 1, "C")
_Counts = types.Array(types.int32, 3, "C")
_WHERE = (_Corner, types.float64, _Image, _Vector, _Points, _Labels)
_SURFACE_POINTS = (_Image, _Rays, _Labels, types.int64, _Points, _Vector, _Points, _Bytes)
_RAY_ENDS = (_Image, _Rays, types.int64, _Points, _Vector, types.float64, types.float64, _Points)
_ADD_GROUND = (_Points, _Bytes, _Corner, types.float64, _Points, _Counts)
_MARK_SURFACES = (_Points, _Bytes, _Bytes, _Flags, *_WHERE, _Counts)
_MARK_RAYS = (_Vector, _Points, types.int64, *_WHERE)


def prepare() -> None:
    """Compile the functions of this module unless that has been done: so that no frame waits for it."""
    surface_points.compile(_SURFACE_POINTS)
    ray_ends.compile(_RAY_ENDS)
    add_ground.compile(_ADD_GROUND)
    mark_surfaces.compile(_MARK_SURFACES)
    mark_rays.compile(_MARK_RAYS)


@compiled
def surface_points(depth, rays, label, stride, rotation, translation, points, labels):  # type: ignore[no-untyped-def]
    """Find the measured points of a view.

    Args:
        depth: (H, W) metres along the optical axis; NaN or infinite where there is no surface.
        rays: (H, W, 3) with z = 1.
        label: (H, W) ids.
        stride: pixels from one that is looked at to the next.
        rotation, translation: (3, 3) and (3,), world from camera.
        points: (N, 3) with room for all that are looked at; set to positions in the world.
        labels: (N,), set to their ids.

    Returns:
        How many points there are.
    """
    height, width = depth.shape
    count = 0
    for i in range(0, height, stride):
        for j in range(0, width, stride):
            if not np.isfinite(depth[i, j]):
                continue
            for axis in range(3):
                direction = rotation[axis, 0] * rays[i, j, 0] + rotation[axis, 1] * rays[i, j, 1]
                direction += rotation[axis, 2] * rays[i, j, 2]
                points[count, axis] = translation[axis] + direction * depth[i, j]
            labels[count] = label[i, j]
            count += 1
    return count


@compiled
def ray_ends(depth, rays, stride, rotation, translation, max_depth, margin, ends):  # type: ignore[no-untyped-def]
    """Find up to where the rays of a view are known to be free: `margin` metres before what they hit.

    Args:
        depth, rays, stride, rotation, translation: as in `surface_points`; infinite depth is free up to `max_depth`.
        max_depth: metres.
        margin: metres.
        ends: (N, 3) with room for all rays that are looked at; set to positions in the world.

    Returns:
        How many rays there are.
    """
    height, width = depth.shape
    count = 0
    for i in range(0, height, stride):
        for j in range(0, width, stride):
            reach = min(np.float64(depth[i, j]), max_depth) - margin
            if not (depth[i, j] == depth[i, j] and reach > 0.0):  # NaN does not equal itself
                continue
            for axis in range(3):
                direction = rotation[axis, 0] * rays[i, j, 0] + rotation[axis, 1] * rays[i, j, 1]
                direction += rotation[axis, 2] * rays[i, j, 2]
                ends[count, axis] = translation[axis] + direction * reach
            count += 1
    return count


@compiled
def add_ground(points, classes, corner, resolution, sums, counts):  # type: ignore[no-untyped-def]
    """Add up the heights of ground points per cell, and count them per class.

    Args:
        points: (N, 3) in the world, metres.
        classes: (N,) numbers.
        corner: (2,) x y index of cell [0, 0].
        resolution: edge of a cell, metres.
        sums: (H, W) metres, changed.
        counts: (K + 1, H, W) for classes 1 to K of the ground, changed.
    """
    height, width = sums.shape
    for point in range(len(points)):
        number = classes[point]
        if number in (NOT_LABELLED, NO_GROUND):
            continue
        column = np.int64(np.floor(points[point, 0] / resolution)) - corner[0]
        row = np.int64(np.floor(points[point, 1] / resolution)) - corner[1]
        if 0 <= column < width and 0 <= row < height:
            sums[row, column] += points[point, 2]
            counts[number, row, column] += 1


@compiled
def mark_surfaces(  # type: ignore[no-untyped-def]
    points, labels, class_of, is_wall, corner, resolution, ground, heights, bands, marks, counts
):
    """Mark the cells of measured points.

    Args:
        points: (N, 3) in the world, metres.
        labels: (N,) ids.
        class_of: (256,) numbers.
        is_wall: (256,).
        corner: (2,) x y index of cell [0, 0].
        resolution: edge of a cell, metres.
        ground: (H, W) its height, metres; NaN where it is not known.
        heights: (3,) of the ground, metres: where it is not known, the lowest, the highest.
        bands: (2, 2) lowest and highest obstacle, lowest and highest wall, metres over the ground.
        marks: (H, W) bits, changed.
        counts: (K + 1, H, W); [0] is raised where something lies lower than an obstacle and is no ground.
    """
    height, width = marks.shape
    top = heights[2] + max(bands[0, 1], bands[1, 1])
    for point in range(len(points)):
        z = points[point, 2]
        if z > top:  # most points are too high wherever they are
            continue
        column = np.int64(np.floor(points[point, 0] / resolution)) - corner[0]
        row = np.int64(np.floor(points[point, 1] / resolution)) - corner[1]
        if not (0 <= column < width and 0 <= row < height):
            continue
        number = class_of[labels[point]]
        if number not in (NOT_LABELLED, NO_GROUND):
            marks[row, column] |= GROUND
            continue
        known = np.float64(ground[row, column])
        above = z - (known if known == known else heights[0])
        if bands[0, 0] <= above <= bands[0, 1]:
            marks[row, column] |= LOW_SURFACE
        elif above < bands[0, 0] and number == NO_GROUND:
            counts[0, row, column] += 1
        if bands[1, 0] <= above <= bands[1, 1]:
            marks[row, column] |= HIGH_SURFACE if is_wall[labels[point]] else HIGH_FREE


@compiled
def mark_rays(origin, ends, samples, corner, resolution, ground, heights, bands, marks):  # type: ignore[no-untyped-def]
    """Mark the cells that rays go through.

    Args:
        origin: (3,) where all rays begin, in the world, metres.
        ends: (N, 3) where they end.
        samples: how many points of each ray are looked at.
        corner, resolution, ground, heights, bands, marks: as in `mark_surfaces`.
    """
    height, width = marks.shape
    bottom = heights[1] + min(bands[0, 0], bands[1, 0])
    top = heights[2] + max(bands[0, 1], bands[1, 1])
    for ray in range(len(ends)):
        x, y, z = ends[ray, 0] - origin[0], ends[ray, 1] - origin[1], ends[ray, 2] - origin[2]
        for sample in range(samples):
            share = (sample + 0.5) / samples
            here = origin[2] + share * z
            if not bottom <= here <= top:
                continue
            column = np.int64(np.floor((origin[0] + share * x) / resolution)) - corner[0]
            row = np.int64(np.floor((origin[1] + share * y) / resolution)) - corner[1]
            if not (0 <= column < width and 0 <= row < height):
                continue
            known = np.float64(ground[row, column])
            above = here - (known if known == known else heights[0])
            if bands[0, 0] <= above <= bands[0, 1]:
                marks[row, column] |= LOW_FREE
            if bands[1, 0] <= above <= bands[1, 1]:
                marks[row, column] |= HIGH_FREE
