# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which pixels of a depth image are kept out of the map, compiled."""

from __future__ import annotations

import numba
import numpy as np
from numba import types

_Floats = types.Array(types.float32, 2, "C")
_SIGNATURE = (
    *(_Floats, _Floats, types.Array(types.uint8, 2, "C"), types.Array(types.boolean, 1, "C")),
    *(types.float32, types.float32, types.float32, types.Array(types.boolean, 2, "C")),
)


def prepare() -> None:
    """Compile `gate_depth` unless that has been done: so that no frame waits for it."""
    gate_depth.compile(_SIGNATURE)


# No fastmath: a map must not depend on the processor. Python's lock is let go, so that others can work meanwhile.
@numba.njit(nogil=True, error_model="numpy")
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
