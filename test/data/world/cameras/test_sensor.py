# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a camera does to light: each effect on its own, measured."""

import time

import cv2
import numpy as np
import pytest

from mtl_perception.data.world.cameras.sensor import develop, exposure_factor, lens_dirt
from mtl_perception.data.world.conditions import Conditions
from mtl_perception.data.world.scene import Sensor

WHITE = (1.0, 1.0, 1.0)
PLAIN = Sensor(exposure=1.0, white_balance=WHITE, noise=0.0, blur=0.05, vignetting=0.0, contrast=1.0)
FAIR = Conditions()


def even(level, height=48, width=64):
    return np.full((height, width, 3), level, np.float32)


def image_of(radiance, sensor=PLAIN, conditions=FAIR, seed=0, **more):
    return develop(radiance, sensor, conditions, np.random.default_rng(seed), **more)


def test_more_light_is_brighter_until_white():
    levels = [int(image_of(even(level))[0, 0, 0]) for level in (0.0, 0.01, 0.1, 0.5, 1.0, 2.0, 50.0)]
    assert levels[0] == 0 and levels[-1] == 255
    assert levels == sorted(levels) and len(set(levels[:-1])) == 6


def test_tones_follow_the_curve_exactly():
    ramp = np.linspace(0, 3, 3 * 48 * 64, dtype=np.float32).reshape(48, 64, 3)
    sensor = Sensor(1.0, WHITE, 0.0, 0.01, 0.0, 1.2)
    shown = np.clip(ramp * (1 + ramp / 4) / (1 + ramp), 0, 1) ** (1 / 2.2)
    expected = np.clip(0.5 + (shown - 0.5) * 1.2, 0, 1) * 255
    assert np.abs(image_of(ramp, sensor) - expected).max() <= 1.0


def test_exposure_white_balance_and_vignetting():
    assert image_of(even(0.2), exposure_factor=2.0)[0, 0, 0] == image_of(even(0.4))[0, 0, 0]
    r, g, b = image_of(even(0.2), Sensor(1.0, (1.3, 1.0, 0.7), 0.0, 0.05, 0.0, 1.0))[24, 32]
    assert r > g > b
    dark_corners = image_of(even(0.3), Sensor(1.0, WHITE, 0.0, 0.05, 0.35, 1.0))[..., 1].astype(int)
    assert dark_corners[24, 32] == image_of(even(0.3))[0, 0, 1]
    assert dark_corners[0, 0] < dark_corners[0, 32] < dark_corners[24, 32]


def test_radiance_is_left_as_it_was():
    radiance = np.random.default_rng(1).random((48, 64, 3), dtype=np.float32)
    before = radiance.copy()
    conditions = Conditions(lens_dirt=0.3, motion_blur_s=0.02)
    flow = np.full((48, 64, 2), 3.0, np.float32)
    image_of(radiance, dirt=lens_dirt(3, "front", 64, 48, conditions), flow=flow)
    image_of(radiance)
    np.testing.assert_array_equal(radiance, before)


def test_noise_is_fresh_repeatable_and_as_strong_as_asked():
    sensor = Sensor(1.0, WHITE, 0.01, 0.05, 0.0, 1.0)
    first = image_of(even(0.3), sensor)
    np.testing.assert_array_equal(first, image_of(even(0.3), sensor))
    assert (first != image_of(even(0.3), sensor, seed=1)).mean() > 0.5
    spreads = [image_of(even(0.3), sensor, Conditions(noise=f)).std() for f in (0.0, 1.0, 2.0, 4.0)]
    assert spreads[0] == 0
    assert spreads[2] == pytest.approx(2 * spreads[1], rel=0.1) and spreads[3] == pytest.approx(4 * spreads[1], rel=0.1)
    # Neither brighter nor darker than without, where the tone curve hardly bends.
    tone = 255 * (0.3 * (1 + 0.3 / 4) / 1.3) ** (1 / 2.2)
    assert image_of(even(0.3, 256, 448), sensor).mean() == pytest.approx(tone, abs=0.06)
    # As a share of full scale: 0.01 (0.3 + sqrt(0.3)) of light, by the tone curve's slope there.
    slope = float(image_of(even(0.31))[0, 0, 0]) - float(image_of(even(0.29))[0, 0, 0])
    assert spreads[1] == pytest.approx(slope / 0.02 * 0.01 * (0.3 + np.sqrt(0.3)), rel=0.25)


def test_noise_is_not_the_same_in_neighbouring_pixels_and_colours():
    image = image_of(even(0.3), Sensor(1.0, WHITE, 0.03, 0.05, 0.0, 1.0)).astype(np.float64)
    off = image - image.mean()
    for one, other in ((off[:, 1:], off[:, :-1]), (off[1:], off[:-1]), (off[..., 0], off[..., 1])):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.05


def test_bright_lamps_glare_at_night_only():
    lamp, night = even(0.01), Conditions(night=True)
    lamp[22:26, 30:34] = 30.0
    day, dark = image_of(lamp)[..., 1].astype(int), image_of(lamp, conditions=night)[..., 1].astype(int)
    assert dark[24, 38] > day[24, 38] + 30  # a halo near it
    assert dark[24, 38] > dark[24, 44] > day[24, 44]  # that fades
    np.testing.assert_array_equal(image_of(even(0.3), conditions=night), image_of(even(0.3)))


def stripe():
    radiance = even(0.05)
    radiance[:, 30:34] = 0.8
    return radiance


def widths_of(image, level=60):
    """Return how many pixels of each row are bright."""
    return (image[..., 1] > level).sum(axis=1)


def test_motion_blur_smears_along_the_flow_only():
    still, along, across = np.zeros((48, 64, 2), np.float32), np.zeros((48, 64, 2)), np.zeros((48, 64, 2))
    along[..., 0], across[..., 1] = 10.0, 10.0
    sharp = image_of(stripe())
    np.testing.assert_array_equal(image_of(stripe(), flow=still), sharp)
    np.testing.assert_array_equal(image_of(stripe(), flow=across.astype(np.float32)), sharp)
    smeared = image_of(stripe(), flow=along.astype(np.float32))
    spread = np.flatnonzero(smeared[24, :, 1] > sharp[24, 0, 1] + 2)
    assert len(spread) == pytest.approx(4 + 10, abs=2)
    assert spread.mean() == pytest.approx(31.5, abs=0.6)  # the image stays where it was at the exposure's middle
    assert smeared.max() < sharp.max()


def test_motion_blur_takes_unknown_flow_as_none():
    flow = np.full((48, 64, 2), np.nan, np.float32)
    np.testing.assert_array_equal(image_of(stripe(), flow=flow), image_of(stripe()))


@pytest.mark.parametrize("share", [0.05, 0.3, 0.8])
def test_dirt_covers_the_share_of_the_lens_that_is_asked_for(share):
    conditions = Conditions(lens_dirt=share)
    dirt = lens_dirt(11, "front", 224, 128, conditions)
    covered = ((dirt.drops > 0.3) | (dirt.veil > 0.3 * 0.3)).mean()
    assert covered == pytest.approx(share, abs=0.07)
    for part in (dirt.drops, dirt.clear, dirt.veil):
        assert part.shape == (128, 224, 1) and part.min() >= 0 and part.max() <= 1


def test_dirt_hides_detail_and_stays_where_it_is():
    conditions = Conditions(lens_dirt=0.3)
    dirt = lens_dirt(11, "front", 224, 128, conditions)
    assert lens_dirt(11, "clean", 224, 128, FAIR) is None
    detail = 0.2 + np.random.default_rng(2).random((128, 224, 3), dtype=np.float32)
    clean, dirty = image_of(detail), image_of(detail, dirt=dirt)
    inside = dirt.drops[..., 0] > 0.7
    outside = (dirt.drops[..., 0] < 0.005) & (dirt.veil[..., 0] < 0.003)
    assert inside.any() and outside.any()
    assert dirty[inside].std() < 0.6 * clean[inside].std()
    assert np.abs(dirty[outside].astype(int) - clean[outside]).max() <= 4
    other = lens_dirt(11, "back", 224, 128, conditions)
    assert np.abs(other.drops - dirt.drops).mean() > 0.02
    lens_dirt.cache_clear()
    np.testing.assert_array_equal(lens_dirt(11, "front", 224, 128, conditions).drops, dirt.drops)


def test_exposure_hunts_smoothly_as_strongly_as_asked():
    times = np.arange(0, 400, 0.1)
    assert exposure_factor(1, "front", 3.0, FAIR) == 1.0
    for strength in (0.2, 0.5):
        conditions = Conditions(exposure_changes=strength)
        logs = np.log([[exposure_factor(s, "front", t, conditions) for t in times] for s in range(4)])
        assert logs.std() == pytest.approx(strength, rel=0.15)
        # No faster than the fastest wave: 2 pi 0.7 Hz times its amplitude.
        assert np.abs(np.diff(logs, axis=1)).max() < 0.1 * 2 * np.pi * 0.7 * strength * 2.5
    conditions = Conditions(exposure_changes=0.5)
    assert exposure_factor(1, "front", 3.0, conditions) != exposure_factor(1, "back", 3.0, conditions)
    assert exposure_factor(1, "front", 3.0, conditions) != exposure_factor(2, "front", 3.0, conditions)


def test_blur_is_that_of_the_sensor():
    sharp, soft = (image_of(stripe(), Sensor(1.0, WHITE, 0.0, blur, 0.0, 1.0)) for blur in (0.05, 1.5))
    edges = [np.abs(cv2.Sobel(i[..., 1], cv2.CV_32F, 1, 0)).max() for i in (sharp, soft)]
    assert edges[1] < 0.7 * edges[0]


def test_a_small_image_takes_little_time():
    radiance = np.random.default_rng(1).random((128, 224, 3), dtype=np.float32)
    sensor = Sensor(1.1, (1.02, 1.0, 0.97), 0.01, 0.5, 0.2, 1.1)
    generator = np.random.default_rng(0)
    spent = []
    for _ in range(20):
        start = time.process_time()
        develop(radiance, sensor, FAIR, generator)
        spent.append(time.process_time() - start)
    assert min(spent) < 2.5e-3
