# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What procedural textures are drawn with: noise, random numbers of cells, and edges as sharp as a pixel shows them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

TILE = 256
"""Texels of the tile of noise, which repeats."""
CELLS = 16.0
"""So many of its largest lumps lie side by side in the tile."""


def cell_hash(a: Array, b: Array, key: NDArray[np.uint32]) -> Array:
    """Return a number 0..1 for every integer cell (a, b) and key."""
    h = a.astype(np.int32).view(np.uint32) * np.uint32(0x9E3779B1)
    h ^= b.astype(np.int32).view(np.uint32) * np.uint32(0x85EBCA77)
    h ^= key * np.uint32(0xC2B2AE3D)
    h ^= h >> np.uint32(15)
    h *= np.uint32(0x2C1B3C6D)
    h ^= h >> np.uint32(13)
    h &= np.uint32(0xFFFF)
    result = h.astype(np.float32)
    result *= np.float32(1 / 65535)
    return result


def random_colours(a: Array, b: Array, key: NDArray[np.uint32]) -> Array:
    """Return a colour (3, N) for every integer cell (a, b) and key."""
    return np.stack([cell_hash(a, b, key + np.uint32(i)) for i in range(3)])


def noise(u: Array, v: Array, scale: float, width: Array) -> Array:
    """Return cloud-like noise of mean 0 and standard deviation 1 whose largest lumps are `scale` metres wide."""
    # The level whose texels are as wide as a pixel: the exponent of a number is its logarithm, rounded down.
    texels = np.maximum(width * np.float32(TILE / (CELLS * scale)), np.float32(1.0)).astype(np.float32, copy=False)
    level = texels.view(np.int32) >> 23
    level -= 127
    np.minimum(level, len(_LEVEL_SIZE) - 1, out=level)
    size = _LEVEL_SIZE.take(level)
    tiles = np.float32(1.0 / (CELLS * scale))
    x, y = (u * tiles).astype(np.float32, copy=False), (v * tiles).astype(np.float32, copy=False)
    x -= np.floor(x)
    y -= np.floor(y)
    x *= size
    y *= size
    y += _LEVEL_START.take(level)
    result = np.empty(len(x), np.float32)
    for start in range(0, len(x), _MOST_AT_ONCE):
        some = slice(start, start + _MOST_AT_ONCE)
        result[some] = cv2.remap(_LEVELS, x[None, some], y[None, some], cv2.INTER_LINEAR)[0]
    return result


def sharp_below(x: Array, edge: Array | float, width: Array) -> Array:
    """Return 1 where x < edge and 0 where x > edge, blurred over the pixel's width."""
    result = np.subtract(edge, x, dtype=np.float32)
    result /= np.maximum(width, np.float32(1e-4))
    result += np.float32(0.5)
    np.maximum(result, np.float32(0.0), out=result)
    return np.minimum(result, np.float32(1.0), out=result)


def band(x: Array, low: Array | float, high: Array | float, width: Array) -> Array:
    """Return 1 where low < x < high, blurred over the pixel's width."""
    return sharp_below(x, high, width) * (1 - sharp_below(x, low, width))


def below(x: Array, high: Array | float, width: Array) -> Array:
    """Return 1 where |x| < high, blurred over the pixel's width."""
    return sharp_below(np.abs(x), high, width)


def fade(width: Array, size: float) -> Array:
    """Return 1 where a detail of a size in metres is well visible, 0 where it is finer than a pixel."""
    return np.clip(1.5 - width / size, 0.0, 1.0)


def mix(a: Array, b: Array, share: Array) -> Array:
    """Return colours (3, N) between a and b."""
    result = (b - a) * share
    result += a
    return result


def _noise_levels() -> tuple[Array, Array, Array]:
    """Return a tile of cloud-like noise that repeats seamlessly, halved again and again.

    All levels are one image below each other, each with its first row and column repeated at its end; then the level's
    size and its first row.
    """
    generator = np.random.default_rng(20240229)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(TILE, 1 / TILE), np.fft.fftfreq(TILE, 1 / TILE)))
    amplitude = np.where(frequency > 0, np.maximum(frequency, CELLS / 2) ** -1.6, 0.0)
    spectrum = np.fft.fft2(generator.standard_normal((TILE, TILE))) * amplitude
    tile = np.fft.ifft2(spectrum).real
    levels = [tile / tile.std()]
    while len(levels[-1]) > 2:
        last = levels[-1]
        levels.append((last[0::2, 0::2] + last[1::2, 0::2] + last[0::2, 1::2] + last[1::2, 1::2]) / 4)
    sizes = np.array([len(level) for level in levels])
    starts = np.concatenate([[0], np.cumsum(sizes[:-1] + 1)])
    image = np.zeros((int(starts[-1] + sizes[-1]) + 1, TILE + 1), np.float32)
    for level, start in zip(levels, starts, strict=True):
        image[start : start + len(level) + 1, : len(level) + 1] = np.pad(level, ((0, 1), (0, 1)), mode="wrap")
    return image, sizes.astype(np.float32), starts.astype(np.float32)


_LEVELS, _LEVEL_SIZE, _LEVEL_START = _noise_levels()
_MOST_AT_ONCE = 32_000
"""cv2.remap takes no longer rows."""
