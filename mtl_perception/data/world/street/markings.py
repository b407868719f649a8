# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Paint on roadways as thin sheets just above the asphalt: lines, stop lines, arrows, bays and zebra crossings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mtl_perception.data.world import shapes
from mtl_perception.data.world.scene import Mesh, Scene, merged
from mtl_perception.data.world.street.ground import samples
from mtl_perception.data.world.street.roads import Crossing, Road, StreetPlan

PAINT_M = 0.004
"""Height of paint above the roadway."""

LINE_M = 0.13
STOP_M = 0.35
STOP_TO_CROSSING_M = 1.0
DASH_M, DASH_PERIOD_M = 3.0, 8.0
SOLID_BEFORE_M = 14.0
"""Centre lines are solid this far before junctions and crossings."""

Stretch = tuple[float, float]


def paint_roads(scene: Scene, plan: StreetPlan, generator: np.random.Generator, asphalt: NDArray[np.float64]) -> None:
    """Add all paint of a plan; `asphalt` is the roadway's colour, which shows where the paint is worn off."""
    wear = float(generator.uniform(0.1, 0.75))
    white = generator.uniform(0.78, 0.9) * np.array([1.0, 1.0, 0.97])
    yellow = np.array([0.86, 0.66, 0.12])
    line = scene.material("paint", white, asphalt, (wear, 0.0, 0.0))
    middle = scene.material("paint", yellow if generator.random() < 0.25 else white, asphalt, (wear, 0.0, 0.0))
    period = float(generator.choice([0.9, 1.0, 1.1]))
    zebra = scene.material("paint", white, asphalt, (wear, period, 0.5))
    lines: list[Mesh] = []
    for index, road in enumerate(plan.roads):
        if road.marked:
            lines += _lane_lines(plan, index, middle, line)
    lines += _bay_lines(plan, line)
    lines += _stops(plan, line)
    lines += _arrows(plan, line)
    if lines:
        scene.add(merged(lines), "road", layer="lane_marking")
    if plan.crossings:
        stripes = [_zebra(plan.roads[crossing.road], crossing, zebra) for crossing in plan.crossings]
        scene.add(merged(stripes), "road", layer="crossing")


def _lane_lines(plan: StreetPlan, index: int, middle: int, line: int) -> list[Mesh]:
    road = plan.roads[index]
    result = []
    for low, high in _open_stretches(plan, index):
        edge = road.half - road.parking - (0.0 if road.parking > 0 else 0.3)
        for side in (1, -1):
            if road.parking == 0.0:
                result.append(_line(road, low, high, side * edge, line))
            for lane in range(1, road.lanes):
                d = side * (road.median + lane * road.lane)
                result += _dashes(road, low, high, d, line)
            if road.median > 0:
                result.append(_line(road, low, high, side * (road.median + 0.25), line))
        if road.median == 0.0:
            result += _centre_line(road, low, high, middle)
    return result


def _centre_line(road: Road, low: float, high: float, material: int) -> list[Mesh]:
    """Return a double line between several lanes, else dashes that turn solid before junctions."""
    if road.lanes > 1:
        return [_line(road, low, high, d, material) for d in (0.13, -0.13)]
    if high - low < 2.5 * SOLID_BEFORE_M:
        return [_line(road, low, high, 0.0, material)]
    ends = [(low, low + SOLID_BEFORE_M), (high - SOLID_BEFORE_M, high)]
    solid = [_line(road, first, last, 0.0, material) for first, last in ends]
    return [*solid, *_dashes(road, ends[0][1] + 2.0, ends[1][0] - 2.0, 0.0, material)]


def _bay_lines(plan: StreetPlan, material: int) -> list[Mesh]:
    """Return the lines between bays and along them."""
    result = []
    for bay in plan.bays:
        road = plan.roads[bay.road]
        inner, outer = bay.side * (road.half - road.parking), bay.side * (road.half - 0.15)
        for s in (bay.s - bay.length / 2, bay.s + bay.length / 2):
            result.append(_patch(road, (s - 0.05, s + 0.05), (inner, outer), material))
        result.append(_line(road, bay.s - bay.length / 2, bay.s + bay.length / 2, inner, material, 0.1))
    return result


def _stops(plan: StreetPlan, material: int) -> list[Mesh]:
    """Return the lines where one stops or gives way: at lights, before crossings, and at the ends of side roads."""
    result = []
    for junction in plan.junctions:
        approaches = [
            (junction.other, arm, junction.other_half, not junction.has_traffic_lights) for arm in junction.arms
        ]
        if junction.has_traffic_lights:
            approaches += [(0, side, junction.half, False) for side in (1, -1)]
        for index, side, reach, gives_way in approaches:
            centre = junction.s if index == 0 else junction.other_s
            road, away = plan.roads[index], stop_distance(plan, index, centre, side, reach)
            s = centre + side * away
            inner, outer = (side * plan.side * d for d in (road.median + 0.1, road.half - road.parking - 0.1))
            if not gives_way:
                result.append(_patch(road, (s - STOP_M / 2, s + STOP_M / 2), (inner, outer), material))
                continue
            for d in np.arange(road.median + 0.15, road.half - road.parking - 0.5, 0.9):
                edges = (side * plan.side * d, side * plan.side * (d + 0.5))
                result.append(_patch(road, (s - STOP_M / 2, s + STOP_M / 2), edges, material))
    return result


def stop_distance(plan: StreetPlan, index: int, centre: float, side: int, reach: float) -> float:
    """Return how far from a junction's middle the stop line of a road is: before its corner, or before the crossing."""
    away = reach + 0.5
    for crossing in plan.crossings:
        gap = (crossing.s - centre) * side
        if crossing.road == index and 0 < gap < reach + 6.0:
            away = gap + crossing.half_width + STOP_TO_CROSSING_M
    return away


def _arrows(plan: StreetPlan, material: int) -> list[Mesh]:
    """Return arrows in the lanes before junctions with lights."""
    result = []
    for junction in plan.junctions:
        if not junction.has_traffic_lights:
            continue
        road = plan.roads[0]
        for side in (1, -1):
            away = stop_distance(plan, 0, junction.s, side, junction.half) + 9.0
            s = junction.s + side * away
            if plan.is_junction(0, s, 4.0) or plan.is_crossing(0, s, 4.0) or not road.start < s < road.end:
                continue
            for lane in range(road.lanes):
                d = road.lane_offset(lane, -side, plan.side)
                result.append(_patch(road, (s - 1.6, s + 1.6), (d - 0.08, d + 0.08), material))
                tip, wings = s - side * 2.8, s - side * 1.6
                points = road.line.points([tip, wings, wings], [d, d - side * 0.45, d + side * 0.45], PAINT_M)
                texture = np.array([[(d, tip, 0), (d - 0.45, wings, 0), (d + 0.45, wings, 0)]])
                result.append(shapes.triangles(points[None], texture, material))
    return result


def _zebra(road: Road, crossing: Crossing, material: int) -> Mesh:
    low, high = crossing.s - crossing.half_width, crossing.s + crossing.half_width
    return _patch(road, (low, high), (-road.half + 0.25, road.half - 0.25), material)


def _open_stretches(plan: StreetPlan, index: int) -> list[Stretch]:
    """Return from where to where (s) lines run along a road: not through junctions, crossings and stops."""
    road = plan.roads[index]
    gaps = [(c.s - c.half_width - 1.4, c.s + c.half_width + 1.4) for c in plan.crossings if c.road == index]
    gaps += plan.junction_spans(index)
    result, s = [], road.start
    for low, high in [*sorted(gaps), (road.end, road.end)]:
        if low - s > 3.0:
            result.append((s, low))
        s = max(s, high)
    return result


def _dashes(road: Road, low: float, high: float, d: float, material: int) -> list[Mesh]:
    starts = np.arange(low + 1.0, high - DASH_M, DASH_PERIOD_M)
    return [_patch(road, (s, s + DASH_M), (d - LINE_M / 2, d + LINE_M / 2), material) for s in starts]


def _line(road: Road, low: float, high: float, d: float, material: int, width: float = LINE_M) -> Mesh:
    s = samples(road, low, high)
    return _sheet(road, s, d - width / 2, d + width / 2, material)


def _patch(road: Road, s: Stretch, d: Stretch, material: int) -> Mesh:
    return _sheet(road, np.array(s), min(d), max(d), material)


def _sheet(road: Road, s: NDArray[np.float64], right: float, left: float, material: int) -> Mesh:
    """Return a flat sheet of paint between two offsets of the centre line; texture is d, s."""
    on_left, on_right = (np.stack([np.full(len(s), d), s], axis=-1) for d in (left, right))
    points = [road.line.points(s, d, PAINT_M) for d in (left, right)]
    return shapes.strip(points[0], points[1], on_left, on_right, material)
