# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which pixels of a depth image are kept out of the map, and how its surfaces lie to the rays; compiled."""

from __future__ import annotations

import numpy as np
from numba import types

from mtl_perception.core.compiled import compiled

_Floats = types.Array(types.float32, 2, "C")
_SIGNATURE = (
    *(_Floats, _Floats, types.Array(types.uint8, 2, "C"), types.Array(types.boolean, 1, "C")),
    *(types.float32, types.float32, types.float32, types.Array(types.boolean, 2, "C")),
)
_FACING = (_Floats, types.Array(types.float32, 3, "C"), types.float32, _Floats)
_FLAT = np.float32(0.01)
"""A surface is flat at a pixel whose neighbours' inverse depths have a mean within this share of its own."""


def prepare() -> None:
    """Compile the functions of this module unless that has been done: so that no frame waits for it."""
    gate_depth.compile(_SIGNATURE)
    surface_facing.compile(_FACING)


@compiled
def gate_depth(  # type: ignore[no-untyped-def]
    depth, logarithm, label, left_out, min_depth, max_depth, ramp, gated
):
    """Set gated depth to NaN, and depth beyond the map's reach to infinity.

    Gated is what is too near, shows a class that is left out, or lies halfway between a near and a far surface, on the
    slope that a network draws across an edge.

    Args:
        depth: (H, W) metres, changed.
        logarithm: (H, W) of the depth.
        label: (H, W) ids.
        left_out: (256,), per id whether the class is no surface of the map.
        min_depth, max_depth: metres.
        ramp: a slope on both sides of a pixel, as a step of the logarithm, that no surface has.
        gated: (H, W) pixels that are kept out for other reasons; changed.
    """
    height, width = depth.shape
    for i in range(1, height - 1):
        for j in range(width):
            before = logarithm[i, j] - logarithm[i - 1, j]
            after = logarithm[i + 1, j] - logarithm[i, j]
            gated[i, j] |= ((before > ramp) & (after > ramp)) | ((before < -ramp) & (after < -ramp))
    for i in range(height):
        for j in range(1, width - 1):
            before = logarithm[i, j] - logarithm[i, j - 1]
            after = logarithm[i, j + 1] - logarithm[i, j]
            gated[i, j] |= ((before > ramp) & (after > ramp)) | ((before < -ramp) & (after < -ramp))
        for j in range(width):
            out = gated[i, j] | left_out[label[i, j]]
            if out or not depth[i, j] >= min_depth:
                depth[i, j] = np.nan
            elif depth[i, j] > max_depth:
                depth[i, j] = np.inf


@compiled
def surface_facing(depth, rays, least, facing):  # type: ignore[no-untyped-def]
    """Find how much nearer to its surface a point comes with each metre that its depth comes nearer to the pixel's.

    That is the product of the surface's normal and the pixel's ray with z = 1: 1 for a wall that the camera faces, less
    for a road that runs away from it. It is told only where the surface is flat, that is where the inverse depth is
    linear in the image: on thin and round things, and at edges, it is 1, or their sides would reach far behind them.

    Args:
        depth: (H, W) metres along the optical axis; not finite where there is no surface.
        rays: (H, W, 3) with z = 1.
        least: surfaces that are seen at a more grazing angle are taken as if they were seen at this one.
        facing: (H, W), set.
    """
    height, width = depth.shape
    one, half = np.float32(1.0), np.float32(0.5)
    for i in range(height):
        for j in range(width):
            facing[i, j] = one
            if not (0 < i < height - 1 and 0 < j < width - 1):
                continue
            middle = one / depth[i, j]
            left, right = one / depth[i, j - 1], one / depth[i, j + 1]
            above, below = one / depth[i - 1, j], one / depth[i + 1, j]
            if not abs(half * (left + right) - middle) < _FLAT * middle:  # NaN compares false
                continue
            if not abs(half * (above + below) - middle) < _FLAT * middle:
                continue
            ax = rays[i, j + 1, 0] / right - rays[i, j - 1, 0] / left
            ay = rays[i, j + 1, 1] / right - rays[i, j - 1, 1] / left
            az = one / right - one / left
            bx = rays[i + 1, j, 0] / below - rays[i - 1, j, 0] / above
            by = rays[i + 1, j, 1] / below - rays[i - 1, j, 1] / above
            bz = one / below - one / above
            nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
            length = np.sqrt(nx * nx + ny * ny + nz * nz)
            if length > 0:
                along = abs(nx * rays[i, j, 0] + ny * rays[i, j, 1] + nz) / length
                facing[i, j] = max(along, least)
