# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The light of worlds: days, nights, fog and lamps; and the sky above."""

import numpy as np
import pytest

from mtl_perception.data.world.conditions import Conditions
from mtl_perception.data.world.rendering.light import (
    ceiling_lamp,
    headlights,
    indoor_light,
    indoor_sensor,
    lamps_left_on,
    street_light,
    street_sensor,
)
from mtl_perception.data.world.rendering.sky import sky_colour

NIGHT, DAY = Conditions(night=True), Conditions()


def fog(metres, night=False):
    return Conditions(fog_visibility_m=metres, night=night)


def generator(seed):
    return np.random.default_rng(seed)


def ground_light(light):
    """Return the light that falls on level ground, without lamps."""
    return np.mean(light.strength) * light.position[2] + np.mean(light.ambient)


def upward(count=400):
    directions = generator(3).standard_normal((count, 3))
    directions[:, 2] = np.abs(directions[:, 2])
    return sky_rays(directions)


def sky_rays(directions):
    """Return directions (N, 3) as unit columns (3, N)."""
    return (directions / np.linalg.norm(directions, axis=1, keepdims=True)).T.astype(np.float32)


@pytest.mark.parametrize("conditions", [DAY, NIGHT, fog(40), fog(40, night=True)])
def test_light_follows_from_the_seed(conditions):
    for make in (street_light, indoor_light, street_sensor, indoor_sensor):
        assert make(generator(4), conditions) == make(generator(4), conditions)
        assert make(generator(4), conditions) != make(generator(5), conditions)


def test_nights_are_darker_than_any_day_and_lit_by_lamps():
    days = [street_light(generator(seed), DAY) for seed in range(40)]
    nights = [street_light(generator(seed), NIGHT) for seed in range(40)]
    assert max(map(ground_light, nights)) < 0.1 * min(map(ground_light, days))
    assert all(night.lamps_lit for night in nights) and not any(day.lamps_lit for day in days)
    for night in nights:
        sky = sky_colour(night, upward())
        assert np.median(sky) < 0.05
        r, _, b = np.array(night.sky)
        assert b > r  # dark blue


def test_sun_and_moon_stand_above_the_horizon():
    for seed in range(40):
        for conditions in (DAY, NIGHT):
            light = street_light(generator(seed), conditions)
            assert light.is_sun and light.position[2] > 0.1
            assert np.linalg.norm(light.position) == pytest.approx(1.0)


def test_days_differ():
    heights = [street_light(generator(seed), DAY).position[2] for seed in range(60)]
    assert min(heights) < 0.35 and max(heights) > 0.85
    clouds = [street_light(generator(seed), DAY).cloudiness for seed in range(60)]
    assert min(clouds) < 0.2 and max(clouds) > 0.8


@pytest.mark.parametrize("night", [False, True])
def test_thicker_fog_is_greyer_and_hides_the_sun_and_the_sky(night):
    for seed in range(10):
        clear = street_light(generator(seed), Conditions(night=night))
        thin, thick = (street_light(generator(seed), fog(metres, night)) for metres in (150, 20))
        assert (thin.visibility, thick.visibility) == (150, 20)
        assert np.mean(thick.strength) < np.mean(thin.strength) < np.mean(clear.strength)
        assert np.ptp(thick.horizon) < 0.15 * np.mean(thick.horizon)
        # Looking up through it, there is nothing but fog.
        assert sky_colour(thick, upward()).std() < 0.1 * np.mean(thick.horizon)
        low = sky_rays(np.array([[np.cos(a), np.sin(a), 0.15] for a in np.arange(0, 6.3, 0.1)]))
        lost = sky_colour(street_light(generator(seed), fog(100, night)), low)
        np.testing.assert_allclose(lost, np.broadcast_to(lost[:, :1], lost.shape), rtol=0.03)
        unchanged = street_light(generator(seed), fog(1e7, night))
        assert unchanged.visibility == clear.visibility
        np.testing.assert_allclose(unchanged.horizon, clear.horizon)


def test_the_sky_is_brightest_at_the_sun():
    for seed in range(8):
        light = street_light(generator(seed), DAY)
        sun = np.array(light.position)
        at, away = sky_colour(light, sky_rays(np.stack([sun, sun * [-1, -1, 1]]))).mean(axis=0)
        assert at > away


def test_the_moon_is_seen():
    light = street_light(generator(2), NIGHT)
    moon = np.array(light.position)
    at = sky_colour(light, sky_rays(moon[None])).mean()
    assert at > 5 * np.median(sky_colour(light, upward()))


def test_headlights_are_a_pair_that_shines_ahead_and_a_little_down():
    left, right = headlights()
    assert left.position[1] == -right.position[1] > 0.4
    for lamp in (left, right):
        assert 3.0 < lamp.position[0] < 4.5 and 0.4 < lamp.position[2] < 1.0
        assert lamp.direction[0] > 0.99 and -0.1 < lamp.direction[2] < 0
        assert np.linalg.norm(lamp.direction) == pytest.approx(1.0)
        assert 0.8 < lamp.cone < 1.0


def test_interiors_are_lit_by_their_lamps_at_night_some_are_off():
    lamps = [ceiling_lamp((x, 0.0, 2.4), generator(x)) for x in range(12)]
    assert lamps_left_on(lamps, generator(0), DAY) == lamps
    burning = lamps_left_on(lamps, generator(0), NIGHT)
    assert 0 < len(burning) < len(lamps) and set(burning) < set(lamps)
    assert all(len(lamps_left_on(lamps[:1], generator(seed), NIGHT)) == 1 for seed in range(5))
    assert lamps_left_on([], generator(0), NIGHT) == []
    day, night = indoor_light(generator(1), DAY), indoor_light(generator(1), NIGHT)
    assert np.mean(night.ambient) < 0.6 * np.mean(day.ambient)
    assert day.lamps_lit and night.lamps_lit
