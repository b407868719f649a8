# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The innermost loop of fusion, compiled: what one depth image says about the voxels of some blocks."""

from __future__ import annotations

import numba
import numpy as np
from numba import types

from mtl_perception.core import UNKNOWN

_Floats = types.Array(types.float32, 2, "C")
_SIGNATURE = (
    types.Array(types.int64, 1, "C"),
    _Floats,
    _Floats,
    *(_Floats, _Floats, types.Array(types.uint8, 3, "C"), types.Array(types.uint8, 2, "C"), _Floats),
    *(_Floats, _Floats, types.Array(types.float32, 3, "C"), types.Array(types.uint8, 2, "C"), _Floats),
    *(types.float32,) * 4,
    types.Array(types.boolean, 1, "C"),
)


def prepare() -> None:
    """Compile `update_voxels` (some two seconds) unless that has been done: so that no frame waits for it."""
    update_voxels.compile(_SIGNATURE)


# No fastmath: a map must not depend on the processor. Python's lock is let go, so that others can work meanwhile.
@numba.njit(nogil=True, error_model="numpy")
def update_voxels(  # type: ignore[no-untyped-def]
    rows,
    corners,
    offsets,
    depth,
    weight,
    colour,
    label,
    label_weight,
    all_tsdf,
    all_weight,
    all_colour,
    all_label,
    all_votes,
    truncation,
    far,
    max_weight,
    min_weight,
    changed,
):
    """Fuse an image into blocks.

    Args:
        rows: (N,) of the blocks in the arrays `all_...`.
        corners: (N, 3), where a block begins, as (u * z, v * z, z): pixels times metres, and metres.
        offsets: (V, 3), the way from there to each voxel of a block, in the same form.
        depth: (H, W) metres along the optical axis; NaN where nothing is measured, +inf for free space.
        weight: (H, W) of the depth, in exact observations.
        colour: (H, W, 3) RGB.
        label: (H, W) ids, 255 unknown.
        label_weight: (H, W) of the label.
        all_tsdf, all_weight, all_colour, all_label, all_votes: the store's voxels (rows, V) or (rows, V, 3); changed.
        truncation: metres.
        far: metres; voxels beyond are left alone.
        max_weight, min_weight: see MapperConfig.
        changed: (N,), set to whether anything that a mesh depends on has changed in a block.
    """
    height, width = depth.shape
    zero, one, near = np.float32(0.0), np.float32(1.0), np.float32(1e-3)
    for block in range(len(rows)):
        row = rows[block]
        matters = False
        for voxel in range(len(offsets)):
            z = corners[block, 2] + offsets[voxel, 2]
            if not near < z < far:
                continue
            u = np.rint((corners[block, 0] + offsets[voxel, 0]) / z)
            v = np.rint((corners[block, 1] + offsets[voxel, 1]) / z)
            if not (zero <= u < width and zero <= v < height):
                continue
            i, j = np.int64(v), np.int64(u)
            distance = depth[i, j] - z
            if not distance > -truncation:  # NaN compares false
                continue
            tsdf = min(distance / truncation, one)
            old_tsdf, old_weight = all_tsdf[row, voxel], all_weight[row, voxel]
            new_weight = old_weight + weight[i, j]
            new_tsdf = (old_tsdf * old_weight + tsdf * weight[i, j]) / new_weight
            all_tsdf[row, voxel] = new_tsdf
            all_weight[row, voxel] = min(new_weight, max_weight)
            if tsdf == one:
                matters |= new_tsdf != old_tsdf or old_weight < min_weight <= new_weight
                continue
            matters = True
            share = weight[i, j] / new_weight
            mixed = all_colour[row, voxel]
            if mixed[0] == zero and mixed[1] == zero and mixed[2] == zero:
                share = one  # the first colour counts in full
            for channel in range(3):
                mixed[channel] += (np.float32(colour[i, j, channel]) - mixed[channel]) * share
            if label[i, j] == UNKNOWN or not label_weight[i, j] > zero:
                continue
            lead = all_votes[row, voxel]
            lead = lead + label_weight[i, j] if all_label[row, voxel] == label[i, j] else lead - label_weight[i, j]
            if lead < zero:
                all_label[row, voxel] = label[i, j]
            all_votes[row, voxel] = min(abs(lead), max_weight)
        changed[block] = matters
