# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The route of a vehicle over a street's roads, put together from manoeuvres: lines on the ground, stops and limits."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mtl_perception.data.world.motion import Leg, Path, Stop, bend_limit, path_through
from mtl_perception.data.world.street.roads import Bay, Junction, Road, StreetPlan

REAR_M, FRONT_M, HALF_WIDTH_M = 0.95, 3.75, 0.93
"""The robot's box: how far it reaches behind and before its rear axle, and to each side."""

AXLE_TO_MIDDLE_M = (FRONT_M - REAR_M) / 2

_SMOOTHING_M = 5.0
_TIGHT_SMOOTHING_M = 2.0
_STEP_M = 0.5
_BAY_CURVATURE = 0.14
"""Of the S into and out of a bay, 1/m."""

_FORWARD_LENGTH, _FORWARD_OFF_M = 1.8, 0.2


@dataclass(frozen=True)
class Mark:
    """What goes on between two points of a route: "turning", "changing lane", "parking" or "jam"."""

    kind: str
    leg: int
    first: int
    last: int


@dataclass(frozen=True)
class Halt:
    """A stop of a route.

    Attributes:
        leg, point: where.
        seconds: for how long at least.
        cause: "crossing", "junction", "jam", "parking" or "gear".
        road, s: the crossing or junction that it is for, else the place itself.
    """

    leg: int
    point: int
    seconds: float
    cause: str
    road: int
    s: float


@dataclass
class _Leg:
    gear: int
    lead_in: NDArray[np.float64]
    points: list[NDArray[np.float64]] = field(default_factory=list)
    limits: list[NDArray[np.float64]] = field(default_factory=list)
    lead_out: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 2)))
    count: int = 0


class Route:
    """A route that grows piece by piece; u is the way along the present road in the direction of travel.

    Attributes:
        road, direction: which road is driven on now, along its s (1) or against it (-1).
        u, d: where the rear axle is now: u = direction * s, and d metres to the left of the road's line.
        clock: about how many seconds it takes to come here from where one is at second 0.
        origin: the first leg's point where that is.
        first: u and d of the first point.
    """

    def __init__(self, plan: StreetPlan, road: int, direction: int, u: float, d: float, speed: float) -> None:
        """Begin at a place; `speed` (m/s) is how fast one goes where nothing else is said."""
        self.plan, self.road, self.direction, self.u, self.d, self.speed = plan, road, direction, u, d, speed
        self.clock = 0.0
        self.origin = 0
        self.first = (u, d)
        self.marks: list[Mark] = []
        self.halts: list[Halt] = []
        self._legs = [_Leg(1, self._before(1))]
        self._append(self._points(np.array([u]), np.array([d])), speed)

    @property
    def now(self) -> Road:
        """The road that is driven on."""
        return self.plan.roads[self.road]

    @property
    def room(self) -> float:
        """How many metres of the road are left."""
        return (self.now.end if self.direction > 0 else -self.now.start) - self.u

    def lane(self, index: int) -> float:
        """Return d of a lane of this road in this direction, 0 nearest the middle; -1 is the outermost."""
        return self.now.lane_offset(index % self.now.lanes, self.direction, self.plan.side)

    def begin_here(self) -> None:
        """Be here at second 0."""
        self.clock, self.origin = 0.0, self._legs[0].count - 1

    def follow(self, u: float, speed: float | None = None) -> None:
        """Keep going along the road, backward where u lies behind."""
        self.shift(u - self.u, self.d, speed)

    def shift(self, length: float, d: float, speed: float | None = None) -> None:
        """Move over to another d within `length` metres of the road; negative ones go backward."""
        count = max(2, round(abs(length) / _STEP_M) + 1)
        share = np.linspace(0.0, 1.0, count)
        across = self.d + (d - self.d) * (share - np.sin(2 * np.pi * share) / (2 * np.pi))
        along = self.u + length * share
        self._append(self._points(along, across)[1:], self.speed if speed is None else speed)
        self.u, self.d = self.u + length, d

    def change_lane(self, d: float, length: float) -> None:
        """Move over to another lane."""
        first = self._legs[-1].count
        self.shift(length, d)
        self._mark("changing lane", first)

    def turn(self, junction: Junction, arm: int, lane: int, wide: float) -> None:
        """Turn from road 0 into a lane of the other road; `wide` 0..1 is how wide a turn across the road is taken."""
        plan, other = self.plan, self.plan.roads[junction.other]
        target = other.lane_offset(lane, arm, plan.side)
        radius = turning_radius(plan, junction, arm, self.d, target, wide)
        self.follow(junction.s - target - radius)
        angle = np.linspace(0.0, np.pi / 2, max(8, round(radius * np.pi / 2 / _STEP_M)))
        x = -target - radius + radius * np.sin(angle)
        y = self.d + arm * radius * (1.0 - np.cos(angle))
        heading = float(self.now.line.heading(junction.s))
        origin = self.now.line.points(junction.s, 0.0)[:2]
        ahead, left = np.array([np.cos(heading), np.sin(heading)]), np.array([-np.sin(heading), np.cos(heading)])
        first = self._legs[-1].count - 2
        self._append(origin + x[1:, None] * ahead + y[1:, None] * left, self.speed)
        self.u = arm * (junction.other_s + float(y[-1]))
        self.road, self.direction, self.d = junction.other, arm, target
        self.follow(self.u + 1.0)
        self._mark("turning", first)

    def halt(self, seconds: float, cause: str, s: float | None = None) -> None:
        """Stop here; s is where on this road that is which one stops for."""
        leg = len(self._legs) - 1
        place = self.direction * self.u if s is None else s
        self.halts.append(Halt(leg, self._legs[leg].count - 1, seconds, cause, self.road, place))
        self.clock += seconds + 3.0

    def crawl(self, way: float, speed: float, seconds: float) -> None:
        """Drive a little way in a jam, then stand."""
        first = self._legs[-1].count - 1
        self.follow(self.u + way, speed)
        if seconds > 0:
            self.halt(seconds, "jam")
        self._mark("jam", first)

    def park(self, bay: Bay, backward: bool, seconds: float) -> None:
        """Go from the outermost lane into a bay that is far enough ahead, and stand there."""
        s, d = self.plan.bay_centre(bay)
        goal, length = self.direction * s - AXLE_TO_MIDDLE_M, bay_approach(abs(d - self.d))
        if backward:
            self.follow(goal + length - 4.0)
            legs = len(self._legs)
            first = self._legs[-1].count - 1
            self.follow(goal + length + 2.4, 4.0)
            self._mark("parking", first)
            self.shift_gear(-1, 0.3)
            self.follow(self.u - 1.2, 1.3)
            self.shift(-length, d, 1.3)
            self.follow(goal, 1.3)
            self.marks.append(Mark("parking", legs, 0, self._legs[-1].count - 1))
        else:  # in a long S and not quite to the middle, or its front would swing over the kerb
            length, d = _FORWARD_LENGTH * length, d - _FORWARD_OFF_M * bay.side
            self.follow(goal - length - 1.2)
            first = self._legs[-1].count - 1
            self.shift(length, d, 3.0)
            self.follow(goal, 2.0)
            self._mark("parking", first)
        self.halt(seconds, "parking")

    def leave_bay(self, backing: float) -> None:
        """Pull out of a bay into the outermost lane, after going back by some metres where `backing` is not 0."""
        if backing > 0:
            self.shift_gear(-1, 0.2)
            self.follow(self.u - backing, 1.0)
            self._mark("parking", 0)
        if self._legs[-1].gear < 0:
            self.shift_gear(1, 0.2)
        first = self._legs[-1].count - 1
        self.follow(self.u + 1.2, 2.0)
        d = self.lane(-1)
        self.shift(bay_approach(abs(d - self.d)), d, 3.5)
        self._mark("parking", first)

    def shift_gear(self, gear: int, seconds: float) -> None:
        """Stop, and go on in the other direction."""
        last = self.halts[-1] if self.halts else None
        here = (len(self._legs) - 1, self._legs[-1].count - 1)
        if last is None or (last.leg, last.point) != here:
            self.halt(seconds, "gear")
        if self._legs[-1].count == 1:
            self._legs[-1].gear, self._legs[-1].lead_in = gear, self._before(gear)
            return
        end = self._legs[-1].points[-1][-1:]
        self._legs[-1].lead_out = self._before(self._legs[-1].gear * -1)[::-1]
        self._legs.append(_Leg(gear, self._before(gear)))
        self._append(end, self.speed)

    def finished(self) -> tuple[Path, NDArray[np.float64], list[Stop], list[NDArray[np.float64]]]:
        """Return the path, the speed limit at its nodes, its stops, and per leg how far along its points are."""
        self._legs[-1].lead_out = self._before(self._legs[-1].gear * -1)[::-1]
        legs = []
        for leg in self._legs:
            smoothing = _TIGHT_SMOOTHING_M if leg.gear < 0 else _SMOOTHING_M
            legs.append(Leg(np.concatenate(leg.points), leg.gear, smoothing, leg.lead_in, leg.lead_out))
        path, ways = path_through(legs)
        limits = np.concatenate([np.concatenate(leg.limits) for leg in self._legs])
        limit = np.minimum(np.interp(path.way, np.concatenate(ways), limits), bend_limit(path))
        return path, limit, [Stop(float(ways[h.leg][h.point]), h.seconds) for h in self.halts], ways

    def _points(self, u: NDArray[np.float64], d: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.now.line.points(self.direction * u, d)[:, :2]

    def _before(self, gear: int) -> NDArray[np.float64]:
        """Return how the road leads here when one goes forward or backward."""
        u = self.u - gear * np.arange(_SMOOTHING_M, 0.0, -_STEP_M)
        return self._points(u, np.full(len(u), self.d))

    def _append(self, points: NDArray[np.float64], speed: float) -> None:
        leg = self._legs[-1]
        before = leg.points[-1][-1:] if leg.points else points[:1]
        length = float(np.linalg.norm(np.diff(np.concatenate([before, points]), axis=0), axis=1).sum())
        leg.points.append(points)
        leg.limits.append(np.full(len(points), speed))
        leg.count += len(points)
        self.clock += length / speed

    def _mark(self, kind: str, first: int) -> None:
        """Say what goes on in this leg from a point to here."""
        self.marks.append(Mark(kind, len(self._legs) - 1, max(first, 0), self._legs[-1].count - 1))


def bay_approach(across: float) -> float:
    """Return how many metres along the road the S into a bay takes that lies `across` metres beside."""
    return float(np.sqrt(2 * np.pi * across / _BAY_CURVATURE))


def turning_radius(plan: StreetPlan, junction: Junction, arm: int, d: float, target: float, wide: float) -> float:
    """Return the radius of a turn off road 0 at d into a lane at `target` on the other road, within the junction."""
    main, other = plan.roads[0], plan.roads[junction.other]
    if arm == -plan.side:  # around the corner: with the kerb, as far from it as the lanes are
        room = (main.half - abs(d) + other.half - abs(target)) / 2
        return float(np.clip(junction.corner + room, 5.8, 13.0))
    to_median = other.half + junction.corner + abs(target) - 1.0
    most = min(to_median, 13.0) if main.median > 0 else 13.0
    least = min(10.0, most)  # in narrower ones the front would swing over the kerb on the other side
    return least + wide * (most - least)
