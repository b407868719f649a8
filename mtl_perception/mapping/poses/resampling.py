# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Voxel blocks moved by rigid transforms onto the lattice again, compiled.

Each block moves by a transform of its own. Neighbours move almost alike, so between them there may be a slit or an
overlap of a fraction of a voxel: a block reaches a margin of one voxel beyond its faces, which counts only where no
other block says anything.
"""

from __future__ import annotations

import numpy as np
from numba import types

from mtl_perception.core import UNKNOWN
from mtl_perception.core.compiled import compiled
from mtl_perception.mapping.fusion.blocks import BLOCK

MARGIN = 1.0
"""Voxels by which a block reaches beyond its faces."""

_MARGIN_SHARE = np.float32(1e-3)
_LEAST_SHARE = 0.5  # of the eight voxels around a point, by their weights in the interpolation, that must be known

_Floats = types.Array(types.float32, 2, "C")
_Doubles = types.Array(types.float64, 2, "C")
_Colours = types.Array(types.float32, 3, "C")
_Bytes = types.Array(types.uint8, 2, "C")
_Words = types.Array(types.uint16, 2, "C")
_Integers = types.Array(types.int64, 1, "C")
_VOXELS = (_Floats, _Floats, _Colours, _Bytes, _Floats, _Words, _Bytes)
_RESAMPLE = (
    *(types.Array(types.int32, 2, "C"), types.Array(types.int32, 4, "C"), types.Array(types.float64, 3, "C"), _Doubles),
    *(_Integers, _Integers, *_VOXELS, types.Array(types.int32, 1, "C"), types.int64, types.Array(types.int32, 3, "C")),
    *(*_VOXELS, _Floats, types.Array(types.int64, 2, "C"), types.Array(types.int64, 1, "C")),
)
_NEIGHBOURS = (
    *(_Integers, _Integers, types.Array(types.int32, 2, "C"), types.Array(types.float64, 3, "C"), _Doubles),
    types.Array(types.int32, 4, "C"),
)


def prepare() -> None:
    """Compile the functions of this module unless that has been done."""
    resample.compile(_RESAMPLE)
    find_neighbours.compile(_NEIGHBOURS)


@compiled
def find_neighbours(packed, first_ns, keys, rotations, translations, found):  # type: ignore[no-untyped-def]
    """Find the blocks around each block, of those at the same place the one of the most similar time.

    A neighbour that moves otherwise by more than a voxel belongs to another visit, and is none.

    Args:
        packed: (N,) of all blocks, rising; several may be at one place.
        first_ns: (N,), when each was first measured.
        keys: (N, 3).
        rotations, translations: (N, 3, 3) and (N, 3) of the blocks, voxels.
        found: (N, 3, 3, 3), z y x, set to numbers of blocks, -1 where there is none.
    """
    for block in range(len(packed)):
        centre = (keys[block].astype(np.float64) + 0.5) * BLOCK
        here = rotations[block] @ centre + translations[block]
        for dz in range(-1, 2):
            for dy in range(-1, 2):
                for dx in range(-1, 2):
                    best, nearest = -1, np.int64(0)
                    there = packed[block] + (np.int64(dx) << 42) + (np.int64(dy) << 21) + np.int64(dz)
                    place = np.searchsorted(packed, there)
                    while place < len(packed) and packed[place] == there:
                        apart = abs(first_ns[place] - first_ns[block])
                        off = rotations[place] @ centre + translations[place] - here
                        if (off * off).sum() <= 1.0 and (best < 0 or apart < nearest):
                            best, nearest = place, apart
                        place += 1
                    found[block, dz + 1, dy + 1, dx + 1] = best


@compiled
def resample(  # type: ignore[no-untyped-def]
    keys,
    neighbours,
    rotations,
    translations,
    first_ns,
    last_ns,
    tsdf,
    weight,
    colour,
    label,
    votes,
    instance,
    instance_votes,
    corner,
    edge,
    rows,
    to_tsdf,
    to_weight,
    to_colour,
    to_label,
    to_votes,
    to_instance,
    to_instance_votes,
    to_share,
    to_stamps,
    counts,
):
    """Move blocks, and add what they say to blocks of a cube. `finish` makes voxels of the sums.

    Args:
        keys: (N, 3) of the blocks that move.
        neighbours: (N, 3, 3, 3), z y x, the rows of the blocks around each in the arrays `tsdf` to `instance_votes`,
            -1 where there is none; in the middle, its own.
        rotations, translations: (N, 3, 3) and (N, 3), new from old, voxels.
        first_ns, last_ns: (N,), when each was first and last measured.
        tsdf, weight, colour, label, votes, instance, instance_votes: voxels (M, VOXELS) or (M, VOXELS, 3).
        corner: (3,) key of the cube's first block.
        edge: of the cube, blocks.
        rows: (edge, edge, edge), z y x, set to the row of each block of the cube that something was added to, else -1.
        to_tsdf ... to_instance_votes: voxels of the rows, as above: `to_tsdf` and `to_weight` and `to_colour` are sums.
        to_share: (R, VOXELS), how many blocks said something, margins counting less.
        to_stamps: (R, 2), when each row was first and last measured: first as the block that says most of it.
        counts: (R,), how much that one says.

    Returns:
        How many rows there are; -1 if there was no room for all.
    """
    used = 0
    low, high = np.empty(3, np.int64), np.empty(3, np.int64)
    old, base, part = np.empty(3), np.empty(3, np.int64), np.empty(3)
    said = np.zeros(len(counts), np.int64)
    for block in range(len(keys)):
        rotation, translation = rotations[block], translations[block]
        middle = (keys[block].astype(np.float64) + 0.5) * BLOCK
        for axis in range(3):
            # the voxels that the moved block can reach: its centre, and as far as its corners with their margin
            centre = translation[axis]
            reach = 0.0
            for other in range(3):
                centre += rotation[axis, other] * middle[other]
                reach += abs(rotation[axis, other]) * (BLOCK / 2 + MARGIN)
            low[axis] = max(np.int64(np.ceil(centre - reach)), np.int64(corner[axis]) * BLOCK)
            high[axis] = min(np.int64(np.floor(centre + reach)), (np.int64(corner[axis]) + edge) * BLOCK - 1)
        for z in range(low[2], high[2] + 1):
            for y in range(low[1], high[1] + 1):
                for x in range(low[0], high[0] + 1):
                    inside = True
                    share = np.float32(1.0)
                    new_x, new_y, new_z = x - translation[0], y - translation[1], z - translation[2]
                    for axis in range(3):
                        value = rotation[0, axis] * new_x + rotation[1, axis] * new_y + rotation[2, axis] * new_z
                        value -= np.float64(keys[block, axis]) * BLOCK
                        if abs(value - np.rint(value)) < 1e-6:  # what does not move, stays as it is
                            value = np.rint(value)
                        if value < -MARGIN or value > BLOCK - 1 + MARGIN + 1e-9:
                            inside = False
                            break
                        if value < 0.0 or value >= BLOCK:
                            share = _MARGIN_SHARE
                        old[axis] = value
                        base[axis] = np.int64(np.floor(value))
                        part[axis] = value - base[axis]
                    if not inside:
                        continue
                    known, distance, certainty = 0.0, 0.0, 0.0
                    nearest_row, nearest_voxel, nearest_share = np.int64(-1), np.int64(0), 0.0
                    for step in range(8):
                        fraction = 1.0
                        row_at, voxel_at = np.int64(0), np.int64(0)
                        for axis in range(2, -1, -1):
                            more = (step >> axis) & 1
                            fraction *= part[axis] if more else 1.0 - part[axis]
                            at = base[axis] + more
                            offset = (at + BLOCK) // BLOCK  # 0, 1, 2: before, in, after the block
                            row_at = row_at * 3 + offset
                            voxel_at = voxel_at * BLOCK + (at + BLOCK) % BLOCK
                        if fraction <= 0.0:
                            continue
                        row = neighbours[block, row_at // 9, row_at // 3 % 3, row_at % 3]
                        if row < 0 or weight[row, voxel_at] <= 0.0:
                            continue
                        known += fraction
                        distance += fraction * tsdf[row, voxel_at]
                        certainty += fraction * weight[row, voxel_at]
                        if fraction > nearest_share:
                            nearest_row, nearest_voxel, nearest_share = np.int64(row), voxel_at, fraction
                    if known < _LEAST_SHARE:
                        continue
                    cell_x, cell_y, cell_z = x // BLOCK - corner[0], y // BLOCK - corner[1], z // BLOCK - corner[2]
                    to = np.int64(rows[cell_z, cell_y, cell_x])
                    if to < 0:
                        if used == len(to_tsdf):
                            return -1
                        to = np.int64(used)
                        rows[cell_z, cell_y, cell_x] = to
                        used += 1
                    voxel = (z % BLOCK * BLOCK + y % BLOCK) * BLOCK + x % BLOCK
                    amount = share * np.float32(certainty / known)
                    to_tsdf[to, voxel] += amount * np.float32(distance / known)
                    to_weight[to, voxel] += amount
                    to_share[to, voxel] += share
                    for channel in range(3):
                        to_colour[to, voxel, channel] += amount * colour[nearest_row, nearest_voxel, channel]
                    said[to] += share == np.float32(1.0)
                    vote = share * votes[nearest_row, nearest_voxel]
                    if label[nearest_row, nearest_voxel] == to_label[to, voxel]:
                        to_votes[to, voxel] += vote
                    elif vote > to_votes[to, voxel] or to_label[to, voxel] == UNKNOWN:
                        to_label[to, voxel] = label[nearest_row, nearest_voxel]
                        to_votes[to, voxel] = vote - to_votes[to, voxel]
                    else:
                        to_votes[to, voxel] -= vote
                    looks = np.int64(instance_votes[nearest_row, nearest_voxel])
                    lead = np.int64(to_instance_votes[to, voxel])
                    if share == np.float32(1.0) or lead == 0:
                        if instance[nearest_row, nearest_voxel] == to_instance[to, voxel]:
                            to_instance_votes[to, voxel] = max(lead, looks)
                        elif looks > lead or to_instance[to, voxel] == 0:
                            to_instance[to, voxel] = instance[nearest_row, nearest_voxel]
                            to_instance_votes[to, voxel] = looks
        _note_stamps(rows, corner, edge, low, high, said, counts, to_stamps, first_ns[block], last_ns[block])
    return used


@compiled
def _note_stamps(rows, corner, edge, low, high, said, counts, to_stamps, first_ns, last_ns):  # type: ignore[no-untyped-def]
    """Give the stamps of a block to the rows it has said something to; forget how much that was."""
    for z in range(low[2] // BLOCK - corner[2], high[2] // BLOCK - corner[2] + 1):
        for y in range(low[1] // BLOCK - corner[1], high[1] // BLOCK - corner[1] + 1):
            for x in range(low[0] // BLOCK - corner[0], high[0] // BLOCK - corner[0] + 1):
                if not (0 <= x < edge and 0 <= y < edge and 0 <= z < edge) or rows[z, y, x] < 0:
                    continue
                row = rows[z, y, x]
                if said[row] > counts[row]:
                    counts[row], to_stamps[row, 0] = said[row], first_ns
                if said[row]:
                    to_stamps[row, 1] = max(to_stamps[row, 1], last_ns)
                said[row] = 0


def finish(voxels: dict[str, np.ndarray], share: np.ndarray, max_weight: float) -> None:
    """Make voxels of the sums that `resample` has made, in place.

    Where several blocks overlap, their weights add up, to `max_weight` at most.
    """
    total = np.maximum(voxels["weight"], np.finfo(np.float32).tiny)
    voxels["tsdf"] /= total
    voxels["color"] /= total[..., None]
    scale = np.maximum(share, 1) / np.maximum(share, np.finfo(np.float32).tiny)
    voxels["weight"] = np.minimum(voxels["weight"] * scale, max_weight).astype(np.float32)
    nothing = voxels["weight"] <= 0
    voxels["tsdf"][nothing] = 0
    np.minimum(voxels["votes"], np.float32(max_weight), out=voxels["votes"])
