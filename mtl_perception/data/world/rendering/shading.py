# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What light comes from the points that a camera's rays end on. Vectors and colours are (3, M), one row an axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.data.world.rendering.casting import Caster
from mtl_perception.data.world.rendering.procedural import mix
from mtl_perception.data.world.rendering.sky import sky_colour
from mtl_perception.data.world.rendering.textures import MaterialTable
from mtl_perception.data.world.scene import Colour, Lamp, Light

SOFT_RADIUS = 0.04
"""Sources from this radius on have shadows that are smoothed more."""

FAINT = 0.03
"""A lamp's light ends where it is weaker than this."""

NEAREST_SQUARE = np.float32(0.4)
"""A lamp's light grows no more nearer than the root of this, metres: shades keep it off the ceiling."""

MOST_LAMPS = 6
"""So many lamps shine in one image at most, the strongest."""

LEAST_SHARE = 0.02
"""Lamps that give less of an image's light are left out."""

FINE_LAMPS = 2
"""Shadows of the others are coarse."""

_SAMPLED = 41
"""One point in so many is asked which lamps it sees."""

_ALONE = np.float32(1e-4)

Array = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Points:
    """What the rays of one image end on, to be shaded.

    Attributes:
        position, normal: (3, M), metres and unit in the world; normals towards the camera or away.
        view: (3, M), unit, from the camera.
        distance: (M,) from the camera, metres.
        width: (M,) of a pixel that faces the camera there, metres.
        material: (M,), index.
        texture: (3, M), coordinates.
        pixel: (M,), which of the image's.
        shape: (height, width) of the image.
    """

    position: Array
    normal: Array
    view: Array
    distance: Array
    width: Array
    material: NDArray[np.int32]
    texture: Array
    pixel: NDArray[np.int64]
    shape: tuple[int, int]


class Shading:
    """The light of a scene on its materials."""

    def __init__(self, light: Light, materials: MaterialTable) -> None:
        self._light, self._materials = light, materials

    def radiance(
        self, points: Points, casters: Sequence[Caster], lamps: Sequence[Lamp], generator: np.random.Generator
    ) -> Array:
        """Return linear RGB (3, M) of points, in the light of sun, sky and lamps in the world.

        Whatever is in `casters` throws shadows; `generator` makes them soft.
        """
        light = self._light
        facing = -_dot(points.normal, points.view)
        normal = points.normal * np.where(facing < 0, np.float32(-1), np.float32(1))
        facing = np.abs(facing)
        # A pixel covers more of a surface seen at a grazing angle; half of that is blurred, as a lens and eye would.
        width = points.width / np.sqrt(np.maximum(facing, np.float32(0.05)))
        colour, glow = self._materials.surface(points.material, points.texture, width)

        # Light from everywhere: more from above than from below.
        received = _column(light.ambient) * (np.float32(0.72) + np.float32(0.28) * normal[2]) + glow
        shadows = _Shadows(points, normal, casters, generator)
        to_light, strength = _towards(light, points.position)
        direct = np.maximum(_dot(normal, to_light), np.float32(0)) * strength
        if any(light.strength):
            lattice = shadows.soft if light.radius > SOFT_RADIUS else shadows.sharp
            direct *= shadows.visible(np.flatnonzero(direct > 0), light.position, light.radius, lattice, light.is_sun)
            received += _column(light.strength) * direct
        for rank, lamp in enumerate(_strongest(lamps, points, normal, shadows)):
            _add_lamp(received, lamp, points, normal, shadows, shadows.soft if rank < FINE_LAMPS else shadows.coarse)
        radiance = colour * received

        gloss = self._materials.gloss.take(points.material)
        shiny = np.flatnonzero(gloss > 0)
        if len(shiny):
            gloss, facing, normal = gloss[shiny], facing[shiny], normal[:, shiny]
            mirrored = points.view[:, shiny] + 2 * facing * normal
            share = gloss * (np.float32(0.12) + np.float32(0.88) * (1 - facing) ** 4)
            sky = sky_colour(light, mirrored) * np.clip(np.float32(0.35) + np.float32(1.3) * mirrored[2], 0.12, 1.0)
            lit = direct[shiny] > 0
            towards = to_light if light.is_sun else to_light[:, shiny]
            highlight = np.maximum(_dot(mirrored, towards), 0) ** 60 * gloss * lit
            glint = _column(light.strength) * (np.float32(1.5) * highlight)
            radiance[:, shiny] = mix(radiance[:, shiny], np.minimum(sky, 1.0), share) + glint
        haze = 1 - np.exp(points.distance * np.float32(-1 / light.visibility))
        return mix(radiance, np.minimum(_column(light.horizon), np.float32(0.9)), haze)


@dataclass(frozen=True, eq=False)
class _Lattice:
    """Which pixels ask whether they see a source of light, and how the answers are smoothed over all pixels.

    Attributes:
        asks: (M,) of the points.
        cell: (M,) where a point's answer goes in the image of answers; in a coarse one several pixels share a cell.
        shape: (height, width) of that image.
        spot: (M,) which spot of the source a point asks for; each block of 4 x 4 points that ask has all 16.
        blur: standard deviation in cells.
    """

    asks: NDArray[np.bool_]
    cell: NDArray[np.int64]
    shape: tuple[int, int]
    spot: NDArray[np.int64]
    blur: float


class _Shadows:
    """Which points of one image see a source of light."""

    def __init__(
        self, points: Points, normal: Array, casters: Sequence[Caster], generator: np.random.Generator
    ) -> None:
        self._points, self._casters = points, casters
        self._start = points.position + normal * np.float32(0.01)
        height, width = points.shape
        row, column = points.pixel // width, points.pixel % width
        order = int(generator.integers(len(_SPOTS)))

        def spot(along: NDArray[np.int64], across: NDArray[np.int64]) -> NDArray[np.int64]:
            return _BLOCK.take(4 * (along & 3) + (across & 3)) ^ order

        every = np.ones(len(row), bool)
        self.sharp = _Lattice(every, points.pixel, points.shape, spot(row, column), 1.2)
        # The black squares of a chessboard are a lattice too, along the diagonals.
        black = ((row + column) & 1).astype(bool)
        self.soft = _Lattice(black, points.pixel, points.shape, spot((row + column) >> 1, (row - column) >> 1), 1.9)
        few = (row & 1 == 0) & (column & 3 == row & 2)
        cells = (height + 1) // 2, (width + 3) // 4
        self.coarse = _Lattice(few, (row >> 1) * cells[1] + (column >> 2), cells, spot(row >> 1, column >> 2), 1.0)

    def visible(
        self,
        lit: NDArray[np.int64],
        place: tuple[float, float, float],
        radius: float,
        lattice: _Lattice,
        is_sun: bool = False,
    ) -> Array:
        """Return how much of a source each point sees (M,), 0..1; meaningless for those not in `lit`.

        Points ask for one spot of the source each, their neighbours for others, and the answers are smoothed. Points
        that do not ask believe their neighbours.

        Args:
            lit: which points to ask, those that face the source.
            place: of the source in the world, or the direction towards the sun.
            radius: of the source in metres, or as a slope of the sun's.
            lattice: which of them ask.
            is_sun: whether the source is infinitely far.
        """
        points = self._points
        asking = lit[lattice.asks[lit]]
        answers = np.zeros((*lattice.shape, 2), np.float32)
        flat = answers.reshape(-1, 2)
        flat[lattice.cell[asking], 1] = 1.0
        if lattice is not self.coarse:
            asking = asking[self._is_open(lit, place, radius, is_sun).take(self.coarse.cell[asking])]
        flat[lattice.cell[asking], 0] = self._seen(asking, lattice, place, radius, is_sun)
        smoothed = cv2.GaussianBlur(answers, (0, 0), lattice.blur)
        if lattice.shape != points.shape:
            smoothed = cv2.resize(smoothed, points.shape[::-1], interpolation=cv2.INTER_LINEAR)
        # Who has no neighbour to believe is in the light.
        share = (smoothed[..., 0] + _ALONE) / (smoothed[..., 1] + _ALONE)
        return share.reshape(-1).take(points.pixel)

    def _is_open(
        self, lit: NDArray[np.int64], place: tuple[float, float, float], radius: float, is_sun: bool
    ) -> NDArray[np.bool_]:
        """Return per cell of the coarse lattice, flat, whether points there may see a source.

        They do not where the points that ask coarsely, there and in the cells around, do not.
        """
        asking = lit[self.coarse.asks[lit]]
        cell = self.coarse.cell[asking]
        unknown, open_ = np.ones(self.coarse.shape, np.uint8), np.zeros(self.coarse.shape, np.uint8)
        unknown.reshape(-1)[cell] = 0
        open_.reshape(-1)[cell] = self._seen(asking, self.coarse, place, radius, is_sun)
        around = cv2.dilate(open_, np.ones((3, 3), np.uint8)).astype(np.uint8)
        return (unknown | around).reshape(-1).astype(bool)

    def _seen(
        self,
        asking: NDArray[np.int64],
        lattice: _Lattice,
        place: tuple[float, float, float],
        radius: float,
        is_sun: bool,
    ) -> NDArray[np.bool_]:
        """Return which points see the spots of the source that they ask for."""
        spots = _SPOTS.take(lattice.spot[asking], axis=0) * np.float32(radius)
        return ~self.blocked(asking, np.array(place, np.float32) + spots, is_sun)

    def blocked(self, asked: NDArray[np.int64], places: Array, is_sun: bool = False) -> NDArray[np.bool_]:
        """Return which points (K,) do not see the place (K, 3) of a source, or the sun in that direction."""
        rays = np.empty((len(asked), 6), np.float32)
        rays[:, :3] = self._start.take(asked, axis=1).T
        rays[:, 3:] = places
        if not is_sun:
            rays[:, 3:] -= rays[:, :3]
        blocked = np.zeros(len(asked), bool)
        for caster in self._casters:
            blocked |= caster.blocked(rays, math.inf if is_sun else 0.97)
        return blocked


def _strongest(lamps: Sequence[Lamp], points: Points, normal: Array, shadows: _Shadows) -> list[Lamp]:
    """Return the few lamps that give most of the light, going by some of the points and what they see of the lamps."""
    if not lamps:
        return []
    some = np.arange(0, points.position.shape[1], _SAMPLED)
    places = np.array([lamp.position for lamp in lamps], np.float32)
    offset = places[None] - points.position[:, some].T[:, None]
    square = np.maximum(np.einsum("nlj,nlj->nl", offset, offset), NEAREST_SQUARE)
    given = np.array([max(lamp.strength) for lamp in lamps], np.float32) / square
    facing = np.einsum("nlj,jn->nl", offset, normal[:, some]) > 0
    point, lamp_index = np.nonzero(facing & (given > FAINT))
    sees = ~shadows.blocked(some[point], places[lamp_index])
    total = np.bincount(lamp_index, np.minimum(given[point, lamp_index], 1.0) * sees, minlength=len(lamps))
    order = np.argsort(-total, kind="stable")[:MOST_LAMPS]
    return [lamps[index] for index in order if total[index] > LEAST_SHARE * total.sum()]


def _add_lamp(received: Array, lamp: Lamp, points: Points, normal: Array, shadows: _Shadows, lattice: _Lattice) -> None:
    """Add a lamp's light to what points receive (3, M)."""
    reach_square = max(lamp.strength) / FAINT
    offset = _column(lamp.position) - points.position
    square = _dot(offset, offset)
    # The inverse square of the distance, and down to nothing at the end of its reach.
    left = np.maximum(1 - (square * np.float32(1 / reach_square)) ** 2, np.float32(0))
    length = np.sqrt(square)
    light = np.maximum(_dot(normal, offset), np.float32(0)) / length
    light *= left * left / np.maximum(square, NEAREST_SQUARE)
    if lamp.direction is not None:
        cosine = _dot(_column(lamp.direction), offset) / -length
        inside = np.clip((cosine - np.float32(lamp.cone)) * np.float32(1 / (1 - lamp.cone)), 0, 1)
        # Brightest in the middle, as a headlight, whose light reaches far ahead without blinding close by.
        light *= np.square(inside * inside)
    lit = np.flatnonzero(light * np.float32(max(lamp.strength)) > FAINT / 4)
    if len(lit):
        light *= shadows.visible(lit, lamp.position, lamp.radius, lattice)
        received += _column(lamp.strength) * light


def _towards(light: Light, position: Array) -> tuple[Array, Array | np.float32]:
    """Return the unit direction from points to the light, (3, N) or (3, 1), and the light's fall-off (N,) or 1."""
    if light.is_sun:
        return _column(light.position), np.float32(1)
    offset = _column(light.position) - position
    square = _dot(offset, offset)
    return offset / np.sqrt(square), np.float32(2.0) / (1 + np.float32(0.35) * square)


def _spots() -> Array:
    """Return 16 spots (16, 3) spread like a normal distribution of variance 1 along each axis.

    Each axis has the middles of 16 equally probable intervals, in orders that fill space evenly (Roberts' additive
    sequence, https://extremelearning.com.au/unreasonable-effectiveness-of-quasirandom-sequences).
    """
    plastic = 1.2207440846057596
    sequence = (0.5 + np.arange(16)[:, None] * plastic ** -np.arange(1, 4)) % 1
    rank = sequence.argsort(axis=0).argsort(axis=0)
    quantiles = np.array([NormalDist().inv_cdf((k + 0.5) / 16) for k in range(16)])
    return (quantiles / quantiles.std())[rank].astype(np.float32)


_SPOTS = _spots()
# Bayer's matrix: whatever a block's part, the numbers in it are spread over all.
_BLOCK = np.array([0, 8, 2, 10, 12, 4, 14, 6, 3, 11, 1, 9, 15, 7, 13, 5])


def _dot(a: Array, b: Array) -> Array:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _column(values: Colour | tuple[float, float, float]) -> Array:
    return np.array(values, np.float32)[:, None]
