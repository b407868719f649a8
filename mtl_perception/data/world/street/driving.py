# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The robot's drive through a street: manoeuvres drawn from a seed, driven with real dynamics, and their names.

The names are those of the AIDE data set. Of the vehicle: "backward moving" whenever it rolls backward; else "parking"
from when it heads for a bay until it has left it, standing in it too; "turning" on the bend from one road into another;
"changing lane" from one lane's middle to the other's; else "forward moving". Of the traffic: "traffic jam" while it
crawls in a queue; else "waiting" while it stands in the road; else "smooth traffic".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.scene_classes import VEHICLE_BEHAVIOURS
from mtl_perception.core.transforms import Transform
from mtl_perception.data.world.motion import STEP_S, Trajectory, timed
from mtl_perception.data.world.paths import upright
from mtl_perception.data.world.street.markings import stop_distance
from mtl_perception.data.world.street.roads import Junction, StreetPlan
from mtl_perception.data.world.street.route import (
    AXLE_TO_MIDDLE_M,
    FRONT_M,
    HALF_WIDTH_M,
    REAR_M,
    Halt,
    Route,
    bay_approach,
)

WHEELBASE_M = 2.8

BEFORE_S, AFTER_S = 12.0, 14.0
"""For how long before and after the drive its course is known: for those who drive behind and ahead."""

STANDING_M_S = 0.05
_PITCH_PER_M_S2, _ROLL_PER_M_S2 = 0.003, 0.004
_SUSPENSION_S = 0.8


@dataclass(frozen=True)
class Wait:
    """When (seconds) the robot stands for others, and where the "crossing" or "junction" is that it stands at."""

    since: float
    until: float
    road: int
    s: float
    cause: str


class Drive:
    """Where the robot is over time, how it steers, and what it does.

    Attributes:
        path, timing: its course; `timing` reaches from `BEFORE_S` before the drive to `AFTER_S` after it.
        taken_bays: indices of the plan's bays that it drives into or over.
        path_points: (N, 2) in the world, the middles of its rear and of its front, every half metre.
        obstacles: poses (4, 4) of vehicles that stand in its lane and that it passes.
        waits: when it stands for others.
        jams: from when to when it is in a traffic jam.
        is_free_running: whether it keeps going forward on the roads, so that others can drive the same way ahead of it.
        keeps_lane: whether it stays in the lane of road 0 that it begins in, at d = `first_d` from u = `first_u` on.
        duration_s: how long the drive is.
    """

    def __init__(
        self, plan: StreetPlan, route: Route, obstacles: list[Transform], duration_s: float, speed: float
    ) -> None:
        """Drive a route; `speed` is that at its begin, m/s."""
        self.path, limit, stops, ways = route.finished()
        start = 0.0 if stops and stops[0].way == 0.0 else float(ways[0][route.origin])
        span = (-2.0 - BEFORE_S, duration_s + AFTER_S)
        self.timing = timed(self.path, limit, stops, start, speed, span)
        self.obstacles = tuple(obstacles)
        self.duration_s = duration_s
        self._kinds = np.full(len(self.timing.way), "", dtype=object)
        for mark in route.marks:
            low, high = ways[mark.leg][[mark.first, mark.last]]
            self._kinds[(self.timing.way >= low - 1e-6) & (self.timing.way <= high + 1e-6)] = mark.kind
        x, y, heading, curvature, gear = self.path.at(self.timing.way)
        self._speed = self.timing.speed * gear
        self._curvature = curvature
        self._pose = _tilted(float(self.timing.time[0]), x, y, heading, self._speed, curvature)
        self.is_free_running = not any(halt.cause in ("parking", "gear") for halt in route.halts)
        self.keeps_lane = not any(mark.kind != "jam" for mark in route.marks)
        self.first_u, self.first_d = route.first
        self.waits = tuple(self._waits(route.halts, ways))
        self.jams = _spans(self._kinds == "jam", self.timing.time)
        self.path_points, self.taken_bays = self._swept(plan)

    def world_from_base(self, seconds: float) -> Transform:
        """Return the pose of the base frame: below the middle of the rear axle, on the ground, nodding as it drives."""
        x, y, yaw, pitch, roll = self._pose(seconds)
        return upright((x, y, 0.0), yaw, pitch, roll)

    def steering(self, seconds: float) -> float:
        """Return the angle of the front wheels, radians, positive to the left: atan(wheelbase * curvature)."""
        return float(np.arctan(WHEELBASE_M * np.interp(seconds, self.timing.time, self._curvature)))

    def speed(self, seconds: float) -> float:
        """Return m/s, negative in reverse."""
        return float(np.interp(seconds, self.timing.time, self._speed))

    def vehicle_behaviour(self, seconds: float) -> str:
        """Return what the robot does, one of `VEHICLE_BEHAVIOURS`."""
        if self.speed(seconds) < -STANDING_M_S:
            return "backward moving"
        kind = self._kind(seconds)
        return kind if kind in VEHICLE_BEHAVIOURS else "forward moving"

    def traffic_context(self, seconds: float) -> str:
        """Return how the traffic is, one of core's `TRAFFIC_CONTEXTS`."""
        kind = self._kind(seconds)
        if kind == "jam":
            return "traffic jam"
        return "waiting" if abs(self.speed(seconds)) < STANDING_M_S and kind != "parking" else "smooth traffic"

    def _kind(self, seconds: float) -> str:
        index = round((seconds - self.timing.time[0]) / STEP_S)
        return str(self._kinds[min(max(index, 0), len(self._kinds) - 1)])

    def _waits(self, halts: list[Halt], ways: list[NDArray[np.float64]]) -> list[Wait]:
        waits = []
        for halt in halts:
            standing = np.flatnonzero(
                (np.abs(self.timing.way - ways[halt.leg][halt.point]) < 0.02) & (self.timing.speed < STANDING_M_S)
            )
            if halt.cause in ("crossing", "junction") and len(standing):
                since, until = self.timing.time[standing[[0, -1]]]
                waits.append(Wait(float(since), float(until), halt.road, halt.s, halt.cause))
        return waits

    def _swept(self, plan: StreetPlan) -> tuple[NDArray[np.float64], tuple[int, ...]]:
        """Return the points that the middle line passes in the drive, and the bays that the vehicle touches."""
        during = (self.timing.time >= -2.0) & (self.timing.time <= self.duration_s + 2.0)
        low, high = self.timing.way[during][[0, -1]]
        x, y, heading, _, _ = self.path.at(np.append(np.arange(low, high, 0.5), high))
        rear, ahead = np.stack([x, y], 1), np.stack([np.cos(heading), np.sin(heading)], 1)
        left = np.stack([-ahead[:, 1], ahead[:, 0]], 1)
        along, across = np.linspace(-REAR_M - 0.4, FRONT_M + 0.4, 6), np.array([-1.0, 0.0, 1.0]) * (HALF_WIDTH_M + 0.15)
        body = rear[:, None, None] + along[:, None, None] * ahead[:, None, None] + across[:, None] * left[:, None, None]
        taken = []
        for index, bay in enumerate(plan.bays):
            road, (s, d) = plan.roads[bay.road], plan.bay_centre(bay)
            centre, turned = road.line.points(s, d)[:2], float(road.line.heading(s))
            if np.linalg.norm(rear - centre, axis=1).min() > 12.0:
                continue
            c, n = np.array([np.cos(turned), np.sin(turned)]), np.array([-np.sin(turned), np.cos(turned)])
            away = body - centre
            inside = (np.abs(away @ c) < bay.length / 2) & (np.abs(away @ n) < road.parking / 2)
            if inside.any():
                taken.append(index)
        return np.concatenate([rear, rear + 3.3 * ahead]), tuple(taken)


def plan_drive(plan: StreetPlan, generator: np.random.Generator, duration_s: float) -> Drive:
    """Draw a drive: what the robot does on a street within `duration_s` seconds, from s = 0 of road 0 on."""
    return _Driver(plan, generator, duration_s).drive()


class _Driver:
    """Draws manoeuvres one after the other, each where the street allows it."""

    def __init__(self, plan: StreetPlan, generator: np.random.Generator, duration_s: float) -> None:
        self._plan, self._generator, self._duration = plan, generator, duration_s
        self._speed = plan.speed_limit * float(generator.uniform(0.6, 0.95))
        self._obstacles: list[Transform] = []
        self._jammed = False

    def drive(self) -> Drive:
        """Return the drive."""
        start_speed = self._begin()
        route, manoeuvres = self._route, self._manoeuvres()
        while route.clock < self._duration + 2.0:
            names = list(manoeuvres)
            weights = np.array([manoeuvres[name][1] for name in names])
            name = names[int(self._generator.choice(len(names), p=weights / weights.sum()))]
            if not manoeuvres[name][0]() and not self._go_on(float(self._generator.uniform(5.0, 15.0))):
                break
        self._go_on(min(route.room - 8.0, route.speed * AFTER_S))
        return Drive(self._plan, route, self._obstacles, self._duration, start_speed)

    def _manoeuvres(self) -> dict[str, tuple[Callable[[], bool], float]]:
        return {
            "turn": (self._turn, 0.28),
            "change lane": (self._change_lane, 0.36),
            "park": (self._park, 0.2),
            "back up": (self._back_up, 0.07),
            "stop": (self._stop, 0.2),
            "jam": (self._jam, 0.10),
        }

    def _begin(self) -> float:
        """Begin the route, rolling or in a bay; return the speed at its begin."""
        plan, road = self._plan, self._plan.roads[0]
        bays = [bay for bay in plan.bays if bay.road == 0 and bay.side == -plan.side and abs(bay.s) < 4.0]
        if bays and self._generator.random() < 0.3:
            s, d = plan.bay_centre(bays[0])
            self._route = Route(plan, 0, 1, s - AXLE_TO_MIDDLE_M, d, self._speed)
            self._route.halt(float(self._generator.uniform(1.0, 6.0)), "parking")
            self._route.leave_bay(self._backing())
            return 0.0
        lane = int(self._generator.integers(road.lanes))
        before = min(-road.start - 8.0, self._speed * (BEFORE_S + 2.0))
        self._route = Route(plan, 0, 1, -before, road.lane_offset(lane, 1, plan.side), self._speed)
        self._route.follow(0.0)
        self._route.begin_here()
        return self._speed

    def _go_on(self, way: float) -> bool:
        if way < 1.0 or self._route.room < way + 8.0:
            return False
        self._route.follow(self._route.u + way)
        return True

    def _turn(self) -> bool:
        """Turn into another road, if it is long enough for the rest of the drive."""
        route, plan, draw = self._route, self._plan, self._generator.uniform
        ahead = [j for j in plan.junctions if 28.0 < j.s - route.u < 110.0] if route.road == 0 else []
        if not ahead:
            return False
        junction = ahead[0]
        fits = [route.d == route.lane(0 if arm == plan.side else -1) for arm in junction.arms]
        arms = [arm for arm, right in zip(junction.arms, fits, strict=True) if right]
        if not arms:
            return False
        arm, other = int(self._generator.choice(arms)), plan.roads[junction.other]
        room = (other.end if arm > 0 else -other.start) - plan.roads[0].half - 20.0
        rest = self._duration + 2.0 - route.clock - (junction.s - route.u) / route.speed
        if room < 3.0 * rest:
            return False
        if draw() < (0.6 if junction.has_traffic_lights else 0.3):
            self._wait_for(junction, draw(2.0, 5.0))
        across = arm == plan.side
        lane = 0 if across else other.lanes - 1
        route.turn(junction, arm, lane, float(draw()))
        route.speed = float(np.clip(room / max(rest, 1.0), 3.0, self._speed * 0.9))
        self._go_on(float(draw(4.0, 10.0)))
        return True

    def _stop(self) -> bool:
        """Stop for a crossing or lights, if there are any soon."""
        route, plan = self._route, self._plan
        crossings = [
            (route.direction * crossing.s - crossing.half_width, crossing.s)
            for crossing in plan.crossings
            if crossing.road == route.road
        ]
        soon = [
            (line, s) for line, s in sorted(crossings) if 15.0 < line - route.u < 90.0 and line < route.u + route.room
        ]
        if not soon:
            return False
        line, s = soon[0]
        lit = [j for j in plan.junctions if j.has_traffic_lights and route.road == 0 and 0 < j.s - s < j.half + 6.0]
        if lit:
            return self._wait_for(lit[0], float(self._generator.uniform(3.0, 7.0)))
        route.follow(line - FRONT_M - float(self._generator.uniform(0.8, 2.0)))
        route.halt(float(self._generator.uniform(2.5, 6.0)), "crossing", s)
        return self._go_on(float(self._generator.uniform(8.0, 14.0)))

    def _wait_for(self, junction: Junction, seconds: float) -> bool:
        """Stop at the line before a junction of road 0."""
        route = self._route
        line = junction.s - stop_distance(self._plan, 0, junction.s, -1, junction.half)
        place = line - FRONT_M - float(self._generator.uniform(0.3, 1.2))
        if place < route.u + 12.0:
            return False
        route.follow(place)
        route.halt(seconds, "junction", junction.s)
        return True

    def _change_lane(self) -> bool:
        """Change to the other lane; on a road with one lane pass somebody who stands in it, and come back."""
        route, road = self._route, self._route.now
        begins = list(route.u + self._generator.uniform(2.0, 8.0) + np.arange(0.0, 40.0, 8.0))
        if road.lanes > 1:
            length = float(np.clip(route.speed * self._generator.uniform(3.5, 5.0), 18.0, 55.0))
            begins = [begin for begin in begins if self._is_plain(begin, begin + length)]
            if not begins:
                return False
            route.follow(float(begins[0]))
            route.change_lane(route.lane(0) if route.d == route.lane(-1) else route.lane(-1), length)
            return True
        length = float(np.clip(route.speed * 3.0, 18.0, 28.0))
        begins = [begin for begin in begins if self._is_plain(begin - 4.0, begin + 2 * length + 16.0)]
        if road.median > 0 or not begins:
            return False
        begin, own = float(begins[0]), route.d
        stands = route.direction * (begin + length + 4.0)
        away = 0.15 if road.parking > 0 else 0.35
        x, y, _ = road.line.points(stands, own * (1.0 + away / abs(own)))
        yaw = float(road.line.heading(stands)) + (0.0 if route.direction > 0 else np.pi)
        self._obstacles.append(upright((x, y, 0.0), yaw))
        route.follow(begin)
        route.change_lane(-own, length)
        route.follow(route.u + 11.0)
        route.change_lane(own, length)
        return True

    def _is_plain(self, low: float, high: float) -> bool:
        """Whether there is neither a junction nor a crossing nor the road's end between two u."""
        route = self._route
        first, last = sorted((route.direction * low, route.direction * high))
        spans = self._plan.junction_spans(route.road)
        crossings = [crossing.s for crossing in self._plan.crossings if crossing.road == route.road]
        if any(start < last and end > first for start, end in spans) or any(first < s < last for s in crossings):
            return False
        return high - route.u < route.room - 10.0

    def _park(self) -> bool:
        """Go into a bay, forward or backward, stand there, and leave it again."""
        route, backward = self._route, bool(self._generator.random() < 0.7)
        if self._jammed or route.d != route.lane(-1):
            return False
        ahead = [
            bay for bay in self._plan.bays if bay.road == route.road and bay.side == -route.direction * self._plan.side
        ]
        fitting = []
        for bay in ahead:
            s, d = self._plan.bay_centre(bay)
            goal, length = route.direction * s - AXLE_TO_MIDDLE_M, bay_approach(abs(d - route.d))
            low, high = (
                (goal - 4.0, goal + length + 20.0) if backward else (goal - 2.0 * length - 2.0, goal + length + 20.0)
            )
            if low - route.u > 6.0 and goal - route.u < 60.0 and self._is_plain(low, high):
                fitting.append(bay)
        if not fitting:
            return False
        bay = fitting[int(self._generator.integers(min(len(fitting), 4)))]
        route.park(bay, backward, float(self._generator.uniform(4.0, 12.0)))
        route.leave_bay(0.0 if backward else self._backing())
        return self._go_on(float(self._generator.uniform(5.0, 10.0)))

    def _back_up(self) -> bool:
        """Go back a little way along the lane, to make room for others, and on after a while."""
        route, draw = self._route, self._generator.uniform
        begin, way = route.u + float(draw(8.0, 15.0)), float(draw(5.0, 9.0))
        if self._jammed or not self._is_plain(begin - way - 3.0, begin + 8.0):
            return False
        own, aside = route.d, float(draw(0.0, 0.3)) * (-route.direction * self._plan.side)
        route.follow(begin)
        route.shift_gear(-1, float(draw(0.2, 1.0)))
        route.follow(route.u - 1.0, 1.5)
        route.shift(-way, own + aside, 1.8)
        route.follow(route.u - 1.2, 1.5)
        route.shift_gear(1, float(draw(0.5, 3.0)))
        route.follow(route.u + 1.5, 3.0)
        route.shift(way + 3.0, own)
        return True

    def _backing(self) -> float:
        """Return by how many metres one goes back before one pulls out."""
        return float(self._generator.choice([0.0, self._generator.uniform(0.7, 1.4)]))

    def _jam(self) -> bool:
        """Crawl in a queue for a while."""
        route, draw = self._route, self._generator.uniform
        if any(halt.cause in ("parking", "gear") for halt in route.halts):
            return False
        self._jammed = True
        end = route.clock + draw(10.0, 25.0)
        while route.clock < end and route.room > 30.0:
            stands = draw(0.5, 4.0) if draw() < 0.7 else 0.0
            route.crawl(float(draw(4.0, 12.0)), float(draw(1.5, 3.5)), float(stands))
        return True


def _tilted(
    since: float,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    heading: NDArray[np.float64],
    speed: NDArray[np.float64],
    curvature: NDArray[np.float64],
) -> Trajectory:
    """Return x, y, yaw, pitch and roll over time: the nose dips as it brakes, the body leans out of bends."""
    width = round(_SUSPENSION_S / STEP_S)
    kernel = np.hanning(width + 2)[1:-1] / np.hanning(width + 2).sum()
    lean = np.stack([-_PITCH_PER_M_S2 * np.gradient(speed, STEP_S), _ROLL_PER_M_S2 * speed**2 * curvature])
    pitch, roll = (np.convolve(np.pad(row, width // 2, mode="edge"), kernel, "valid")[: len(x)] for row in lean)
    values = np.stack([x, y, heading, pitch, roll], axis=1)
    rates = [speed * np.cos(heading), speed * np.sin(heading), speed * curvature]
    rates += [np.gradient(pitch, STEP_S), np.gradient(roll, STEP_S)]
    return Trajectory(since, STEP_S, values, np.stack(rates, axis=1))


def _spans(where: NDArray[np.bool_], time: NDArray[np.float64]) -> tuple[tuple[float, float], ...]:
    """Return from when to when something holds."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], where, [False]]).astype(np.int8)))
    return tuple((float(time[first]), float(time[last - 1])) for first, last in edges.reshape(-1, 2))
