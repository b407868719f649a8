# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The sky's colour in any direction: day or night, with clouds, the sun or moon, and what fog leaves of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mtl_perception.data.world.rendering.procedural import noise
from mtl_perception.data.world.scene import Colour, Light

FOG_M = 260.0
"""With less visibility than this it is fog, which hides the sky too."""
FOG_DEPTH_M = 60.0
"""How high fog reaches."""

Array = NDArray[np.floating]


def sky_colour(light: Light, unit: Array) -> Array:
    """Return linear RGB (3, N) of the sky in directions (3, N) of length 1."""
    x, y, z = unit
    up = np.clip(z, 0.0, 1.0)
    result = _towards(_column(light.horizon), _column(light.sky), 1 - (1 - up) ** 3)

    flat = 1.0 / (up + np.float32(0.12))
    place_x, place_y = x * flat + light.position[1] * 7, y * flat + light.position[0] * 5
    width = flat * np.float32(0.02)
    lumps = noise(place_x, place_y, 1.6, width)
    cover = np.clip((lumps - 1.6 + 3.2 * light.cloudiness) * 0.7, 0.0, 1.0) * np.clip(up * 6, 0, 1)
    shade = 1 + 0.10 * noise(place_x + 3, place_y, 0.8, width)
    result = _towards(result, _column(light.cloud) * shade, cover)

    if light.is_sun:
        result = result + _column(light.strength) * _round_the_sun(light, unit, cover)
    if light.visibility < FOG_M:
        hidden = 1 - np.exp(-FOG_DEPTH_M / (light.visibility * np.maximum(up, 0.02)))
        result = _towards(result, np.minimum(_column(light.horizon), 0.9), hidden)
    return result.astype(np.float32, copy=False)


def _round_the_sun(light: Light, unit: Array, cover: Array) -> Array:
    """Return what the sun or moon adds (N,), as a share of its strength: a wide glow, a halo, and the disc.

    The disc, of half a degree round, is the cosine of the angle to it to a high power, by squaring. Clouds hide it.
    """
    cosine = np.maximum(np.array(light.position, np.float32) @ unit, 0)
    power = [cosine]
    for _ in range(14):
        power.append(power[-1] * power[-1])
    return 0.25 * power[4] + 0.3 * power[8] + 15 * power[14] * (1 - cover)


def _column(colour: Colour) -> Array:
    return np.array(colour, np.float32)[:, None]


def _towards(a: Array, b: Array, share: Array) -> Array:
    return a + (b - a) * share
