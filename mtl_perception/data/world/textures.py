# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Procedural textures: what colour a surface has at a point, computed where rays hit.

Every pattern gets texture coordinates in metres, the width of a pixel on the surface (so that what is finer than a
pixel fades out instead of flickering) and its material's colours and numbers, and returns linear RGB reflectance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_perception.data.world.scene import PARAMETERS, Material

Array = NDArray[np.floating]

TILE = 256
CELLS = 16.0


@dataclass(frozen=True, eq=False)
class Surface:
    """Points to be coloured: texture coordinates u, v, w (N,), pixel width (N,), colours (N, 3), parameters (N, P)."""

    u: Array
    v: Array
    w: Array
    width: Array
    colour: Array
    second: Array
    parameters: Array
    key: NDArray[np.uint32]

    def parameter(self, index: int) -> Array:
        """Return one number of the material at every point."""
        return self.parameters[:, index]


class MaterialTable:
    """The materials of a scene as arrays, ready to be looked up by index."""

    def __init__(self, materials: list[Material]) -> None:
        names = list(PATTERNS)
        self.pattern = np.array([names.index(m.pattern) for m in materials], np.int32)
        self.colour = np.array([m.colour for m in materials], np.float32)
        self.second = np.array([m.second for m in materials], np.float32)
        self.gloss = np.array([m.gloss for m in materials], np.float32)
        self.glow = np.array([m.glow for m in materials], np.float32)
        padded = [tuple(m.parameters) + (0.0,) * (PARAMETERS - len(m.parameters)) for m in materials]
        self.parameters = np.array(padded, np.float32)

    def reflectance(self, material: NDArray[np.int32], texture: Array, width: Array) -> Array:
        """Return linear RGB (N, 3) of points: material index (N,), texture coordinates (N, 3), pixel width (N,)."""
        result = np.empty((len(material), 3), np.float32)
        patterns = self.pattern[material]
        order = np.argsort(patterns, kind="stable")
        kinds, starts = np.unique(patterns[order], return_index=True)
        for kind, chosen in zip(kinds, np.split(order, starts[1:]), strict=True):
            index = material[chosen]
            u, v, w = np.ascontiguousarray(texture[chosen].T)
            surface = Surface(
                u,
                v,
                w,
                width[chosen],
                self.colour[index],
                self.second[index],
                self.parameters[index],
                index.astype(np.uint32),
            )
            result[chosen] = _PATTERN_LIST[kind](surface)
        return np.clip(result, 0.0, 1.0)


def cell_hash(a: Array, b: Array, key: NDArray[np.uint32]) -> Array:
    """Return a number 0..1 for every integer cell (a, b) and key."""
    h = a.astype(np.int32).astype(np.uint32) * np.uint32(0x9E3779B1)
    h ^= b.astype(np.int32).astype(np.uint32) * np.uint32(0x85EBCA77)
    h ^= key * np.uint32(0xC2B2AE3D)
    h ^= h >> np.uint32(15)
    h *= np.uint32(0x2C1B3C6D)
    h ^= h >> np.uint32(13)
    return (h & np.uint32(0xFFFF)).astype(np.float32) * np.float32(1 / 65535)


def noise(u: Array, v: Array, scale: float, width: Array) -> Array:
    """Return cloud-like noise of mean 0 and standard deviation 1 whose largest lumps are `scale` metres wide."""
    texels = np.float32(TILE / (CELLS * scale))
    level = np.log2(np.maximum(width * texels, 1.0)).astype(np.int32)
    np.minimum(level, len(_PYRAMID_SIZES) - 1, out=level)
    size = _PYRAMID_SIZES[level]
    shrink = np.float32(texels) / (TILE // size).astype(np.float32)
    x, y = u * shrink, v * shrink
    x0, y0 = np.floor(x), np.floor(y)
    fx, fy = x - x0, y - y0
    mask = size - 1
    i0, j0 = x0.astype(np.int32) & mask, y0.astype(np.int32) & mask
    i1, j1 = (i0 + 1) & mask, (j0 + 1) & mask
    base = _PYRAMID_STARTS[level]
    row0, row1 = base + j0 * size, base + j1 * size
    top = _PYRAMID[row0 + i0] * (1 - fx) + _PYRAMID[row0 + i1] * fx
    bottom = _PYRAMID[row1 + i0] * (1 - fx) + _PYRAMID[row1 + i1] * fx
    return top * (1 - fy) + bottom * fy


def sharp_below(x: Array, edge: Array | float, width: Array) -> Array:
    """Return 1 where x < edge and 0 where x > edge, blurred over the pixel's width."""
    return np.clip((edge - x) / np.maximum(width, 1e-4) + 0.5, 0.0, 1.0)


def band(x: Array, low: Array | float, high: Array | float, width: Array) -> Array:
    """Return 1 where low < x < high, blurred over the pixel's width."""
    return sharp_below(x, high, width) * (1 - sharp_below(x, low, width))


def fade(width: Array, size: float) -> Array:
    """Return 1 where a detail of a size in metres is well visible, 0 where it is finer than a pixel."""
    return np.clip(1.5 - width / size, 0.0, 1.0)


def mix(a: Array, b: Array, share: Array) -> Array:
    """Return colours (N, 3) between a and b."""
    return a + (b - a) * share[:, None]


def dull(s: Surface) -> Array:
    """Plain paint or plaster. parameters: how uneven, size of the unevenness in metres."""
    strength, scale = s.parameter(0), np.maximum(s.parameter(1), 0.02)
    lumps = noise(s.u / scale, s.v / scale + s.w / scale * 0.7, 1.0, s.width / scale)
    return s.colour * (1 + strength * lumps)[:, None]


def asphalt(s: Surface) -> Array:
    """Asphalt with lane marks; u is metres left of the centre line, v metres along.

    parameters: half width of the roadway, lanes each way, zebra period (0 none), zebra place, parking lane width,
    dashed centre (else solid), wear of the paint 0..1.
    """
    half, lanes, period, place, parking, dashed, wear = (s.parameter(i) for i in range(7))
    grain, stain = noise(s.u, s.v, 0.12, s.width), noise(s.u, s.v * 0.4, 3.0, s.width)
    lane = (half - parking) / np.maximum(lanes, 1)
    in_lane = s.u / lane - np.floor(s.u / lane)
    tracks = np.exp(-(((in_lane - 0.25) / 0.09) ** 2)) + np.exp(-(((in_lane - 0.75) / 0.09) ** 2))
    patch = cell_hash(np.floor(s.u / 1.7), np.floor(s.v / 5.3), s.key) > 0.93
    shade = 1 + 0.10 * grain + 0.10 * stain - 0.07 * tracks - 0.18 * patch
    crack = np.abs(noise(s.u + 9, s.v, 1.3, s.width)) < 0.05
    shade = shade - 0.25 * crack * fade(s.width, 0.08)
    base = s.colour * shade[:, None]
    dash = band(np.mod(s.v, 9.0), 0.0, 4.0, s.width)
    centre = band(np.abs(s.u), -1.0, 0.07, s.width) * np.where(dashed > 0.5, dash, 1.0)
    between = np.abs(np.abs(s.u) - lane)
    inner = band(between, -1.0, 0.06, s.width) * dash * (lanes > 1)
    edge = band(np.abs(np.abs(s.u) - (half - parking - 0.05)), -1.0, 0.06, s.width) * (parking > 0)
    bays = band(np.mod(s.v, 6.0), 0.0, 0.1, s.width) * (np.abs(s.u) > half - parking) * (parking > 0) * 0.8
    along = s.v - place - period * np.round((s.v - place) / np.maximum(period, 1.0))
    zebra_area = (period > 0) * band(along, -1.7, 1.7, s.width) * (np.abs(s.u) < half - 0.3)
    stripes = band(np.mod(s.u, 1.0), 0.0, 0.5, s.width)
    stop = (period > 0) * band(np.abs(np.abs(along) - 3.2), -1.0, 0.18, s.width) * (np.abs(s.u) < half - parking)
    outside = (period > 0) & (np.abs(along) < 3.0)
    lines = np.maximum.reduce([centre, inner, edge, bays]) * ~outside
    paint = np.maximum(np.maximum(lines, stop * (s.u * along < 0)), zebra_area * stripes)
    worn = np.clip(1.1 - wear * (0.6 + 0.5 * noise(s.u, s.v, 0.4, s.width)), 0.1, 1.0)
    return mix(base, s.second, paint * worn)


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
    return mix(s.colour * stone[:, None], s.second, in_joint)


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
    wall = s.colour * (tone - 0.30 * visible * sharp_below(to_joint, joint, s.width))[:, None]

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
    glass = glass_tone[:, None] * np.array([0.8, 0.95, 1.15], np.float32)
    curtain = (h < curtains)[:, None] * np.where(
        (np.abs(x) > half_w * 0.55) | (y > half_h * (2 * other - 1)), 0.45, 0.0
    )[:, None]
    glass = np.where(curtain > 0, curtain * np.array([1.0, 0.95, 0.85], np.float32), glass)
    glass = np.where((other < lit)[:, None], np.array([0.85, 0.62, 0.32], np.float32) * (0.5 + 0.5 * h)[:, None], glass)
    goods = np.stack([cell_hash(np.floor(s.u / 0.4), np.floor(s.v / 0.5), s.key + np.uint32(i)) for i in range(3)], -1)
    goods = goods.mean(-1, keepdims=True) * 0.6 + goods * 0.4
    glass = np.where(shop[:, None], glass * 0.5 + 0.3 * goods**3, glass)
    sill = band(y, -half_h - 0.14 / storey, -half_h, py) * sharp_below(np.abs(x), half_w * 1.15, px)
    lintel_shadow = band(y, half_h - 0.16 / storey, half_h, py) * pane
    sign = shop * band(y, 0.40, 0.56, py)
    sign_colour = np.stack([cell_hash(np.floor(s.u / bay / 3), floor, s.key + np.uint32(7 + i)) for i in range(3)], -1)
    result = mix(wall, s.colour * 0.75 + 0.1, sill)
    result = mix(result, s.second, inside)
    result = mix(result, glass.astype(np.float32), pane)
    result = result * (1 - 0.5 * lintel_shadow)[:, None]
    letters = (
        band(np.mod(s.u, 0.5), 0.1, 0.38, s.width)
        * band(y, 0.44, 0.52, py)
        * (cell_hash(np.floor(s.u / 0.5), floor, s.key) > 0.3)
    )
    sign_area = mix(sign_colour.astype(np.float32) * 0.6, np.full_like(wall, 0.8), letters)
    return mix(result, sign_area, sign.astype(np.float32))


def foliage(s: Surface) -> Array:
    """Leaves: strong light and dark spots. parameters: size of a clump in metres."""
    scale = np.maximum(s.parameter(0), 0.05)
    a, b = (s.u + 0.61 * s.w) / scale, (s.v + 0.43 * s.w) / scale
    clumps = noise(a, b, 1.0, s.width / scale)
    leaves = noise(a + 3.7, b, 0.35, s.width / scale)
    light = np.clip(0.5 + 0.28 * clumps + 0.22 * leaves, 0.0, 1.0)
    return mix(s.second, s.colour, light) * (0.45 + 0.75 * light)[:, None]


def grass(s: Surface) -> Array:
    """Lawn or soil: fine blades over large patches."""
    patches = noise(s.u, s.v, 4.0, s.width)
    blades = noise(s.u, s.v, 0.15, s.width)
    return mix(s.colour, s.second, np.clip(0.4 + 0.35 * patches, 0, 1)) * (1 + 0.25 * blades)[:, None]


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
    return mix(s.colour, s.second, np.clip(0.5 + 0.3 * grain, 0, 1)) * tone[:, None]


def cloth(s: Surface) -> Array:
    """Clothes, carpets, upholstery. parameters: size of folds in metres, strength, stripe width (0 none)."""
    scale, strength, stripe = np.maximum(s.parameter(0), 0.02), s.parameter(1), s.parameter(2)
    folds = noise((s.u + 0.5 * s.w) / scale, (s.v + 0.7 * s.w) / scale, 1.0, s.width / scale)
    weave = noise(s.u + s.w, s.v, 0.03, s.width)
    striped = (stripe > 0) * band(np.mod(s.v + s.w, np.maximum(stripe, 0.01) * 2), 0.0, stripe, s.width)
    return mix(s.colour, s.second, striped) * (1 + strength * folds + 0.08 * weave)[:, None]


def picture(s: Surface) -> Array:
    """A poster, book cover or screen content: patches of colour. parameters: patch size, colourfulness, paper share."""
    size, rich, paper = np.maximum(s.parameter(0), 0.01), s.parameter(1), s.parameter(2)
    a, b = np.floor(s.u / size), np.floor(s.v / size)
    hues = np.stack([cell_hash(a, np.floor(b / 2), s.key + np.uint32(i)) for i in range(3)], -1).astype(np.float32)
    grey = hues.mean(-1, keepdims=True)
    patches = (grey + (hues - grey) * rich[:, None]) ** 2
    blend = np.clip(0.5 + 0.4 * noise(s.u / size, s.v / size, 2.0, s.width / size), 0, 1)
    blank = cell_hash(a, b, s.key + np.uint32(11)) < paper
    lines = band(np.mod(s.v, 0.05), 0.0, 0.02, s.width) * fade(s.width, 0.03) * 0.5
    return np.where(blank[:, None], mix(s.second, s.colour * 0.2, lines), mix(patches, s.colour, blend * 0.6))


def books(s: Surface) -> Array:
    """Backs of books or small boxes side by side along u. parameters: mean thickness."""
    thick = np.maximum(s.parameter(0), 0.005)
    index = np.floor(s.u / thick + 0.35 * np.sin(s.u / thick * 0.7))
    colour = np.stack([cell_hash(index, np.zeros_like(index), s.key + np.uint32(i)) for i in range(3)], -1)
    grey = colour.mean(-1, keepdims=True)
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
    bar = band(np.abs(s.v), -1.0, radius * 0.22, s.width) * sharp_below(np.abs(s.u), radius * 0.6, s.width)
    letters = band(np.mod(s.u, radius * 0.3), 0.0, radius * 0.16, s.width) * sharp_below(
        np.abs(s.v), radius * 0.3, s.width
    )
    white = np.full_like(s.colour, 0.85)
    ring = mix(mix(white, s.second, letters * sharp_below(r, radius * 0.6, s.width)), s.colour, rim)
    solid = mix(s.colour, white, np.where(kind > 1.5, letters, bar))
    return np.where((kind < 0.5)[:, None], ring, solid)


Pattern = Callable[[Surface], NDArray]
PATTERNS: dict[str, Pattern] = {
    "dull": dull,
    "asphalt": asphalt,
    "slabs": slabs,
    "facade": facade,
    "foliage": foliage,
    "grass": grass,
    "wood": wood,
    "cloth": cloth,
    "picture": picture,
    "books": books,
    "plate": plate,
}
_PATTERN_LIST = list(PATTERNS.values())


def _noise_pyramid() -> tuple[Array, NDArray[np.int32], NDArray[np.int32]]:
    """Return a tile of cloud-like noise that repeats seamlessly, halved again and again, flat; starts and sizes."""
    generator = np.random.default_rng(20240229)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(TILE, 1 / TILE), np.fft.fftfreq(TILE, 1 / TILE)))
    amplitude = np.where(frequency > 0, np.maximum(frequency, CELLS / 2) ** -1.6, 0.0)
    spectrum = np.fft.fft2(generator.standard_normal((TILE, TILE))) * amplitude
    tile = np.fft.ifft2(spectrum).real
    tile = tile / tile.std()
    levels = [tile]
    while len(levels[-1]) > 2:
        last = levels[-1]
        levels.append((last[0::2, 0::2] + last[1::2, 0::2] + last[0::2, 1::2] + last[1::2, 1::2]) / 4)
    sizes = np.array([len(level) for level in levels], np.int32)
    starts = np.concatenate([[0], np.cumsum(sizes.astype(np.int64) ** 2)[:-1]]).astype(np.int32)
    return np.concatenate([level.ravel() for level in levels]).astype(np.float32), starts, sizes


_PYRAMID, _PYRAMID_STARTS, _PYRAMID_SIZES = _noise_pyramid()
