# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The course and size of a street, and the robot's drive along it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mtl_perception.core.transforms import Transform
from mtl_perception.data.world.scene import Mesh
from mtl_perception.data.world.trajectory import Centreline, Progress, upright

DURATION_S = 20.0
KERB_M = 0.12


@dataclass(frozen=True, eq=False)
class Plan:
    """The numbers that a street is built from; d is metres left of the centre line, s along it.

    Attributes:
        line: the centre line.
        start, end: where the street begins and ends (s).
        half: half the roadway's width; `parking` of it on each side is for parked cars (0 none).
        lanes: lanes each way, each `lane` wide.
        pavement: width of the pavements.
        side: +1 where one drives on the right, -1 on the left.
        zebra_period, zebra_place: crossings are at place + k * period (period 0: none).
        junctions: s of side streets, and their half widths.
        ego: how far the robot has come at a time.
        ego_d: its lane.
        trees: the trees that stand along the street, again and again.
    """

    line: Centreline
    start: float
    end: float
    half: float
    parking: float
    lanes: int
    lane: float
    pavement: float
    side: int
    zebra_period: float
    zebra_place: float
    junctions: tuple[tuple[float, float], ...]
    ego: Progress
    ego_d: float
    trees: list[Mesh] = field(default_factory=list)

    def base(self, seconds: float) -> Transform:
        """Return world_from_base of the robot: on the road, nodding and swaying a little as it drives."""
        s = float(self.ego(seconds))
        sway = 0.25 * np.sin(s / 23.0)
        x, y, z = self.line.points(s, self.ego_d + sway)
        slope = 0.25 * np.cos(s / 23.0) / 23.0
        nod, roll = 0.004 * np.sin(s / 1.9), 0.003 * np.sin(s / 2.7 + 1.0)
        return upright((x, y, z), float(self.line.heading(s)) + float(np.arctan(slope)), nod, roll)

    def ends_of(self, index: int) -> tuple[float, float]:
        """Return where a side street's roadway begins and ends along this street."""
        s, half = self.junctions[index]
        return s - half, s + half

    def is_junction(self, s: float, margin: float) -> bool:
        """Whether a place is within a margin of a side street."""
        return any(abs(s - place) < half + margin for place, half in self.junctions)


def plan_street(generator: np.random.Generator) -> Plan:
    """Draw a street's course, size and the robot's drive."""
    bend = 0.0 if generator.random() < 0.35 else generator.uniform(0.003, 0.012)
    start, end = -150.0, 380.0
    line = Centreline(start - 20, end + 20, generator.uniform(-bend, bend, 9))
    lanes = int(generator.choice([1, 1, 1, 2]))
    lane = generator.uniform(2.8, 3.7)
    parking = float(generator.choice([0.0, 2.1, 2.1, 2.3]))
    side = int(generator.choice([1, 1, -1]))
    half = lanes * lane + parking
    zebra_period = float(generator.choice([0.0, 45.0, 70.0]))
    zebra_place = generator.uniform(12, 40)
    junction = generator.uniform(15, 60)
    junctions = []
    while junction < end - 60:
        junctions.append((junction, generator.uniform(3.0, 5.0)))
        junction += generator.uniform(45, 120)
    speed = generator.uniform(3.0, 10.0)
    times, speeds = [-2.0], [speed]
    moment = generator.uniform(2.0, 9.0)
    if generator.random() < 0.15:
        times, speeds = [-2.0, moment, moment + 2.5], [0.0, 0.0, speed]
    elif generator.random() < 0.6:
        stop = generator.uniform(2.0, 5.0)
        times += [moment, moment + 2.0, moment + 2.0 + stop, moment + 4.5 + stop]
        speeds += [speed, 0.0, 0.0, speed]
    times.append(times[-1] + 4.0)
    speeds.append(speed * generator.uniform(0.6, 1.2))
    ego = Progress(times, np.clip(speeds, 0.0, 10.0), DURATION_S + 15.0, -15.0)
    own_lane = lanes - 0.5 if generator.random() < 0.6 else 0.5
    ego_d = -side * own_lane * lane
    pavement = generator.uniform(1.8, 4.5)
    return Plan(
        line,
        start,
        end,
        half,
        parking,
        lanes,
        lane,
        pavement,
        side,
        zebra_period,
        zebra_place,
        tuple(junctions),
        ego,
        ego_d,
    )
