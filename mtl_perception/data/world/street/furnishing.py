# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What stands on pavements and medians and in parking bays: trees, lamps, signs, people, bicycles, vehicles."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray

from mtl_perception.data.world.paths import upright
from mtl_perception.data.world.scene import Lamp, Mesh, Scene, pose, posed
from mtl_perception.data.world.street.layouts import Surroundings
from mtl_perception.data.world.street.planting import STREET_KINDS, Planting
from mtl_perception.data.world.street.roads import KERB_M, Road, StreetPlan
from mtl_perception.data.world.street.site import Site
from mtl_perception.data.world.things import people, street_furniture, vehicles

NEAR_M = 70.0
"""Small things farther from the robot's way are left out."""

LAMP_STRENGTH = (26.0, 20.0, 12.0)
"""Of a street lamp at one metre, linear RGB: warm."""

LAMP_M = 130.0
PARKED_M = 65.0
MOST_BICYCLES = 18
MOST_VEHICLES = 90
"""How many bays, those nearest to the robot's way, can hold vehicles."""


class Furnishing:
    """Furnishes the pavements, medians and bays of a plan."""

    def __init__(
        self,
        scene: Scene,
        plan: StreetPlan,
        site: Site,
        planting: Planting,
        style: Surroundings,
        generator: np.random.Generator,
    ) -> None:
        self._scene, self._plan, self._site, self._style, self._generator = scene, plan, site, style, generator
        self._planting = planting
        self._parked_bicycles = 0

    def build(self, taken_bays: Collection[int]) -> None:
        """Add everything; bays in `taken_bays` stay free."""
        g, style = self._generator, self._style
        tree_gap = float(g.choice(style.trees))
        lamp, lamp_gap = street_furniture.lamp_post(self._scene, g), float(g.uniform(*style.lamps))
        kind = int(g.integers(STREET_KINDS))
        densities = [float(g.uniform(*limits)) for limits in (style.people, style.bicycles, style.clutter)]
        bollards = g.random() < 0.3
        for index, road in enumerate(self._plan.roads):
            for side in (1, -1):
                self._lamps(index, side, lamp, lamp_gap)
                self._signs(index, side, float(g.uniform(*style.signs)))
                if tree_gap > 0:
                    self._trees(index, side, tree_gap, kind)
                for density, add in zip(densities, (self._person, self._bicycles, self._clutter), strict=True):
                    self._scatter(index, side, density, add)
                if bollards and index == 0:
                    self._bollards(side)
            if road.median > 0:
                self._on_median(index, road, kind)
        self._parked(taken_bays)

    def _strip(self, road: Road) -> float:
        """Return |d| of the middle of the strip beside the kerb where things stand."""
        return road.half + max(0.35, (road.walkway[0] - road.half) * 0.55)

    def _spots(self, index: int, side: int, gap: float, margin: float) -> NDArray[np.float64]:
        """Return s about every `gap` metres, but not near junctions' arms and crossings."""
        road = self._plan.roads[index]
        first = road.start + 4.0 + self._generator.uniform(0, min(gap, 30.0))
        spots = np.arange(first, road.end - 3.0, gap)
        spots = spots + self._generator.uniform(-0.08, 0.08, len(spots)) * min(gap, 20.0)
        return np.array([s for s in spots if self._is_pavement(index, side, s, margin)])

    def _is_pavement(self, index: int, side: int, s: float, margin: float) -> bool:
        """Whether a kerb is straight and uncrossed within a margin."""
        plan = self._plan
        if plan.is_crossing(index, s, margin):
            return False
        if index > 0:
            return not plan.is_junction(index, s, margin + 1.0)
        return not any(side in j.arms and abs(s - j.s) < j.half + margin + 1.0 for j in plan.junctions)

    def _stand(
        self, index: int, s: float, d: float, radius: float, reach: float = NEAR_M
    ) -> tuple[float, float, float] | None:
        """Take a place beside a road; return x, y and the road's heading there, or nothing if it is not free or far."""
        road = self._plan.roads[index]
        x, y, _ = (float(v) for v in road.line.points(s, d))
        if self._site.way_to_drive(np.array([[x, y]]))[0] > reach or not self._site.stand(x, y, radius):
            return None
        return x, y, float(road.line.heading(s))

    def _lamps(self, index: int, side: int, post: street_furniture.LampPost, gap: float) -> None:
        road = self._plan.roads[index]
        for s in self._spots(index, side, gap, 0.5):
            place = self._stand(index, s, side * (road.half + 0.45), 0.15, LAMP_M)
            if place is None:
                continue
            world_from_post = pose(place[0], place[1], KERB_M, place[2] - side * np.pi / 2)
            self._scene.add(post.mesh, "pole", world_from_post)
            bulb = world_from_post[:3, :3] @ post.bulb + world_from_post[:3, 3]
            self._scene.lamps.append(Lamp((bulb[0], bulb[1], bulb[2]), LAMP_STRENGTH, radius=0.15))

    def _signs(self, index: int, side: int, gap: float) -> None:
        road, g = self._plan.roads[index], self._generator
        for s in self._spots(index, side, gap, 1.0):
            place = self._stand(index, s, side * self._strip(road), 0.35)
            if place is None:
                continue
            towards = np.pi if side * self._plan.side < 0 else 0.0  # most signs face those who drive on their side
            facing = place[2] + towards + (np.pi if g.random() < 0.2 else 0.0) + g.normal(0, 0.05)
            post, plate = street_furniture.sign(self._scene, g)
            world_from_sign = pose(place[0], place[1], KERB_M, facing)
            self._scene.add(post, "pole", world_from_sign)
            self._scene.add(plate, "sign", world_from_sign)

    def _trees(self, index: int, side: int, gap: float, kind: int) -> None:
        road, g = self._plan.roads[index], self._generator
        for s in self._spots(index, side, gap, 1.5):
            place = self._stand(index, s, side * (self._strip(road) + 0.05), 0.3, 140.0)
            if place is not None:
                self._planting.add_tree(place[0], place[1], KERB_M, g.uniform(0.85, 1.25), kind)

    def _on_median(self, index: int, road: Road, kind: int) -> None:
        """Plant trees or bushes on a median."""
        g = self._generator
        gap, bushes = float(g.choice([9.0, 12.0, 16.0])), g.random() < 0.4
        for s in np.arange(road.start + 12.0, road.end - 12.0, gap):
            if self._plan.is_junction(index, s, 3.0) or self._plan.is_crossing(index, s, 3.0):
                continue
            place = self._stand(index, s, 0.0, 0.2, 140.0)
            if place is not None:
                self._planting.add_tree(place[0], place[1], KERB_M, g.uniform(0.8, 1.1), kind)
            for away in (gap / 3, 2 * gap / 3) if bushes and road.median > 1.5 else ():
                if not self._plan.is_junction(index, s + away, 3.0) and not self._plan.is_crossing(
                    index, s + away, 3.0
                ):
                    x, y, _ = road.line.points(s + away, 0.0)
                    self._planting.add_bush(float(x), float(y), KERB_M)

    def _scatter(self, index: int, side: int, per_100_m: float, add: Callable[[int, int, float], None]) -> None:
        """Add something at random places along a pavement."""
        road, g = self._plan.roads[index], self._generator
        count = int(g.poisson(per_100_m * (road.end - road.start) / 100.0))
        for s in g.uniform(road.start + 3.0, road.end - 3.0, count):
            if self._is_pavement(index, side, s, 1.0):
                add(index, side, float(s))

    def _person(self, index: int, side: int, s: float) -> None:
        road, g = self._plan.roads[index], self._generator
        place = self._stand(index, s, side * self._strip(road), 0.35, 40.0)
        if place is not None:
            mesh, height = people.person(self._scene, g)
            body = upright((place[0], place[1], KERB_M), g.uniform(0, 2 * np.pi))
            local = posed(mesh, people.standing_pose(height, g.uniform(-0.15, 0.15), np.eye(4)))
            self._scene.add(local, "pedestrian", body)

    def _bicycles(self, index: int, side: int, s: float) -> None:
        """Park a few bicycles, beside each other before houses or one behind the other along the kerb."""
        road, g = self._plan.roads[index], self._generator
        count = int(g.integers(1, 5))
        if road.has_frontage:
            gap, d, turn = 0.7, side * (road.reach - 0.95), side * np.pi / 2
        else:
            gap, d, turn = 1.9, side * self._strip(road), 0.0
        if self._parked_bicycles > MOST_BICYCLES or not self._is_pavement(index, side, s + count * gap, 1.0):
            return
        for number in range(count):
            place = self._stand(index, s + number * gap, d, gap * 0.45, 40.0)
            if place is not None:
                self._parked_bicycles += 1
                mesh, yaw = vehicles.bicycle(self._scene, g), place[2] + turn + g.normal(0, 0.06)
                self._scene.add(mesh, "cyclist", pose(place[0], place[1], KERB_M, yaw + np.pi * (g.random() < 0.3)))

    def _clutter(self, index: int, side: int, s: float) -> None:
        """Add a bench, a bin or cabinet, or on broad pavements a shelter."""
        road, g = self._plan.roads[index], self._generator
        inward = -side * np.pi / 2  # +x looks at the road
        kind = g.random()
        if kind < 0.3:
            place = self._stand(index, s, side * self._strip(road), 0.8, 50.0)
            mesh: Mesh = street_furniture.bench(self._scene, g)
        elif kind < 0.4 and road.has_frontage:
            place = self._stand(index, s, side * (road.reach - 0.9), 2.1, 90.0)
            mesh = street_furniture.shelter(self._scene, g)
        else:
            place = self._stand(index, s, side * self._strip(road), 0.45, 50.0)
            mesh = street_furniture.cabinet(self._scene, g)
        if place is not None:
            self._scene.add(mesh, "fence", pose(place[0], place[1], KERB_M, place[2] + inward))

    def _bollards(self, side: int) -> None:
        road, mesh = self._plan.roads[0], street_furniture.bollard(self._scene, self._generator)
        start = float(self._generator.uniform(-20.0, 60.0))
        for s in np.arange(start, start + 40.0, float(self._generator.uniform(2.0, 4.0))):
            if self._is_pavement(0, side, s, 0.2) and s < road.end:
                place = self._stand(0, s, side * (road.half + 0.3), 0.1, 40.0)
                if place is not None:
                    self._scene.add(mesh, "pole", pose(place[0], place[1], KERB_M))

    def _parked(self, taken: Collection[int]) -> None:
        """Park vehicles in bays."""
        g, plan = self._generator, self._plan
        full = float(g.uniform(*self._style.parked))
        fleet = [vehicles.car(self._scene, g) for _ in range(9)]
        bays = np.array([plan.roads[bay.road].line.points(*plan.bay_centre(bay))[:2] for bay in plan.bays])
        away = self._site.way_to_drive(bays.reshape(-1, 2))
        reach = min(PARKED_M, float(np.sort(away)[MOST_VEHICLES])) if len(away) > MOST_VEHICLES else PARKED_M
        for index, bay in enumerate(plan.bays):
            drawn, lorry, jitter = g.random(), g.random(), g.normal(0, [0.25, 0.08, 0.02])
            backwards = g.random() < 0.12
            if index in taken or drawn > full or away[index] > reach or away[index] < 2.3:
                continue
            road = plan.roads[bay.road]
            s, d = plan.bay_centre(bay)
            x, y, _ = road.line.points(s + jitter[0], d + jitter[1])
            against = bay.side * plan.side > 0
            yaw = float(road.line.heading(s)) + np.pi * (against != backwards) + jitter[2]
            mesh, label = fleet[g.integers(len(fleet))], "car"
            if lorry < self._style.lorries and bay.length > 8.0:
                mesh, label = vehicles.lorry(self._scene, g), "truck"
            self._scene.add(mesh, label, pose(float(x), float(y), 0.0, yaw))
