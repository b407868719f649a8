# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Everybody who moves on a street: cars, trucks, cyclists and people, and their ways."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.transforms import Transform
from mtl_perception.data.world import figures
from mtl_perception.data.world.course import DURATION_S, KERB_M, Plan
from mtl_perception.data.world.scene import Mesh, Scene
from mtl_perception.data.world.trajectory import upright


class Traffic:
    """Puts everybody who moves on a street, so that they meet the robot and nobody runs into anybody."""

    def __init__(self, scene: Scene, plan: Plan, generator: np.random.Generator) -> None:
        self._scene, self._plan, self._generator = scene, plan, generator
        self._times = np.arange(-0.5, DURATION_S + 0.5, 0.25)
        ego = np.stack([plan.base(t)[:2, 3] for t in self._times])
        self._taken: list[tuple[NDArray[np.float64], float]] = [(ego, 2.6)]

    def fill(self) -> None:
        """Add cars, trucks, cyclists and people, denser on some streets than on others."""
        busy = self._generator.uniform(0.8, 2.0)
        self._leading()
        for _ in range(int(14 * busy)):
            self._vehicle(oncoming=True)
        for _ in range(int((5 if self._plan.lanes > 1 else 0) * busy)):
            self._vehicle(oncoming=False)
        for place, _ in self._plan.junctions:
            for _ in range(int(self._generator.integers(0, 4))):
                self._crossing_vehicle(place)
        for _ in range(int(self._generator.integers(4, 14))):
            self._cyclist()
        for _ in range(int(28 * busy)):
            self._walking_along()
        for _ in range(int(18 * busy)):
            self._crossing_person()

    def _leading(self) -> None:
        """A car ahead and one behind in the robot's lane, at times."""
        for sign in (1, -1):
            if self._generator.random() > 0.55:
                continue
            gap = sign * self._generator.uniform(9, 28)
            phase = self._generator.uniform(0, 6)

            def body(t: float, gap: float = gap, phase: float = phase) -> Transform:
                s = float(self._plan.ego(t))
                return self._on_line(s + gap + 2.0 * np.sin(s / 14 + phase), self._plan.ego_d, 0.0, False)

            self._vehicle_along(body)

    def _some_vehicle(self) -> tuple[Mesh, str]:
        if self._generator.random() < 0.09:
            return figures.truck(self._scene, self._generator), "truck"
        return figures.car(self._scene, self._generator), "car"

    def _vehicle(self, oncoming: bool) -> None:
        """A car that keeps its lane at its own speed and passes the robot at some time."""
        g, plan = self._generator, self._plan
        lane = int(g.integers(plan.lanes))
        d = (plan.side if oncoming else -plan.side) * (lane + 0.5) * plan.lane
        meeting = g.uniform(-4, DURATION_S + 6)
        speed = (7.0 + lane) if oncoming else g.uniform(6.0, 12.0)
        start = float(plan.ego(np.clip(meeting, -5, DURATION_S + 5)))
        sway = g.uniform(-0.2, 0.2)

        def body(t: float) -> Transform:
            s = start + (-speed if oncoming else speed) * (t - meeting)
            return self._on_line(s, d + sway, 0.0, oncoming)

        self._vehicle_along(body)

    def _crossing_vehicle(self, place: float) -> None:
        g, plan = self._generator, self._plan
        forward = int(g.choice([-1, 1]))
        speed, moment = g.uniform(4, 9), self._when_near(place, g.uniform(8, 40))
        offset = forward * plan.side * 1.6
        heading = float(plan.line.heading(place))

        def body(t: float) -> Transform:
            d = np.clip(forward * speed * (t - moment), -45 - plan.half, 45 + plan.half)
            return upright(plan.line.points(place + offset, d), heading + forward * np.pi / 2)

        self._vehicle_along(body)

    def _when_near(self, s: float, ahead: float) -> float:
        """Return a time at which the robot is some metres before a place."""
        way = self._plan.ego(self._times)
        near = self._times[np.argmin(np.abs(way - (s - ahead)))]
        return float(near + self._generator.uniform(-1, 1))

    def _cyclist(self) -> None:
        g, plan = self._generator, self._plan
        oncoming = bool(g.random() < 0.5)
        d = (plan.side if oncoming else -plan.side) * (plan.half - plan.parking - g.uniform(0.4, 0.9))
        speed, meeting = g.uniform(3.0, 6.0), g.uniform(0, DURATION_S)
        start = float(plan.ego(meeting)) + g.uniform(2, 15)

        def way(t: float) -> float:
            return speed * (t - meeting)

        def body(t: float) -> Transform:
            return self._on_line(start + (-1 if oncoming else 1) * way(t), d, 0.0, oncoming)

        if self._is_clear(body, 1.0):
            mesh, height = figures.cyclist(self._scene, g)
            self._scene.add_actor(mesh, "cyclist", lambda t: figures.riding_pose(height, way(t) * 1.6, body(t)))

    def _walking_along(self) -> None:
        g, plan = self._generator, self._plan
        back = bool(g.random() < 0.5)
        side = int(g.choice([-1, 1]))
        d = side * (plan.half + g.uniform(0.9, max(1.0, plan.pavement - 0.4)))
        speed, meeting = g.uniform(0.7, 1.9), g.uniform(-3, DURATION_S + 3)
        start = float(plan.ego(meeting)) + g.uniform(-3, 10)

        def way(t: float) -> float:
            return speed * (t - meeting)

        def body(t: float) -> Transform:
            s = start + (-1 if back else 1) * way(t)
            return self._on_line(s, d, 0.0 if plan.is_junction(s, 0.0) else KERB_M, back)

        self._person_along(body, way)

    def _crossing_person(self) -> None:
        g, plan = self._generator, self._plan
        moment = g.uniform(0, DURATION_S)
        s = float(plan.ego(moment)) + g.uniform(5, 22)
        if plan.zebra_period and g.random() < 0.6:
            s = (
                plan.zebra_place
                + plan.zebra_period * round((s - plan.zebra_place) / plan.zebra_period)
                + g.uniform(-1.4, 1.4)
            )
            moment = self._when_near(s, g.uniform(6, 20))
        forward, speed = int(g.choice([-1, 1])), g.uniform(0.9, 2.0)
        reach = plan.half + g.uniform(0.8, max(0.9, plan.pavement - 0.3))
        heading = float(plan.line.heading(s))

        def way(t: float) -> float:
            return float(np.clip(speed * (t - moment), -reach, reach))

        def body(t: float) -> Transform:
            d = forward * way(t)
            z = KERB_M if abs(d) > plan.half and not plan.is_junction(s, 0.0) else 0.0
            return upright(plan.line.points(s, d, z), heading + forward * np.pi / 2)

        self._person_along(body, way)

    def _on_line(self, s: float, d: float, z: float, turned: bool) -> Transform:
        line = self._plan.line
        return upright(line.points(s, d, z), float(line.heading(s)) + (np.pi if turned else 0.0))

    def _vehicle_along(self, body: Callable[[float], Transform]) -> None:
        """Add a car or truck on a way if it is clear."""
        if self._is_clear(body, 2.6):
            mesh, label = self._some_vehicle()
            self._scene.add_actor(mesh, label, lambda t: body(t)[None])

    def _person_along(self, body: Callable[[float], Transform], way: Callable[[float], float]) -> None:
        """Add somebody who walks on a way if it is clear."""
        if self._is_clear(body, 0.35):
            mesh, height = figures.person(self._scene, self._generator)
            self._scene.add_actor(mesh, "pedestrian", figures.walker(height, body, way))

    def _is_clear(self, body: Callable[[float], Transform], radius: float) -> bool:
        """Whether a way stays clear of all others'; if so it is taken. Radii are of circles around the middles."""
        track = np.stack([body(t)[:2, 3] for t in self._times])
        for other, other_radius in self._taken:
            if np.min(np.linalg.norm(track - other, axis=1)) < (radius + other_radius) * 0.55:
                return False
        self._taken.append((track, radius))
        return True
