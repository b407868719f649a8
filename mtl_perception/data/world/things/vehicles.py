# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Cars, lorries, buses and bicycles: meshes in their own frames (x forward, standing on z = 0 below their middle)."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mtl_perception.data.world import shapes
from mtl_perception.data.world.scene import Mesh, Scene, merged

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


def car(scene: Scene, generator: np.random.Generator, in_use: bool = False) -> Mesh:
    """Return a passenger car of random shape, size and paint; one in use has its lights on at night."""
    kind = str(generator.choice(list(_OUTLINES), p=[0.35, 0.3, 0.25, 0.1]))
    outline = np.array(_OUTLINES[kind]) * generator.uniform(
        [0.93, 0.96, 0.96, 0.96, 0.95], [1.06, 1.04, 1.05, 1.04, 1.05]
    )
    paint = np.array(_PAINTS[generator.integers(len(_PAINTS))]) * generator.uniform(0.8, 1.1)
    body = scene.material("dull", paint, parameters=(0.03, 0.5), gloss=0.55)
    glass = scene.material(
        "dull", generator.uniform(0.05, 0.16, 3) * [0.9, 1.0, 1.05], parameters=(0.1, 0.6), gloss=0.8
    )
    return merged([_shell(outline, body, glass), *_running_gear(scene, outline, generator, in_use)])


def bus(scene: Scene, generator: np.random.Generator, in_use: bool = False) -> Mesh:
    """Return a city bus; one in use has its lights on at night."""
    paint = np.array(_PAINTS[generator.integers(len(_PAINTS))])
    body, glass = _lorry_materials(scene, paint)
    half, length, height = (float(generator.uniform(*limits)) for limits in ((1.15, 1.28), (9, 12), (2.9, 3.3)))
    pane = scene.material(
        "facade", paint, (0.05, 0.05, 0.06), (height * 0.95, 1.5, 0.9, 0.42, 0, 0, 0.0, 0.05), gloss=0.3
    )
    windscreen = shapes.box((0.05, 2 * half * 0.92, height * 0.42), (length / 2, 0, height * 0.62), glass)
    shell = shapes.box((length, 2 * half, height - 0.4), (0, 0, 0.4 + (height - 0.4) / 2), pane, top=body)
    return merged([shell, windscreen, *_lorry_wheels(scene, length, half, in_use)])


def lorry(scene: Scene, generator: np.random.Generator, in_use: bool = False) -> Mesh:
    """Return a lorry: a cab and a box on a frame; one in use has its lights on at night."""
    body, glass = _lorry_materials(scene, np.array(_PAINTS[generator.integers(len(_PAINTS))]))
    dark = scene.material("dull", (0.12, 0.12, 0.12), parameters=(0.1, 0.3))
    cover = scene.material("dull", generator.uniform(0.3, 0.95, 3), parameters=(0.08, 1.5), gloss=0.05)
    sizes = ((1.1, 1.28), (5.5, 9.5), (2.7, 3.6), (2.2, 2.7))
    half, length, height, cab = (float(generator.uniform(*limits)) for limits in sizes)
    front = length / 2
    parts = [
        shapes.box((length - 1.9, 2 * half, height - 1.0), (-0.95, 0, 1.0 + (height - 1.0) / 2), cover),
        shapes.box((1.7, 2 * half * 0.96, cab - 0.5), (front - 0.85, 0, 0.5 + (cab - 0.5) / 2), body),
        shapes.box((0.05, 2 * half * 0.88, cab * 0.3), (front, 0, cab * 0.72), glass),
        shapes.box((0.9, 2 * half * 0.97, cab * 0.26), (front - 0.75, 0, cab * 0.72), glass),
        shapes.box((length - 0.4, 1.6, 0.35), (0, 0, 0.8), dark),
    ]
    return merged([*parts, *_lorry_wheels(scene, length, half, in_use)])


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


def _lorry_materials(scene: Scene, paint: NDArray[np.float64]) -> tuple[int, int]:
    """Return the paint and the glass of a lorry or bus."""
    body = scene.material("dull", paint, parameters=(0.03, 0.5), gloss=0.35)
    return body, scene.material("dull", (0.08, 0.10, 0.12), parameters=(0.1, 0.6), gloss=0.8)


def _lorry_wheels(scene: Scene, length: float, half: float, in_use: bool) -> list[Mesh]:
    """Return four wheels and the lamps of a lorry or bus."""
    tyre, parts = _rubber(scene), []
    for x in (-length / 2 + 1.3, length / 2 - 1.3):
        for side in (-1, 1):
            parts.append(shapes.cylinder((x, side * (half - 0.3), 0.48), (x, side * half, 0.48), 0.48, tyre, sides=12))
    return parts + _lamps(scene, length / 2, -length / 2, half, 0.9, in_use)


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


def _running_gear(
    scene: Scene, outline: NDArray[np.float64], generator: np.random.Generator, in_use: bool
) -> list[Mesh]:
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
    return parts + _lamps(scene, front, rear, half * 0.86, 0.62, in_use)


def _lamps(scene: Scene, front: float, rear: float, half: float, height: float, in_use: bool) -> list[Mesh]:
    lit = in_use and scene.light.lamps_lit
    white = scene.material("dull", (0.9, 0.9, 0.85), gloss=0.5, glow=6.0 if lit else 0.0)
    red = scene.material("dull", (0.65, 0.04, 0.04), gloss=0.4, glow=2.5 if lit else 0.0)
    parts = []
    for side in (-1, 1):
        parts.append(shapes.box((0.3, 0.26, 0.13), (front - 0.15, side * (half - 0.13), height), white))
        parts.append(shapes.box((0.1, 0.2, 0.2), (rear + 0.04, side * (half - 0.1), height + 0.12), red))
    return parts
