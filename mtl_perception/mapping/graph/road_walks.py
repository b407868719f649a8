# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Walks over the places of streets, compiled: how far it is, what hangs together, how many arms of road lead away.

Ways are given as `steps`, `neighbours` and `ways` (see `squares` and `places`); `kinds` is a field, and `mask` has the
bits of the kinds on which a walk stays.
"""

from __future__ import annotations

import heapq

import numpy as np
from numba import int32, int64, uint8
from numpy.typing import NDArray

from mtl_perception.core.compiled import compiled
from mtl_perception.mapping.graph.square_ways import WAYS, over_way

EDGE, DIAGONAL = 1000, 1414
"""The lengths of ways to squares beside and across corners. Whole numbers: sums do not depend on their order."""
FAR = np.int32(2**31 - 1)


def prepare() -> None:
    """Compile the functions of this module unless that has been done: so that no frame waits for it."""
    nodes, kinds = int64[::1], uint8[::1]
    spread.compile((nodes, int64, int64, *WAYS, kinds, int32[::1], nodes))
    parts_of.compile((nodes, *WAYS, nodes))
    count_arms.compile((nodes, int64, *WAYS, kinds, int64[:, ::1], int64))


@compiled
def spread(sources, limit, mask, steps, neighbours, ways, kinds, distance, source):  # type: ignore[no-untyped-def]
    """Find what is nearer to some places than to those from which was spread before (Dijkstra, 1959).

    Args:
        sources: (N,) nodes; those of other kinds are left out.
        limit: how far to go, in units of `EDGE`.
        mask, steps, neighbours, ways, kinds: see above.
        distance: per node, `FAR` or how far it is so far; changed.
        source: per node, from where; changed.

    Returns:
        The nodes (M,) that are nearer now, the nearest first.
    """
    heap = [(np.int64(0), np.int64(0))]
    heap.pop()
    for node in sources:
        if mask & (1 << kinds[node]) and distance[node] > 0:
            distance[node], source[node] = 0, node
            heapq.heappush(heap, (np.int64(0), np.int64(node)))
    found = [np.int64(0)]
    found.pop()
    while heap:
        here, node = heapq.heappop(heap)
        if here != distance[node]:
            continue
        found.append(node)
        for way in range(len(steps)):
            for sign in (1, -1):
                other = over_way(node, way, sign, steps, neighbours, ways)
                there = here + (EDGE if way < 2 else DIAGONAL)
                if other >= 0 and there <= limit and mask & (1 << kinds[other]) and there < distance[other]:
                    distance[other], source[other] = there, source[node]
                    heapq.heappush(heap, (np.int64(there), np.int64(other)))
    return np.array(found, dtype=np.int64)


@compiled
def parts_of(nodes, steps, neighbours, ways, part):  # type: ignore[no-untyped-def]
    """Number the parts of `nodes` (N,) that hang together, in the order of their first nodes.

    Args:
        nodes: (N,), all that can be reached from any of them on what counts.
        steps, neighbours, ways: see above.
        part: per node, -1 at `nodes` and -2 elsewhere; set to the number.

    Returns:
        How many parts there are.
    """
    count = 0
    stack = [np.int64(0)]
    stack.pop()
    for start in nodes:
        if part[start] != -1:
            continue
        part[start] = count
        stack.append(start)
        while stack:
            node = stack.pop()
            for way in range(len(steps)):
                for sign in (1, -1):
                    other = over_way(node, way, sign, steps, neighbours, ways)
                    if other >= 0 and part[other] == -1:
                        part[other] = count
                        stack.append(other)
        count += 1
    return count


def rim_of(reach: int) -> NDArray[np.int64]:
    """Return the steps (8 * reach, 2), x y, to the rim of a window that reaches so many squares, once around it."""
    along = np.arange(-reach, reach)
    edge = np.full(2 * reach, reach)
    sides = [(along, -edge), (edge, along), (-along, edge), (-edge, -along)]
    return np.concatenate([np.stack(side, axis=1) for side in sides]).astype(np.int64)


@compiled
def count_arms(nodes, mask, steps, neighbours, ways, kinds, rim, least_width):  # type: ignore[no-untyped-def]
    """Count by how many arms one can leave the surroundings of places without leaving the road.

    Args:
        nodes: (N,).
        mask, steps, neighbours, ways, kinds: see above.
        rim: (R, 2) of the surroundings, see `rim_of`.
        least_width: squares of an arm at the rim. A gap of one square does not part it.

    Returns:
        (N,) counts.
    """
    reach = rim[:, 0].max()
    size = 2 * reach + 1
    result = np.zeros(len(nodes), dtype=np.int64)
    seen = np.zeros((size, size), dtype=np.bool_)
    stack = [(np.int64(0), np.int64(0), np.int64(0))]
    stack.pop()
    for index in range(len(nodes)):
        seen[:] = False
        seen[reach, reach] = True
        stack.append((np.int64(nodes[index]), reach, reach))
        while stack:
            node, x, y = stack.pop()
            for way in range(len(steps)):
                for sign in (1, -1):
                    to_x, to_y = x + sign * steps[way, 0], y + sign * steps[way, 1]
                    if not (0 <= to_x < size and 0 <= to_y < size) or seen[to_y, to_x]:
                        continue
                    other = over_way(node, way, sign, steps, neighbours, ways)
                    if other >= 0 and mask & (1 << kinds[other]):
                        seen[to_y, to_x] = True
                        stack.append((other, to_x, to_y))
        result[index] = _runs(seen, rim, reach, least_width)
    return result


@compiled
def _runs(seen, rim, reach, least_width):  # type: ignore[no-untyped-def]
    """Return how many runs of at least `least_width` there are along a closed rim, over gaps of one."""
    count = len(rim)
    start = -1  # after a gap of two, so that no run goes over the end
    for place in range(count):
        one, two = rim[place], rim[(place + 1) % count]
        if not seen[reach + one[1], reach + one[0]] and not seen[reach + two[1], reach + two[0]]:
            start = place + 2
            break
    if start < 0:
        return 1
    runs, width, gap = 0, 0, 2
    for place in range(start, start + count):
        step = rim[place % count]
        if seen[reach + step[1], reach + step[0]]:
            width += 1
            gap = 0
            if width == least_width:
                runs += 1
        else:
            gap += 1
            if gap >= 2:
                width = 0
    return runs
