# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a grid's cells say about the squares of the ground and the ways between them, compiled.

Cells are given by their index in the world, x y; arrays of cells (H, W) begin at cell `corner`. Squares are rows of the
fields of `Squares`; those that are looked at are `nodes` (N,), with `squares` (N, 2), x y, and `low` and `high` (N, 2),
the cells that they have: from `low` up to, and without, `high`. `neighbours` is that of `Squares`.
"""

from __future__ import annotations

import numpy as np
from numba import boolean, float32, float64, int8, int32, int64, uint8, uint16

from mtl_perception.core.compiled import compiled
from mtl_perception.mapping.graph.square_ways import neighbour
from mtl_perception.mapping.ground.cell_marks import NO_GROUND
from mtl_perception.mapping.ground.grid_layers import LEAD_BITS

_Nodes = _Corner = int64[::1]
_Squares = int64[:, ::1]
_Around = int64[:, :, ::1]
_Layer, _Votes, _Seen = float32[:, ::1], uint8[:, ::1], boolean[:, ::1]
_Bytes, _Counts, _Floats, _Flags, _Cells = uint8[::1], uint16[::1], float32[::1], boolean[::1], int32[:, ::1]
_GROUND_FIELDS = (_Bytes, _Bytes, _Counts, _Floats)
_WHERE = (_Nodes, _Squares, _Squares, _Corner)


def prepare() -> None:
    """Compile the functions of this module unless that has been done: so that no frame waits for it."""
    any_seen.compile((*_WHERE[1:], _Seen))
    survey_ground.compile((*_WHERE, _Layer, _Votes, *_GROUND_FIELDS))
    survey_places.compile(
        (*_WHERE, _Around, _Layer, _Layer, _Votes, float64, *_GROUND_FIELDS)
        + (_Flags, _Cells, _Floats, _Floats, _Bytes, _Flags)
    )
    survey_rooms.compile(
        (*_WHERE, _Around, int8[:, ::1], _Seen, _Layer, float64, float64, _Flags, _Bytes, _Counts, _Floats)
        + (_Cells, _Floats, _Floats, _Counts, _Flags)
    )
    survey_ways.compile(
        (_Nodes, _Squares, _Corner, _Around, _Flags, _Layer, _Layer, _Votes, _Layer, float64, float64)
        + (_Bytes, _Flags, _Cells, _Floats, _Cells, _Floats, _Bytes, _Layer, _Flags, _Flags)
    )
    survey_homes.compile((_Nodes, _Corner, _Around, _Flags, _Layer, _Flags, _Cells, _Cells, _Floats, int64[::1]))


@compiled
def any_seen(low, high, corner, seen):  # type: ignore[no-untyped-def]
    """Return whether something was seen (N,) of squares; `seen` is a layer of `GroundGrid`."""
    result = np.zeros(len(low), dtype=np.bool_)
    for index in range(len(low)):
        for row in range(low[index, 1] - corner[1], high[index, 1] - corner[1]):
            for column in range(low[index, 0] - corner[0], high[index, 0] - corner[0]):
                result[index] |= seen[row, column]
    return result


@compiled
def survey_ground(  # type: ignore[no-untyped-def]
    nodes, low, high, corner, ground, vote, ground_class, low_class, ground_cells, ground_height
):
    """Find what the ground of squares is.

    Args:
        nodes, low, high, corner: see above.
        ground, vote: layers (H, W) of `GroundGrid`.
        ground_class: field, set to the most frequent class of the ground, 0 where there is none.
        low_class: field, set to the most frequent class of what lies low, which may be no ground.
        ground_cells: field, set to the number of cells of the ground.
        ground_height: field, set to the ground's mean height, metres; NaN where there is none.
    """
    counts = np.empty(NO_GROUND + 1, dtype=np.int64)
    for index in range(len(nodes)):
        counts[:] = 0
        total, known = 0.0, 0
        for row in range(low[index, 1] - corner[1], high[index, 1] - corner[1]):
            for column in range(low[index, 0] - corner[0], high[index, 0] - corner[0]):
                counts[vote[row, column] >> LEAD_BITS] += 1
                height = np.float64(ground[row, column])
                if height == height:  # NaN does not equal itself
                    total += height
                    known += 1
        node = nodes[index]
        best = 1 + np.argmax(counts[1:NO_GROUND])
        ground_class[node] = best if counts[best] > 0 else 0
        low_class[node] = NO_GROUND if counts[NO_GROUND] > counts[best] else ground_class[node]
        ground_cells[node] = known
        ground_height[node] = total / known if known else np.nan


@compiled
def survey_places(  # type: ignore[no-untyped-def]
    nodes,
    low,
    high,
    corner,
    neighbours,
    clearance,
    ground,
    vote,
    radius,
    ground_class,
    low_class,
    ground_cells,
    ground_height,
    is_place,
    place_cell,
    place_height,
    place_clearance,
    place_class,
    changed,
):
    """Find the clearest free cell of squares.

    Where nothing lies low that was seen in a cell, its ground is what it mostly is in its square, or else in the
    squares around.

    Args:
        nodes, low, high, corner, neighbours: see above.
        clearance: (H, W) metres to the nearest obstacle, NaN where unknown.
        ground, vote: layers (H, W) of `GroundGrid`.
        radius: the least clearance of a place, metres.
        ground_class, low_class, ground_cells, ground_height: fields, what `survey_ground` found.
        is_place, place_cell, place_height, place_clearance, place_class: fields, set.
        changed: (N,), set to whether a place has come, gone or got another class.
    """
    for index in range(len(nodes)):
        node = nodes[index]
        usual, usual_height = _ground_around(node, neighbours, ground_class, low_class, ground_cells, ground_height)
        best, best_apart, best_class = np.float32(-1.0), 0, 0
        best_x, best_y, best_height = 0, 0, np.float32(np.nan)
        for y in range(low[index, 1], high[index, 1]):
            for x in range(low[index, 0], high[index, 0]):
                row, column = y - corner[1], x - corner[0]
                room = clearance[row, column]
                if not room >= radius or room < best:
                    continue
                number = vote[row, column] >> LEAD_BITS
                if number == 0:
                    number = usual
                if number == 0 or number == NO_GROUND:
                    continue
                across, along = 2 * x + 1 - low[index, 0] - high[index, 0], 2 * y + 1 - low[index, 1] - high[index, 1]
                apart = across * across + along * along
                if room > best or apart < best_apart:  # of equals the one nearest to the middle
                    best, best_apart, best_class, best_x, best_y = room, apart, number, x, y
                    best_height = ground[row, column]
        there = best >= 0.0
        changed[index] = there != is_place[node] or place_class[node] != best_class
        is_place[node], place_class[node] = there, best_class
        place_cell[node, 0], place_cell[node, 1] = best_x, best_y
        place_clearance[node] = best if there else np.float32(np.nan)
        place_height[node] = usual_height if there and best_height != best_height else best_height


@compiled
def _ground_around(node, neighbours, ground_class, low_class, ground_cells, ground_height):  # type: ignore[no-untyped-def]
    """Return the class and the height of the ground in a square, or in those around where nothing lies low in it."""
    if low_class[node] != 0:
        return np.int64(low_class[node]), np.float64(ground_height[node])
    counts = np.zeros(NO_GROUND + 1, dtype=np.int64)
    sums = np.zeros(NO_GROUND + 1)
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            other = neighbour(node, dx, dy, neighbours)
            if other >= 0 and ground_class[other] != 0:
                counts[ground_class[other]] += ground_cells[other]
                sums[ground_class[other]] += ground_cells[other] * np.float64(ground_height[other])
    best = np.argmax(counts)
    return (best, sums[best] / counts[best]) if counts[best] > 0 else (np.int64(0), np.nan)


@compiled
def survey_rooms(  # type: ignore[no-untyped-def]
    nodes,
    low,
    high,
    corner,
    neighbours,
    walls,
    seen,
    wall_distance,
    resolution,
    farthest,
    is_of_rooms,
    ground_class,
    ground_cells,
    ground_height,
    open_cell,
    open_distance,
    known_distance,
    open_cells,
    changed,
):
    """Find the cell of squares that is farthest from walls, furniture or not.

    Args:
        nodes, low, high, corner, neighbours: see above.
        walls, seen: layers (H, W) of `GroundGrid`.
        wall_distance: (H, W) metres to the nearest wall, NaN where unknown.
        resolution: edge of a cell, metres.
        farthest: distances to what is unknown are told up to here, metres.
        is_of_rooms: (32,) which classes of the ground are.
        ground_class, ground_cells, ground_height: fields, what `survey_ground` found.
        open_cell: field, set to that cell.
        open_distance: field, set to its distance from walls; NaN where the square is not of rooms, or not seen.
        known_distance: field, set to its distance from walls and what is unknown.
        open_cells: field, set to how many cells of the square are known and no walls.
        changed: (N,), set to whether something has changed.
    """
    for index in range(len(nodes)):
        node = nodes[index]
        number, _ = _ground_around(node, neighbours, ground_class, ground_class, ground_cells, ground_height)
        best, best_x, best_y, count = np.float32(np.nan), 0, 0, 0
        known = np.float32(np.nan)
        if is_of_rooms[number]:
            for y in range(low[index, 1], high[index, 1]):
                for x in range(low[index, 0], high[index, 0]):
                    row, column = y - corner[1], x - corner[0]
                    if not seen[row, column] or walls[row, column] > 0:
                        continue
                    count += 1
                    if not wall_distance[row, column] <= best:  # true of the first: NaN compares false
                        best, best_x, best_y = wall_distance[row, column], x, y
        if count:
            row, column = best_y - corner[1], best_x - corner[0]
            known = min(best, np.float32(_to_unknown(seen, row, column, resolution, min(farthest, np.float64(best)))))
        old, old_known = open_distance[node], known_distance[node]
        changed[index] = (best != old and (best == best or old == old)) or open_cells[node] != count
        changed[index] |= known != old_known and (known == known or old_known == old_known)
        changed[index] |= open_cell[node, 0] != best_x or open_cell[node, 1] != best_y
        open_cell[node, 0], open_cell[node, 1] = best_x, best_y
        open_distance[node], known_distance[node], open_cells[node] = best, known, count


@compiled
def _to_unknown(seen, row, column, resolution, farthest):  # type: ignore[no-untyped-def]
    """Return how far a cell is from the nearest that was not seen, up to `farthest`, metres."""
    height, width = seen.shape
    reach = np.int64(np.ceil(farthest / resolution + 0.5))
    best = (reach + 1) * (reach + 1)
    for ring in range(1, reach + 1):
        if ring * ring >= best:
            break
        for along in range(-ring, ring + 1):
            for dy, dx in ((-ring, along), (ring, along), (along, -ring), (along, ring)):
                y, x = row + dy, column + dx
                if not (0 <= y < height and 0 <= x < width) or not seen[y, x]:
                    best = min(best, np.int64(dy * dy + dx * dx))
    return min((np.sqrt(np.float64(best)) - 0.5) * resolution, farthest)


@compiled
def survey_ways(  # type: ignore[no-untyped-def]
    nodes,
    steps,
    corner,
    neighbours,
    surveyed,
    clearance,
    ground,
    vote,
    wall_distance,
    least_clearance,
    highest_step,
    low_class,
    is_place,
    place_cell,
    place_height,
    open_cell,
    open_distance,
    ways,
    necks,
    changed_ways,
    changed_necks,
):
    """Find which ways between neighbouring squares are free, and how far from walls they stay.

    There is none between two places whose ground was only taken to go on from squares around: it may not be the same.

    Args:
        nodes, corner, neighbours: see above.
        steps: (4, 2), see `squares.STEPS`.
        surveyed: field, whether a square lies within the grid; ways to others stay as they are between places.
        clearance, ground, vote, wall_distance: (H, W), as above.
        least_clearance: all along a free way, metres.
        highest_step: of the ground along a free way, metres.
        low_class, is_place, place_cell, place_height, open_cell, open_distance: fields, what was found before.
        ways: field, set to bits: which of the four ways are free.
        necks: field (..., 4), set to the least distance from walls along each way between the squares' open cells;
            -1 where there is no way.
        changed_ways, changed_necks: (N,), set to whether something has changed.
    """
    for index in range(len(nodes)):
        node = nodes[index]
        free = np.uint8(0)
        changed_ways[index], changed_necks[index] = False, False
        for way in range(len(steps)):
            other = neighbour(node, steps[way, 0], steps[way, 1], neighbours)
            if other >= 0 and not (surveyed[node] and surveyed[other]):
                free |= ways[node] & np.uint8((is_place[node] and is_place[other]) << way)
                continue
            neck = np.float32(-1.0)
            if other >= 0:
                known = low_class[node] != 0 or low_class[other] != 0
                if known and is_place[node] and is_place[other] and _is_free(
                    place_cell[node], place_cell[other], place_height[node], place_height[other], corner,
                    clearance, ground, vote, least_clearance, highest_step,
                ):  # fmt: skip
                    free |= np.uint8(1 << way)
                if open_distance[node] == open_distance[node] and open_distance[other] == open_distance[other]:
                    neck = _neck(open_cell[node], open_cell[other], corner, wall_distance)
            if necks[node, way] != neck:
                changed_necks[index] = True
                necks[node, way] = neck
        if ways[node] != free:
            changed_ways[index] = True
            ways[node] = free


@compiled
def survey_homes(  # type: ignore[no-untyped-def]
    nodes, corner, neighbours, surveyed, wall_distance, is_place, place_cell, open_cell, open_distance, home
):
    """Find with which square a place goes: its own, or one beside it where a wall runs through its own.

    Args:
        nodes, corner, neighbours: see above.
        surveyed: field, whether a square lies within the grid.
        wall_distance: (H, W), as above.
        is_place, place_cell, open_cell, open_distance: fields, what was found before.
        home: field, set to the node of the square to whose open cell the way keeps farthest from walls; -1 for none.
    """
    for node in nodes:
        home[node] = -1
        if not is_place[node]:
            continue
        best = np.float32(0.0)
        if open_distance[node] == open_distance[node]:  # NaN does not equal itself
            best = _neck(place_cell[node], open_cell[node], corner, wall_distance)
        if best > 0.0:
            home[node] = node
            continue
        for dy in range(-1, 2):
            for dx in range(-1, 2):
                other = neighbour(node, dx, dy, neighbours)
                if other >= 0 and surveyed[other] and open_distance[other] == open_distance[other]:
                    neck = _neck(place_cell[node], open_cell[other], corner, wall_distance)
                    if neck > best:
                        best, home[node] = neck, other


@compiled
def _is_free(  # type: ignore[no-untyped-def]
    start, end, start_height, end_height, corner, clearance, ground, vote, least_clearance, highest_step
):
    """Return whether the straight way between two cells keeps clear of obstacles, on ground without high steps."""
    count = 2 * max(abs(end[0] - start[0]), abs(end[1] - start[1]))
    height = start_height
    for sample in range(count + 1):
        share = sample / max(count, 1)
        column = np.int64(np.floor(start[0] + share * (end[0] - start[0]) + 0.5)) - corner[0]
        row = np.int64(np.floor(start[1] + share * (end[1] - start[1]) + 0.5)) - corner[1]
        if not clearance[row, column] >= least_clearance or vote[row, column] >> LEAD_BITS == NO_GROUND:
            return False
        now = ground[row, column]
        if now == now:  # NaN does not equal itself
            if abs(now - height) > highest_step:
                return False
            height = now
    return abs(end_height - height) <= highest_step


@compiled
def _neck(start, end, corner, wall_distance):  # type: ignore[no-untyped-def]
    """Return how far from walls one can stay between two cells: straight or around a corner, whichever is best."""
    best = np.float32(-1.0)
    for middle_x, middle_y in ((start[0], start[1]), (end[0], start[1]), (start[0], end[1])):
        least = min(
            _least(start[0], start[1], middle_x, middle_y, corner, wall_distance),
            _least(middle_x, middle_y, end[0], end[1], corner, wall_distance),
        )
        best = max(best, least)
    return best


@compiled
def _least(x0, y0, x1, y1, corner, wall_distance):  # type: ignore[no-untyped-def]
    """Return the least distance from walls on the straight way between two cells; -1 through walls or the unknown."""
    count = 2 * max(abs(x1 - x0), abs(y1 - y0))
    least = np.float32(np.inf)
    for sample in range(count + 1):
        share = sample / max(count, 1)
        column = np.int64(np.floor(x0 + share * (x1 - x0) + 0.5)) - corner[0]
        row = np.int64(np.floor(y0 + share * (y1 - y0) + 0.5)) - corner[1]
        if not wall_distance[row, column] > 0.0:
            return np.float32(-1.0)
        least = min(least, wall_distance[row, column])
    return least
