# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The innermost loop of fusion, compiled: what one depth image says about the voxels of some blocks."""

from __future__ import annotations

import numpy as np
from numba import types

from mtl_perception.core import UNKNOWN
from mtl_perception.core.compiled import compiled

_Floats = types.Array(types.float32, 2, "C")
_Bytes = types.Array(types.uint8, 2, "C")
_Words = types.Array(types.uint16, 2, "C")
_SIGNATURE = (
    types.Array(types.int64, 1, "C"),
    _Floats,
    _Floats,
    *(_Floats, _Floats, _Floats, types.Array(types.uint8, 3, "C"), _Bytes, _Floats, _Words),
    *(_Floats, _Floats, types.Array(types.float32, 3, "C"), _Bytes, _Floats, _Words, _Bytes),
    *(types.float32,) * 5,
    types.Array(types.boolean, 1, "C"),
)


MOST_LOOKS = 32
"""Cap of the lead by which a voxel holds its instance."""


def prepare() -> None:
    """Compile `update_voxels` (some two seconds) unless that has been done: so that no frame waits for it."""
    update_voxels.compile(_SIGNATURE)


@compiled
def update_voxels(  # type: ignore[no-untyped-def]
    rows,
    corners,
    offsets,
    depth,
    facing,
    weight,
    colour,
    label,
    label_weight,
    instance,
    all_tsdf,
    all_weight,
    all_colour,
    all_label,
    all_votes,
    all_instance,
    all_instance_votes,
    truncation,
    voxel_size,
    far,
    max_weight,
    min_weight,
    changed,
):
    """Fuse an image into blocks.

    Args:
        rows: (N,) of the blocks in the arrays `all_...`.
        corners: (N, 3), where a block begins, as (u * z, v * z, z): pixels times metres, and metres.
        offsets: (3, V), the way from there to each voxel of a block, in the same form.
        depth: (H, W) metres along the optical axis; NaN where nothing is measured, +inf for free space.
        facing: (H, W), what `surface_facing` finds.
        weight: (H, W) of the depth, in exact observations.
        colour: (H, W, 3) RGB.
        label: (H, W) ids, 255 unknown.
        label_weight: (H, W) of the label.
        instance: (H, W) of the map, 0 none.
        all_tsdf, all_weight, all_colour, all_label, all_votes, all_instance, all_instance_votes: the store's voxels
            (rows, V) or (rows, V, 3); changed.
        truncation: metres, as is the voxels' edge `voxel_size`.
        far: metres; voxels beyond are left alone.
        max_weight, min_weight: see MapperConfig.
        changed: (N,), set to whether anything that a mesh depends on has changed in a block.
    """
    height, width = depth.shape
    zero, one, near = np.float32(0.0), np.float32(1.0), np.float32(1e-3)
    depths, facings = depth.reshape(-1), facing.reshape(-1)
    weights, colours = weight.reshape(-1), colour.reshape(-1, 3)
    labels, label_weights, instances = label.reshape(-1), label_weight.reshape(-1), instance.reshape(-1)
    pixels = np.empty(offsets.shape[1], np.int32)
    away = np.empty(offsets.shape[1], np.float32)
    for block in range(len(rows)):
        row = rows[block]
        corner_u, corner_v, corner_z = corners[block, 0], corners[block, 1], corners[block, 2]
        for voxel in range(len(pixels)):  # without branches, so that several voxels are done at once
            z = corner_z + offsets[2, voxel]
            u = np.rint((corner_u + offsets[0, voxel]) / z)
            v = np.rint((corner_v + offsets[1, voxel]) / z)
            inside = (near < z) & (z < far) & (zero <= u) & (u < width) & (zero <= v) & (v < height)
            pixels[voxel] = np.int32(v) * np.int32(width) + np.int32(u) if inside else np.int32(-1)
            away[voxel] = z
        matters = False
        for voxel in range(len(pixels)):
            pixel = pixels[voxel]
            if pixel < 0:
                continue
            distance = (depths[pixel] - away[voxel]) * facings[pixel]
            if not distance > -truncation:  # NaN compares false
                continue
            # What lies behind a surface is not seen: a thin thing must not put into the air what it hides.
            seen = weights[pixel] * min((distance + truncation) / (truncation - voxel_size), one)
            old_tsdf, old_weight = all_tsdf[row, voxel], all_weight[row, voxel]
            new_weight = old_weight + seen
            all_weight[row, voxel] = min(new_weight, max_weight)
            if distance >= truncation and old_tsdf == one:  # free as before, the most frequent case by far
                matters |= old_weight < min_weight <= new_weight
                continue
            tsdf = min(distance / truncation, one)
            new_tsdf = (old_tsdf * old_weight + tsdf * seen) / new_weight
            all_tsdf[row, voxel] = new_tsdf
            if tsdf == one:
                matters |= new_tsdf != old_tsdf or old_weight < min_weight <= new_weight
                continue
            matters = True
            share = seen / new_weight
            mixed = all_colour[row, voxel]
            if mixed[0] == zero and mixed[1] == zero and mixed[2] == zero:
                share = one  # the first colour counts in full
            for channel in range(3):
                mixed[channel] += (np.float32(colours[pixel, channel]) - mixed[channel]) * share
            if labels[pixel] == UNKNOWN or not label_weights[pixel] > zero:
                continue
            lead = all_votes[row, voxel]
            lead += label_weights[pixel] if all_label[row, voxel] == labels[pixel] else -label_weights[pixel]
            if lead < zero:
                all_label[row, voxel] = labels[pixel]
            all_votes[row, voxel] = min(abs(lead), max_weight)
            if instances[pixel] == 0:
                continue
            looks = np.int64(all_instance_votes[row, voxel])
            looks += 1 if all_instance[row, voxel] == instances[pixel] else -1
            if looks < 0:
                all_instance[row, voxel] = instances[pixel]
            all_instance_votes[row, voxel] = min(abs(looks), MOST_LOOKS)
        changed[block] = matters
