# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How squares of the ground lie beside each other, and the free ways between them, compiled.

Squares are rows, nodes, of the fields of `Squares`; `neighbours` is its array, `steps` are `squares.STEPS`, and `ways`
is the field of `places` that has the bits of the ways that a square holds.
"""

from __future__ import annotations

import numpy as np
from numba import int64, uint8

from mtl_perception.core.compiled import compiled
from mtl_perception.mapping.graph.squares import BLOCK, SQUARES_OF_BLOCK

WAYS = (int64[:, ::1], int64[:, :, ::1], uint8[::1])
"""The types of `steps`, `neighbours` and `ways`."""


def prepare() -> None:
    """Compile the functions of this module unless that has been done: so that no frame waits for it."""
    are_linked.compile((int64[::1], *WAYS))
    ends_of_ways.compile((int64[::1], *WAYS))


@compiled
def neighbour(node, dx, dy, neighbours):  # type: ignore[no-untyped-def]
    """Return the node that is dx, dy (-1 to 1) squares away, or -1."""
    within = node % SQUARES_OF_BLOCK
    x, y = within % BLOCK + dx, within // BLOCK + dy
    block_x = 0 if x < 0 else (2 if x >= BLOCK else 1)
    block_y = 0 if y < 0 else (2 if y >= BLOCK else 1)
    block = neighbours[node // SQUARES_OF_BLOCK, block_y, block_x]
    return -1 if block < 0 else block * SQUARES_OF_BLOCK + (y % BLOCK) * BLOCK + x % BLOCK


@compiled
def over_way(node, way, sign, steps, neighbours, ways):  # type: ignore[no-untyped-def]
    """Return the node to which a way (0 to 3; there, sign 1, or from there, sign -1) leads from a place, or -1."""
    other = neighbour(node, sign * steps[way, 0], sign * steps[way, 1], neighbours)
    if other >= 0 and ways[node if sign > 0 else other] & np.uint8(1 << way):
        return other
    return np.int64(-1)


@compiled
def are_linked(nodes, steps, neighbours, ways):  # type: ignore[no-untyped-def]
    """Return whether a free way leads to each node (N,)."""
    result = np.zeros(len(nodes), dtype=np.bool_)
    for index in range(len(nodes)):
        for way in range(len(steps)):
            for sign in (1, -1):
                result[index] |= over_way(nodes[index], way, sign, steps, neighbours, ways) >= 0
    return result


@compiled
def ends_of_ways(nodes, steps, neighbours, ways):  # type: ignore[no-untyped-def]
    """Return the nodes (E, 2) at both ends of the free ways that nodes (N,) hold."""
    ends = np.empty((len(nodes) * len(steps), 2), dtype=np.int64)
    count = 0
    for node in nodes:
        for way in range(len(steps)):
            if ways[node] & np.uint8(1 << way):
                ends[count, 0], ends[count, 1] = node, neighbour(node, steps[way, 0], steps[way, 1], neighbours)
                count += 1
    return ends[:count]
