# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Cars, lorries, buses and cyclists that drive on a street, each on a path and at a speed of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mtl_perception.data.world.motion import (
    LATERAL_M_S2,
    STEP_S,
    Leg,
    Path,
    Stop,
    Timing,
    Trajectory,
    bend_limit,
    path_through,
    timed,
)
from mtl_perception.data.world.paths import upright
from mtl_perception.data.world.scene import Mesh, Scene
from mtl_perception.data.world.street.clearance import Clearance
from mtl_perception.data.world.street.driving import Drive
from mtl_perception.data.world.street.markings import stop_distance
from mtl_perception.data.world.street.roads import Junction, StreetPlan
from mtl_perception.data.world.street.route import FRONT_M, Route
from mtl_perception.data.world.street.signals import AMBER_S, CLEARING_S, RED_BEFORE_S, signal_at
from mtl_perception.data.world.things import people, vehicles
from mtl_perception.data.world.things.street_furniture import GREEN

_SAMPLE = 5
"""Every how many steps of a timing a trajectory has a node."""

_NEAR_M = 100.0
"""Who never comes nearer to the robot than this is left out."""


@dataclass(frozen=True, eq=False)
class _Vehicle:
    mesh: Mesh | None  # a cyclist's is made when there is room for one
    label: str
    length: float
    width: float

    @property
    def axle(self) -> float:
        """How far the middle is before the rear axle."""
        return 0.3 * self.length

    @property
    def front(self) -> float:
        """How far the front is before the rear axle."""
        return self.axle + self.length / 2


class MotorTraffic:
    """Puts vehicles and cyclists on the roads around the robot's drive."""

    def __init__(
        self, scene: Scene, plan: StreetPlan, drive: Drive, generator: np.random.Generator, clearance: Clearance
    ) -> None:
        self._scene, self._plan, self._drive, self._generator, self._clearance = (
            scene,
            plan,
            drive,
            generator,
            clearance,
        )
        cars = [_vehicle(vehicles.car(scene, generator, in_use=True), "car") for _ in range(12)]
        makers = (vehicles.lorry, vehicles.lorry, vehicles.bus, vehicles.bus)
        heavy = [_vehicle(make(scene, generator, in_use=True), "truck") for make in makers]
        self._fleet = 2 * cars + heavy
        robot = drive.timing
        self._robot = np.stack([np.interp(clearance.times, robot.time, row) for row in drive.path.at(robot.way)[:2]], 1)

    def fill(self, busy: float) -> None:
        """Add everybody; `busy` 1 is an ordinary street."""
        scale = busy * (0.4 + 0.6 * self._drive.duration_s / 20.0)
        self._stand_in_the_way()
        if self._drive.is_free_running:
            self._convoy()
        for junction in self._plan.junctions:
            for _ in range(int(self._generator.integers(1, 5))):
                self._at_junction(junction)
        for _ in range(int(7 * scale)):  # before the others, who would leave them no room
            self._cyclist()
        for _ in range(int(34 * scale)):
            self._along()

    def _stand_in_the_way(self) -> None:
        for pose in self._drive.obstacles:
            mesh = vehicles.lorry(self._scene, self._generator, in_use=True)
            lorry = _vehicle(mesh, "truck")
            place = np.broadcast_to(
                [pose[0, 3], pose[1, 3], np.arctan2(pose[1, 0], pose[0, 0])], (len(self._clearance.times), 3)
            )
            if self._clearance.take(place[:, 0], place[:, 1], place[:, 2], lorry.length, lorry.width):
                self._scene.add_actor(mesh, lorry.label, _standing(pose[None].copy()))

    def _convoy(self) -> None:
        """Put vehicles ahead and behind that drive the robot's way, a little earlier or later; in a jam many.

        Who does at second t what the robot does at t + 1, but metres ahead, brakes and starts as those in a queue do.
        """
        draw, drive = self._generator.uniform, self._drive
        jammed = bool(drive.jams)
        ahead = int(self._generator.integers(2, 6)) if jammed else int(self._generator.choice([0, 0, 1, 1, 2]))
        behind = int(self._generator.integers(1, 4)) if jammed else int(self._generator.choice([0, 1, 1, 2]))
        if any(not jammed or wait.until > drive.jams[0][0] for wait in drive.waits):
            ahead = 0  # they would stand in the junction while the robot waits before it
        if not jammed and not drive.waits and not drive.keeps_lane:  # the same speed at the same place, bends and all
            for later in (float(draw(2.0, 4.5)), -float(draw(2.0, 4.5))):
                self._add_shifted(self._some_vehicle(), drive.path, later, 0.0)
            return
        lanes: list[tuple[Path, float]] = [(drive.path, 0.0)]
        road = self._plan.roads[0]
        if jammed and drive.keeps_lane and road.lanes > 1:
            other = next(d for i in range(2) if (d := road.lane_offset(i, 1, self._plan.side)) != drive.first_d)
            route = Route(self._plan, 0, 1, drive.first_u, other, 8.0)
            route.follow(drive.first_u + drive.path.length)
            lanes.append((route.finished()[0], float(draw(-6.0, 6.0))))
        for path, shift in lanes:
            for sign, count in ((1, ahead), (-1, behind)):
                later, way = 0.0, shift + (0.0 if path is drive.path else 4.0 * sign)
                for _ in range(count):
                    vehicle = self._some_vehicle()
                    later += float(draw(0.8, 1.3) if jammed else draw(1.0, 2.2))
                    way += sign * (vehicle.length / 2 + 3.2 + float(draw(0.5, 2.0) if jammed else draw(1.0, 5.0)))
                    self._add_shifted(vehicle, path, sign * later, way)
                    way += sign * (vehicle.length / 2)

    def _add_shifted(self, vehicle: _Vehicle, path: Path, earlier: float, way: float) -> None:
        robot, drive = self._drive.timing, self._drive
        time = robot.time[(robot.time > -2.6) & (robot.time < drive.duration_s + 2.6)]
        then = time + earlier
        if earlier > 0 and drive.jams and drive.jams[0][0] > 3.0:  # the jam is there before the robot comes to its end
            standing = robot.time[(robot.time > drive.jams[0][0]) & (robot.speed < 1e-3)]
            then = np.maximum(then, standing[0] if len(standing) else -np.inf)
        rear = np.interp(then, robot.time, robot.way) + way + 1.4 - vehicle.axle
        speed = np.interp(then, robot.time, robot.speed)
        if rear[0] < 0.5 or rear[-1] > path.length - 0.5:
            return
        if np.max(speed**2 * np.abs(path.at(rear)[3])) < LATERAL_M_S2 + 0.5:
            self._add(vehicle, path, Timing(time, rear, speed))

    def _along(self) -> None:
        """A vehicle that keeps its lane and passes near the robot at some time."""
        draw, plan = self._generator.uniform, self._plan
        near = self._roads_near_robot()
        index = near[int(self._generator.integers(len(near)))]
        road, direction = plan.roads[index], int(self._generator.choice([-1, 1], p=[0.7, 0.3]))
        lane = road.lane_offset(int(self._generator.integers(road.lanes)), direction, plan.side)
        speed = float(plan.speed_limit * draw(0.6, 1.0) * (1.0 if index == 0 else 0.8))
        self._keep_going(self._some_vehicle(), index, direction, lane, speed)

    def _cyclist(self) -> None:
        draw, plan = self._generator.uniform, self._plan
        near = self._roads_near_robot()
        index = near[int(self._generator.integers(len(near)))]
        road, direction = plan.roads[index], int(self._generator.choice([-1, 1]))
        d = -direction * plan.side * (road.half - road.parking - float(draw(0.5, 0.9)))
        self._keep_going(_Vehicle(None, "cyclist", 1.8, 0.7), index, direction, d, float(draw(2.8, 5.5)))

    def _keep_going(self, vehicle: _Vehicle, index: int, direction: int, d: float, speed: float) -> None:
        """Drive along a road at a speed, stopping where the robot waits for others."""
        draw, road, until = self._generator.uniform, self._plan.roads[index], self._drive.duration_s + 2.6
        moment = float(draw(0.0, self._drive.duration_s))
        robot = self._robot[int(np.argmin(np.abs(self._clearance.times - moment)))]
        nearest = road.line.points(road.line.s, 0.0)[:, :2] - robot
        u = direction * float(road.line.s[np.argmin((nearest**2).sum(axis=1))]) - float(draw(-40.0, 40.0))
        low, high = (road.start, road.end) if direction > 0 else (-road.end, -road.start)
        first, last = u - speed * (moment + 2.6), u + speed * (until - moment)
        if index > 0 and road.start == 0.0 and direction > 0:  # it leaves a junction where this road begins
            low = self._plan.roads[0].reach + 10.0
            if first < low:
                return
        elif index > 0 and 0.0 in (road.start, road.end) and high == 0.0:
            junction = next(j for j in self._plan.junctions if j.other == index)
            away = stop_distance(self._plan, index, 0.0, -direction, junction.other_half)
            high = vehicle.length / 2 - vehicle.front - away
        if last - first < 5.0 or first > high - 10.0 or last < low + 10.0:
            return
        stops, start = [], 0.0
        if first < low + 5.0:
            stops.append(Stop(0.0, max(0.0, (low + 5.0 - first) / speed - 2.6)))
            first = low + 5.0
        else:
            start = speed * 2.6
        last = min(last, high - 3.0)
        if last - first < 5.0 + start:
            return
        route = Route(self._plan, index, direction, first, d, speed)
        route.follow(last)
        path, limit, _, _ = route.finished()
        for line, seconds in self._halts(index, direction, u - speed * moment, speed):
            way = line - first - vehicle.front
            if start + 15.0 < way < path.length - 5.0:
                stops.append(Stop(way, seconds))
        span = (-2.6, until)
        self._add(vehicle, path, timed(path, limit, stops, start, 0.0 if start == 0.0 else speed, span))

    def _halts(self, index: int, direction: int, at_zero: float, speed: float) -> list[tuple[float, float]]:
        """Return at which u somebody stops who is at `at_zero` at second 0, and for how long: red lights, crossings."""
        halts = []
        for junction in self._plan.junctions:
            if index in (0, junction.other) and junction.has_traffic_lights:
                s, half = (junction.s, junction.half) if index == 0 else (junction.other_s, junction.other_half)
                line = direction * s - stop_distance(self._plan, index, s, -direction, half)
                halts.append((line, self._until_green((line - at_zero) / speed, junction, index == 0)))
        for wait in self._drive.waits:
            if wait.cause == "crossing" and wait.road == index:
                line = direction * wait.s - 3.5
                arrival = (line - at_zero) / speed
                halts.append((line, wait.until - arrival if wait.since - 2.0 < arrival < wait.until else 0.0))
        return sorted((line, seconds) for line, seconds in halts if seconds > 0.0)

    def _until_green(self, arrival: float, junction: Junction, is_main: bool) -> float:
        """Return for how long somebody who arrives at a junction's line at a time has to stop there."""
        if not junction.has_traffic_lights:
            return 0.0
        times = np.arange(arrival, max(arrival, self._drive.duration_s) + 6.0, 0.25)
        stops = self._waits_at(junction)
        green = [time for time in times if signal_at(float(time), stops, is_main) == GREEN]
        return float(green[0] if green else times[-1]) - arrival

    def _at_junction(self, junction: Junction) -> None:
        """A vehicle that turns off the main road, comes out of the other or goes straight across."""
        draw, plan, drive = self._generator.uniform, self._plan, self._drive
        vehicle, other = self._some_vehicle(), plan.roads[junction.other]
        centre = plan.roads[0].line.points(junction.s, 0.0)[:2]
        if np.linalg.norm(self._robot - centre, axis=1).min() > 60.0:
            return
        speed, arm = float(draw(5.0, 8.0)), int(self._generator.choice(junction.arms))
        stops = self._waits_at(junction)
        away = stop_distance(plan, junction.other, junction.other_s, arm, junction.other_half)
        is_main = False
        if len(junction.arms) == 2 and draw() < (0.7 if stops else 0.4):
            away = stop_distance(plan, junction.other, junction.other_s, -arm, junction.other_half)
            lane = other.lane_offset(int(self._generator.integers(other.lanes)), arm, plan.side)
            low, high = (other.start, other.end) if arm > 0 else (-other.end, -other.start)
            route = Route(plan, junction.other, arm, low + 5.0, lane, speed)
            route.follow(high - 5.0)
            path, limit, _, _ = route.finished()
            middle, line = -low - 5.0, -low - 5.0 - away
        else:
            is_main = bool(draw() < 0.4)
            seen = plan if is_main else replace(plan, side=-plan.side)  # who comes out goes backward where one turns in
            across = arm == seen.side
            lane = plan.roads[0].lane_offset(0 if across else -1 % plan.roads[0].lanes, 1, seen.side)
            route = Route(seen, 0, 1, max(plan.roads[0].start + 5.0, junction.s - 90.0), lane, speed)
            route.turn(junction, arm, 0 if across else other.lanes - 1, float(draw()))
            turned, end = route.marks[-1], route.u
            route.follow(route.u + route.room - 5.0)
            path, limit, _, ways = route.finished()
            middle = float(ways[0][turned.last if is_main else turned.first])
            line = junction.s - stop_distance(plan, 0, junction.s, -1, junction.half) - route.first[0]
            if not is_main:
                path = _reversed(path)
                limit = np.minimum(speed, bend_limit(path))
                middle, line = path.length - middle, path.length - float(ways[0][turned.last]) - (away - end)
        crossed = float(draw(*self._green_time(stops)) if stops and not is_main else draw(0.0, drive.duration_s))
        due = crossed - middle / speed
        start, start_speed = max(0.0, min(-speed * due, path.length - 8.0)), speed if due < -2.6 else 0.0
        halts = [] if due < -2.6 else [Stop(0.0, max(due, 0.0))]
        start = start if due < -2.6 else 0.0
        halt = self._until_green(crossed - (middle - line) / speed, junction, is_main)
        if halt == 0.0 and not junction.has_traffic_lights and draw() < 0.5:
            halt = float(draw(0.5, 6.0))
        if halt > 0.0 and line - vehicle.front - start > 15.0:
            halts.append(Stop(line - vehicle.front - 0.5, halt))
        elif halt > 0.0 and line > start - 2.0:
            return
        self._add(vehicle, path, timed(path, limit, halts, start, start_speed, (-2.6, drive.duration_s + 2.6)))

    def _waits_at(self, junction: Junction) -> list[tuple[float, float]]:
        """Return from when to when the robot waits at a junction: around that its road has red."""
        waits = [wait for wait in self._drive.waits if wait.cause == "junction"]
        return [(wait.since, wait.until) for wait in waits if abs(wait.s - junction.s) < junction.half]

    def _green_time(self, stops: Sequence[tuple[float, float]]) -> tuple[float, float]:
        """Return from when to when the other road of a junction has green for the first time."""
        since, until = stops[0]
        return since - RED_BEFORE_S + CLEARING_S, until - CLEARING_S - AMBER_S

    def _roads_near_robot(self) -> list[int]:
        """Return the roads to draw from: road 0 mostly, and the one the robot turns into."""
        spent = [0] * 3
        for junction in self._plan.junctions:
            line = self._plan.roads[junction.other].line
            arm = line.points(np.arange(-60.0, 61.0, 15.0), 0.0)[:, :2]
            gap = np.linalg.norm(arm[:, None] - self._robot[None, ::4], axis=2).min(axis=1)
            spent += [junction.other] * int((gap < 12.0).sum() > 2)
        return spent

    def _some_vehicle(self) -> _Vehicle:
        return self._fleet[int(self._generator.integers(len(self._fleet)))]

    def _add(self, vehicle: _Vehicle, path: Path, timing: Timing) -> None:
        """Add a vehicle if its place is free at all times and it comes near the robot."""
        x, y, yaw, curvature, _ = path.at(timing.way[::_SAMPLE])
        time, speed = timing.time[::_SAMPLE], timing.speed[::_SAMPLE]
        c, s, turn = np.cos(yaw), np.sin(yaw), speed * curvature
        x, y = x + vehicle.axle * c, y + vehicle.axle * s
        values = np.stack([x, y, yaw, timing.way[::_SAMPLE]], axis=1)
        rates = np.stack(
            [speed * c - vehicle.axle * turn * s, speed * s + vehicle.axle * turn * c, turn, speed], axis=1
        )
        place = [np.interp(self._clearance.times, time, row) for row in (x, y, yaw)]
        if np.linalg.norm(self._robot - np.stack(place[:2], axis=1), axis=1).min() > _NEAR_M:
            return
        if not self._clearance.take(place[0], place[1], place[2], vehicle.length + 0.6, vehicle.width + 0.1):
            return
        motion = Trajectory(float(time[0]), STEP_S * _SAMPLE, values, rates)
        if vehicle.mesh is None:
            mesh, height = people.cyclist(self._scene, self._generator)
            self._scene.add_actor(mesh, vehicle.label, _riding(motion, height))
        else:
            self._scene.add_actor(vehicle.mesh, vehicle.label, _driving(motion))


def robot_place(drive: Drive, times: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Return x, y and yaw of the middle of the robot's box, which is 4.7 m long, at times."""
    x, y, yaw, _, _ = drive.path.at(np.interp(times, drive.timing.time, drive.timing.way))
    return x + (FRONT_M - 2.35) * np.cos(yaw), y + (FRONT_M - 2.35) * np.sin(yaw), yaw


def _vehicle(mesh: Mesh, label: str) -> _Vehicle:
    low, high = mesh.corners.min(axis=(0, 1)), mesh.corners.max(axis=(0, 1))
    return _Vehicle(mesh, label, float(2 * max(-low[0], high[0])), float(high[1] - low[1]))


def _reversed(path: Path) -> Path:
    """Return the same line driven forward from its end."""
    points = np.stack([path.x, path.y], axis=1)[::-1]
    straight = points[0] - points[1]
    leads = np.arange(1, 11)[:, None]
    leg = Leg(points, 1, 1.0, points[0] + leads[::-1] * straight, points[-1] + leads * (points[-1] - points[-2]))
    return path_through([leg])[0]


def _driving(motion: Trajectory) -> Callable[[float], NDArray[np.float64]]:
    def poses(seconds: float) -> NDArray[np.float64]:
        x, y, yaw, _ = motion(seconds)
        return upright((x, y, 0.0), yaw)[None]

    return poses


def _riding(motion: Trajectory, height: float) -> Callable[[float], NDArray[np.float64]]:
    def poses(seconds: float) -> NDArray[np.float64]:
        x, y, yaw, way = motion(seconds)
        return people.riding_pose(height, way * 1.25, upright((x, y, 0.0), yaw))

    return poses


def _standing(poses: NDArray[np.float64]) -> Callable[[float], NDArray[np.float64]]:
    return lambda seconds: poses
