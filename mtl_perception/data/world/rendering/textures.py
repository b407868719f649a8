# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Procedural textures: what colour a surface has at a point, computed where rays hit.

Every pattern gets texture coordinates in metres, the width of a pixel on the surface (so that what is finer than a
pixel fades out instead of flickering) and its material's colours and numbers, and returns linear RGB reflectance.
Colours are (3, N), one row a channel: numpy is several times faster so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mtl_perception.data.world.rendering.procedural import (
    band,
    below,
    cell_hash,
    fade,
    mix,
    noise,
    random_colours,
    sharp_below,
)
from mtl_perception.data.world.scene import PARAMETERS, Material

Array = NDArray[np.floating]

WINDOW_GLOW = 0.8
"""What lit windows give off at night, as a share of their colour."""


@dataclass(eq=False)
class Surface:
    """Points to be coloured.

    Attributes:
        u, v, w: texture coordinates (N,).
        width: of a pixel on the surface (N,), metres.
        colour, second: (3, N), the material's.
        material: (N,), which.
        table: of the materials' numbers (`PARAMETERS`, materials).
        glowing: share of the material's glow that each point has (N,), or of all of them; set by patterns that glow
            here and there only.
    """

    u: Array
    v: Array
    w: Array
    width: Array
    colour: Array
    second: Array
    material: NDArray[np.intp]
    table: Array
    key: NDArray[np.uint32] = field(init=False)
    glowing: Array | float = 1.0

    def __post_init__(self) -> None:
        """Derive the key that makes materials differ in what is random."""
        self.key = self.material.astype(np.uint32)

    def parameter(self, index: int) -> Array:
        """Return one number of the material at every point."""
        return self.table[index].take(self.material)


class MaterialTable:
    """The materials of a scene as arrays, ready to be looked up by index."""

    def __init__(self, materials: list[Material], lamps_lit: bool = True) -> None:
        """Take the materials; where lamps are lit, lit windows of facades glow."""
        names = list(PATTERNS)
        self.pattern = np.array([names.index(m.pattern) for m in materials], np.uint8)
        self.colour = np.array([m.colour for m in materials], np.float32).reshape(-1, 3).T.copy()
        self.second = np.array([m.second for m in materials], np.float32).reshape(-1, 3).T.copy()
        self.gloss = np.array([m.gloss for m in materials], np.float32)
        self.glow = np.array([m.glow for m in materials], np.float32)
        if lamps_lit:
            windows = (self.pattern == names.index("facade")) & (self.glow == 0)
            self.glow[windows] = WINDOW_GLOW
        padded = [tuple(m.parameters) + (0.0,) * (PARAMETERS - len(m.parameters)) for m in materials]
        self.parameters = np.array(padded, np.float32).reshape(-1, PARAMETERS).T.copy()

    def surface(self, material: NDArray, texture: Array, width: Array) -> tuple[Array, Array]:
        """Return linear RGB reflectance (3, N) of points, and the light (N,) that they give off as a share of it.

        Args:
            material: (N,) index.
            texture: (3, N) coordinates.
            width: (N,) of a pixel on the surface, metres.
        """
        colour, glow = np.empty((3, len(material)), np.float32), self.glow.take(material)
        patterns = self.pattern.take(material)
        order = np.argsort(patterns, kind="stable")
        ends = np.cumsum(np.bincount(patterns, minlength=len(_PATTERN_LIST))).tolist()
        for pattern, start, end in zip(_PATTERN_LIST, [0, *ends[:-1]], ends, strict=True):
            if start == end:
                continue
            chosen = order[start:end]
            which = material.take(chosen)
            u, v, w = (row.take(chosen) for row in texture)
            surface = Surface(
                u,
                v,
                w,
                width.take(chosen),
                self.colour.take(which, axis=1),
                self.second.take(which, axis=1),
                which,
                self.parameters,
            )
            colour[:, chosen] = pattern(surface)
            if not isinstance(surface.glowing, float):
                glow[chosen] *= surface.glowing
        return np.clip(colour, 0.0, 1.0, out=colour), glow


def dull(s: Surface) -> Array:
    """Plain paint or plaster. parameters: how uneven, size of the unevenness in metres."""
    strength, scale = s.parameter(0), np.maximum(s.parameter(1), 0.02)
    lumps = noise(s.u / scale, s.v / scale + s.w / scale * 0.7, 1.0, s.width / scale)
    return s.colour * (1 + strength * lumps)


def roadway(s: Surface) -> Array:
    """Asphalt without paint; u is metres left of the centre line, v metres along.

    parameters: lane width, half width of what lies between the directions, how cracked 0..1, how patched 0..1.
    """
    lane, median, cracked, patched = np.maximum(s.parameter(0), 1.0), s.parameter(1), s.parameter(2), s.parameter(3)
    grain, stain = noise(s.u, s.v, 0.12, s.width), noise(s.u, s.v * 0.4, 3.0, s.width)
    across = (np.abs(s.u) - median) / lane
    in_lane = across - np.floor(across)
    tracks = np.exp(-(((in_lane - 0.25) / 0.09) ** 2)) + np.exp(-(((in_lane - 0.75) / 0.09) ** 2))
    oil = np.exp(-(((in_lane - 0.5) / 0.12) ** 2)) * np.clip(stain, 0.0, 1.5)
    row, column = np.floor(s.v / 5.3), np.floor(s.u / 1.7)
    patch = cell_hash(column, row, s.key) < 0.12 * patched
    x, y = np.mod(s.u, 2.9) - 1.45, np.mod(s.v, 13.0) - 6.5
    cover = sharp_below(np.hypot(x, y), 0.33, s.width) * (
        cell_hash(np.floor(s.u / 2.9), np.floor(s.v / 13.0), s.key + np.uint32(5)) > 0.75
    )
    shade = 1 + 0.10 * grain + 0.10 * stain - 0.06 * tracks - 0.08 * oil - 0.18 * patch - 0.35 * cover
    crack = np.abs(noise(s.u + 9, s.v, 1.3, s.width)) < 0.06 * cracked
    return s.colour * (shade - 0.25 * crack * fade(s.width, 0.08))


def paint(s: Surface) -> Array:
    """Worn paint on asphalt of the second colour; u is metres across, v metres along.

    parameters: wear 0..1, period of stripes across in metres (0 for a full face), painted share of a period.
    """
    wear, period, share = s.parameter(0), s.parameter(1), s.parameter(2)
    worn = np.clip(1.1 - wear * (0.6 + 0.5 * noise(s.u, s.v, 0.4, s.width)), 0.1, 1.0)
    crack = np.abs(noise(s.u + 9, s.v, 1.3, s.width)) < 0.08 * wear
    stripes = band(np.mod(s.u, np.maximum(period, 0.01)), 0.0, share * period, s.width)
    painted = worn * (1 - 0.6 * crack * fade(s.width, 0.08)) * np.where(period > 0, stripes, 1.0)
    return mix(s.second * (1 + 0.1 * noise(s.u, s.v, 0.12, s.width)), s.colour, painted)


def slabs(s: Surface) -> Array:
    """Stones with joints. parameters: length and height of a stone, share of a row's shift, joint, unevenness."""
    length, height, shift, joint, uneven = (s.parameter(i) for i in range(5))
    row = np.floor(s.v / height)
    along = s.u / length + shift * np.mod(row, 2)
    column = np.floor(along)
    visible = np.clip(1.6 - s.width / np.minimum(length, height) * 1.2, 0.0, 1.0)
    stone = 1 + uneven * visible * (cell_hash(column, row, s.key) * 2 - 1)
    stone = stone + 0.06 * noise(s.u, s.v, 0.15, s.width) + 0.08 * noise(s.u, s.v, 4.0, s.width)
    to_joint = np.minimum(
        np.minimum(along - column, 1 - (along - column)) * length,
        np.minimum(s.v / height - row, 1 - (s.v / height - row)) * height,
    )
    in_joint = sharp_below(to_joint, joint / 2, s.width) * visible
    return mix(s.colour * stone, s.second, in_joint)


def facade(s: Surface) -> Array:
    """A house front: v is the height above ground.

    parameters: storey height, bay width, window share of width, of height, ground floor kind (0 windows, 1 shop),
    wall kind (0 plaster, 1 brick, 2 panels), share of windows with curtains, lit share.
    """
    storey, bay, wide, high, ground, wall_kind, curtains, lit = (s.parameter(i) for i in range(8))
    grain = noise(s.u, s.v, 0.25, s.width)
    streaks = noise(s.u, s.v * 0.15, 2.5, s.width)
    row_height = np.where(wall_kind > 1.5, 1.4, 0.075)
    stone = np.where(wall_kind > 1.5, 2.2, 0.23)
    row = np.floor(s.v / row_height)
    along = s.u / stone + 0.5 * np.mod(row, 2) * (wall_kind < 1.5)
    column = np.floor(along)
    visible = np.clip(1.6 - s.width / row_height * 1.2, 0.0, 1.0) * (wall_kind > 0.5)
    tone = 1 + 0.05 * grain + 0.07 * streaks + 0.22 * visible * (cell_hash(column, row, s.key) - 0.5)
    joint = np.where(wall_kind > 1.5, 0.04, 0.012)
    to_joint = np.minimum((along - column) * stone, (s.v / row_height - row) * row_height)
    wall = (s.colour * (tone - 0.30 * visible * sharp_below(to_joint, joint, s.width))).astype(np.float32)

    floor, bay_index = np.floor(s.v / storey), np.floor(s.u / bay)
    x, y = s.u / bay - bay_index - 0.5, s.v / storey - floor - 0.5
    shop = (ground > 0.5) & (floor < 0.5)
    half_w = np.where(shop, 0.45, wide / 2)
    half_h = np.where(shop, 0.38, high / 2)
    y = y + np.where(shop, 0.08, 0.0)
    px, py = s.width / bay, s.width / storey
    frame = 0.07 / bay
    inside = sharp_below(np.abs(x), half_w, px) * sharp_below(np.abs(y), half_h, py)
    pane = sharp_below(np.abs(x), half_w - frame, px) * sharp_below(np.abs(y), half_h - 0.07 / storey, py)
    pane = pane * (1 - band(np.abs(x), -1.0, 0.025 / bay, px) * ~shop)
    h = cell_hash(bay_index, floor, s.key)
    other = cell_hash(bay_index + 57, floor, s.key)
    depth_in = np.clip((y + half_h) / (2 * half_h), 0, 1)
    glass_tone = 0.02 + 0.05 * h + 0.22 * depth_in * other
    has_curtain = (h < curtains) & ((np.abs(x) > half_w * 0.55) | (y > half_h * (2 * other - 1)))
    is_lit = other < lit
    glass = np.where(has_curtain, _CURTAIN, _GLASS * glass_tone)
    glass = np.where(is_lit, _LAMPLIGHT * (0.5 + 0.5 * h), glass)
    if shop.any():
        goods = random_colours(np.floor(s.u / 0.4), np.floor(s.v / 0.5), s.key)
        goods = goods.mean(0) * 0.6 + goods * 0.4
        glass = np.where(shop, glass * 0.5 + 0.3 * goods**3, glass)
    s.glowing = pane * (is_lit + (0.6 - 0.3 * is_lit) * shop)
    sill = band(y, -half_h - 0.14 / storey, -half_h, py) * sharp_below(np.abs(x), half_w * 1.15, px)
    lintel_shadow = band(y, half_h - 0.16 / storey, half_h, py) * pane
    result = mix(wall, s.colour * 0.75 + 0.1, sill)
    result = mix(result, s.second, inside)
    result = mix(result, glass.astype(np.float32), pane)
    result *= 1 - 0.5 * lintel_shadow
    if shop.any():
        sign = shop * band(y, 0.40, 0.56, py)
        sign_colour = random_colours(np.floor(s.u / bay / 3), floor, s.key + np.uint32(7))
        letters = (
            band(np.mod(s.u, 0.5), 0.1, 0.38, s.width)
            * band(y, 0.44, 0.52, py)
            * (cell_hash(np.floor(s.u / 0.5), floor, s.key) > 0.3)
        )
        sign_area = mix(sign_colour * 0.6, np.full_like(wall, 0.8), letters)
        result = mix(result, sign_area, sign.astype(np.float32))
    return result


def foliage(s: Surface) -> Array:
    """Leaves: strong light and dark spots. parameters: size of a clump in metres."""
    scale = np.maximum(s.parameter(0), 0.05)
    a, b = (s.u + 0.61 * s.w) / scale, (s.v + 0.43 * s.w) / scale
    clumps = noise(a, b, 1.0, s.width / scale)
    leaves = noise(a + 3.7, b, 0.35, s.width / scale)
    light = np.clip(0.5 + 0.28 * clumps + 0.22 * leaves, 0.0, 1.0)
    return mix(s.second, s.colour, light) * (0.45 + 0.75 * light)


def grass(s: Surface) -> Array:
    """Lawn or soil: fine blades over large patches."""
    patches = noise(s.u, s.v, 4.0, s.width)
    blades = noise(s.u, s.v, 0.15, s.width)
    return mix(s.colour, s.second, np.clip(0.4 + 0.35 * patches, 0, 1)) * (1 + 0.25 * blades)


def wood(s: Surface) -> Array:
    """Planks along u or bark. parameters: plank width (0 none), stretch of the grain."""
    plank, stretch = s.parameter(0), np.maximum(s.parameter(1), 1.0)
    wide = np.maximum(plank, 1e-3)
    row = np.where(plank > 0, np.floor(s.v / wide), 0.0).astype(np.float32)
    h = cell_hash(row, np.floor(s.u / 1.3 + row * 0.37), s.key)
    grain = noise(s.u / stretch + h * 7, s.v + h * 3 + s.w, 0.09, s.width)
    broad = noise(s.u / stretch + h * 5, s.v + s.w, 0.5, s.width)
    gap = sharp_below(np.mod(s.v, wide), 0.006, s.width) * (plank > 0) * fade(s.width, 0.03)
    tone = 1 + 0.13 * grain + 0.12 * broad + 0.3 * (plank > 0) * (h - 0.5) - 0.6 * gap
    return mix(s.colour, s.second, np.clip(0.5 + 0.3 * grain, 0, 1)) * tone


def cloth(s: Surface) -> Array:
    """Clothes, carpets, upholstery. parameters: size of folds in metres, strength, stripe width (0 none)."""
    scale, strength, stripe = np.maximum(s.parameter(0), 0.02), s.parameter(1), s.parameter(2)
    folds = noise((s.u + 0.5 * s.w) / scale, (s.v + 0.7 * s.w) / scale, 1.0, s.width / scale)
    weave = noise(s.u + s.w, s.v, 0.03, s.width)
    striped = (stripe > 0) * band(np.mod(s.v + s.w, np.maximum(stripe, 0.01) * 2), 0.0, stripe, s.width)
    return mix(s.colour, s.second, striped) * (1 + strength * folds + 0.08 * weave)


def picture(s: Surface) -> Array:
    """A poster, book cover or screen content: patches of colour. parameters: patch size, colourfulness, paper share."""
    size, rich, paper = np.maximum(s.parameter(0), 0.01), s.parameter(1), s.parameter(2)
    a, b = np.floor(s.u / size), np.floor(s.v / size)
    hues = random_colours(a, np.floor(b / 2), s.key)
    grey = hues.mean(0)
    patches = (grey + (hues - grey) * rich) ** 2
    blend = np.clip(0.5 + 0.4 * noise(s.u / size, s.v / size, 2.0, s.width / size), 0, 1)
    blank = cell_hash(a, b, s.key + np.uint32(11)) < paper
    lines = band(np.mod(s.v, 0.05), 0.0, 0.02, s.width) * fade(s.width, 0.03) * 0.5
    return np.where(blank, mix(s.second, s.colour * 0.2, lines), mix(patches, s.colour, blend * 0.6))


def books(s: Surface) -> Array:
    """Backs of books or small boxes side by side along u. parameters: mean thickness."""
    thick = np.maximum(s.parameter(0), 0.005)
    index = np.floor(s.u / thick + 0.35 * np.sin(s.u / thick * 0.7))
    colour = random_colours(index, np.zeros_like(index), s.key)
    grey = colour.mean(0)
    colour = np.clip(grey + (colour - grey) * 0.8, 0, 1).astype(np.float32) ** 2
    title = band(np.mod(s.v, 0.3), 0.16, 0.22, s.width) * (cell_hash(index, np.ones_like(index), s.key) > 0.4)
    position = s.u / thick + 0.35 * np.sin(s.u / thick * 0.7) - index
    gap = sharp_below(position, 0.1, s.width / thick)
    return mix(mix(colour, s.second, title * 0.7), colour * 0.1, gap)


def plate(s: Surface) -> Array:
    """A traffic sign with a rim; u, v from its middle. parameters: radius, kind (0 ring, 1 bar, 2 arrow or letters)."""
    radius, kind = s.parameter(0), s.parameter(1)
    r = np.hypot(s.u, s.v)
    rim = 1 - sharp_below(r, radius * 0.78, s.width)
    bar = below(s.v, radius * 0.22, s.width) * sharp_below(np.abs(s.u), radius * 0.6, s.width)
    letters = band(np.mod(s.u, radius * 0.3), 0.0, radius * 0.16, s.width) * sharp_below(
        np.abs(s.v), radius * 0.3, s.width
    )
    white = np.full_like(s.colour, 0.85)
    ring = mix(mix(white, s.second, letters * sharp_below(r, radius * 0.6, s.width)), s.colour, rim)
    solid = mix(s.colour, white, np.where(kind > 1.5, letters, bar))
    return np.where((kind < 0.5), ring, solid)


def vertex_colour(s: Surface) -> Array:
    """Colours that come with a mesh: texture coordinates are linear RGB."""
    return np.stack([s.u, s.v, s.w])


_GLASS = np.array([[0.8], [0.95], [1.15]], np.float32)
_CURTAIN = np.array([[0.45], [0.43], [0.38]], np.float32)
_LAMPLIGHT = np.array([[0.85], [0.62], [0.32]], np.float32)

Pattern = Callable[[Surface], NDArray]
PATTERNS: dict[str, Pattern] = {
    "dull": dull,
    "roadway": roadway,
    "paint": paint,
    "slabs": slabs,
    "facade": facade,
    "foliage": foliage,
    "grass": grass,
    "wood": wood,
    "cloth": cloth,
    "picture": picture,
    "books": books,
    "plate": plate,
    "vertex_colour": vertex_colour,
}
_PATTERN_LIST = list(PATTERNS.values())
