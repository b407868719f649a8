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

from mtl_perception.core.compiled import compiled
from mtl_perception.mapping.graph.square_ways import WAYS, over_way

EDGE, DIAGONAL = 1000, 1414
"""The lengths of ways to squares beside and across corners. Whole numbers: sums do not depend on their order."""
FAR = np.int32(2**31 - 1)
NARROW = 2
"""Squares to all sides of the middle of a narrow road."""
LEAST_ARM = 3
"""Squares that an arm is wide; less is a bay."""
WIDEST_GAP = 4
"""Squares between two runs of an arm: a median does not part it."""


def prepare() -> None:
    """Compile the functions of this module unless that has been done: so that no frame waits for it."""
    nodes, kinds = int64[::1], uint8[::1]
    spread.compile((nodes, int64, int64, *WAYS, kinds, int32[::1], nodes))
    parts_of.compile((nodes, *WAYS, nodes))
    count_arms.compile((nodes, int64, *WAYS, kinds, int64, int64, uint8[::1]))


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


@compiled
def count_arms(nodes, mask, steps, neighbours, ways, kinds, margin, largest_reach, reaches):  # type: ignore[no-untyped-def]
    """Count by how many arms one can leave the surroundings of places without leaving the road.

    The surroundings reach `margin` farther than a narrow road is wide, and twice as much farther as the road is wider
    than that to all sides: so the arms of a wide junction are seen from its middle, and a narrow road is not taken for
    a part of a junction far ahead.

    Args:
        nodes: (N,).
        mask, steps, neighbours, ways, kinds: see above.
        margin, largest_reach: squares.
        reaches: per node, set to the squares that its surroundings reach.

    Returns:
        (N,) counts.
    """
    size = 2 * largest_reach + 1
    result = np.zeros(len(nodes), dtype=np.int64)
    seen = np.zeros((size, size), dtype=np.bool_)
    stack = [(np.int64(0), np.int64(0), np.int64(0))]
    stack.pop()
    for index in range(len(nodes)):
        reach, wanted = np.int64(0), np.int64(margin + NARROW)
        while wanted > reach:
            reach = wanted
            low, high = largest_reach - reach, largest_reach + reach
            seen[:] = False
            seen[largest_reach, largest_reach] = True
            stack.append((np.int64(nodes[index]), largest_reach, largest_reach))
            while stack:
                node, x, y = stack.pop()
                for way in range(len(steps)):
                    for sign in (1, -1):
                        to_x, to_y = x + sign * steps[way, 0], y + sign * steps[way, 1]
                        if not (low <= to_x <= high and low <= to_y <= high) or seen[to_y, to_x]:
                            continue
                        other = over_way(node, way, sign, steps, neighbours, ways)
                        if other >= 0 and mask & (1 << kinds[other]):
                            seen[to_y, to_x] = True
                            stack.append((other, to_x, to_y))
            openness = max(_openness(seen, largest_reach, reach) - NARROW, 0)
            wanted = min(margin + NARROW + 2 * openness, largest_reach)
        reaches[nodes[index]] = reach
        result[index] = _runs(seen, largest_reach, reach, LEAST_ARM, min(reach // 2, WIDEST_GAP))
    return result


def openness_of(reach: int, margin: int) -> int:
    """Return by how many squares the road is wider to all sides than a narrow one; see `count_arms`."""
    return (reach - margin - NARROW) // 2


@compiled
def _openness(seen, centre, reach):  # type: ignore[no-untyped-def]
    """Return how many rings around the centre there are on which all is road."""
    for ring in range(1, reach + 1):
        for place in range(8 * ring):
            x, y = _on_rim(place, ring)
            if not seen[centre + y, centre + x]:
                return ring - 1
    return reach


@compiled
def _runs(seen, centre, reach, least_width, widest_gap):  # type: ignore[no-untyped-def]
    """Return how many runs of `least_width` or more there are along a closed rim, over gaps of up to `widest_gap`."""
    count = 8 * reach
    start, gap = -1, 0  # after a gap that parts, so that no run goes over the end
    for place in range(count + widest_gap):
        x, y = _on_rim(place % count, reach)
        gap = 0 if seen[centre + y, centre + x] else gap + 1
        if gap > widest_gap:
            start = place + 1
            break
    if start < 0:
        return 1
    runs, width = 0, 0
    for place in range(start, start + count):
        x, y = _on_rim(place % count, reach)
        if seen[centre + y, centre + x]:
            width += 1
            gap = 0
            if width == least_width:
                runs += 1
        else:
            gap += 1
            if gap > widest_gap:
                width = 0
    return runs


@compiled
def _on_rim(place, reach):  # type: ignore[no-untyped-def]
    """Return x and y of a place of the 8 * reach along the closed rim of a window, from its middle."""
    side, along = place // (2 * reach), place % (2 * reach) - reach
    if side == 0:
        return along, -reach
    if side == 1:
        return reach, along
    return (-along, reach) if side == 2 else (-reach, -along)
