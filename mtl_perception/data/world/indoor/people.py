# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""People indoors: some walk from room to room and give way, some stand and talk, some sit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.transforms import Transform
from mtl_perception.data.world.indoor.footprint import Footprint
from mtl_perception.data.world.indoor.motion import STEP_S, Series, smoothed
from mtl_perception.data.world.indoor.room_space import relative
from mtl_perception.data.world.indoor.rooms import FloorPlan
from mtl_perception.data.world.indoor.walking import BEFORE_S, Walk, places_in
from mtl_perception.data.world.paths import upright
from mtl_perception.data.world.scene import Scene
from mtl_perception.data.world.things.people import person, sitting_pose, standing_pose, walker
from mtl_perception.data.world.things.seats_and_beds import SEAT_M

FROM_ROBOT_M = 1.25
FROM_OTHERS_M = 0.7
CLEARANCE_M = 0.3
_AREA_PER_PERSON_M2 = 22.0
_TICK_S = 0.2
_POINT_M = 0.1  # between the points of a route
_SEATS = ("chair", "office chair", "sofa", "armchair", "bench")


def add_people(scene: Scene, plan: FloorPlan, walk: Walk, generator: np.random.Generator) -> None:
    """Put people into a furnished floor, most of them where the robot will pass, none in its way."""
    duration_s = len(walk.track.values) * STEP_S - 2 * BEFORE_S
    times = np.arange(-BEFORE_S, duration_s + BEFORE_S, _TICK_S)
    robot = walk.track.at(times)[:, :2]
    crowd: list[NDArray[np.float64]] = []  # per person (T, 2)
    rooms = _rooms_near(plan, robot)
    wanted = 1 + int(generator.poisson(sum(plan.rooms[room].area for room in rooms) / _AREA_PER_PERSON_M2))
    for _ in range(min(wanted, 10)):
        kind = generator.random()
        if kind < 0.5:
            _walking(scene, plan, rooms, times, robot, crowd, generator)
        elif kind < 0.75:
            _standing(scene, plan, rooms, robot, crowd, generator)
        else:
            _sitting(scene, plan, rooms, robot, crowd, generator)


def _rooms_near(plan: FloorPlan, robot: NDArray[np.float64]) -> list[int]:
    """Return the rooms that the robot walks through and their neighbours, the former twice."""
    seen = sorted({room for x, y in robot[::3] if (room := plan.room_at(x, y)) is not None})
    return sorted([*seen, *{other for room in seen for other in (room, *plan.neighbours(room))}])


def _walking(
    scene: Scene,
    plan: FloorPlan,
    rooms: Sequence[int],
    times: NDArray[np.float64],
    robot: NDArray[np.float64],
    crowd: list[NDArray[np.float64]],
    generator: np.random.Generator,
) -> bool:
    """Add somebody who walks between places; return whether a way was found that stays clear of everybody."""
    for _ in range(4):
        route = _errand(plan, rooms, float(times[-1] - times[0]), generator)
        if route is None:
            continue
        progress = _progress(route, times, robot, crowd, float(generator.uniform(0.6, 1.0)))
        if progress is None:
            continue
        clock = np.arange(times[0], times[-1], STEP_S)
        index = smoothed(np.interp(clock, times, progress), 0.8)
        places = np.stack([np.interp(index, np.arange(len(route)), route[:, axis]) for axis in (0, 1)], axis=1)
        places = np.stack([smoothed(places[:, axis], 0.2) for axis in (0, 1)], axis=1)
        way = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(places, axis=0), axis=1))])
        ticks = np.clip(np.round((times - times[0]) / STEP_S).astype(int), 0, len(places) - 1)
        if _too_near(places[ticks], robot, crowd, 0.8):
            continue
        track = Series(float(times[0]), np.column_stack([places, _facing(route, index), way]))
        crowd.append(places[ticks])
        mesh, height = person(scene, generator)
        scene.add_actor(mesh, "pedestrian", walker(height, _body(track), _way(track)))
        return True
    return False


def _errand(
    plan: FloorPlan, rooms: Sequence[int], seconds: float, generator: np.random.Generator
) -> NDArray[np.float64] | None:
    """Return a route (N, 2), a point every 0.1 m, from place to place; where somebody stops, points are repeated."""
    here = places_in(plan, int(generator.choice(rooms)), generator, 1)
    if not here:
        return None
    parts: list[NDArray[np.float64]] = []
    place = here[0]
    while sum(len(part) for part in parts) * _POINT_M < seconds and len(parts) < 40:
        goals = places_in(plan, int(generator.choice(rooms)), generator, 1)
        leg = plan.free_space.route(place, goals[0], CLEARANCE_M) if goals else None
        if leg is None:
            return None if not parts else np.concatenate(parts)
        parts.append(leg)
        place = (float(leg[-1, 0]), float(leg[-1, 1]))
        parts.append(np.repeat(leg[-1:], int(generator.uniform(8, 40)), axis=0))
    return np.concatenate(parts)


def _progress(
    route: NDArray[np.float64],
    times: NDArray[np.float64],
    robot: NDArray[np.float64],
    crowd: Sequence[NDArray[np.float64]],
    speed: float,
) -> NDArray[np.float64] | None:
    """Return at which point of the route somebody is at each time (T,): they wait or hurry so as to stay clear.

    From the end backwards it is found from which points nobody is met if one goes on or waits suitably.
    """
    apart = np.linalg.norm(route[None] - robot[:, None], axis=2)
    clear = apart > FROM_ROBOT_M
    for other in crowd:
        clear &= np.linalg.norm(route[None] - other[:, None], axis=2) > FROM_OTHERS_M
    steps = 3
    alive = clear.copy()
    for tick in range(len(times) - 2, -1, -1):
        ahead = np.pad(alive[tick + 1], (0, steps - 1))
        alive[tick] &= ahead[: -(steps - 1)] | ahead[1:-1] | ahead[2:]
    starts = np.flatnonzero(alive[0][: max(1, len(route) // 2)])
    if not len(starts) or starts[0] > 40:
        return None
    at = int(starts[0])
    result = [at]
    wished = float(at)
    for tick in range(1, len(times)):
        wished = min(wished + speed * _TICK_S / _POINT_M, at + 2.4)
        options = [at + k for k in range(steps) if at + k < len(route) and alive[tick, at + k]]
        at = min(options, key=lambda option: abs(option - wished))
        result.append(at)
    return np.array(result, dtype=np.float64)


def _too_near(
    places: NDArray[np.float64], robot: NDArray[np.float64], crowd: Sequence[NDArray[np.float64]], share: float = 1.0
) -> bool:
    """Whether places (T, 2) come too near to the robot or to anybody; `share` relaxes the distances."""
    if (np.linalg.norm(places - robot, axis=1) < share * FROM_ROBOT_M).any():
        return True
    return any((np.linalg.norm(places - other, axis=1) < share * FROM_OTHERS_M).any() for other in crowd)


def _facing(route: NDArray[np.float64], index: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the yaw (N,) of somebody at points of a route (by index, fractions too) who turns without haste."""
    step = np.diff(route, axis=0)
    moved = np.flatnonzero(np.linalg.norm(step, axis=1) > 1e-6)
    heading = np.unwrap(np.arctan2(step[moved, 1], step[moved, 0]))
    # While somebody waits, they turn to where they go next.
    return smoothed(smoothed(np.interp(index, moved + 0.5, heading), 0.6), 0.4)


def _body(track: Series) -> Callable[[float], Transform]:
    def body(seconds: float) -> Transform:
        x, y, yaw, _ = track(seconds)
        return upright((x, y, 0.0), yaw)

    return body


def _way(track: Series) -> Callable[[float], float]:
    return lambda seconds: track(seconds)[3]


def _standing(
    scene: Scene,
    plan: FloorPlan,
    rooms: Sequence[int],
    robot: NDArray[np.float64],
    crowd: list[NDArray[np.float64]],
    generator: np.random.Generator,
) -> None:
    """Add two people who talk, or one who stands alone, away from the robot's way."""
    for _ in range(6):
        spots = places_in(plan, int(generator.choice(rooms)), generator, 1)
        if not spots:
            continue
        spot, yaw = np.array(spots[0]), float(generator.uniform(-np.pi, np.pi))
        first = np.broadcast_to(spot, robot.shape)
        if _too_near(first, robot, crowd):
            continue
        _stand(scene, spot, yaw, generator)
        partner = spot + generator.uniform(0.75, 1.0) * np.array([np.cos(yaw), np.sin(yaw)])
        second = np.broadcast_to(partner, robot.shape)
        room_for_two = plan.free_space.clearance([partner])[0] > CLEARANCE_M and not _too_near(second, robot, crowd)
        crowd.append(first)
        if room_for_two and generator.random() < 0.7:
            _stand(scene, partner, yaw + np.pi, generator)
            crowd.append(second)
        return


def _stand(scene: Scene, spot: NDArray[np.float64], yaw: float, generator: np.random.Generator) -> None:
    """Add somebody who stands and shifts their weight a little."""
    mesh, height = person(scene, generator)
    phase, rate = generator.uniform(0, 6.3, 2), generator.uniform(0.25, 0.6, 2)

    def poses(seconds: float) -> NDArray[np.float64]:
        turn = 0.2 * np.sin(rate[0] * seconds + phase[0])
        lean = 0.01 * np.sin(rate[1] * seconds + phase[1])
        body = upright((float(spot[0]), float(spot[1]), 0.0), yaw + float(turn))
        return standing_pose(height, 0.06 + float(lean), body)

    scene.add_actor(mesh, "pedestrian", poses)


def _sitting(
    scene: Scene,
    plan: FloorPlan,
    rooms: Sequence[int],
    robot: NDArray[np.float64],
    crowd: list[NDArray[np.float64]],
    generator: np.random.Generator,
) -> None:
    """Add somebody who sits on a seat that the robot does not come near."""
    seats = [piece for piece in plan.pieces if piece.kind in _SEATS and piece.room in rooms]
    for k in generator.permutation(len(seats))[:6]:
        seat = seats[k]
        place = _seat_of(seat.footprint, seat.kind, generator)
        knees = relative(place, 0.3, 0.0, 0.0, 0.0, 0.0)
        taken = [np.broadcast_to(np.array([spot.x, spot.y]), robot.shape) for spot in (place, knees)]
        if any(_too_near(spots, robot, crowd) for spots in taken):
            continue
        crowd += taken
        mesh, height = person(scene, generator)
        phase, rate = float(generator.uniform(0, 6.3)), float(generator.uniform(0.2, 0.6))
        high = SEAT_M + (0.02 if "chair" in seat.kind else 0.0)

        def poses(
            seconds: float,
            place: Footprint = place,
            height: float = height,
            phase: float = phase,
            rate: float = rate,
            high: float = high,
        ) -> NDArray[np.float64]:
            turn = 0.06 * float(np.sin(rate * seconds + phase))
            return sitting_pose(height, high, upright((place.x, place.y, 0.0), place.yaw + turn))

        scene.add_actor(mesh, "pedestrian", poses)
        return


def _seat_of(footprint: Footprint, kind: str, generator: np.random.Generator) -> Footprint:
    """Return where on a piece one sits, facing its front."""
    if kind in ("chair", "office chair"):
        return footprint
    spare = max(0.0, footprint.width / 2 - 0.5)
    ahead = 0.05 if kind == "bench" else 0.1
    return relative(footprint, ahead, float(generator.uniform(-spare, spare)), 0.0, 0.5, 0.5)
