# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The light of a world, its lamps, and the cameras' response to light, drawn at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mtl_perception.data.world.conditions import Conditions
from mtl_perception.data.world.scene import Colour, Lamp, Light, Sensor

FAIR_DAY = Conditions()

_LAMPS = np.array([(1.0, 0.93, 0.82), (1.0, 0.82, 0.60), (0.92, 0.97, 1.0)])
"""Colours of lamps: neutral, warm and cold white."""

_HEADLIGHT_X_M, _HEADLIGHT_Y_M, _HEADLIGHT_Z_M = 3.75, 0.68, 0.66


def street_light(generator: np.random.Generator, conditions: Conditions = FAIR_DAY) -> Light:
    """Return the light of a street: a day that is clear, cloudy or overcast with the sun high or low, or a night.

    At night the moon and the glow of a town leave most to the lamps. Fog hides the sun, and what is far.
    """
    light = _night(generator) if conditions.night else _day(generator)
    if conditions.fog_visibility_m is None:
        return light
    return _in_fog(light, conditions.fog_visibility_m, conditions.night)


def street_sensor(generator: np.random.Generator, conditions: Conditions = FAIR_DAY) -> Sensor:
    """Return cameras outdoors: by day from bright to dim, with a cast; at night open wide, and noisy for it."""
    sensor = Sensor(
        exposure=float(np.exp(generator.normal(0.15, 0.4))),
        white_balance=_triple(np.exp(generator.normal(0, 0.06, 3))),
        noise=float(generator.uniform(0.003, 0.016)),
        blur=float(generator.uniform(0.35, 0.75)),
        vignetting=float(generator.uniform(0.0, 0.35)),
        contrast=float(generator.uniform(0.95, 1.35)),
    )
    if not conditions.night:
        return sensor
    return replace(sensor, exposure=2.4 * float(np.sqrt(sensor.exposure)), noise=0.006 + sensor.noise, contrast=1.0)


def indoor_light(generator: np.random.Generator, conditions: Conditions = FAIR_DAY) -> Light:
    """Return the light of an interior without its lamps: what walls throw back, and what comes in by the windows.

    Fog stays outside: it dims the day, and hides nothing indoors.
    """
    outside = street_light(generator, conditions)
    colour = _LAMPS[generator.integers(3)]
    bounced = colour * generator.uniform(0.24, 0.42) * (0.35 if conditions.night else 1.0)
    return replace(outside, ambient=_triple(bounced), visibility=1e6, lamps_lit=True)


def indoor_sensor(generator: np.random.Generator, conditions: Conditions = FAIR_DAY) -> Sensor:
    """Return cameras indoors: noisier, softer, with stronger casts than outdoors."""
    return Sensor(
        exposure=float(np.exp(generator.normal(0.2, 0.3))) * (1.4 if conditions.night else 1.0),
        white_balance=_triple(np.exp(generator.normal(0, 0.10, 3))),
        noise=float(generator.uniform(0.004, 0.022)) * (1.4 if conditions.night else 1.0),
        blur=float(generator.uniform(0.4, 0.9)),
        vignetting=float(generator.uniform(0.0, 0.4)),
        contrast=float(generator.uniform(0.95, 1.35)),
    )


def ceiling_lamp(position: Sequence[float], generator: np.random.Generator) -> Lamp:
    """Return a room's lamp, which shines everywhere."""
    colour = _LAMPS[generator.integers(3)]
    strength = colour * generator.uniform(1.6, 3.2)
    return Lamp(_triple(position), _triple(strength), radius=float(generator.uniform(0.05, 0.3)))


def lamps_left_on(
    lamps: Sequence[Lamp], generator: np.random.Generator, conditions: Conditions = FAIR_DAY
) -> list[Lamp]:
    """Return the lamps of an interior that burn: all by day, at night only some, at least one."""
    if not conditions.night or not lamps:
        return list(lamps)
    burning = generator.random(len(lamps)) < 0.55
    burning[generator.integers(len(lamps))] = True
    return [lamp for lamp, on in zip(lamps, burning, strict=True) if on]


def headlights() -> list[Lamp]:
    """Return the low beams of a car, in its base frame (on the ground below the middle of the rear axle)."""
    down = np.deg2rad(0.3)
    return [
        Lamp(
            (_HEADLIGHT_X_M, side * _HEADLIGHT_Y_M, _HEADLIGHT_Z_M),
            (130.0, 122.0, 107.0),
            radius=0.08,
            direction=_triple((np.cos(down), 0.0, -np.sin(down))),
            cone=float(np.cos(np.deg2rad(29.0))),
        )
        for side in (1, -1)
    ]


def _day(generator: np.random.Generator) -> Light:
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
            lamps_lit=False,
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
        lamps_lit=False,
    )


def _night(generator: np.random.Generator) -> Light:
    elevation, azimuth = np.deg2rad(generator.uniform(12, 60)), generator.uniform(0, 2 * np.pi)
    moon = (np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation))
    town = np.array([1.0, 0.80, 0.62]) * generator.uniform(0.012, 0.03)
    blue = np.array([0.25, 0.42, 1.0]) * generator.uniform(0.008, 0.02)
    return Light(
        _triple(moon),
        True,
        _triple(np.array([0.75, 0.85, 1.0]) * generator.uniform(0.01, 0.05)),
        _triple(0.4 * town + 0.5 * blue),
        radius=0.02,
        sky=_triple(0.4 * blue),
        horizon=_triple(0.5 * blue + 0.45 * town),
        cloud=_triple(0.3 * blue + 0.5 * town),
        cloudiness=generator.uniform(0.05, 0.7),
        visibility=generator.uniform(350, 2000),
        lamps_lit=True,
    )


def _in_fog(light: Light, visibility: float, night: bool) -> Light:
    """Return the light in fog: grey all round, the sun or moon weak and wide, the thicker the more."""
    thick = float(np.exp(-visibility / 250.0))
    mean = np.mean(light.horizon)
    grey = np.array([0.99, 1.0, 1.02]) * (1.6 * mean if night else np.clip(mean, 0.55, 0.85))

    def mixed(colour: Colour, target: np.ndarray) -> Colour:
        return _triple((1 - thick) * np.array(colour) + thick * target)

    return replace(
        light,
        strength=mixed(light.strength, np.zeros(3)),
        ambient=mixed(light.ambient, grey * (0.8 if night else 0.65)),
        radius=light.radius + thick * max(0.0, 0.7 - light.radius),
        sky=mixed(light.sky, grey),
        horizon=mixed(light.horizon, grey),
        cloud=mixed(light.cloud, grey),
        visibility=min(light.visibility, visibility),
    )


def _triple(values: Sequence[float] | np.ndarray) -> Colour:
    r, g, b = (float(v) for v in values)
    return r, g, b
