# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A static thing in the map, and what the registry of all of them continues from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_perception.mapping.graph.object_ids import Identity, Vanished


@dataclass(frozen=True, eq=False)
class MapObject:
    """A static thing in the map, in the world frame. It is replaced by another when anything about it changes.

    Attributes:
        id: stable over updates, never used again.
        label: label id.
        instance: the number by which the map tells it from others of its class that it may touch; 0: it does not.
        confidence: 0..1, mean over its vertices of how clearly their label leads its vote.
        class_share: 0..1, its vertices' share of the confidence of all vertices with a class in its cells. It is less
            than 1 where classes are mixed, and also where it touches another surface.
        centroid: (3,) mean of its surface, metres, see `Surface`.
        minimum, maximum: (3,) corners of its axis-aligned box, metres.
        colour: mean RGB 0..255.
        vertices: how many mesh vertices it has.
        first_seen_ns, last_seen_ns: stamps of the first and last frame that measured it.
        absorbed: ids of objects that have merged with it, in order; they come back when it splits.
        blocks: int32 (B, 3), keys of the mesh blocks that hold its vertices, in order.
        cells: sorted packed cells of edge `object_gap` that it fills, by which it is recognised.
    """

    id: int
    label: int
    instance: int
    confidence: float
    class_share: float
    centroid: NDArray[np.float64]
    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]
    colour: tuple[int, int, int]
    vertices: int
    first_seen_ns: int
    last_seen_ns: int
    absorbed: tuple[int, ...]
    blocks: NDArray[np.int32]
    cells: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ObjectsState:
    """What a registry continues from.

    Attributes:
        next_id: the next new id.
        objects: as reported, by id.
        identities: of each object.
        vanished: the ids that can still come back, in the order of vanishing.
        blocks: (N,) packed key of the block of each entry, in order.
        entries: `SUMMARY` (N,), in a block by cell and kind.
    """

    next_id: int
    objects: tuple[MapObject, ...]
    identities: tuple[Identity, ...]
    vanished: tuple[Vanished, ...]
    blocks: NDArray[np.int64]
    entries: NDArray
