# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Motion of vehicles: paths of continuous curvature, how fast they can be driven, and the poses over time that result.

A vehicle's place is the middle of its rear axle: there the wheels only roll, so its heading is the path's tangent and
tan(steering) = wheelbase * curvature (the kinematic bicycle model, Rajamani: Vehicle Dynamics and Control, 2.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NODE_M = 0.1
_MEET_M = 3.0
STEP_S = 0.02
EASE_S = 1.6
"""Accelerations come and go within this time."""

LATERAL_M_S2 = 2.2
SPEED_UP_M_S2 = 1.6
SLOW_DOWN_M_S2 = 2.0
CURVATURE_PER_S = 0.2
"""How fast the curvature may change, 1/(m s): the driver's hands at the wheel."""


@dataclass(frozen=True, eq=False)
class Path:
    """A way that a vehicle rolls along, forward and backward; the curvature is linear between its nodes.

    Attributes:
        way: (N,) metres travelled, from 0, whichever the direction.
        x, y, heading: (N,) metres and radians in the world; the heading is the vehicle's, not wound to a circle.
        curvature: (N,) 1/m, of the steering: positive with the wheels to the left, forward and backward.
        gear: (N,) 1 forward or -1 backward from this node to the next.
    """

    way: NDArray[np.float64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    heading: NDArray[np.float64]
    curvature: NDArray[np.float64]
    gear: NDArray[np.float64]

    @property
    def length(self) -> float:
        """Metres from one end to the other, as travelled."""
        return float(self.way[-1])

    def at(self, way: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """Return x, y, heading, curvature and gear where one has travelled `way` metres."""
        i = np.clip(np.searchsorted(self.way, way, side="right") - 1, 0, len(self.way) - 2)
        on = np.clip(way, 0.0, self.length) - self.way[i]
        slope = (self.curvature[i + 1] - self.curvature[i]) / (self.way[i + 1] - self.way[i])
        gear = self.gear[i]
        middle = self.heading[i] + gear * on / 2 * (self.curvature[i] + slope * on / 4)
        heading = self.heading[i] + gear * on * (self.curvature[i] + slope * on / 2)
        x, y = self.x[i] + gear * on * np.cos(middle), self.y[i] + gear * on * np.sin(middle)
        return x, y, heading, self.curvature[i] + slope * on, gear


@dataclass(frozen=True, eq=False)
class Leg:
    """A line to drive along in one direction.

    Attributes:
        points: (N, 2) in the order in which they are passed.
        gear: 1 forward or -1 backward.
        smoothing: over how many metres along the line points are averaged, which rounds it off.
        lead_in, lead_out: (K, 2) how the line would come to its first and go on from its last point, as far as it is
            averaged: so that the next leg, which begins there, has the same tangent and curvature.
    """

    points: NDArray[np.float64]
    gear: int
    smoothing: float
    lead_in: NDArray[np.float64]
    lead_out: NDArray[np.float64]


def path_through(legs: Sequence[Leg]) -> tuple[Path, list[NDArray[np.float64]]]:
    """Return the path along legs that begin where the one before ends, and how far along it their points are."""
    bends, gears, steps = [], [], []
    ways: list[NDArray[np.float64]] = []
    begin, origin, first, heading_now = 0.0, np.zeros(2), 0.0, 0.0
    for leg in legs:
        nodes, unrounded, given = _rounded(leg)
        step = np.diff(nodes, axis=0)
        length = np.linalg.norm(step, axis=1)
        angle = np.unwrap(np.arctan2(step[:, 1], step[:, 0]))
        bend = np.diff(angle) / ((length[1:] + length[:-1]) / 2)
        bend = np.concatenate([bend[:1], bend, bend[-1:]])
        start = angle[0] - bend[0] * length[0] / 2 + (np.pi if leg.gear < 0 else 0.0)
        way = _summed(length)
        if ways:  # legs that are bent within the rounding where they meet differ by milliradians there
            shape = np.sin(np.pi * np.clip(way / _MEET_M, 0.0, 1.0)) ** 2
            area = float(np.sum(length * (shape[1:] + shape[:-1]) / 2))
            bend = bend + shape / area * ((start - heading_now + np.pi) % (2 * np.pi) - np.pi)
        else:
            origin, first, heading_now = nodes[0], start, start
        heading_now += float(np.sum(length * (bend[1:] + bend[:-1]) / 2))
        ways.append(begin + np.interp(given, unrounded, way))
        bends.append(bend * leg.gear)
        steps.append(length)
        gears.append(np.full(len(length), float(leg.gear)))
        begin += way[-1]
    step, gear = np.concatenate(steps), np.concatenate(gears)
    curvature = np.concatenate([bends[0], *(bend[1:] for bend in bends[1:])])
    slope = np.diff(curvature) / step
    heading = first + _summed(gear * step * (curvature[:-1] + curvature[1:]) / 2)
    middle = heading[:-1] + gear * step / 2 * (curvature[:-1] + slope * step / 4)
    x, y = origin[0] + _summed(gear * step * np.cos(middle)), origin[1] + _summed(gear * step * np.sin(middle))
    return Path(_summed(step), x, y, heading, curvature, np.append(gear, gear[-1])), ways


def _rounded(leg: Leg) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return a leg's nodes (N, 2), how far along the given line they are (N), and how far its points are (M)."""
    points = np.concatenate([leg.lead_in, leg.points, leg.lead_out])
    raw = _summed(np.linalg.norm(np.diff(points, axis=0), axis=1))
    first, last = len(leg.lead_in), len(leg.lead_in) + len(leg.points) - 1
    count = max(2, round((raw[last] - raw[first]) / NODE_M))
    step = (raw[last] - raw[first]) / count
    half = int(leg.smoothing / 2 / step)
    even = raw[first] + np.arange(-half, count + half + 1) * step
    kernel = np.hanning(2 * half + 3)[1:-1]
    nodes = [np.convolve(np.interp(even, raw, points[:, k]), kernel / kernel.sum(), mode="valid") for k in (0, 1)]
    return np.stack(nodes, axis=1), even[half : half + count + 1], raw[first : last + 1]


def bend_limit(path: Path) -> NDArray[np.float64]:
    """Return the speed (m/s) per node at which a vehicle takes a path's bends, and its driver can turn the wheel."""
    bending = np.abs(np.gradient(path.curvature, path.way))
    sideways = np.sqrt(LATERAL_M_S2 / np.maximum(np.abs(path.curvature), 1e-6))
    return np.minimum(sideways, CURVATURE_PER_S / np.maximum(bending, 1e-6))


@dataclass(frozen=True)
class Stop:
    """Where (metres along a path) somebody stops, and for how long they stand there at least."""

    way: float
    seconds: float


@dataclass(frozen=True, eq=False)
class Timing:
    """How far and how fast along a path, at times `STEP_S` apart: (N,) seconds, metres, m/s without sign."""

    time: NDArray[np.float64]
    way: NDArray[np.float64]
    speed: NDArray[np.float64]


def timed(
    path: Path,
    limit: NDArray[np.float64],
    stops: Sequence[Stop],
    start: float,
    start_speed: float,
    span: tuple[float, float],
) -> Timing:
    """Return how a path is driven: as fast as limits, stops and comfort allow.

    Args:
        path: gear changes need a stop of their own; at its end it is stopped for good.
        limit: m/s per node of the path.
        stops: in the order of their way; before a stop at way 0 one stands there, and it begins at second 0.
        start: the way at second 0, to a few centimetres.
        start_speed: at way 0, m/s.
        span: from when to when, seconds.
    """
    halts = np.array([stop.way for stop in stops] + [path.length])
    way = np.union1d(path.way, halts)
    way = way[np.append(True, np.diff(way) > 1e-6) | np.isin(way, halts)]
    square = np.interp(way, path.way, limit) ** 2
    square[0] = start_speed**2
    square[np.isin(way, halts)] = 0.0
    for _ in range(2):
        square = _at_most(square, way, 2 * SPEED_UP_M_S2)
        square = _at_most(square[::-1], -way[::-1], 2 * SLOW_DOWN_M_S2)[::-1]
    speed = np.sqrt(square)
    rolling = _summed(2 * np.diff(way) / np.maximum(speed[1:] + speed[:-1], 1e-3))
    hold = np.zeros(len(way))
    at = np.searchsorted(way, [stop.way for stop in stops])
    hold[at] = [stop.seconds + EASE_S for stop in stops]
    leaving = rolling + np.cumsum(hold)
    reaching = leaving - hold
    zero = reaching[0] if len(at) and at[0] == 0 else np.interp(start, way, reaching)
    moments, speeds = np.concatenate([reaching, leaving[at]]) - zero, np.concatenate([speed, speed[at]])
    order = np.argsort(moments, kind="stable")
    hold[-1] = EASE_S
    stands = np.union1d(at, [len(way) - 1]).astype(np.int64)
    anchors = [(float(reaching[i] + hold[i] / 2 - zero), float(way[i])) for i in stands]
    return _eased(moments[order], speeds[order], anchors, span, path.length)


def _eased(
    moments: NDArray[np.float64],
    speeds: NDArray[np.float64],
    anchors: list[tuple[float, float]],
    span: tuple[float, float],
    length: float,
) -> Timing:
    """Return a timing whose acceleration has no steps; at the anchors (seconds, way) it is exactly there."""
    margin = EASE_S + STEP_S
    first = min([span[0], *(moment for moment, _ in anchors)]) - margin
    last = max([span[1], *(moment for moment, _ in anchors)]) + margin
    time = np.arange(np.floor(first / STEP_S), np.ceil(last / STEP_S) + 1) * STEP_S
    kernel = np.hanning(round(EASE_S / STEP_S) + 2)[1:-1]
    kernel /= kernel.sum()
    padded = np.pad(np.interp(time, moments, speeds), len(kernel) // 2, mode="edge")
    speed = np.convolve(padded, kernel, mode="valid")[: len(time)]
    way = _summed((speed[1:] + speed[:-1]) / 2 * STEP_S)
    # Easing moves the halts by millimetres: between them the way is stretched to what it has to be.
    known = np.interp([moment for moment, _ in anchors], time, way)
    wanted = np.array([place for _, place in anchors])
    moved = np.interp(way, known, wanted) + np.minimum(way - known[0], 0) + np.maximum(way - known[-1], 0)
    rate = np.append(1.0, np.append(np.diff(wanted) / np.maximum(np.diff(known), 1e-9), 1.0))
    speed = speed * rate[np.searchsorted(known, way)]
    inside = (moved > 0) & (moved < length)
    return Timing(time, np.clip(moved, 0.0, length), np.where(inside, speed, 0.0))


def _at_most(square: NDArray[np.float64], way: NDArray[np.float64], slope: float) -> NDArray[np.float64]:
    """Return squared speeds lowered so that they grow by at most `slope` per metre."""
    return np.minimum.accumulate(square - slope * way) + slope * way


def _summed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([[0.0], np.cumsum(values)])


class Trajectory:
    """Numbers that change smoothly with time, from values and rates at equal steps; constant before and after."""

    def __init__(self, since: float, step: float, values: NDArray[np.float64], rates: NDArray[np.float64]) -> None:
        """Values (N, K) at since, since + step, ... seconds, and their derivatives by time."""
        self._since, self._step, self._last = since, step, len(values) - 2
        self._nodes = np.stack([values[:-1], values[1:], rates[:-1] * step, rates[1:] * step], axis=1)

    def __call__(self, seconds: float) -> NDArray[np.float64]:
        """Return the numbers (K,) at a time: cubic Hermite between the nodes, so that values and rates are smooth."""
        place = (seconds - self._since) / self._step
        index = min(max(int(place), 0), self._last)
        u = min(max(place - index, 0.0), 1.0)
        v = 1.0 - u
        return np.array((v * v * (1 + 2 * u), u * u * (1 + 2 * v), u * v * v, -u * u * v)) @ self._nodes[index]
