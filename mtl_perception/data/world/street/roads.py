# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The roads of a street world, in several layouts: where they run, meet, are crossed, and where one may park.

Road 0 is the one the robot starts on: its s = 0 is the world's origin, heading along +x. Every other road meets it at a
right angle: its own s = 0 lies on road 0's centre line, +s leads to the left of road 0, and where two roads meet both
are straight. All roadways are the plane z = 0, pavements are `KERB_M` higher.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mtl_perception.data.world.paths import Centreline
from mtl_perception.data.world.street.layouts import STYLES, RoadStyle

KERB_M = 0.12
BEHIND_M = 90.0
"""How far road 0 reaches back from where the robot starts."""

BEYOND_M = 110.0
"""How far road 0 goes on after the farthest place that the robot can reach."""

STRAIGHT_M = 14.0
"""Roads are straight up to this far from the corners of a junction."""

CROSSING_TO_CORNER_M = 0.8
BAY_TO_CROSSING_M = 4.0


@dataclass(frozen=True, eq=False)
class Road:
    """One road; d is metres to the left of its centre line, s along it.

    Attributes:
        name: unique in the world.
        line: the centre line.
        start, end: where the road begins and ends (s).
        half: half the roadway's width, with median and parking, without pavements.
        median: half the width of the planted strip in the middle, 0 for none; junctions and crossings interrupt it.
        lanes: lanes each way, each `lane` metres wide.
        parking: width of the parking strip on each side, 0 for none.
        pavement: width of each pavement.
        marked: whether lines are painted on it.
    """

    name: str
    line: Centreline
    start: float
    end: float
    half: float
    median: float
    lanes: int
    lane: float
    parking: float
    pavement: float
    marked: bool

    @property
    def reach(self) -> float:
        """How far the road goes to either side, with its pavement."""
        return self.half + self.pavement

    @property
    def walkway(self) -> tuple[float, float]:
        """Where (|d|, from and to) nothing stands: lamps are nearer to the kerb, shelters on broad pavements beyond."""
        return self.half + min(0.9, 0.45 * self.pavement), self.reach - (1.9 if self.has_frontage else 0.25)

    @property
    def has_frontage(self) -> bool:
        """Whether the pavements are broad enough for things on the houses' side too."""
        return self.pavement > 3.4

    def lane_offset(self, index: int, direction: int, side: int) -> float:
        """Return d of the middle of a lane: 0 is nearest the road's middle; `direction` 1 drives along +s, -1 along -s.

        `side` is the plan's: +1 where one drives on the right.
        """
        return -direction * side * (self.median + (index + 0.5) * self.lane)


@dataclass(frozen=True)
class Crossing:
    """A zebra crossing from pavement to pavement, from s - half_width to s + half_width of a road."""

    road: int
    s: float
    half_width: float


@dataclass(frozen=True)
class Junction:
    """Where another road meets road 0.

    Attributes:
        s: on road 0.
        half: how far the junction reaches along road 0 from there: the other road's half width and the corner.
        other: index of the other road.
        other_s: where on the other road.
        other_half: how far the junction reaches along the other road.
        arms: the sides of road 0 to which the other road leads: +1 left, -1 right.
        corner: radius of the rounded kerbs.
        has_traffic_lights: else the other road gives way.
    """

    s: float
    half: float
    other: int
    other_s: float
    other_half: float
    arms: tuple[int, ...]
    corner: float
    has_traffic_lights: bool


@dataclass(frozen=True)
class Bay:
    """A place to park along the kerb: its middle is s, on the left (+1) or right (-1) of a road."""

    road: int
    s: float
    side: int
    length: float


@dataclass(frozen=True, eq=False)
class StreetPlan:
    """A street world's roads.

    Attributes:
        layout: one of `LAYOUTS`.
        side: +1 where one drives on the right, -1 on the left.
        roads: road 0 first.
        junctions: along road 0, in the order of s.
        crossings, bays: of all roads.
        speed_limit: m/s; the roads are long enough for it.
    """

    layout: str
    side: int
    roads: tuple[Road, ...]
    junctions: tuple[Junction, ...]
    crossings: tuple[Crossing, ...]
    bays: tuple[Bay, ...]
    speed_limit: float

    def junction_spans(self, road: int) -> list[tuple[float, float]]:
        """Return from where to where (s) a road runs through junctions, in order."""
        if road == 0:
            return [(j.s - j.half, j.s + j.half) for j in self.junctions]
        return [(j.other_s - j.other_half, j.other_s + j.other_half) for j in self.junctions if j.other == road]

    def is_junction(self, road: int, s: float, margin: float = 0.0) -> bool:
        """Whether a place of a road is nearer to a junction than a margin."""
        return any(low - margin < s < high + margin for low, high in self.junction_spans(road))

    def is_crossing(self, road: int, s: float, margin: float = 0.0) -> bool:
        """Whether a place of a road is nearer to a crossing than a margin."""
        return any(c.road == road and abs(s - c.s) < c.half_width + margin for c in self.crossings)

    def bay_centre(self, bay: Bay) -> tuple[float, float]:
        """Return s and d of a bay's middle on its road."""
        road = self.roads[bay.road]
        return bay.s, bay.side * (road.half - road.parking / 2)


LAYOUTS = tuple(STYLES)


def plan_street(generator: np.random.Generator, duration_s: float, layout: str | None = None) -> StreetPlan:
    """Draw the roads of a world in which the robot drives for `duration_s`; the layout is drawn too where not given.

    Raises:
        KeyError: the layout is not one of `LAYOUTS`.
    """
    chosen = str(generator.choice(LAYOUTS))
    layout = chosen if layout is None else layout
    style = STYLES[layout].roads
    speed = float(generator.uniform(*style.speed))
    end = speed * duration_s + BEYOND_M
    main = _main_road(style, generator, end)
    sketches = _sketch_junctions(style, generator, end)
    spans = [(s - other.half - corner, s + other.half + corner) for s, other, corner in sketches]
    main = replace(main, line=_curve(generator, -BEHIND_M, end, style.bend, spans))
    roads: list[Road] = [main]
    junctions: list[Junction] = []
    for s, other, corner in sketches:
        wish = (1, -1) if generator.random() < style.crossroads else (int(generator.choice([1, -1])),)
        reach = _other_length(layout, generator, speed * duration_s, not junctions)
        other = _placed(other, main, s, style.bend, reach, corner, generator)
        arms = tuple(arm for arm in wish if _is_free(_arm(other, arm), roads, main.reach + 1.0))
        if not arms:
            continue
        low, high = (other.start if -1 in arms else 0.0), (other.end if 1 in arms else 0.0)
        lit = bool(generator.random() < style.lights)
        roads.append(replace(other, name=f"side road {len(roads)}", start=low, end=high))
        junctions.append(Junction(s, other.half + corner, len(roads) - 1, 0.0, main.half + corner, arms, corner, lit))
    side = int(generator.choice([1, 1, -1]))
    plan = StreetPlan(layout, side, tuple(roads), tuple(junctions), (), (), speed)
    plan = replace(plan, crossings=tuple(_crossings(plan, style, generator)))
    return replace(plan, bays=tuple(_bays(plan)))


def _main_road(style: RoadStyle, generator: np.random.Generator, end: float) -> Road:
    """Return road 0, still straight."""
    lanes, lane = int(generator.choice(style.lanes)), float(generator.uniform(*style.lane))
    parking, median = float(generator.choice(style.parking)), float(generator.choice(style.median))
    half = median + lanes * lane + parking
    line = Centreline(-BEHIND_M - 30.0, end + 30.0, [0.0, 0.0])
    pavement, marked = float(generator.uniform(*style.pavement)), bool(generator.random() < style.marked)
    return Road("main road", line, -BEHIND_M, end, half, median, lanes, lane, parking, pavement, marked)


def _sketch_junctions(style: RoadStyle, generator: np.random.Generator, end: float) -> list[tuple[float, Road, float]]:
    """Return where roads meet road 0, the other road (its line is still to come) and the corner's radius."""
    sketches: list[tuple[float, Road, float]] = []
    s = float(generator.uniform(28.0, 60.0))
    while s < end - 70.0:
        lanes, lane = int(generator.choice(style.other_lanes)), float(generator.uniform(*style.lane))
        parking = float(generator.choice(style.other_parking))
        half = lanes * lane + parking
        pavement = float(generator.uniform(*style.pavement))
        marked = bool(generator.random() < style.marked * 0.8)
        line = Centreline(-1.0, 1.0, [0.0, 0.0])
        road = Road("", line, 0.0, 0.0, half, 0.0, lanes, lane, parking, pavement, marked)
        sketches.append((s, road, float(generator.uniform(*style.corner))))
        s += 2 * half + float(generator.uniform(*style.spacing))
    return sketches


def _other_length(layout: str, generator: np.random.Generator, way: float, is_first: bool) -> float:
    """Return how far a side road goes; that of big crossroads leads as far as the robot can drive."""
    length = float(generator.uniform(85.0, 125.0))
    return max(length, 0.7 * way + 60.0) if is_first and layout == "crossroads" else length


def _curve(
    generator: np.random.Generator, start: float, end: float, bend: float, straights: list[tuple[float, float]]
) -> Centreline:
    """Return a line that bends left and right, but not within `STRAIGHT_M` of stretches (s from, s to)."""
    low, high, step = start - 30.0, end + 30.0, 2.5
    count = int((high - low) / step) + 2
    s = np.linspace(low, high, count)
    knots = np.linspace(low, high, max(3, int((high - low) / 45.0)))
    bends = np.interp(s, knots, generator.uniform(-bend, bend, len(knots)))
    for first, last in [*straights, (-12.0, 12.0)]:
        away = np.maximum(first - s, s - last) - STRAIGHT_M
        bends *= np.clip(away / 15.0, 0.0, 1.0)
    return Centreline(low, high, bends)


def _placed(
    other: Road, main: Road, s: float, bend: float, reach: float, corner: float, generator: np.random.Generator
) -> Road:
    """Return the other road with its line through road 0 at s, `reach` metres long to either side."""
    x, y, _ = main.line.points(s, 0.0)
    origin = (float(x), float(y), float(main.line.heading(s)) + np.pi / 2)
    straight = main.half + corner
    drawn = _curve(generator, -reach, reach, bend, [(-straight, straight)])
    return replace(other, line=drawn.moved(*origin), start=-reach, end=reach)


def _arm(road: Road, arm: int) -> NDArray[np.float64]:
    """Return points (N, 2) along one side road's arm."""
    return road.line.points(np.arange(0.0, road.end + 20.0, 4.0) * arm, 0.0)[:, :2]


def _is_free(points: NDArray[np.float64], roads: list[Road], near: float) -> bool:
    """Whether an arm keeps away from all roads, except for its first `near` metres, where it leaves road 0."""
    points = points[int(near // 4) + 6 :]
    for road in roads:
        other = road.line.points(np.arange(road.start, road.end, 4.0), 0.0)[:, :2]
        gap = np.linalg.norm(points[:, None] - other, axis=2).min()
        if gap < road.reach + 20.0:
            return False
    return True


def _crossings(plan: StreetPlan, style: RoadStyle, generator: np.random.Generator) -> Iterator[Crossing]:
    """Yield zebra crossings: at junctions with lights on all arms, else here and there."""
    main = plan.roads[0]
    for junction in plan.junctions:
        half = float(generator.uniform(1.5, 2.0))
        away = junction.half + half + CROSSING_TO_CORNER_M
        zebra = generator.random() < style.zebras
        for direction in (-1, 1):
            if junction.has_traffic_lights or (zebra and direction < 0):
                yield Crossing(0, junction.s + direction * away, half)
        for arm in junction.arms:
            if junction.has_traffic_lights or generator.random() < style.zebras * 0.5:
                yield Crossing(junction.other, arm * (junction.other_half + half + CROSSING_TO_CORNER_M), half)
    edges = [main.start] + [edge for span in plan.junction_spans(0) for edge in span] + [main.end]
    for low, high in zip(edges[::2], edges[1::2], strict=True):
        if high - low > 60.0 and generator.random() < style.zebras:
            yield Crossing(0, float(generator.uniform(low + 25.0, high - 25.0)), float(generator.uniform(1.5, 2.0)))


def _bays(plan: StreetPlan) -> Iterator[Bay]:
    """Yield parking bays along all roads that have parking strips."""
    for index, road in enumerate(plan.roads):
        if road.parking == 0.0:
            continue
        length = 9.0 if road.parking > 2.6 else 6.0
        for side in (1, -1):
            s = road.start + 12.0
            while s < road.end - 12.0:
                middle = s + length / 2
                blocked = plan.is_junction(index, middle, length / 2 + BAY_TO_CROSSING_M) and (
                    index > 0 or side in _arms_near(plan, middle)
                )
                if not blocked and not plan.is_crossing(index, middle, length / 2 + BAY_TO_CROSSING_M):
                    yield Bay(index, middle, side, length)
                s += length


def _arms_near(plan: StreetPlan, s: float) -> tuple[int, ...]:
    """Return the arms of the junction of road 0 that is nearest to s."""
    return min(plan.junctions, key=lambda junction: abs(junction.s - s)).arms
