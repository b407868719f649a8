# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How a camera records light: exposure, motion blur, dirt on the lens, blur, noise, and the tone curve."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.data.world.conditions import Conditions
from mtl_perception.data.world.scene import Sensor

Array = NDArray[np.float32]

MOST_TAPS = 17
"""So many moments of an exposure are added up at most, and at least one for every pixel of the longest movement."""

_TONES = 4096
_BRIGHTEST = 1.5
"""Square root of the light from which on a pixel is white, with some room."""

_GLARING = 0.8
"""Light beyond this glares at night."""

_WAVES = 5
_SLOWEST_HZ, _FASTEST_HZ = 0.04, 0.7


@dataclass(frozen=True, eq=False)
class Dirt:
    """What lies on a camera's lens, out of focus; the same in all of its images.

    Attributes:
        drops: float32 (H, W, 1), 0..1: how much of the light takes the way through a drop, which blurs it.
        clear: float32 (H, W, 1), 0..1: share of the light that passes the dust.
        veil: float32 (H, W, 1), how much of the image's mean light the dust throws into the pixel.
        blur: of the drops, pixels.
    """

    drops: Array
    clear: Array
    veil: Array
    blur: float


def develop(
    radiance: Array,
    sensor: Sensor,
    conditions: Conditions,
    generator: np.random.Generator,
    exposure_factor: float = 1.0,
    dirt: Dirt | None = None,
    flow: Array | None = None,
) -> NDArray[np.uint8]:
    """Return the image, uint8 RGB (H, W, 3), that a camera makes of light.

    Args:
        radiance: float32 (H, W, 3), linear RGB at the middle of the exposure.
        sensor: the camera.
        conditions: give the factor on the noise, and whether it is night, when bright lamps glare.
        generator: of the noise.
        exposure_factor: on the exposure, see `exposure_factor`.
        dirt: on the lens, None for none.
        flow: float32 (H, W, 2), pixels to the right and down that what a pixel shows moves while the shutter is open,
            NaN where unknown; None for no motion blur.
    """
    height, width = radiance.shape[:2]
    light = radiance if flow is None else _moved(radiance, flow)
    if dirt is not None:
        light = _dirty(light, dirt)
    if conditions.night:
        light = light + _glare(light)
    gain = np.array(sensor.white_balance, np.float32) * np.float32(sensor.exposure * exposure_factor)
    light = light * (_falloff(height, width, sensor.vignetting) * gain)
    cv2.GaussianBlur(light, (0, 0), sensor.blur, dst=light)
    light = _noisy(light, sensor.noise * conditions.noise, generator)
    np.sqrt(np.maximum(light, 0.0, out=light), out=light)
    light *= np.float32((_TONES - 1) / _BRIGHTEST)
    np.minimum(light, np.float32(_TONES - 1), out=light)
    return _tone_curve(sensor.contrast)[light.astype(np.uint16)]


def exposure_factor(seed: int, camera: str, seconds: float, conditions: Conditions) -> float:
    """Return the factor on a camera's exposure at a time: 1, or one that hunts as `conditions` ask for.

    Its logarithm is a sum of slow waves, smooth in time, drawn from the world's seed and the camera's name.
    """
    if conditions.exposure_changes == 0:
        return 1.0
    hertz, phase, share = _waves(seed, camera)
    logarithm = math.sqrt(2.0) * float(np.dot(share, np.sin(2 * np.pi * hertz * seconds + phase)))
    return math.exp(conditions.exposure_changes * logarithm)


@lru_cache(maxsize=64)
def lens_dirt(seed: int, camera: str, width: int, height: int, conditions: Conditions) -> Dirt | None:
    """Return the dirt on a camera's lens, drawn from the world's seed and the camera's name; None where it is clean.

    Drops and specks of dust are added until they cover `conditions.lens_dirt` of the image.
    """
    if conditions.lens_dirt == 0:
        return None
    generator = np.random.default_rng([seed, zlib.crc32(camera.encode()), 2])
    # Drawn on a coarse grid: all of it is far out of focus.
    columns, rows = 96, max(1, round(96 * height / width))
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    drops, dust = np.zeros((rows, columns), np.float32), np.zeros((rows, columns), np.float32)
    while np.mean((drops > 0.3) | (dust > 0.3)) < conditions.lens_dirt:
        is_drop = generator.random() < 0.55
        centre_x, centre_y = generator.uniform(-3, columns + 3), generator.uniform(-3, rows + 3)
        radius = float(np.exp(generator.normal(np.log(6.0 if is_drop else 2.5), 0.45)))
        along, across = x - centre_x, y - centre_y
        bearing = np.arctan2(across, along)
        outline = 1 + sum(
            generator.normal(0, 0.12) * np.cos(k * bearing + generator.uniform(0, 2 * np.pi)) for k in (2, 3, 5)
        )
        inside = 0.5 - 0.5 * np.tanh((np.hypot(along, across) / radius - outline) * (3.0 if is_drop else 1.25))
        kind, strength = (drops, generator.uniform(0.8, 1.0)) if is_drop else (dust, generator.uniform(0.5, 0.95))
        np.maximum(kind, inside.astype(np.float32) * np.float32(strength), out=kind)
    # The rim of a drop bends light away from the camera.
    clear = (1 - 0.8 * dust) * (1 - 1.2 * drops * (1 - drops))
    drops, clear, veil = (_enlarged(part, width, height)[..., None] for part in (drops, clear, 0.3 * dust))
    return Dirt(drops, clear, veil, width / 40)


def _moved(radiance: Array, flow: Array) -> Array:
    """Return the mean of the light over the exposure, each pixel looking along its own movement."""
    height, width = radiance.shape[:2]
    flow = np.nan_to_num(flow, nan=0.0)
    longest = math.sqrt(float(np.einsum("ijk,ijk->ij", flow, flow).max()))
    taps = min(MOST_TAPS, math.ceil(longest) + 1)
    if longest < 0.25:
        return radiance
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    total = np.zeros_like(radiance)
    for share in (np.arange(taps) + 0.5) / taps - 0.5:
        at_x, at_y = x + np.float32(share) * flow[..., 0], y + np.float32(share) * flow[..., 1]
        total += cv2.remap(radiance, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return total / np.float32(taps)


def _dirty(light: Array, dirt: Dirt) -> Array:
    blurred = _blurred(light, dirt.blur)
    mean = blurred.reshape(-1, 3).mean(axis=0)
    return (light + (blurred - light) * dirt.drops) * dirt.clear + mean * dirt.veil


def _glare(light: Array) -> Array:
    """Return what lens and eye scatter of the brightest light round it: a small halo and a wide one."""
    width = light.shape[1]
    brightest = np.maximum(light - np.float32(_GLARING), 0)
    if not brightest.any():
        return brightest
    return np.float32(0.10) * _blurred(brightest, width / 100) + np.float32(0.06) * _blurred(brightest, width / 25)


def _blurred(light: Array, sigma: float) -> Array:
    """Return light (H, W, 3) blurred over many pixels, which needs few of them."""
    height, width = light.shape[:2]
    small = cv2.resize(light, (max(1, width // 4), max(1, height // 4)), interpolation=cv2.INTER_AREA)
    return _enlarged(cv2.GaussianBlur(small, (0, 0), max(sigma / 4, 0.3)), width, height)


def _enlarged(image: NDArray, width: int, height: int) -> Array:
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _noisy(light: Array, noise: float, generator: np.random.Generator) -> Array:
    """Add the noise of reading the sensor, and that of counting photons, which grows with the root of the light."""
    if noise == 0:
        return light
    spread = np.sqrt(np.maximum(light, 0.0))
    spread += np.float32(0.3)
    spread *= _grain(light.shape, generator)
    spread *= np.float32(noise)
    spread += light
    return spread


def _grain(shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    """Return numbers of mean 0 and variance 1: the sum of four random bytes, close to normal and quickly drawn."""
    count = math.prod(shape)
    bits = generator.integers(0, 2**64, (2, (count + 3) // 4), np.uint64)
    pairs = (bits & np.uint64(0x00FF00FF00FF00FF)) + ((bits >> np.uint64(8)) & np.uint64(0x00FF00FF00FF00FF))
    total = (pairs[0] + pairs[1]).view(np.uint16)[:count].astype(np.float32)
    total -= np.float32(2 * 255)
    total *= np.float32(1 / math.sqrt(4 * (256**2 - 1) / 12))
    return total.reshape(shape)


@lru_cache(maxsize=32)
def _falloff(height: int, width: int, vignetting: float) -> Array:
    y, x = np.linspace(-1, 1, height, dtype=np.float32)[:, None], np.linspace(-1, 1, width, dtype=np.float32)
    falloff: Array = 1 - np.float32(vignetting) * (x * x + y * y) / np.float32(2)
    return falloff[..., None]


@lru_cache(maxsize=256)
def _tone_curve(contrast: float) -> NDArray[np.uint8]:
    """Return the screen values of `_TONES` equal steps of the root of light, 0.._BRIGHTEST."""
    light = np.linspace(0.0, _BRIGHTEST, _TONES) ** 2
    shown = light * (1 + light / 4) / (1 + light)  # highlights roll off instead of clipping at once
    shown = np.clip(shown, 0, 1) ** (1 / 2.2)
    shown = np.clip(0.5 + (shown - 0.5) * contrast, 0, 1)
    return (shown * 255 + 0.5).astype(np.uint8)


@lru_cache(maxsize=256)
def _waves(seed: int, camera: str) -> tuple[NDArray, NDArray, NDArray]:
    """Return frequencies, phases and shares (the root of their squares' sum is 1) of a camera's exposure."""
    generator = np.random.default_rng([seed, zlib.crc32(camera.encode()), 1])
    hertz = np.exp(generator.uniform(np.log(_SLOWEST_HZ), np.log(_FASTEST_HZ), _WAVES))
    share = generator.uniform(0.3, 1.0, _WAVES)
    return hertz, generator.uniform(0, 2 * np.pi, _WAVES), share / np.linalg.norm(share)
