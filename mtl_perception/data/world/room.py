# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A furnished room: floor, walls, ceiling, furniture, clutter, and sometimes somebody walking through."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.transforms import Transform
from mtl_perception.data.world import figures, furniture, shapes
from mtl_perception.data.world.scene import Scene, merged
from mtl_perception.data.world.trajectory import upright

DURATION_S = 20.0
_WALLS = [
    *[(0.88, 0.86, 0.80), (0.82, 0.78, 0.68), (0.72, 0.76, 0.80), (0.80, 0.80, 0.80), (0.66, 0.58, 0.48)],
    *[(0.70, 0.75, 0.62), (0.78, 0.62, 0.52), (0.55, 0.60, 0.66), (0.90, 0.88, 0.86)],
]


@dataclass(frozen=True, eq=False)
class Plan:
    """A room from x, y = 0 to `size`, `height` high, and the camera's way through it.

    Attributes:
        size: metres along x and y.
        height: metres.
        free: half extents of the ellipse around the middle that furniture leaves free.
        eye: mean height of the camera.
        numbers: random phases and speeds of the camera's motion.
        looks_inward: whether the camera keeps the middle of the room in view.
    """

    size: tuple[float, float]
    height: float
    free: tuple[float, float]
    eye: float
    numbers: NDArray[np.float64]
    looks_inward: bool

    def base(self, seconds: float) -> Transform:
        """Return world_from_base of a camera held in the hand."""
        n, t = self.numbers, seconds
        turn = n[0] + n[1] * t
        x = self.size[0] / 2 + self.free[0] * 0.75 * np.cos(turn)
        y = self.size[1] / 2 + self.free[1] * 0.75 * np.sin(turn)
        z = self.eye + 0.07 * np.sin(0.9 * t + n[3]) + 0.015 * np.sin(7.5 * t + n[2])
        inward = np.arctan2(self.size[1] / 2 - y, self.size[0] / 2 - x)
        yaw = (inward if self.looks_inward else n[4] + n[5] * t) + 0.6 * np.sin(0.45 * t + n[6])
        pitch = n[7] + 0.12 * np.sin(0.6 * t + n[0])
        roll = 0.05 * np.sin(0.8 * t + n[3]) + 0.01 * np.sin(5.0 * t)
        return upright((x, y, z), float(yaw), float(pitch), float(roll))


def plan_room(generator: np.random.Generator) -> Plan:
    """Draw a room's size and the camera's way."""
    size = tuple(float(v) for v in generator.uniform(3.0, 8.0, 2))
    height = float(generator.uniform(2.35, 3.1))
    free = tuple(max(0.25, v / 2 - 1.15) for v in size)
    walk = generator.uniform(0.2, 0.6) / max(free)
    numbers = np.array(
        [
            generator.uniform(0, 6.3),
            walk * generator.choice([-1, 1]),
            *generator.uniform(0, 6.3, 3),
            generator.uniform(-0.35, 0.35),
            generator.uniform(0, 6.3),
            generator.uniform(-0.1, 0.4),
        ]
    )
    return Plan(size, height, free, float(generator.uniform(0.9, 1.7)), numbers, bool(generator.random() < 0.6))  # type: ignore[arg-type]


def build_room(scene: Scene, plan: Plan, generator: np.random.Generator) -> None:
    """Put a whole room into a scene."""
    _shell(scene, plan, generator)
    _along_walls(scene, plan, generator)
    if plan.eye > 1.25:
        _middle(scene, plan, generator)
    if generator.random() < 0.45:
        _visitor(scene, plan, generator)


def _shell(scene: Scene, plan: Plan, generator: np.random.Generator) -> None:
    (sx, sy), height = plan.size, plan.height
    floor = _floor_material(scene, generator)
    paint = np.array(_WALLS[generator.integers(len(_WALLS))]) * generator.uniform(0.75, 1.05)
    wall = scene.material("dull", paint, parameters=(0.035, 2.0))
    other = np.array(_WALLS[generator.integers(len(_WALLS))]) * generator.uniform(0.6, 1.05)
    accent = scene.material("dull", other, parameters=(0.035, 2.0))
    tiles = scene.material("slabs", (0.85, 0.85, 0.83), (0.6, 0.6, 0.6), (0.6, 0.6, 0.0, 0.02, 0.03))
    white = scene.material("dull", np.ones(3) * generator.uniform(0.78, 0.95), parameters=(0.025, 2.0))
    ceiling = tiles if generator.random() < 0.3 else white
    t = 0.1
    scene.add(shapes.box((sx, sy, t), (sx / 2, sy / 2, -t / 2), floor), "floor")
    scene.add(shapes.box((sx, sy, t), (sx / 2, sy / 2, height + t / 2), ceiling), "ceiling")
    materials = [wall, wall, wall, accent if generator.random() < 0.5 else wall]
    skirting = scene.material(
        "wood", (0.85, 0.84, 0.80) if generator.random() < 0.6 else (0.4, 0.28, 0.18), (0.7, 0.68, 0.6), (0.0, 8.0)
    )
    for index in range(4):
        length = (sx, sy)[index % 2]
        parts = [shapes.box((length + 2 * t, t, height), (length / 2, -t / 2, height / 2), materials[index])]
        parts.append(shapes.box((length, 0.02, 0.09), (length / 2, 0.01, 0.045), skirting))
        decorations = furniture.wall_decorations(scene, generator, length, height)
        scene.add(merged(parts + decorations).moved(_wall_pose(plan, index)), "wall")


def _wall_pose(plan: Plan, index: int) -> Transform:
    """Return room_from_wall: along a wall x runs, y points into the room."""
    sx, sy = plan.size
    corner = [(0.0, 0.0), (sx, 0.0), (sx, sy), (0.0, sy)][index]
    return upright((*corner, 0.0), index * np.pi / 2)


def _floor_material(scene: Scene, generator: np.random.Generator) -> int:
    kind = generator.integers(3)
    if kind == 0:
        tone = np.array([(0.62, 0.44, 0.28), (0.45, 0.30, 0.18), (0.72, 0.58, 0.40)][generator.integers(3)])
        return scene.material("wood", tone, tone * 0.75, (generator.uniform(0.07, 0.18), 6.0), gloss=0.08)
    if kind == 1:
        tone = generator.uniform(0.2, 0.65) * generator.uniform(0.8, 1.15, 3)
        return scene.material("cloth", tone, tone * 0.8, (0.6, 0.07, 0.0))
    tone = generator.uniform(0.45, 0.85) * generator.uniform(0.92, 1.05, 3)
    size = generator.uniform(0.25, 0.6)
    return scene.material("slabs", tone, tone * 0.6, (size, size, 0.0, 0.008, 0.06), gloss=0.06)


def _along_walls(scene: Scene, plan: Plan, generator: np.random.Generator) -> None:
    """Put pieces of furniture side by side along each wall, leaving gaps, and clutter on and beside them."""
    crowded = generator.uniform(0.65, 1.0)
    for index in range(4):
        length = (plan.size[0], plan.size[1])[index % 2]
        place = generator.uniform(0.75, 0.95)
        while place < length - 1.0:
            piece, wide = furniture.piece(scene, generator, min(2.2, length - 0.8 - place), plan.height)
            if generator.random() < crowded:
                room_from_wall = _wall_pose(plan, index) @ upright((place + wide / 2, 0.047, 0.0), 0.0)
                for mesh in piece:
                    scene.add(mesh.moved(room_from_wall), "furniture")
            elif generator.random() < 0.5:
                room_from_wall = _wall_pose(plan, index) @ upright((place + 0.3, 0.35, 0.0), generator.uniform(0, 1.5))
                scene.add(furniture.pile(scene, generator).moved(room_from_wall), "furniture")
            place += wide + generator.uniform(0.02, 0.3)


def _middle(scene: Scene, plan: Plan, generator: np.random.Generator) -> None:
    """Put a table with chairs in the middle; the camera looks over it."""
    long, wide = generator.uniform(1.0, 1.9), generator.uniform(0.7, 1.1)
    room_from_table = upright((plan.size[0] / 2, plan.size[1] / 2, 0.0), generator.uniform(0, 3.1))
    scene.add(furniture.table(scene, generator, long, wide).moved(room_from_table), "furniture")
    seat = furniture.chair(scene, generator)
    for side in (-1, 1):
        for x in np.arange(-long / 2 + 0.4, long / 2 - 0.2, 0.7):
            if generator.random() < 0.7:
                yaw = -side * np.pi / 2 + generator.normal(0, 0.25)
                table_from_chair = upright((x, side * (wide / 2 + generator.uniform(-0.05, 0.35)), 0.0), yaw)
                scene.add(seat.moved(room_from_table @ table_from_chair), "furniture")


def _visitor(scene: Scene, plan: Plan, generator: np.random.Generator) -> None:
    """Somebody who walks around the middle of the room, opposite the camera, and stands still now and then."""
    mesh, height = figures.person(scene, generator)
    radius = np.array(plan.free) * 0.95
    speed = generator.uniform(0.5, 1.1) / float(radius.mean())
    pause, opposite = generator.uniform(0.3, 0.9), np.pi + generator.uniform(-0.6, 0.6)

    def angle(t: float) -> float:
        # Swings back and forth about the point opposite the camera, so that both never meet.
        turn = plan.numbers[0] + plan.numbers[1] * t
        return float(turn + opposite + pause * np.sin(speed * t))

    def body(t: float) -> Transform:
        place, nxt = (
            np.array([np.cos(a) * radius[0] + plan.size[0] / 2, np.sin(a) * radius[1] + plan.size[1] / 2])
            for a in (angle(t), angle(t + 0.05))
        )
        step = nxt - place
        return upright((*place, 0.0), float(np.arctan2(step[1], step[0])))

    scene.add_actor(mesh, "pedestrian", figures.walker(height, body, lambda t: angle(t) * float(radius.mean())))
