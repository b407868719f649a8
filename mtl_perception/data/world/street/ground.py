# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The ground of a street world: roadways, kerbs, pavements with rounded corners, medians, and the land behind them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mtl_perception.data.world import shapes
from mtl_perception.data.world.scene import Mesh, Scene, merged
from mtl_perception.data.world.street.roads import KERB_M, Junction, Road, StreetPlan

LAND_M = -0.02
"""Height of the land behind the pavements."""

FINE_M, COARSE_M = 3.0, 12.0
LAND_SIZE_M = 4000.0


class Ground:
    """Puts the ground of a plan into a scene."""

    def __init__(self, scene: Scene, plan: StreetPlan, generator: np.random.Generator, green: bool) -> None:
        self._scene, self._plan = scene, plan
        grey = generator.uniform(0.28, 0.46)
        self.asphalt_colour = grey * generator.uniform(0.97, 1.03, 3)
        self._wear = (generator.uniform(0.2, 1.0), generator.uniform(0.1, 1.0))
        tone = generator.uniform(0.45, 0.68) * generator.uniform(0.95, 1.05, 3)
        stone = (generator.uniform(0.3, 0.9), generator.uniform(0.3, 0.6), 0.5, 0.02, 0.08)
        self._paving = scene.material("slabs", tone, tone * 0.6, stone)
        self._kerb = scene.material("slabs", tone * 1.08, tone * 0.6, (1.0, 5.0, 0.0, 0.02, 0.08))
        lush = generator.uniform(0.0, 1.0)
        grass = np.array([0.36, 0.42, 0.18]) * (1 - lush) + np.array([0.24, 0.40, 0.13]) * lush
        self.grass = scene.material("grass", grass, (0.42, 0.38, 0.22))
        self.gravel = scene.material("grass", tone * [0.95, 0.92, 0.86], tone * 0.7)
        self._green = green

    def build(self) -> None:
        """Add all of it."""
        roadway: list[Mesh] = []
        pavement: list[Mesh] = []
        verge: list[Mesh] = []
        for index, road in enumerate(self._plan.roads):
            material = self._roadway(road)
            for low, high in _stretches(self._plan, index):
                roadway.append(_band(road, samples(road, low, high), road.half, -road.half, 0.0, material))
            for side in (1, -1):
                for low, high in self._kerb_stretches(index, side):
                    pavement.extend(self._pavement(road, side, low, high))
            for end, direction in self._ends(index):
                pavement.append(self._cap(road, end, direction))
            if road.median > 0:
                for low, high in self._median_stretches(index):
                    kerb, top = self._median(road, low, high)
                    pavement.append(kerb)
                    verge.append(top)
        for junction in self._plan.junctions:
            for arm in junction.arms:
                for direction in (1, -1):
                    curb, fillet = self._corner(junction, arm, direction)
                    pavement.append(curb)
                    roadway.append(fillet)
        self._scene.add(merged(roadway), "road", layer="road")
        self._scene.add(merged(pavement), "pavement", layer="pavement")
        if verge:
            self._scene.add(merged(verge), "vegetation")
        self._land()

    def _land(self) -> None:
        material = self.grass if self._green else self.gravel
        half = LAND_SIZE_M / 2
        corners = [(-half, -half, LAND_M), (half, -half, LAND_M), (half, half, LAND_M), (-half, half, LAND_M)]
        land = shapes.quads([corners], [[corner[:2] for corner in corners]], material)
        self._scene.add(land, "vegetation" if self._green else "pavement")

    def _roadway(self, road: Road) -> int:
        numbers = (road.lane, road.median, *self._wear)
        return self._scene.material("roadway", self.asphalt_colour, (0.0, 0.0, 0.0), numbers)

    def _kerb_stretches(self, index: int, side: int) -> list[tuple[float, float]]:
        """Return from where to where (s) a side of a road has a straight pavement."""
        plan, road = self._plan, self._plan.roads[index]
        if index > 0:
            return _stretches(plan, index, [self._corner_size(j) for j in plan.junctions])
        cuts = []
        for junction in plan.junctions:
            if side in junction.arms:
                away = plan.roads[junction.other].half + self._corner_size(junction)
                cuts += [junction.s - away, junction.s + away]
        edges = [road.start, *cuts, road.end]
        return list(zip(edges[::2], edges[1::2], strict=True))

    def _corner_size(self, junction: Junction) -> float:
        """Return how far the pavement of a corner reaches along both kerbs."""
        return corner_size(self._plan, junction)

    def _pavement(self, road: Road, side: int, low: float, high: float) -> Iterator[Mesh]:
        s = samples(road, low, high)
        inner, outer = side * road.half, side * road.reach
        yield _band(road, s, max(inner, outer), min(inner, outer), KERB_M, self._paving)
        yield _face(road, s, inner, side, -0.02, KERB_M, self._kerb)
        yield _face(road, s, outer, -side, LAND_M, KERB_M, self._kerb)

    def _ends(self, index: int) -> list[tuple[float, int]]:
        """Return the dead ends of a road, and whether its outside is towards +s or -s there."""
        road = self._plan.roads[index]
        return [(s, sign) for s, sign in ((road.end, 1), (road.start, -1)) if s != 0.0]

    def _cap(self, road: Road, end: float, direction: int) -> Mesh:
        """Return the pavement that closes a road's end, 2.5 m deep."""
        first, last = sorted((end, end + direction * 2.5))
        top = _band(road, np.array([first, last]), road.reach, -road.reach, KERB_M, self._paving)
        d = np.array([-road.half, road.half]) * direction
        low, high = (road.line.points(end, d, z) for z in (-0.02, KERB_M))
        texture = [np.stack([np.abs(d), np.full(2, z)], axis=-1) for z in (0.0, KERB_M)]
        return merged([top, shapes.strip(low, high, texture[0], texture[1], self._kerb)])

    def _median_stretches(self, index: int) -> list[tuple[float, float]]:
        """Return from where to where (s) a road's median is not interrupted."""
        plan, road = self._plan, self._plan.roads[index]
        gaps = [*plan.junction_spans(index)]
        gaps += [(c.s - c.half_width - 0.5, c.s + c.half_width + 0.5) for c in plan.crossings if c.road == index]
        result, s = [], road.start + 8.0
        for low, high in [*sorted(gaps), (road.end - 8.0, road.end)]:
            if low - s > 4.0:
                result.append((s, low))
            s = max(s, high)
        return result

    def _median(self, road: Road, low: float, high: float) -> tuple[Mesh, Mesh]:
        """Return the kerb and the green of a median that begins and ends in a point."""
        s = np.unique(np.concatenate([samples(road, low, high), [low + 0.5, high - 0.5]]))
        wide = np.clip(np.minimum(s - low, high - s) / 0.5, 0.05, 1.0) * road.median
        edges = [(wide, -1), (-wide, 1)]
        faces = [_face(road, s, d, side, -0.02, KERB_M, self._kerb) for d, side in edges]
        inside = np.maximum(wide - 0.15, 0.0)
        rims = [
            _band(road, s, wide, inside, KERB_M, self._kerb),
            _band(road, s, -inside, -wide, KERB_M, self._kerb),
        ]
        return merged([*faces, *rims]), _band(road, s, inside, -inside, KERB_M + 0.01, self.grass)

    def _corner(self, junction: Junction, arm: int, direction: int) -> tuple[Mesh, Mesh]:
        """Return the pavement around a corner, and the piece of roadway in its rounding.

        `arm` is the side of road 0 (+1 left), `direction` the side of the other road along road 0 (+1 ahead).
        """
        main, other = self._plan.roads[0], self._plan.roads[junction.other]
        base, reach = np.array([other.half, main.half]), np.array([other.pavement, main.pavement])
        angle = np.linspace(0.0, np.pi / 2, 9)
        turn = np.stack([np.sin(angle), np.cos(angle)], axis=-1)
        centre, size = np.maximum(junction.corner, reach), self._corner_size(junction)
        kerb = np.concatenate([[(size, 0.0)], junction.corner * (1 - turn), [(0.0, size)]]) + base
        arc = centre - np.maximum(junction.corner - reach, 0.0) * turn
        rim = np.concatenate([[(size, reach[1])], arc, [(reach[0], size)]]) + base

        def world(points: NDArray[np.float64], z: float) -> NDArray[np.float64]:
            return main.line.points(junction.s + direction * points[:, 0], arm * points[:, 1], z)

        is_turned = arm * direction < 0
        walls = [
            _between(world(kerb, LAND_M), world(kerb, KERB_M), self._kerb, is_turned),
            _between(world(rim, KERB_M), world(rim, LAND_M), self._kerb, is_turned),
        ]
        top = _between(world(kerb, KERB_M), world(rim, KERB_M), self._paving, is_turned)
        inside = np.broadcast_to(base, kerb[1:-1].shape)
        fillet = _between(world(inside, 0.0), world(kerb[1:-1], 0.0), self._roadway(main), is_turned)
        return merged([top, *walls]), fillet


def corner_size(plan: StreetPlan, junction: Junction) -> float:
    """Return how far the pavement of a junction's corner reaches along both kerbs, metres."""
    return max(junction.corner, plan.roads[0].pavement, plan.roads[junction.other].pavement) + 0.1


def samples(road: Road, low: float, high: float) -> NDArray[np.float64]:
    """Return s from low to high: dense where the road bends, on the same grid for all that follows the road."""
    grid = np.arange(np.ceil(road.start / FINE_M), road.end / FINE_M) * FINE_M
    bend = np.abs(road.line.heading(grid + FINE_M) - road.line.heading(grid - FINE_M))
    kept = grid[(bend > 1e-4) | (np.round(grid / FINE_M) % round(COARSE_M / FINE_M) == 0)]
    inside = kept[(kept > low + 0.05) & (kept < high - 0.05)]
    return np.concatenate([[low], inside, [high]])


def _stretches(plan: StreetPlan, index: int, corners: list[float] | None = None) -> list[tuple[float, float]]:
    """Return from where to where (s) a road's own roadway runs; `corners` are left out beside road 0's pavement."""
    road = plan.roads[index]
    if index == 0:
        return [(road.start, road.end)]
    number = next(i for i, junction in enumerate(plan.junctions) if junction.other == index)
    near = plan.roads[0].half + (corners[number] if corners else 0.0)
    ends = {1: (near, road.end), -1: (road.start, -near)}
    return [ends[arm] for arm in plan.junctions[number].arms]


def _band(road: Road, s: NDArray, left: float | NDArray, right: float | NDArray, z: float, material: int) -> Mesh:
    """Return a horizontal band between two offsets of the centre line; texture is d, s."""
    on_left, on_right = (np.stack([np.broadcast_to(d, s.shape), s], axis=-1) for d in (left, right))
    return shapes.strip(road.line.points(s, left, z), road.line.points(s, right, z), on_left, on_right, material)


def _face(road: Road, s: NDArray, d: float | NDArray, side: int, low: float, high: float, material: int) -> Mesh:
    """Return an upright band along a road that faces right (side 1) or left (side -1)."""
    bottom, top = road.line.points(s, d, low), road.line.points(s, d, high)
    texture = [np.stack([s, np.full(len(s), z)], axis=-1) for z in (0.0, KERB_M)]
    if side > 0:
        return shapes.strip(top, bottom, texture[1], texture[0], material)
    return shapes.strip(bottom, top, texture[0], texture[1], material)


def _between(left: NDArray, right: NDArray, material: int, is_turned: bool) -> Mesh:
    """Return the band between two lines of points (N, 3), which change sides if turned; texture is x, y or along, z."""
    first, second = (right, left) if is_turned else (left, right)
    flat = bool(np.ptp(np.concatenate([left, right])[:, 2]) < 1e-6)
    way = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(left, axis=0), axis=1))])
    texture = [line[:, :2] if flat else np.stack([way, line[:, 2]], axis=-1) for line in (first, second)]
    return shapes.strip(first, second, texture[0], texture[1], material)
