# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The blocks of two maps joined: this one's, and another's that were moved onto its lattice."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mtl_perception.mapping.fusion.blocks import pack, unpack
from mtl_perception.mapping.fusion.instances import NONE
from mtl_perception.mapping.fusion.measured import others_of, stamp_of_other
from mtl_perception.mapping.window.region_file import Region


def joined_region(ours: Region | None, theirs: Region, robots_before: int, max_weight: float) -> Region:
    """Return a region with the blocks of both maps; its meshes are ours, and not those of its voxels any more.

    What both have seen is fused as two looks of one robot would be: distances and colours are weighted means, weights
    add up, and labels vote. A thing keeps our number where it has one. Voxels that only we have seen stay bit by bit
    as they are. Blocks that only they have are stamped with the number of the robot that measured them.

    Args:
        ours: with voxels and meshes; None if there are no blocks there.
        theirs: with voxels, whose instances are numbers of ours.
        robots_before: how many other robots this map knows already.
        max_weight: of a voxel.
    """
    seen_ns = stamp_of_other(robots_before + 1) + others_of(theirs.seen_ns)
    if ours is None:
        return Region(theirs.region, theirs.keys, seen_ns, {}, theirs.voxels)
    keys, first = np.unique(pack(np.concatenate([ours.keys, theirs.keys])), return_index=True)
    stamps = np.concatenate([ours.seen_ns, seen_ns])[first]
    voxels: dict[str, NDArray] = {
        name: np.concatenate([array, theirs.voxels[name]])[first] for name, array in ours.voxels.items()
    }
    shared = np.flatnonzero(np.isin(pack(theirs.keys), pack(ours.keys)))
    rows = np.searchsorted(keys, pack(theirs.keys[shared]))
    one = {name: array[rows] for name, array in voxels.items()}
    other = {name: array[shared] for name, array in theirs.voxels.items()}
    for name, array in _fused(one, other, max_weight):
        voxels[name][rows] = array
    return Region(theirs.region, unpack(keys), stamps, ours.meshes, voxels)


def _fused(
    one: dict[str, NDArray], other: dict[str, NDArray], max_weight: float
) -> Iterator[tuple[str, NDArray]]:
    """Give the attributes (N, VOXELS, ...) of voxels of two blocks at each place, as one block has them."""
    ours, theirs = one["weight"], other["weight"]
    touched = theirs > 0
    share = theirs / np.maximum(ours + theirs, np.finfo(np.float32).tiny)
    yield "weight", np.where(touched, np.minimum(ours + theirs, np.float32(max_weight)), ours)
    yield "tsdf", np.where(touched, one["tsdf"] + share * (other["tsdf"] - one["tsdf"]), one["tsdf"])
    ours_black, theirs_black = (~part["color"].any(axis=-1, keepdims=True) for part in (one, other))  # no colour yet
    mixed = one["color"] + share[..., None] * (other["color"] - one["color"])
    yield "color", np.where(theirs_black, one["color"], np.where(ours_black, other["color"], mixed))

    same, stays = one["label"] == other["label"], one["votes"] >= other["votes"]
    lead = np.where(same, one["votes"] + other["votes"], np.abs(one["votes"] - other["votes"]))
    yield "votes", np.where(touched, np.minimum(lead, np.float32(max_weight)), one["votes"])
    yield "label", np.where(touched & ~stays, other["label"], one["label"])

    same, taken = one["instance"] == other["instance"], touched & (one["instance"] == NONE)
    looks = np.where(taken, other["instance_votes"], one["instance_votes"])
    most = np.maximum(one["instance_votes"], other["instance_votes"])
    yield "instance_votes", np.where(touched & same, most, looks)
    yield "instance", np.where(taken, other["instance"], one["instance"])
