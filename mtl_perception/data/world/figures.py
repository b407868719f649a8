# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Cars, trucks, people and bicycles: meshes in their own frames (x forward, standing on z = 0) and how they move."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mtl_perception.data.world import shapes
from mtl_perception.data.world.scene import Mesh, Scene, merged
from mtl_perception.data.world.trajectory import upright

# Outlines of vehicles, per station along the length: x, height of belt line and top, half width at belt and at top.
_OUTLINES = {
    "hatchback": [
        (-1.95, 0.70, 0.72, 0.72, 0.60),
        (-1.88, 0.95, 1.00, 0.82, 0.66),
        (-1.60, 0.95, 1.38, 0.85, 0.62),
        (-0.60, 0.93, 1.48, 0.86, 0.64),
        (0.20, 0.92, 1.44, 0.86, 0.64),
        (0.95, 0.90, 0.96, 0.85, 0.74),
        (1.75, 0.76, 0.80, 0.80, 0.66),
        (1.98, 0.55, 0.58, 0.72, 0.60),
    ],
    "saloon": [
        (-2.25, 0.70, 0.74, 0.76, 0.64),
        (-2.15, 0.90, 0.95, 0.84, 0.70),
        (-1.45, 0.92, 1.00, 0.88, 0.72),
        (-0.80, 0.92, 1.40, 0.89, 0.64),
        (0.15, 0.91, 1.42, 0.89, 0.64),
        (1.00, 0.89, 0.95, 0.88, 0.76),
        (2.05, 0.74, 0.78, 0.84, 0.70),
        (2.28, 0.52, 0.56, 0.74, 0.62),
    ],
    "estate": [
        (-2.25, 0.80, 0.84, 0.78, 0.66),
        (-2.18, 1.00, 1.10, 0.88, 0.72),
        (-1.95, 1.02, 1.58, 0.91, 0.68),
        (-0.50, 1.01, 1.66, 0.92, 0.70),
        (0.30, 1.00, 1.62, 0.92, 0.70),
        (1.05, 0.99, 1.08, 0.91, 0.78),
        (2.05, 0.88, 0.94, 0.87, 0.74),
        (2.28, 0.60, 0.64, 0.78, 0.66),
    ],
    "van": [
        (-2.40, 0.60, 0.64, 0.86, 0.80),
        (-2.38, 1.10, 1.95, 0.95, 0.86),
        (-1.00, 1.10, 2.02, 0.96, 0.86),
        (0.90, 1.08, 1.98, 0.96, 0.84),
        (1.70, 1.06, 1.14, 0.94, 0.82),
        (2.35, 0.90, 0.96, 0.90, 0.76),
        (2.45, 0.55, 0.60, 0.80, 0.70),
    ],
}
_PAINTS = [
    *[(0.85, 0.86, 0.88), (0.62, 0.64, 0.66), (0.42, 0.43, 0.46), (0.10, 0.10, 0.12), (0.20, 0.22, 0.26)],
    *[
        (0.55, 0.08, 0.08),
        (0.10, 0.18, 0.42),
        (0.16, 0.32, 0.55),
        (0.12, 0.28, 0.18),
        (0.75, 0.70, 0.55),
        (0.80, 0.45, 0.10),
    ],
]
_CLOTHES = [
    *[(0.12, 0.12, 0.15), (0.22, 0.25, 0.35), (0.35, 0.33, 0.30), (0.60, 0.58, 0.52), (0.85, 0.85, 0.85)],
    *[(0.60, 0.15, 0.15), (0.15, 0.30, 0.55), (0.20, 0.40, 0.25), (0.80, 0.65, 0.20), (0.45, 0.25, 0.45)],
]
_SKINS = [(0.90, 0.75, 0.65), (0.80, 0.62, 0.50), (0.60, 0.43, 0.32), (0.40, 0.28, 0.20)]


def car(scene: Scene, generator: np.random.Generator) -> Mesh:
    """Return a passenger car of random shape, size and paint."""
    kind = str(generator.choice(list(_OUTLINES), p=[0.35, 0.3, 0.25, 0.1]))
    outline = np.array(_OUTLINES[kind]) * generator.uniform(
        [0.93, 0.96, 0.96, 0.96, 0.95], [1.06, 1.04, 1.05, 1.04, 1.05]
    )
    paint = np.array(_PAINTS[generator.integers(len(_PAINTS))]) * generator.uniform(0.8, 1.1)
    body = scene.material("dull", paint, parameters=(0.03, 0.5), gloss=0.55)
    glass = scene.material(
        "dull", generator.uniform(0.05, 0.16, 3) * [0.9, 1.0, 1.05], parameters=(0.1, 0.6), gloss=0.8
    )
    return merged([_shell(outline, body, glass), *_running_gear(scene, outline, generator)])


def truck(scene: Scene, generator: np.random.Generator) -> Mesh:
    """Return a lorry with a box, or a bus."""
    paint = np.array(_PAINTS[generator.integers(len(_PAINTS))])
    body = scene.material("dull", paint, parameters=(0.03, 0.5), gloss=0.35)
    glass = scene.material("dull", (0.08, 0.10, 0.12), parameters=(0.1, 0.6), gloss=0.8)
    tyre, dark = _rubber(scene), scene.material("dull", (0.12, 0.12, 0.12), parameters=(0.1, 0.3))
    half = generator.uniform(1.1, 1.28)
    if generator.random() < 0.4:
        length, height = generator.uniform(9, 12), generator.uniform(2.9, 3.3)
        pane = scene.material(
            "facade", paint, (0.05, 0.05, 0.06), (height * 0.95, 1.5, 0.9, 0.42, 0, 0, 0.0, 0.05), gloss=0.3
        )
        parts = [shapes.box((length, 2 * half, height - 0.4), (0, 0, 0.4 + (height - 0.4) / 2), pane, top=body)]
        front = length / 2
        windscreen = (0.05, 2 * half * 0.92, height * 0.42)
        parts.append(shapes.box(windscreen, (front, 0, height * 0.62), glass))
    else:
        length, height = generator.uniform(5.5, 9.5), generator.uniform(2.7, 3.6)
        cover = scene.material("dull", generator.uniform(0.3, 0.95, 3), parameters=(0.08, 1.5), gloss=0.05)
        front = length / 2
        cab = generator.uniform(2.2, 2.7)
        parts = [
            shapes.box((length - 1.9, 2 * half, height - 1.0), (-0.95, 0, 1.0 + (height - 1.0) / 2), cover),
            shapes.box((1.7, 2 * half * 0.96, cab - 0.5), (front - 0.85, 0, 0.5 + (cab - 0.5) / 2), body),
            shapes.box((0.05, 2 * half * 0.88, cab * 0.3), (front, 0, cab * 0.72), glass),
            shapes.box((0.9, 2 * half * 0.97, cab * 0.26), (front - 0.75, 0, cab * 0.72), glass),
            shapes.box((length - 0.4, 1.6, 0.35), (0, 0, 0.8), dark),
        ]
    for x in (-length / 2 + 1.3, front - 1.3):
        for side in (-1, 1):
            parts.append(shapes.cylinder((x, side * (half - 0.3), 0.48), (x, side * half, 0.48), 0.48, tyre, sides=12))
    parts += _lamps(scene, front, -length / 2, half, 0.9)
    return merged(parts)


def person(scene: Scene, generator: np.random.Generator) -> tuple[Mesh, float]:
    """Return a person as parts (0 trunk, 1 and 2 legs, 3 and 4 arms, hinged at their top) and the height in metres."""
    height = float(generator.uniform(1.45, 1.92))
    stout = generator.uniform(0.9, 1.25)
    top, trousers = (
        np.array(_CLOTHES[generator.integers(len(_CLOTHES))]) * generator.uniform(0.8, 1.1) for _ in range(2)
    )
    second = np.array(_CLOTHES[generator.integers(len(_CLOTHES))])
    stripe = float(generator.choice([0.0, 0.0, 0.0, 0.06]))
    coat = scene.material("cloth", top, second, (0.25, 0.18, stripe))
    legs = scene.material("cloth", trousers, parameters=(0.2, 0.15))
    skin = scene.material("dull", _SKINS[generator.integers(len(_SKINS))], parameters=(0.04, 0.1))
    hair = scene.material("dull", np.array([0.2, 0.13, 0.08]) * generator.uniform(0.3, 3.0), parameters=(0.2, 0.05))
    shoe = scene.material("dull", generator.uniform(0.05, 0.4) * np.ones(3), parameters=(0.1, 0.1))
    hip, shoulder = 0.50 * height, 0.82 * height
    low = hip - generator.choice([0.03, 0.03, 0.22])  # a jacket or a long coat
    trunk = [
        shapes.cylinder((0, 0, low), (0, 0, 0.68 * height), 0.155 * stout, coat, 0.17 * stout),
        shapes.cylinder((0, 0, 0.68 * height), (0, 0, shoulder), 0.17 * stout, coat, 0.13 * stout),
        shapes.ellipsoid((0, 0, shoulder - 0.02), (0.11, 0.19 * stout, 0.07), coat),
        shapes.cylinder((0, 0, shoulder), (0.01, 0, 0.88 * height), 0.055, skin, sides=6),
        shapes.ellipsoid((0.02, 0, 0.93 * height), (0.095, 0.08, 0.12), skin),
        shapes.ellipsoid((-0.015, 0, 0.95 * height), (0.10, 0.088, 0.115), hair),
    ]
    if generator.random() < 0.3:
        bag = scene.material("cloth", _CLOTHES[generator.integers(len(_CLOTHES))], parameters=(0.1, 0.1))
        trunk.append(shapes.box((0.16, 0.28, 0.42), (-0.2, 0, 0.68 * height), bag))
    parts = [mesh.as_part(0) for mesh in trunk]
    for index, side in ((1, 1), (2, -1)):
        leg = [
            shapes.cylinder((0, 0, 0.02), (0, 0, -hip * 0.5), 0.085 * stout, legs, 0.065, sides=7),
            shapes.cylinder((0, 0, -hip * 0.5), (-0.02, 0, -hip + 0.06), 0.065, legs, 0.05, sides=7),
            shapes.box((0.25, 0.09, 0.08), (0.05, 0, -hip + 0.04), shoe),
        ]
        parts += [mesh.as_part(index) for mesh in leg]
        arm_length = 0.36 * height
        arm = [
            shapes.cylinder((0, 0, 0), (0.01, 0.03 * side, -arm_length * 0.5), 0.055, coat, 0.048, sides=6),
            shapes.cylinder(
                (0.01, 0.03 * side, -arm_length * 0.5), (0.06, 0.03 * side, -arm_length), 0.048, coat, 0.035, sides=6
            ),
            shapes.ellipsoid((0.07, 0.03 * side, -arm_length - 0.04), 0.05, skin, 0),
        ]
        parts += [mesh.as_part(index + 2) for mesh in arm]
    return merged(parts), height


def bicycle(scene: Scene, generator: np.random.Generator) -> Mesh:
    """Return a bicycle."""
    frame = scene.material("dull", _PAINTS[generator.integers(len(_PAINTS))], gloss=0.3)
    tyre = _rubber(scene)
    wheels = []
    for x in (-0.52, 0.52):
        angle = np.linspace(0, 2 * np.pi, 15)
        rim = np.stack([x + 0.33 * np.cos(angle), 0 * angle, 0.34 + 0.33 * np.sin(angle)], -1)
        wheels += [shapes.cylinder(a, b, 0.025, tyre, sides=4) for a, b in pairwise(rim)]
        for k in range(0, 14, 2):
            wheels.append(shapes.cylinder((x, 0, 0.34), rim[k], 0.006, frame, sides=3))
    saddle, pedals, head = (-0.22, 0, 0.85), (-0.05, 0, 0.32), (0.38, 0, 0.85)
    tubes = [
        ((-0.52, 0, 0.34), saddle),
        ((-0.52, 0, 0.34), pedals),
        (pedals, saddle),
        (pedals, head),
        (saddle, head),
        (head, (0.52, 0, 0.34)),
        (head, (0.33, 0, 1.02)),
        ((0.33, -0.27, 1.02), (0.33, 0.27, 1.02)),
    ]
    bars = [shapes.cylinder(a, b, 0.022, frame, sides=5) for a, b in tubes]
    seat = shapes.ellipsoid((-0.25, 0, 0.92), (0.14, 0.08, 0.05), tyre, 0)
    return merged([*wheels, *bars, seat])


def standing_pose(height: float, swing: float, body: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the poses (5, 4, 4) of a person's parts on a body frame, legs and arms swung by an angle in radians."""
    hip, shoulder = 0.50 * height, 0.82 * height
    offsets = [((0, 0.09, hip), swing), ((0, -0.09, hip), -swing)]
    offsets += [((0, 0.23, shoulder), -0.8 * swing), ((0, -0.23, shoulder), 0.8 * swing)]
    return np.stack([body] + [body @ upright(place, 0.0, angle) for place, angle in offsets])


def riding_pose(height: float, turn: float, body: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the poses (6, 4, 4) of a cyclist's parts: bicycle, legs, arms, trunk; `turn` is the pedals' angle."""
    hip = 0.50 * height
    seat = body @ upright((-0.22, 0, 0.92), 0.0) @ upright((0, 0, 0), 0.0, 0.45) @ upright((0, 0, -hip), 0.0)
    shoulder = seat @ upright((0, 0, 0.82 * height), 0.0)
    place = shoulder[:3, 3]
    limbs = []
    for side, phase in ((1, 0.0), (-1, np.pi)):
        leg = body @ upright((-0.20, 0.09 * side, 0.95), 0.0, -0.45 + 0.35 * np.sin(turn + phase))
        limbs.append(leg)
    for side in (1, -1):
        shoulder_point = place + body[:3, 1] * 0.2 * side
        arm = body.copy()
        arm[:3, :3] = body[:3, :3] @ upright((0, 0, 0), 0.0, -0.95)[:3, :3]
        arm[:3, 3] = shoulder_point
        limbs.append(arm)
    return np.stack([body, *limbs, seat])


def walker(
    height: float, body: Callable[[float], NDArray[np.float64]], way: Callable[[float], float]
) -> Callable[[float], NDArray[np.float64]]:
    """Return the poses over time of somebody who walks: `body` is where, `way` how far they have come in metres."""

    def poses(seconds: float) -> NDArray[np.float64]:
        return standing_pose(height, 0.5 * np.sin(way(seconds) * 2 * np.pi / (0.85 * height)), body(seconds))

    return poses


def cyclist(scene: Scene, generator: np.random.Generator) -> tuple[Mesh, float]:
    """Return a person (parts 1..4 limbs, 5 trunk) on a bicycle (part 0), and the person's height."""
    rider, height = person(scene, generator)
    parts = np.where(rider.part == 0, 5, rider.part).astype(np.int32)
    rider = Mesh(rider.corners, rider.normals, rider.texture, rider.material, parts)
    return merged([bicycle(scene, generator), rider]), height


def _rubber(scene: Scene) -> int:
    return scene.material("dull", (0.09, 0.09, 0.10), parameters=(0.1, 0.1))


def _shell(outline: NDArray[np.float64], body: int, glass: int) -> Mesh:
    """Return the body of a car lofted along its stations, windows where the top is well above the belt line."""
    floor = 0.28
    corners, texture, materials = [], [], []
    for (x0, belt0, top0, wide0, roof0), (x1, belt1, top1, wide1, roof1) in pairwise(outline):
        cabin = max(top0 - belt0, top1 - belt1) > 0.3
        both = min(top0 - belt0, top1 - belt1) > 0.3
        for side in (1.0, -1.0):
            rows = [
                ((wide0 * 0.93, floor), (wide1 * 0.93, floor), (wide0, belt0 * 0.75), (wide1, belt1 * 0.75), body),
                ((wide0, belt0 * 0.75), (wide1, belt1 * 0.75), (wide0 * 0.97, belt0), (wide1 * 0.97, belt1), body),
                ((wide0 * 0.97, belt0), (wide1 * 0.97, belt1), (roof0, top0), (roof1, top1), glass if cabin else body),
                (
                    (roof0, top0),
                    (roof1, top1),
                    (0.0, top0 + 0.03),
                    (0.0, top1 + 0.03),
                    glass if cabin and not both else body,
                ),
            ]
            for (ya, za), (yb, zb), (yc, zc), (yd, zd), material in rows:
                quad = [(x0, side * ya, za), (x1, side * yb, zb), (x1, side * yd, zd), (x0, side * yc, zc)]
                quad = quad[::-1] if side > 0 else quad
                corners.append(quad)
                texture.append([(p[0], p[2]) for p in quad])
                materials.append(material)
    for index, forward in ((0, False), (-1, True)):
        x, belt, top, wide, roof = outline[index]
        profile = [(wide * 0.93, floor), (wide, belt * 0.75), (wide * 0.97, belt), (roof, top), (0.0, top + 0.03)]
        for (y0, z0), (y1, z1) in pairwise(profile):
            ring = [(x, -y0, z0), (x, y0, z0), (x, y1, z1), (x, -y1, z1)]
            ring = ring if forward else ring[::-1]
            corners.append(ring)
            texture.append([(p[1], p[2]) for p in ring])
            materials.append(body)
    mesh = shapes.quads(corners, texture, body)
    # Flat quads lose their empty triangles, so the material follows by the order of the triangles that remain.
    quad_of = _kept_quads(np.array(corners))
    return _smoothed(Mesh(mesh.corners, mesh.normals, mesh.texture, np.array(materials, np.int32)[quad_of], mesh.part))


def _kept_quads(corners: NDArray[np.float64]) -> NDArray[np.int64]:
    split = corners[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3, 3)
    area = np.linalg.norm(np.cross(split[:, 1] - split[:, 0], split[:, 2] - split[:, 0]), axis=1)
    return np.flatnonzero(area > 1e-9) // 2


def _smoothed(mesh: Mesh) -> Mesh:
    """Return the mesh with each corner's normal averaged over the triangles that meet there at less than 50 degrees."""
    _, place = np.unique(np.round(mesh.corners.reshape(-1, 3), 3), axis=0, return_inverse=True)
    place, flat = place.reshape(-1), mesh.normals.reshape(-1, 3)
    together = (place[:, None] == place) & (flat @ flat.T > 0.64)
    result = together.astype(np.float32) @ flat
    result /= np.linalg.norm(result, axis=1, keepdims=True)
    return Mesh(mesh.corners, result.reshape(-1, 3, 3).astype(np.float32), mesh.texture, mesh.material, mesh.part)


def _running_gear(scene: Scene, outline: NDArray[np.float64], generator: np.random.Generator) -> list[Mesh]:
    """Return wheels, lamps, bumpers and number plates."""
    tyre = _rubber(scene)
    hub = scene.material("dull", generator.uniform(0.3, 0.75) * np.ones(3), gloss=0.3, parameters=(0.2, 0.1))
    plate = scene.material("dull", (0.9, 0.88, 0.75))
    rear, front = outline[0, 0], outline[-1, 0]
    half = outline[:, 3].max()
    parts = []
    for x in (rear + 0.85, front - 0.85):
        for side in (-1, 1):
            inner, outer = side * (half - 0.22), side * (half + 0.01)
            parts.append(shapes.cylinder((x, inner, 0.32), (x, outer, 0.32), 0.32, tyre, sides=12))
            parts.append(shapes.cylinder((x, outer, 0.32), (x, outer + side * 0.01, 0.32), 0.2, hub, sides=10))
    parts.append(shapes.box((0.03, 0.5, 0.12), (rear - 0.01, 0, 0.5), plate))
    parts.append(shapes.box((0.03, 0.5, 0.12), (front + 0.01, 0, 0.42), plate))
    return parts + _lamps(scene, front, rear, half * 0.86, 0.62)


def _lamps(scene: Scene, front: float, rear: float, half: float, height: float) -> list[Mesh]:
    white = scene.material("dull", (0.9, 0.9, 0.85), gloss=0.5)
    red = scene.material("dull", (0.65, 0.04, 0.04), gloss=0.4)
    parts = []
    for side in (-1, 1):
        parts.append(shapes.box((0.3, 0.26, 0.13), (front - 0.15, side * (half - 0.13), height), white))
        parts.append(shapes.box((0.1, 0.2, 0.2), (rear + 0.04, side * (half - 0.1), height + 0.12), red))
    return parts
