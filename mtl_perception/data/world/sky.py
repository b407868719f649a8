# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The sky's colour in any direction."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mtl_perception.data.world.scene import Light
from mtl_perception.data.world.textures import mix, noise

Array = NDArray[np.floating]


def sky_colour(light: Light, directions: Array) -> Array:
    """Return linear RGB (N, 3) of the sky, or of a room's far walls, in directions (N, 3)."""
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    up = np.clip(unit[:, 2], 0.0, 1.0)
    base = mix(
        np.broadcast_to(np.array(light.horizon, np.float32), unit.shape),
        np.broadcast_to(np.array(light.sky, np.float32), unit.shape),
        1 - (1 - up) ** 3,
    )
    flat = 1.0 / (up + 0.12)
    place_x, place_y = unit[:, 0] * flat + light.position[1] * 7, unit[:, 1] * flat + light.position[0] * 5
    lumps = noise(place_x, place_y, 1.6, flat * 0.02)
    cover = np.clip((lumps - 1.6 + 3.2 * light.cloudiness) * 0.7, 0.0, 1.0) * np.clip(up * 6, 0, 1)
    shade = 1 + 0.10 * noise(place_x + 3, place_y, 0.8, flat * 0.02)
    clouds = np.array(light.cloud, np.float32) * shade[:, None]
    result = mix(base, clouds.astype(np.float32), cover)
    if light.is_sun:
        towards = np.maximum(unit @ np.array(light.position, np.float32), 0)
        result = result + (0.25 * towards**16 + 0.3 * towards**300)[:, None] * np.array(light.strength, np.float32)
    return result.astype(np.float32)
