# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How the robot walks through a floor: from room to room, turning where it stops, never near walls or furniture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.transforms import Transform
from mtl_perception.data.world.indoor.motion import STEP_S, Curve, Series, smoothed
from mtl_perception.data.world.indoor.rooms import FloorPlan
from mtl_perception.data.world.paths import upright

BEFORE_S = 2.0
"""Motion is defined from so long before second 0 to as long after the end."""

CLEARANCE_M = 0.3
TURN_RATE = 1.0  # rad/s
_ACCELERATION = 0.55
_SIDEWAYS = 0.7  # acceleration in curves, m/s2
_STRIDE_M = 0.55
_SMOOTHING_S = 0.5
_TRIES = 40


@dataclass(frozen=True, eq=False)
class Walk:
    """The robot's way.

    Attributes:
        track: x, y, yaw and metres walked (turning counts a little) over time.
        sway: how far a step lifts the body in metres, and tilts it forward and sideways in radians.
    """

    track: Series
    sway: tuple[float, float, float]

    def world_from_base(self, seconds: float) -> Transform:
        """Return the robot's pose: x forward, z up, origin on the floor but for the sway of its steps."""
        x, y, yaw, way = self.track(seconds)
        lift, nod, roll = self.sway
        phase = np.pi * way / _STRIDE_M
        return upright(
            (x, y, lift * float(np.sin(phase)) ** 2), yaw, nod * float(np.sin(2 * phase)), roll * float(np.sin(phase))
        )


def plan_walk(plan: FloorPlan, generator: np.random.Generator, duration_s: float) -> Walk:
    """Draw a walk from 2 s before second 0 to 2 s after the end, through at least two rooms when it takes 15 s.

    Raises:
        RuntimeError: the floor has no way that is wide enough.
    """
    for _ in range(_TRIES):
        track = _draw(plan, generator, duration_s)
        if track is None:
            continue
        seen = {plan.room_at(x, y) for x, y, *_ in track.at(np.arange(0.0, duration_s, 0.2))} - {None}
        if len(seen) >= 2 or duration_s < 15.0:
            break
    else:
        raise RuntimeError(f"no way through the {plan.layout} with a clearance of {CLEARANCE_M} m")
    legs = bool(generator.random() < 0.6)
    lift, nod, roll = (float(v) for v in generator.uniform(0.2, 1.0, 3) * (0.012, 0.008, 0.008) * legs)
    return Walk(track, (lift, nod, roll))


def places_in(plan: FloorPlan, room: int, generator: np.random.Generator, count: int) -> list[tuple[float, float]]:
    """Return open places in a room, where one would stop or turn; fewer, down to none, in a full one."""
    (x0, y0), (x1, y1) = plan.rooms[room].low, plan.rooms[room].high
    candidates = np.stack([generator.uniform(x0, x1, 30 * count), generator.uniform(y0, y1, 30 * count)], axis=1)
    space = plan.free_space
    clearance = space.clearance(candidates)
    good = candidates[clearance > min(0.9, max(CLEARANCE_M + 0.05, float(clearance.max()) * 0.8))]
    return [(float(x), float(y)) for x, y in good[:count]]


def _draw(plan: FloorPlan, generator: np.random.Generator, duration_s: float) -> Series | None:
    """Return a walk of at least the duration, None where it gets stuck."""
    room = int(generator.integers(len(plan.rooms)))
    starts = places_in(plan, room, generator, 1)
    if not starts:
        return None
    here, heading = starts[0], None
    fast, visited = float(generator.uniform(0.65, 1.1)), {room}
    samples: list[NDArray[np.float64]] = []
    needed, failures = int((duration_s + 2 * BEFORE_S) / STEP_S) + 2, 0
    while sum(map(len, samples)) < needed:
        goal_room = _next_room(plan, room, visited, generator)
        goals = places_in(plan, goal_room, generator, 3)
        leg = None
        for goal in goals:
            leg = _leg(plan, here, goal, fast)
            if leg is not None:
                break
        if leg is None:
            failures += 1
            if failures > 8:
                return None
            continue
        if heading is not None:
            samples.append(_turn(here, heading, float(leg[0, 2]), samples[-1][-1, 3]))
        offset = np.zeros(4)
        if samples:
            before = samples[-1][-1]
            offset = np.array([0.0, 0.0, np.round((before[2] - leg[0, 2]) / (2 * np.pi)) * 2 * np.pi, before[3]])
        samples.append(leg + offset)
        here, heading, room = (float(leg[-1, 0]), float(leg[-1, 1])), float(samples[-1][-1, 2]), goal_room
        visited.add(room)
    return Series(-BEFORE_S, np.concatenate(samples)[:needed])


def _next_room(plan: FloorPlan, room: int, visited: set[int], generator: np.random.Generator) -> int:
    """Return another room, rather one not seen yet, at most three doors away."""
    reach, front = {room: 0}, [room]
    while front:
        current = front.pop(0)
        for other in plan.neighbours(current):
            if other not in reach and reach[current] < 3:
                reach[other] = reach[current] + 1
                front.append(other)
    others = [other for other in reach if other != room]
    weights = np.array([(0.3 if other in visited else 1.0) * plan.rooms[other].area ** 0.5 for other in others])
    return int(others[int(generator.choice(len(others), p=weights / weights.sum()))])


def _leg(
    plan: FloorPlan, start: tuple[float, float], goal: tuple[float, float], fast: float
) -> NDArray[np.float64] | None:
    """Return samples (N, 4) of x, y, yaw, metres from a stop to the next; None where there is no good way."""
    route = plan.free_space.route(start, goal, CLEARANCE_M)
    if route is None or len(route) < 8:
        return None
    curve = Curve(route)
    way = np.arange(0.0, curve.length, 0.02)
    bend = np.abs(curve.curvature(way))
    if (plan.free_space.clearance(curve.points(way)) < CLEARANCE_M - 0.01).any() or bend.max() > TURN_RATE / 0.25:
        return None
    bend = np.maximum(bend, 1e-3)
    speed = np.minimum.reduce([np.full(len(way), fast), TURN_RATE / bend, np.sqrt(_SIDEWAYS / bend)])
    squared = speed**2
    squared[[0, -1]] = 0.0
    gain = 2 * _ACCELERATION * 0.02
    for i in range(1, len(squared)):
        squared[i] = min(squared[i], squared[i - 1] + gain)
    for i in range(len(squared) - 2, -1, -1):
        squared[i] = min(squared[i], squared[i + 1] + gain)
    speed = np.sqrt(squared)
    times = np.concatenate([[0.0], np.cumsum(2 * 0.02 / (speed[1:] + speed[:-1]))])
    clock = np.arange(-_SMOOTHING_S, times[-1] + _SMOOTHING_S, STEP_S)
    along = smoothed(np.interp(clock, times, way), _SMOOTHING_S)
    return np.column_stack([curve.points(along), curve.heading(along), along])


def _turn(place: tuple[float, float], heading: float, towards: float, way: float) -> NDArray[np.float64]:
    """Return samples (N, 4) of a turn on the spot by the shorter side, smooth up to the angular acceleration."""
    angle = (towards - heading + np.pi) % (2 * np.pi) - np.pi
    # The rate of the smooth step below peaks at 1.875 times its mean.
    count = max(25, int(1.875 * abs(angle) / TURN_RATE / STEP_S))
    t = np.linspace(0.0, 1.0, count)
    share = t**3 * (10 - 15 * t + 6 * t * t)
    still = np.ones(count)
    yaw, steps = heading + angle * share, way + 0.2 * abs(angle) * share
    return np.column_stack([place[0] * still, place[1] * still, yaw, steps])
