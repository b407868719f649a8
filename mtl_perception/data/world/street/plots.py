# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What stands on the land behind the pavements: buildings, front gardens, a park, and the far background."""

from __future__ import annotations

import numpy as np

from mtl_perception.data.world import shapes
from mtl_perception.data.world.scene import Scene, merged, pose
from mtl_perception.data.world.street.gardens import add_boundary, add_park
from mtl_perception.data.world.street.ground import LAND_M, Ground
from mtl_perception.data.world.street.layouts import Surroundings
from mtl_perception.data.world.street.planting import Planting
from mtl_perception.data.world.street.roads import Road, StreetPlan
from mtl_perception.data.world.street.site import Frontage, Site, frontage
from mtl_perception.data.world.things import houses, vehicles

YARD_M = 0.0
"""Height of lawns and drives on plots."""

VISIBLE_M = 60.0
"""Vehicles on plots farther from the robot's way are left out."""

STEP_M = 2.0


class Plots:
    """Fills the land of a plan."""

    def __init__(
        self,
        scene: Scene,
        plan: StreetPlan,
        site: Site,
        ground: Ground,
        planting: Planting,
        style: Surroundings,
        generator: np.random.Generator,
    ) -> None:
        self._scene, self._plan, self._site, self._style, self._generator = scene, plan, site, style, generator
        self._ground, self._planting = ground, planting
        self._setback, self._gap = float(generator.choice(style.setback)), float(generator.choice(style.gap))
        self._typical = float(generator.uniform(*style.height))
        self._park_side = int(generator.choice([1, -1])) if plan.layout == "park" else 0
        self._kinds, self._shares = list(style.houses), np.array(list(style.houses.values()))
        tone = generator.uniform(0.4, 0.65) * generator.uniform(0.92, 1.06, 3)
        self._drive = scene.material("slabs", tone, tone * 0.6, (0.4, 0.2, 0.5, 0.02, 0.12))

    def build(self) -> None:
        """Add buildings and gardens along all roads, then what is behind them."""
        self._close_ends()
        for index, road in enumerate(self._plan.roads):
            for side in (1, -1):
                if index == 0 and side == self._park_side:
                    add_park(self._scene, self._site, self._planting, self._ground, road, side, self._generator)
                else:
                    self._row(road, side)
        self._second_row()
        self._skyline()

    def _row(self, road: Road, side: int) -> None:
        """Add one side's buildings, as close as the land allows."""
        g, style = self._generator, self._style
        s, end = road.start, road.end + 2.0
        while s < end - 6.0:
            width, depth = float(g.uniform(*style.width)), float(g.uniform(*style.depth))
            back = self._setback + float(g.uniform(0.0, 0.5)) * (self._setback > 0)
            width = min(width, end - s)
            front = frontage(road, side, s, width, road.reach + back)
            if not self._fits(front, depth, back):
                width, depth = width * 0.6, min(depth, 8.0)
                front = frontage(road, side, s, width, road.reach + back)
                if width < 5.5 or not self._fits(front, depth, back):
                    s += STEP_M
                    continue
            if g.random() < style.empty:
                self._garden(road, side, s, width, depth + back)
            else:
                self._building(front, depth)
                if back > 1.0:
                    self._front_garden(road, side, s, width, back)
            s += width + self._gap * float(g.uniform(0.7, 1.3))

    def _fits(self, front: Frontage, depth: float, back: float) -> bool:
        return self._site.is_free(front.rectangle(-depth, max(0.0, back - 1.2) if back else -1.0))

    def _building(self, front: Frontage, depth: float) -> None:
        g = self._generator
        kind = str(g.choice(self._kinds, p=self._shares / self._shares.sum()))
        height = float(np.clip(self._typical * g.uniform(0.65, 1.35), 3.5, 36.0))
        mesh = houses.BUILDERS[kind](self._scene, g, front.length, height, depth)
        self._scene.add(mesh.moved(front.world_from_front(LAND_M)), "building")
        self._site.take(front.rectangle(-depth, 0.0))

    def _front_garden(self, road: Road, side: int, s: float, width: float, back: float) -> None:
        """Add lawn or paving before a house, the drive to it, a boundary with a gap for it, and plants."""
        g = self._generator
        line = frontage(road, side, s, width, road.reach)
        self._site.take(line.rectangle(-back, -0.5))
        world_from_line = line.world_from_front(YARD_M)
        green = g.random() < self._style.green
        gate = float(g.uniform(0.1, max(0.2, width - 3.4)))
        lawns = [(0.0, gate), (gate + 2.8, width)]
        for low, high in lawns if green else []:
            corners = [(-back, low, 0.0), (0.0, low, 0.0), (0.0, high, 0.0), (-back, high, 0.0)]
            sheet = shapes.quads([corners], [[corner[:2] for corner in corners]], self._ground.grass)
            self._scene.add(sheet.moved(world_from_line), "vegetation")
        low, high = (gate, gate + 2.8) if green else (0.0, width)
        corners = [(-back, low, 0.01), (0, low, 0.01), (0, high, 0.01), (-back, high, 0.01)]
        drive = shapes.quads([corners], [[corner[:2] for corner in corners]], self._drive)
        self._scene.add(drive.moved(world_from_line), "pavement", layer="pavement")
        self._vehicle_on_drive(line, gate + 1.4, back)
        if g.random() < self._style.fenced and (green or self._plan.layout == "industrial"):
            hedge = g.random() < 0.45
            for low, high in lawns:
                if high - low > 1.5:
                    self._boundary(line, low, high - low, hedge)
        for _ in range(int(g.integers(0, self._style.garden_trees + 1)) if green and back > 3.0 else 0):
            x, y = -g.uniform(0.35, 0.75) * back, g.choice([g.uniform(0.0, gate), g.uniform(gate + 2.8, width + 0.1)])
            self._plant(line, x, y, back)

    def _vehicle_on_drive(self, line: Frontage, y: float, back: float) -> None:
        """Park a car, or a lorry before a hall, on a plot at times."""
        g = self._generator
        is_lorry = self._plan.layout == "industrial" and back > 10.0
        if back < (10.0 if is_lorry else 5.2) or g.random() > 0.4:
            return
        (place,) = line.points(np.array([-back / 2 - 0.1]), np.array([y]))
        if self._site.way_to_drive(place[None])[0] > VISIBLE_M:
            return
        yaw = line.yaw + np.pi * (g.random() < 0.5)
        mesh = (vehicles.lorry if is_lorry else vehicles.car)(self._scene, g)
        self._scene.add(mesh, "truck" if is_lorry else "car", pose(float(place[0]), float(place[1]), 0.01, yaw))

    def _plant(self, line: Frontage, x: float, y: float, room: float) -> None:
        (place,) = line.points(np.array([x]), np.array([y]))
        if room > 4.5 and self._generator.random() < 0.6:
            self._planting.add_tree(place[0], place[1], LAND_M, self._generator.uniform(0.7, 1.1))
        else:
            self._planting.add_bush(place[0], place[1], LAND_M)

    def _boundary(self, line: Frontage, begin: float, length: float, hedge: bool) -> None:
        """Add a hedge or fence behind a line, from `begin` on."""
        wire = self._plan.layout == "industrial"
        add_boundary(
            self._scene,
            self._site,
            line,
            begin,
            length,
            "hedge" if hedge else "wire" if wire else "fence",
            self._generator,
        )

    def _garden(self, road: Road, side: int, s: float, width: float, depth: float) -> None:
        """Add a plot without a house: a boundary, trees and bushes."""
        line = frontage(road, side, s, width, road.reach)
        self._site.take(line.rectangle(-depth, -0.5))
        if self._generator.random() < 0.8:
            self._boundary(line, 0.0, width, bool(self._generator.random() < 0.5))
        for _ in range(int(width * depth / 30.0)):
            x, y = -self._generator.uniform(1.5, depth), self._generator.uniform(0.5, width - 0.5)
            self._plant(line, x, y, 6.0)

    def _close_ends(self) -> None:
        """Put buildings across the ends of all roads, as streets do not run into nothing."""
        g = self._generator
        for road in self._plan.roads:
            for s, direction in ((road.end, 1), (road.start, -1)):
                if s == 0.0:
                    continue
                heading = float(road.line.heading(s)) + (np.pi if direction > 0 else 0.0)
                across = np.array([-np.sin(heading), np.cos(heading)])
                origin = road.line.points(s + direction * 4.5, 0.0)[:2]
                y = -(road.reach + 9.0)
                while y < road.reach + 9.0:
                    width, depth = float(g.uniform(9.0, 17.0)), 10.0
                    x0, y0 = origin + across * y
                    front = Frontage(float(x0), float(y0), heading, width)
                    height = float(np.clip(self._typical * g.uniform(0.8, 1.4), 6.0, 30.0))
                    if self._site.is_free(front.rectangle(-depth, -1.0)):
                        mesh = houses.backdrop(self._scene, g, width, height, depth)
                        self._scene.add(mesh.moved(front.world_from_front(LAND_M)), "building")
                        self._site.take(front.rectangle(-depth, 0.0))
                    y += width + 0.1

    def _second_row(self) -> None:
        """Add simple buildings and trees behind the first row, seen through its gaps."""
        g = self._generator
        for road in self._plan.roads:
            for side in (1, -1):
                s = road.start
                while s < road.end:
                    width = float(g.uniform(11.0, 20.0))
                    front = frontage(road, side, s, width, road.reach + float(g.uniform(24.0, 48.0)))
                    s += width + float(g.uniform(3.0, 16.0))
                    if not self._site.is_free(front.rectangle(-11.0, 3.0)):
                        continue
                    if g.random() < 0.55:
                        height = float(np.clip(self._typical * g.uniform(0.8, 1.3), 4.5, 34.0))
                        mesh = houses.backdrop(self._scene, g, width, height, 10.0)
                        self._scene.add(mesh.moved(front.world_from_front(LAND_M)), "building")
                        self._site.take(front.rectangle(-11.0, 0.0))
                    else:
                        for x, y in front.points(g.uniform(-10, 0, 3), g.uniform(0, width, 3)):
                            self._planting.add_tree(x, y, LAND_M, g.uniform(0.9, 1.6))

    def _skyline(self) -> None:
        """Add a ring of big plain buildings or woods around the world."""
        g = self._generator
        low, high = self._site.bounds
        centre, half = (low + high) / 2, (high - low) / 2 + 12.0
        wood = g.random() < (0.8 if self._style.green > 0.5 else 0.25)
        green = np.array([0.24, 0.32, 0.15]) * g.uniform(0.8, 1.3)
        leaf = self._scene.material("foliage", green, green * 0.4, (5.0,))
        angle, blocks = 0.0, []
        while angle < 2 * np.pi:
            away = np.array([np.cos(angle), np.sin(angle)])
            distance = np.min(half / np.maximum(np.abs(away), 1e-6)) + g.uniform(0, 15)
            width = float(g.uniform(18.0, 34.0))
            x, y = centre + away * distance
            if wood:
                radii = (width * 0.5, width * 0.5, g.uniform(7.0, 13.0))
                blocks.append(shapes.ellipsoid((x, y, 1.0), radii, leaf, 1))
            else:
                front = Frontage(float(x), float(y), angle + np.pi, width)
                mesh = houses.backdrop(
                    self._scene, g, width, float(np.clip(self._typical * g.uniform(0.7, 1.7), 7.0, 34.0)), 10.0
                )
                self._scene.add(mesh.moved(front.world_from_front(LAND_M)), "building")
            angle += width * 0.62 / distance
        if blocks:
            self._scene.add(merged(blocks), "vegetation")
