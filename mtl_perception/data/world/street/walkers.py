# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""People who walk on a street: along the pavements, and across the roads where they may."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mtl_perception.data.world.motion import STEP_S, Leg, Stop, Trajectory, path_through, timed
from mtl_perception.data.world.paths import upright
from mtl_perception.data.world.scene import Scene
from mtl_perception.data.world.street.clearance import Clearance
from mtl_perception.data.world.street.driving import Drive, Wait
from mtl_perception.data.world.street.roads import KERB_M, StreetPlan
from mtl_perception.data.world.things import people

_SAMPLE = 5
_NEAR_M = 60.0
_ROOM_M = 0.48
_SMOOTHING_M = 2.4
_SIDEWAYS_M_S2 = 2.0

_CELL_M = 0.2
_ROW = 1_000_003
_BODY_M = (0.25, 1.8)
"""Things between these heights are in the way of a walker."""


class Walkers:
    """Puts people on a street around the robot's drive."""

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
        timing = drive.timing
        way = np.interp(clearance.times, timing.time, timing.way)
        self._robot = np.stack(drive.path.at(way)[:2], axis=1)
        self._blocked = _cells_of_things(scene)
        self._roads = [
            index
            for index, road in enumerate(plan.roads)
            if self._gap(road.line.points(np.arange(road.start, road.end, 8.0), 0.0)[:, :2]) < 30.0
        ]

    def fill(self, busy: float) -> None:
        """Add everybody; `busy` 1 is an ordinary street."""
        scale = busy * (0.4 + 0.6 * self._drive.duration_s / 20.0)
        for wait in self._drive.waits:
            for _ in range(int(self._generator.integers(4, 14))):
                self._cross_before_robot(wait)
        for _ in range(int(64 * scale)):
            self._walk_along()
        for _ in range(int(12 * scale)):
            self._cross_somewhere()

    def _walk_along(self) -> None:
        draw, plan = self._generator.uniform, self._plan
        index = int(self._generator.choice(self._roads))
        road, direction = plan.roads[index], int(self._generator.choice([-1, 1]))
        side, (inner, outer) = int(self._generator.choice([-1, 1])), road.walkway
        keeping = 0.5 + 0.5 * direction * side * plan.side  # who comes towards one is passed on the usual side
        d = side * (inner + (outer - inner) * 0.5 * (float(draw(0.0, 0.9)) + keeping))
        moment, speed = float(draw(0.0, self._drive.duration_s)), float(draw(0.75, 1.8))
        middle = self._nearest(index, moment) + float(draw(-12.0, 35.0))
        until = self._drive.duration_s + 2.6
        first, last = middle - direction * speed * (moment + 2.6), middle + direction * speed * (until - moment)
        low, high = np.clip(sorted((first, last)), road.start + 2.0, road.end - 2.0)
        if high - low < 3.0:
            return
        s = np.arange(low, high, 0.25)[::direction]
        start = speed * 2.6 - abs(s[0] - first)
        across = np.full(len(s), d)
        if index > 0:  # around the corner, along the pavement of the main road
            main = plan.roads[0]
            corner = float(np.sign(middle) * draw(*main.walkway))
            beyond = np.minimum(np.maximum(np.sign(corner) * (corner - s), 0.0), 13.0)
            s, across = np.where(beyond > 0, corner, s), d + np.sign(d) * beyond
            moves = np.append(True, np.hypot(np.diff(s), np.diff(across)) > 0.01)
            start -= 0.25 * float(np.sum(~moves[: len(moves) // 2]))
            s, across = s[moves], across[moves]
        stops = []
        if draw() < 0.2 and len(s) > 60:
            stops.append(Stop(float(draw(4.0, len(s) * 0.25 - 8.0)), float(draw(1.0, 6.0))))
        if len(s) > 8:
            self._walk(index, s, across, speed, start, stops)

    def _cross_before_robot(self, wait: Wait) -> None:
        """Cross the road that the robot stands on while it stands, or beside it the other one."""
        near = [c for c in self._plan.crossings if c.road == wait.road and abs(c.s - wait.s) < 25.0]
        if wait.cause == "junction":
            others = [j.other for j in self._plan.junctions if abs(j.s - wait.s) < 0.1]
            near += [c for c in self._plan.crossings if c.road in others]
        if near:
            crossing = near[int(self._generator.integers(len(near)))]
            s = crossing.s + float(self._generator.uniform(0.4 - crossing.half_width, crossing.half_width - 0.4))
            self._cross(crossing.road, s, float(self._generator.uniform(wait.since - 0.5, wait.until)))

    def _cross_somewhere(self) -> None:
        """Cross at a crossing near the robot's way, or where nobody parks."""
        draw, plan = self._generator.uniform, self._plan
        index = int(self._generator.choice(self._roads))
        moment = float(draw(0.0, self._drive.duration_s))
        s = self._nearest(index, moment) + float(draw(6.0, 45.0))
        near = [c for c in plan.crossings if c.road == index and abs(c.s - s) < 30.0]
        if near and draw() < 0.8:
            crossing = near[int(self._generator.integers(len(near)))]
            s = crossing.s + float(draw(0.4 - crossing.half_width, crossing.half_width - 0.4))
        else:
            parked = any(bay.road == index and abs(bay.s - s) < bay.length / 2 + 2.0 for bay in plan.bays)
            if parked or plan.roads[index].median > 0 or plan.is_junction(index, s, 6.0):
                return
        self._cross(index, s, moment)

    def _cross(self, index: int, s: float, moment: float) -> None:
        """Come along a pavement, step onto the road at s about at a moment, and go on along the other pavement."""
        draw, road = self._generator.uniform, self._plan.roads[index]
        side = int(self._generator.choice([-1, 1]))
        begin, end = side * float(draw(*road.walkway)), -side * float(draw(*road.walkway))
        before, after = (float(self._generator.choice([-1, 1]) * draw(2.0, 14.0)) for _ in range(2))
        if not (road.start + 16.0 < s < road.end - 16.0):
            return
        corners = np.array([[s + before, begin], [s, begin], [s, end], [s + after, end]])
        if index > 0 and any(self._plan.is_junction(index, place, 0.5) for place in corners[:, 0]):
            return
        way = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(corners, axis=0)).sum(axis=1))])
        line = np.arange(0.0, way[-1], 0.25)
        speed = float(draw(0.9, 1.9))
        entry = abs(before) + abs(begin) - road.half
        along, across = (np.interp(line, way, corners[:, k]) for k in (0, 1))
        self._walk(index, along, across, speed, entry - speed * moment, [])

    def _walk(
        self, index: int, s: NDArray[np.float64], d: NDArray[np.float64], speed: float, start: float, stops: list[Stop]
    ) -> None:
        """Add somebody who walks on a line, `start` metres along it at second 0, if nobody is in the way."""
        points = self._plan.roads[index].line.points(s, d)[:, :2]
        if self._gap(points) > _NEAR_M:
            return
        leads = np.arange(1, 8)[:, None]
        lead_in, lead_out = (
            points[0] + leads[::-1] * (points[0] - points[1]),
            points[-1] + leads * (points[-1] - points[-2]),
        )
        path, ways = path_through([Leg(points, 1, _SMOOTHING_M, lead_in, lead_out)])
        if _has_any(self._blocked, _cells(np.stack([path.x, path.y], axis=1))):
            return
        limit = np.minimum(speed, np.sqrt(_SIDEWAYS_M_S2 / np.maximum(np.abs(path.curvature), 1e-6)))
        rolling = start - 2.6 * speed > -0.1
        if not rolling:
            stops = [Stop(0.0, max(0.0, -start / speed)), *stops]
        place = float(np.clip(start, 0.0, path.length - 1.0)) if rolling else 0.0
        span = (-2.6, self._drive.duration_s + 2.6)
        timing = timed(path, limit, stops, place, speed if rolling else 0.0, span)
        way, time, now = timing.way[::_SAMPLE], timing.time[::_SAMPLE], timing.speed[::_SAMPLE]
        x, y, yaw, curvature, _ = path.at(way)
        at_x, at_y, at_yaw = (np.interp(self._clearance.times, time, row) for row in (x, y, yaw))
        if not self._clearance.take(at_x, at_y, at_yaw, _ROOM_M, _ROOM_M):
            return
        height_at, climbing = self._ground(index, s, d, ways[0], path.way)
        z = np.interp(way, path.way, height_at)
        values = np.stack([x, y, z, yaw, way, now], axis=1)
        slope = np.interp(way, path.way, climbing) * now
        gaining = np.gradient(now, STEP_S * _SAMPLE)
        rates = np.stack([now * np.cos(yaw), now * np.sin(yaw), slope, now * curvature, now, gaining], axis=1)
        mesh, height = people.person(self._scene, self._generator)
        motion = Trajectory(float(time[0]), STEP_S * _SAMPLE, values, rates)
        self._scene.add_actor(mesh, "pedestrian", _walking(motion, height))

    def _ground(
        self,
        index: int,
        s: NDArray[np.float64],
        d: NDArray[np.float64],
        given: NDArray[np.float64],
        way: NDArray[np.float64],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the height of the ground along a path and its slope; kerbs are stepped up in half a metre."""
        on_road = _is_roadway(self._plan, index, np.interp(way, given, s), np.interp(way, given, d))
        kernel = np.hanning(9)[1:-1]
        height = np.convolve(
            np.pad(np.where(on_road, 0.0, KERB_M), 3, mode="edge"), kernel / kernel.sum(), mode="valid"
        )
        return height, np.gradient(height, way)

    def _nearest(self, index: int, moment: float) -> float:
        """Return s of a road where the robot is nearest at a time."""
        line = self._plan.roads[index].line
        robot = self._robot[int(np.argmin(np.abs(self._clearance.times - moment)))]
        return float(line.s[np.argmin(((line.points(line.s, 0.0)[:, :2] - robot) ** 2).sum(axis=1))])

    def _gap(self, points: NDArray[np.float64]) -> float:
        """Return how near to the robot's way some points come."""
        return float(np.linalg.norm(points[:, None] - self._robot[::4], axis=2).min())


def _is_roadway(plan: StreetPlan, index: int, s: NDArray[np.float64], d: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether places (s, d) of a road are on a roadway, junctions with their rounded corners included."""
    road = plan.roads[index]
    result = np.abs(d) < road.half
    for junction in plan.junctions:
        other = plan.roads[junction.other]
        if index == 0:
            beside, beyond, wide = np.abs(s - junction.s), np.abs(d) - road.half, other.half
            is_arm = np.isin(np.sign(d), junction.arms)
        elif index == junction.other:
            beside, beyond, wide = np.abs(d), np.abs(s - junction.other_s) - plan.roads[0].half, road.half
            is_arm = np.ones(len(s), bool)
        else:
            continue
        inward = np.clip(junction.corner - beyond, 0.0, junction.corner)
        result |= is_arm & (beside < wide + junction.corner - np.sqrt(junction.corner**2 - inward**2))
    return result


def _has_any(ordered: NDArray[np.int64], numbers: NDArray[np.int64]) -> bool:
    """Return whether any of the numbers is among ascending ones; np.isin would sort or hash them all at each call."""
    at = np.searchsorted(ordered, numbers)
    found = at < len(ordered)
    return bool((ordered[at[found]] == numbers[found]).any())


def _cells_of_things(scene: Scene) -> NDArray[np.int64]:
    """Return the numbers of all cells in which something stands, and of their neighbours; ascending."""
    corners = [thing.mesh.corners.reshape(-1, 3) for thing in scene.still]
    points = np.concatenate([np.zeros((0, 3), np.float32), *corners])
    inside = (points[:, 2] > _BODY_M[0]) & (points[:, 2] < _BODY_M[1])
    cells = np.unique(_cells(points[inside, :2].astype(np.float64)))
    return np.unique(np.concatenate([cells + dx * _ROW + dy for dx in (-1, 0, 1) for dy in (-1, 0, 1)]))


def _cells(points: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the number of the cell in which each point (N, 2) is."""
    x, y = np.floor(points / _CELL_M).astype(np.int64).T
    return x * _ROW + y


def _walking(motion: Trajectory, height: float) -> Callable[[float], NDArray[np.float64]]:
    def poses(seconds: float) -> NDArray[np.float64]:
        x, y, z, yaw, way, speed = motion(seconds)
        return people.walking_pose(height, way, speed, upright((x, y, z), yaw))

    return poses
