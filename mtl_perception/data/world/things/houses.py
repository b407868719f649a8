# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Buildings: each has its front in the plane x = 0, facing +x, from y = 0 to its width, and its back at x = -depth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mtl_perception.data.world import shapes
from mtl_perception.data.world.scene import Mesh, Scene, merged

_WALLS = [
    *[(0.55, 0.28, 0.20), (0.62, 0.38, 0.28), (0.48, 0.33, 0.26), (0.72, 0.60, 0.45), (0.80, 0.74, 0.62)],
    *[(0.85, 0.82, 0.76), (0.70, 0.66, 0.60), (0.58, 0.58, 0.58), (0.76, 0.68, 0.52), (0.62, 0.66, 0.68)],
    *[(0.82, 0.70, 0.60), (0.66, 0.72, 0.66), (0.80, 0.62, 0.52)],
]
_ROOFS = [(0.42, 0.22, 0.17), (0.30, 0.28, 0.28), (0.45, 0.33, 0.25), (0.36, 0.20, 0.18)]
_PLASTER, _BRICK, _PANELS = 0.0, 1.0, 2.0


def terrace(scene: Scene, generator: np.random.Generator, width: float, height: float, depth: float) -> Mesh:
    """Return a town house, with a shop at times, under a gable or flat roof."""
    storey = generator.uniform(2.8, 3.7)
    storeys = max(1, round(height / storey))
    height = storeys * storey + generator.uniform(0.2, 0.9)
    bay = width / max(1, round(width / generator.uniform(1.9, 4.2)))
    kind = float(generator.choice([_PLASTER, _BRICK, _PANELS], p=[0.45, 0.4, 0.15]))
    wall = _wall_colour(generator)
    trim = generator.choice([0.9, 0.75, 0.3, 0.12]) * np.array([1.0, 0.98, 0.93])
    shop = float(generator.random() < 0.35)
    numbers = (storey, bay, generator.uniform(0.3, 0.75), generator.uniform(0.4, 0.72), shop, kind)
    windows = (generator.uniform(0, 0.6), generator.uniform(0, 0.12))
    front = scene.material("facade", wall, trim, (*numbers, *windows), gloss=0.04)
    plain = scene.material("facade", wall, trim, (storey, bay * 2.3, 0.2, 0.4, 0.0, kind, 0.5, 0.02))
    roof, stone = _roof(scene, generator), scene.material("dull", wall * 0.9 + 0.05, parameters=(0.08, 0.5))
    body = shapes.box((depth, width, height), (-depth / 2, width / 2, height / 2), plain, top=roof)
    parts = [body, _front(width, 0.0, height, front)]
    if generator.random() < 0.6:
        rise = generator.uniform(2.0, 4.5)
        parts.append(_gable(width, height, depth, rise, roof, plain))
        parts.append(_chimney(generator, width, height + rise * 0.6, depth, stone))
        if generator.random() < 0.5:
            parts.append(_dormers(generator, width, height, depth, rise, roof, front))
    else:
        parts.append(shapes.box((0.5, width, 0.35), (0.05, width / 2, height + 0.1), stone))
    if generator.random() < 0.5:
        band = shapes.box((0.25, width, 0.16), (0.06, width / 2, 0.0), stone)
        parts.append(shapes.repeated(band, [(0, 0, level * storey) for level in range(1, storeys)]))
    if storeys > 1 and generator.random() < 0.35:
        rail = scene.material("dull", generator.uniform(0.15, 0.6) * np.ones(3), parameters=(0.1, 0.3))
        middle = (generator.integers(0, max(1, round(width / bay))) + 0.5) * bay
        slab = shapes.box((1.1, bay * 0.9, 0.15), (0.55, middle, 0.05), stone)
        balcony = merged([slab, shapes.box((0.06, bay * 0.9, 0.9), (1.08, middle, 0.55), rail)])
        parts.append(shapes.repeated(balcony, [(0, 0, level * storey) for level in range(1, storeys)]))
    if shop:
        parts.append(_awning(scene, generator, width, storey))
    return merged(parts)


def detached(scene: Scene, generator: np.random.Generator, width: float, height: float, depth: float) -> Mesh:
    """Return a family house: one or two storeys, a big roof either way, a porch, a chimney and often a garage."""
    garage = 3.4 if width > 10.5 and generator.random() < 0.6 else 0.0
    width = width - garage
    storey = generator.uniform(2.6, 3.0)
    storeys = 1 if height < 5.5 else 2
    height = storeys * storey + 0.4
    kind = float(generator.choice([_PLASTER, _BRICK], p=[0.6, 0.4]))
    wall, trim = _wall_colour(generator), generator.choice([0.9, 0.8, 0.25]) * np.array([1.0, 0.98, 0.93])
    bay = width / max(2, round(width / generator.uniform(2.6, 3.8)))
    numbers = (storey, bay, generator.uniform(0.35, 0.6), generator.uniform(0.4, 0.5), 0.0, kind)
    walls = scene.material("facade", wall, trim, (*numbers, generator.uniform(0.2, 0.7), 0.05), gloss=0.03)
    roof, stone = _roof(scene, generator), scene.material("dull", wall * 0.5, parameters=(0.08, 0.5))
    boards = scene.material("wood", trim * 0.9, trim * 0.6, (0.14, 6.0))
    parts = [shapes.box((depth, width, height), (-depth / 2, width / 2, height / 2), walls, top=roof)]
    rise = generator.uniform(2.6, 4.2)
    if generator.random() < 0.4:
        turned = _gable(depth, height, width, rise, roof, walls)  # the ridge runs away from the street
        parts.append(turned.at(0.0, width, 0.0, np.pi / 2))
    else:
        parts.append(_gable(width, height, depth, rise, roof, walls))
    parts.append(_chimney(generator, width, height + rise * 0.6, depth, stone))
    door = (generator.integers(0, max(1, round(width / bay))) + 0.5) * bay
    parts.append(shapes.box((0.12, 1.0, 2.1), (0.02, door, 1.05), boards))
    parts.append(shapes.box((1.4, 1.8, 0.12), (0.7, door, 2.4), roof))
    parts.append(shapes.box((1.3, 1.6, 0.18), (0.65, door, 0.09), stone))
    posts = shapes.cylinder((1.3, door - 0.8, 0.1), (1.3, door - 0.8, 2.4), 0.06, boards, sides=5)
    parts.append(shapes.repeated(posts, [(0, 0, 0), (0, 1.6, 0)]))
    if garage:
        parts.append(shapes.box((6.0, garage - 0.1, 2.6), (-4.0, width + garage / 2, 1.3), walls, top=stone))
        parts.append(shapes.box((0.1, garage - 0.7, 2.1), (-1.0, width + garage / 2, 1.05), boards))
    return merged(parts)


def office(scene: Scene, generator: np.random.Generator, width: float, height: float, depth: float) -> Mesh:
    """Return an office block: bands of glass or a grid, a lobby, a recessed upper part, plant on the roof."""
    storey = generator.uniform(3.2, 3.9)
    storeys = max(2, round(height / storey))
    height = storeys * storey
    tone = generator.uniform(0.3, 0.8) * generator.uniform(0.94, 1.06, 3)
    trim = generator.choice([0.08, 0.35, 0.7]) * np.ones(3)
    bay = width / max(2, round(width / generator.uniform(1.4, 3.2)))
    wide = float(generator.choice([1.0, 0.85, 0.6]))
    numbers = (storey, bay, wide, generator.uniform(0.5, 0.86), float(generator.random() < 0.5), _PANELS)
    glass = scene.material("facade", tone, trim, (*numbers, 0.15, generator.uniform(0.02, 0.2)), gloss=0.25)
    flat = scene.material("slabs", (0.45, 0.45, 0.44), (0.35, 0.35, 0.35), (1.0, 1.0, 0.0, 0.02, 0.1))
    steel = scene.material("dull", (0.55, 0.56, 0.58), parameters=(0.1, 0.6))
    lower = height if storeys < 5 or generator.random() < 0.5 else round(storeys * 0.65) * storey
    parts = [
        shapes.box((depth, width, lower), (-depth / 2, width / 2, lower / 2), glass, top=flat),
        _front(width, 0.0, lower, glass),
    ]
    if lower < height:
        inset = width * 0.12
        upper = height - lower
        body = shapes.box((depth * 0.7, width - 2 * inset, upper), (-depth * 0.55, width / 2, lower + upper / 2), glass)
        parts.append(body)
    parts.append(shapes.box((0.25, width, 0.7), (-0.1, width / 2, lower + 0.3), steel))
    parts.append(shapes.box((depth * 0.3, width * 0.3, 2.2), (-depth * 0.5, width * 0.45, height + 1.1), steel))
    if generator.random() < 0.6:
        parts.append(shapes.box((1.8, width * 0.35, 0.25), (0.9, width / 2, storey * 0.85), steel))
    if generator.random() < 0.4:
        fins = shapes.box((0.35, 0.12, lower - storey), (0.17, 0.0, storey + (lower - storey) / 2), steel)
        parts.append(shapes.repeated(fins, [(0, y, 0) for y in np.arange(0.0, width + 0.01, bay * 2)]))
    return merged(parts)


def hall(scene: Scene, generator: np.random.Generator, width: float, height: float, depth: float) -> Mesh:
    """Return a warehouse or workshop: sheet walls with gates and a strip of windows, flat, gabled or saw-tooth roof."""
    height = min(height, 12.0)
    tone = np.array(
        [(0.62, 0.64, 0.66), (0.45, 0.52, 0.58), (0.70, 0.66, 0.56), (0.40, 0.25, 0.20)][generator.integers(4)]
    )
    tone = tone * generator.uniform(0.8, 1.15)
    ribs = scene.material("slabs", tone, tone * 0.62, (float(generator.choice([0.3, 1.1])), 30.0, 0.0, 0.04, 0.03))
    band = scene.material("dull", _muted(generator), parameters=(0.06, 1.0))
    gate = scene.material("slabs", _muted(generator), (0.2, 0.2, 0.2), (30.0, 0.45, 0.0, 0.05, 0.03))
    pane = scene.material("facade", tone, (0.2, 0.2, 0.2), (1.4, 1.5, 0.9, 0.8, 0.0, _PLASTER, 0.0, 0.05), gloss=0.2)
    roof = scene.material("slabs", (0.42, 0.43, 0.44), (0.3, 0.3, 0.3), (0.6, 30.0, 0.0, 0.03, 0.05))
    grey = scene.material("dull", (0.55, 0.54, 0.52), parameters=(0.12, 1.0))
    parts = [
        shapes.box((depth, width, height), (-depth / 2, width / 2, height / 2), ribs, top=roof),
        shapes.box((0.12, width, 0.9), (0.03, width / 2, height - 0.6), band),
        shapes.box((0.2, width, 0.5), (0.02, width / 2, 0.25), grey),
    ]
    gates = int(width // float(generator.uniform(6.5, 11.0)))
    for index in range(gates):
        y = (index + 0.5) * width / gates
        parts.append(shapes.box((0.1, 3.6, min(4.2, height * 0.6)), (0.05, y, min(4.2, height * 0.6) / 2), gate))
    if height > 6.0:
        parts.append(shapes.box((0.08, width * 0.9, 1.4), (0.03, width / 2, height - 2.1), pane))
    style = generator.integers(3)
    if style == 0:
        parts.append(_gable(width, height, depth, depth * 0.12, roof, ribs))
    elif style == 1:
        teeth = max(2, round(width / 7.0))
        parts.append(
            shapes.repeated(
                _tooth(width / teeth, height, depth, roof, pane), [(0, i * width / teeth, 0) for i in range(teeth)]
            )
        )
    if generator.random() < 0.25:
        parts.append(
            shapes.cylinder(
                (-depth * 0.6, width * 0.2, 0), (-depth * 0.6, width * 0.2, height * 2.2), 0.9, grey, 0.6, sides=12
            )
        )
    return merged(parts)


def tanks(scene: Scene, generator: np.random.Generator, width: float, height: float, depth: float) -> Mesh:
    """Return a row of upright tanks or silos with pipes between them."""
    grey = generator.uniform(0.55, 0.85)
    sheet = scene.material(
        "slabs", grey * np.array([1.0, 0.99, 0.96]), grey * np.array([0.6, 0.6, 0.58]), (3.0, 1.5, 0.5, 0.02, 0.05)
    )
    pipe = scene.material("dull", _muted(generator), parameters=(0.08, 0.4))
    count = max(1, int(width // 7.5))
    radius = min(width / count / 2 - 0.5, depth / 2 - 0.5)
    parts = []
    for index in range(count):
        y, top = (index + 0.5) * width / count, height * generator.uniform(0.7, 1.2)
        parts.append(shapes.cylinder((-depth / 2, y, 0), (-depth / 2, y, top), radius, sheet, sides=20))
        parts.append(
            shapes.cylinder((-depth / 2, y, top), (-depth / 2, y, top + radius * 0.4), radius, sheet, 0.2, sides=20)
        )
    ends = (-depth / 2 + radius, width / count / 2), (-depth / 2 + radius, width * (1 - 0.5 / count))
    if count > 1:
        parts += [shapes.cylinder((*ends[0], z), (*ends[1], z), 0.16, pipe, sides=6) for z in (1.0, 3.2)]
    return merged(parts)


def containers(scene: Scene, generator: np.random.Generator, width: float, height: float, depth: float) -> Mesh:
    """Return stacks of freight containers, their long sides to the street."""
    parts = []
    columns = max(1, int(width // 6.6))
    for row in range(max(1, int(depth // 3.2))):
        for column in range(columns):
            for level in range(int(generator.integers(0, 4)) if row else int(generator.integers(1, 4))):
                colour = [
                    (0.55, 0.16, 0.10),
                    (0.12, 0.26, 0.48),
                    (0.20, 0.38, 0.26),
                    (0.70, 0.45, 0.12),
                    (0.6, 0.6, 0.6),
                ]
                tone = np.array(colour[generator.integers(len(colour))]) * generator.uniform(0.8, 1.2)
                ribs = scene.material("slabs", tone, tone * 0.55, (0.28, 30.0, 0.0, 0.1, 0.05))
                centre = (-1.3 - row * 3.0, (column + 0.5) * 6.6 + generator.uniform(-0.15, 0.15), 1.3 + level * 2.6)
                parts.append(shapes.box((2.44, 6.06, 2.59), centre, ribs))
    return merged(parts)


def chapel(scene: Scene, generator: np.random.Generator, width: float, height: float, depth: float) -> Mesh:
    """Return a church: a nave with a steep roof and a tower with a pointed one."""
    wall = _wall_colour(generator)
    kind = float(generator.choice([_PLASTER, _BRICK]))
    numbers = (max(5.0, height * 0.7), width / max(2, round(width / 4.0)), 0.3, 0.65, 0.0, kind, 0.0, 0.0)
    walls = scene.material("facade", wall, wall * 0.5, numbers, gloss=0.03)
    roof, nave = _roof(scene, generator), max(5.0, height * 0.7)
    side = float(min(4.5, width * 0.35))
    tower = nave * generator.uniform(2.0, 2.8)
    corners = np.array([(0.3, -0.2), (0.3, side + 0.2), (-side - 0.2, side + 0.2), (-side - 0.2, -0.2)])
    peak = (-side / 2 + 0.05, side / 2, tower + side * generator.uniform(1.2, 2.2))
    faces = [[(*a, tower), (*b, tower), peak, peak] for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True)]
    spire = shapes.quads(faces, [[(0, 0), (side, 0), (side / 2, side), (side / 2, side)]] * 4, roof)
    return merged(
        [
            shapes.box((depth, width, nave), (-depth / 2, width / 2, nave / 2), walls),
            _gable(width, nave, depth, depth * 0.5, roof, walls),
            shapes.box((side, side, tower), (-side / 2 + 0.15, side / 2, tower / 2), walls),
            spire,
        ]
    )


def backdrop(scene: Scene, generator: np.random.Generator, width: float, height: float, depth: float) -> Mesh:
    """Return a building for the distance: a body with windows on all sides, and a roof."""
    wall, storey = _wall_colour(generator), generator.uniform(2.9, 3.6)
    bay = width / max(1, round(width / 3.0))
    walls = scene.material("facade", wall, wall * 0.6, (storey, bay, 0.45, 0.5, 0.0, _PLASTER, 0.3, 0.04))
    roof = _roof(scene, generator)
    body = shapes.box((depth, width, height), (-depth / 2, width / 2, height / 2), walls, top=roof)
    if height < 14.0:
        return merged([body, _gable(width, height, depth, generator.uniform(2.5, 4.5), roof, walls)])
    return body


Builder = Callable[[Scene, np.random.Generator, float, float, float], Mesh]
BUILDERS: dict[str, Builder] = {
    "terrace": terrace,
    "detached": detached,
    "office": office,
    "hall": hall,
    "tanks": tanks,
    "containers": containers,
    "chapel": chapel,
}


def _wall_colour(generator: np.random.Generator) -> np.ndarray:
    return np.array(_WALLS[generator.integers(len(_WALLS))]) * generator.uniform(0.75, 1.1)


def _muted(generator: np.random.Generator) -> np.ndarray:
    """Return a colour that things of metal are painted in."""
    grey, hue = generator.uniform(0.25, 0.75), generator.uniform(-0.16, 0.16, 3)
    return np.clip(grey + hue - hue.mean(), 0.05, 0.95)


def _roof(scene: Scene, generator: np.random.Generator) -> int:
    colour = np.array(_ROOFS[generator.integers(len(_ROOFS))]) * generator.uniform(0.7, 1.1)
    return scene.material("slabs", colour, colour * 0.4, (0.25, 0.3, 0.5, 0.03, 0.2))


def _front(width: float, low: float, high: float, material: int) -> Mesh:
    """Return a front 2 cm before the plane x = 0."""
    corners = [(0.02, 0, low), (0.02, width, low), (0.02, width, high), (0.02, 0, high)]
    return shapes.quads([corners], [[(0, low), (width, low), (width, high), (0, high)]], material)


def _gable(width: float, height: float, depth: float, rise: float, roof: int, wall: int) -> Mesh:
    """Return a roof with its ridge along the street."""
    front, back, ridge = 0.4, -depth - 0.4, -depth / 2
    low = height - rise * 0.4 / (depth / 2)  # the eaves go on down the slope
    slopes = [
        [(front, 0, low), (front, width, low), (ridge, width, height + rise), (ridge, 0, height + rise)],
        [(back, width, low), (back, 0, low), (ridge, 0, height + rise), (ridge, width, height + rise)],
    ]
    run = float(np.hypot(depth / 2 + 0.4, rise))
    ends: list[list[tuple[float, float, float]]] = [
        [(0, width, height), (-depth, width, height), (ridge, width, height + rise), (ridge, width, height + rise)],
        [(-depth, 0, height), (0, 0, height), (ridge, 0, height + rise), (ridge, 0, height + rise)],
    ]
    tiles = shapes.quads(slopes, [[(0, 0), (width, 0), (width, run), (0, run)]] * 2, roof)
    return merged([tiles, shapes.quads(ends, [[(p[0], p[2]) for p in end] for end in ends], wall)])


def _chimney(generator: np.random.Generator, width: float, base: float, depth: float, material: int) -> Mesh:
    y = generator.uniform(0.15, 0.85) * width
    return shapes.box((0.7, 0.6, 3.2), (-depth * 0.62, y, base + 0.4), material)


def _dormers(
    generator: np.random.Generator, width: float, height: float, depth: float, rise: float, roof: int, front: int
) -> Mesh:
    """Return little houses in the slope of a roof to the street."""
    count = int(generator.integers(1, max(2, int(width // 4.5) + 1)))
    x, z = -depth * 0.12, height + rise * 0.24
    dormer = merged(
        [
            shapes.box((depth * 0.3, 1.5, 1.3), (x - depth * 0.15, 0, z + 0.35), front),
            shapes.box((depth * 0.34, 1.8, 0.14), (x - depth * 0.14, 0, z + 1.05), roof),
        ]
    )
    return shapes.repeated(dormer, [(0, (i + 0.5) * width / count, 0) for i in range(count)])


def _awning(scene: Scene, generator: np.random.Generator, width: float, storey: float) -> Mesh:
    """Return a sheet of cloth above shop windows."""
    cloth = scene.material("cloth", generator.uniform(0.1, 0.9, 3), (0.9, 0.9, 0.88), (0.5, 0.05, 0.3))
    low, high, reach = storey * 0.78, storey * 0.97, generator.uniform(0.6, 1.2)
    sheet = [(0.03, 0.3, high), (reach, 0.3, low), (reach, width - 0.3, low), (0.03, width - 0.3, high)]
    return shapes.quads([sheet], [[(0, 0), (0, reach), (width, reach), (width, 0)]], cloth)


def _tooth(width: float, height: float, depth: float, roof: int, pane: int) -> Mesh:
    """Return one tooth of a saw-tooth roof: a slope, an upright row of windows, and the ends."""
    rise = 1.8
    slope = [(0, 0, height), (0, width, height + rise), (-depth, width, height + rise), (-depth, 0, height)]
    glass = [(-depth, width, height), (-depth, width, height + rise), (0, width, height + rise), (0, width, height)]
    ends = [
        [(x, 0, height), (x, width, height), (x, width, height + rise), (x, width, height + rise)] for x in (0, -depth)
    ]
    texture = [[(0, 0), (width, 0), (width, depth), (0, depth)], [(0, 0), (0, rise), (depth, rise), (depth, 0)]]
    tiles = shapes.quads([slope], texture[:1], roof)
    side = shapes.quads(ends, [[(p[1], p[2]) for p in end] for end in ends], roof)
    return merged([tiles, shapes.quads([glass], texture[1:], pane), side])
