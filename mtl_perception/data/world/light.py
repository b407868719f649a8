# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The light of a world and the cameras' response to it, drawn at random."""

from __future__ import annotations

import numpy as np

from mtl_perception.data.world.scene import Colour, Light, Sensor


def street_light(generator: np.random.Generator) -> Light:
    """Return daylight: clear, cloudy or overcast, the sun high or low."""
    kind = str(generator.choice(["clear", "cloudy", "overcast", "low"], p=[0.35, 0.25, 0.25, 0.15]))
    elevation = np.deg2rad(
        generator.uniform(40, 80)
        if kind == "overcast"
        else generator.uniform(25, 65)
        if kind != "low"
        else generator.uniform(8, 20)
    )
    azimuth = generator.uniform(0, 2 * np.pi)
    sun = (np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation))
    if kind == "overcast":
        # A wide weak sun: the ground under cars and in corners gets less of it.
        grey = generator.uniform(0.6, 1.0) * generator.uniform(0.97, 1.03, 3)
        bright = generator.uniform(0.8, 2.5) * grey
        return Light(
            _triple(sun),
            True,
            _triple(0.45 * grey),
            _triple(0.42 * grey),
            radius=0.7,
            sky=_triple(0.75 * bright),
            horizon=_triple(bright),
            cloud=_triple(0.9 * bright),
            cloudiness=0.9,
            visibility=generator.uniform(250, 1500),
        )
    warm = np.array([1.0, 0.93, 0.82]) if kind != "low" else np.array([1.0, 0.75, 0.50])
    strength = {"clear": 1.15, "cloudy": 0.6, "low": 0.8}[kind] * generator.uniform(0.8, 1.2)
    shade = np.array([0.34, 0.38, 0.46]) * generator.uniform(0.8, 1.3) * (1.3 if kind == "cloudy" else 1.0)
    blue = np.array([0.16, 0.32, 0.68]) * generator.uniform(0.8, 1.3)
    horizon = np.array([0.72, 0.80, 0.90]) if kind != "low" else np.array([0.95, 0.78, 0.60])
    glare = generator.uniform(0.9, 2.2)
    return Light(
        _triple(sun),
        True,
        _triple(warm * strength),
        _triple(shade),
        radius=0.02,
        sky=_triple(blue * glare),
        horizon=_triple(horizon * glare),
        cloud=_triple(np.array([0.95, 0.95, 0.96]) * glare),
        cloudiness=generator.uniform(0.05, 0.65),
        visibility=generator.uniform(350, 2500),
    )


def street_sensor(generator: np.random.Generator) -> Sensor:
    """Return a camera in daylight, from bright to dim, with a cast."""
    return Sensor(
        exposure=float(np.exp(generator.normal(0.15, 0.4))),
        white_balance=_triple(np.exp(generator.normal(0, 0.06, 3))),
        noise=float(generator.uniform(0.003, 0.016)),
        blur=float(generator.uniform(0.35, 0.75)),
        vignetting=float(generator.uniform(0.0, 0.35)),
        contrast=float(generator.uniform(0.95, 1.35)),
    )


def room_light(generator: np.random.Generator, size: tuple[float, float], height: float) -> Light:
    """Return a lamp somewhere below the ceiling, and light that walls throw back."""
    place = (
        size[0] * generator.uniform(0.25, 0.75),
        size[1] * generator.uniform(0.25, 0.75),
        height - generator.uniform(0.1, 0.6),
    )
    colour = np.array([(1.0, 0.93, 0.80), (1.0, 0.85, 0.65), (0.92, 0.97, 1.0)][generator.integers(3)])
    ambient = colour * generator.uniform(0.45, 0.85)
    return Light(
        _triple(place),
        False,
        _triple(colour * generator.uniform(0.35, 0.9)),
        _triple(ambient),
        radius=float(generator.uniform(0.05, 0.3)),
        sky=_triple(ambient),
        horizon=_triple(ambient * 0.8),
        cloud=_triple(ambient * 1.3),
        cloudiness=0.4,
        visibility=1e6,
    )


def room_sensor(generator: np.random.Generator) -> Sensor:
    """Return a camera indoors: noisier, softer, with stronger casts."""
    return Sensor(
        exposure=float(np.exp(generator.normal(0.2, 0.3))),
        white_balance=_triple(np.exp(generator.normal(0, 0.10, 3))),
        noise=float(generator.uniform(0.004, 0.022)),
        blur=float(generator.uniform(0.4, 0.9)),
        vignetting=float(generator.uniform(0.0, 0.4)),
        contrast=float(generator.uniform(0.95, 1.35)),
    )


def _triple(values: np.ndarray | tuple[float, ...]) -> Colour:
    r, g, b = (float(v) for v in values)
    return r, g, b
