# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Drivers without a street: what the network in use would see of them, made once."""

import numpy as np
import pytest
import torch

from mtl_perception.core.frame import CabinFrame
from mtl_perception.data.world.cabin.cabin import Cabin
from mtl_perception.pipeline import Perceiver
from mtl_perception.training.driving.config import DriversConfig
from mtl_perception.training.driving.drivers import cached_drivers, driver_features
from mtl_perception.training.driving.features import UNKNOWN_CLASS
from mtl_perception.training.driving.sequences import render_clips

SHAPE = (48, 64)


@pytest.fixture(scope="module")
def perceiver(seeing_checkpoint):
    return Perceiver.from_checkpoint(seeing_checkpoint)


def test_a_cabin_looks_the_same_with_and_without_a_street(perceiver, few_clips, labels):
    (samples,) = render_clips(few_clips, 12, labels)
    cabins = [sample.cabin for sample in samples[:2]]
    alone = perceiver.encode_cabins(cabins, SHAPE)
    assert alone.shape[:2] == (2, 2)
    for cabin, sample, maps in zip(cabins, samples, alone, strict=False):
        _, beside, _, _ = perceiver.encode(sample.frame, cabin)
        torch.testing.assert_close(maps, beside[0], atol=1e-4, rtol=1e-4)


def test_a_driver_is_known_and_the_street_is_not(perceiver):
    features = driver_features(perceiver, 3, 5, SHAPE)
    assert len(features) == 5 and features.outside.shape[1] == 0
    assert features.cabin.shape[:2] == (5, 2) and np.isfinite(features.cabin).all()
    assert (features.classes[:, :2] >= 0).all() and (features.classes[:, 2:] == UNKNOWN_CLASS).all()
    assert np.isnan(features.steering).all() and np.isnan(features.twist).all()
    assert np.isfinite(features.posture).any() and (np.diff(features.seconds) > 0).all()
    again, other = driver_features(perceiver, 3, 5, SHAPE), driver_features(perceiver, 4, 5, SHAPE)
    np.testing.assert_array_equal(features.cabin, again.cabin)
    assert not np.allclose(features.cabin, other.cabin, atol=1e-2)


def test_drivers_are_made_once_for_an_encoder(perceiver, seeing_checkpoint, tmp_path, monkeypatch):
    config = DriversConfig(drivers=2, first_seed=5, moments=2)
    first = cached_drivers(perceiver, config, SHAPE, tmp_path, checkpoint=seeing_checkpoint)
    more = config.model_copy(update={"drivers": 3})
    frames = []
    frame = Cabin.frame
    monkeypatch.setattr(Cabin, "frame", lambda *arguments: frames.append(1) or frame(*arguments))
    three = cached_drivers(perceiver, more, SHAPE, tmp_path, checkpoint=seeing_checkpoint)
    assert len(frames) == 2 and len(three) == 3
    for one, same in zip(first, three, strict=False):
        np.testing.assert_array_equal(one.cabin, same.cabin)


def test_processes_make_the_same_drivers(perceiver, seeing_checkpoint, tmp_path):
    config = DriversConfig(drivers=3, first_seed=5, moments=2)
    here = cached_drivers(perceiver, config, SHAPE, tmp_path / "one", checkpoint=seeing_checkpoint)
    there = cached_drivers(perceiver, config, SHAPE, tmp_path / "two", checkpoint=seeing_checkpoint, processes=2)
    for one, other in zip(here, there, strict=True):
        np.testing.assert_allclose(one.cabin, other.cabin, atol=2e-3)
        np.testing.assert_array_equal(one.classes, other.classes)


def test_a_cabin_of_one_view_has_one(perceiver):
    image = np.full((30, 40, 3), 90, np.uint8)
    assert perceiver.encode_cabins([CabinFrame({"face": image})], SHAPE).shape[:2] == (1, 1)
