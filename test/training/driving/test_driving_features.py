# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Features of clips: those that the network in use would have, kept by what they depend on."""

import numpy as np
import pytest
import torch

from mtl_perception.core.scene_classes import SCENE_CLASSES
from mtl_perception.data.world import World
from mtl_perception.data.world.street.driving import plan_drive
from mtl_perception.data.world.street.roads import plan_street
from mtl_perception.pipeline import Perceiver
from mtl_perception.training.driving.config import ClipsConfig
from mtl_perception.training.driving.features import cached_features, class_counts, feature_key
from mtl_perception.training.driving.sequences import clip_starts, render_clips


def test_features_are_those_of_the_network_in_use(driving_clips, seeing_checkpoint, few_clips, labels):
    surround, mono = driving_clips[1], driving_clips[0]  # seeds 11 and 12: rigs in turn
    assert (surround.outside.shape[:2], mono.outside.shape[:2]) == ((6, 4), (6, 1))
    assert surround.cabin.shape[:3] == (6, 2, 8)
    np.testing.assert_allclose(surround.seconds, np.arange(6) / 10, atol=1e-6)
    (samples,) = render_clips(few_clips, 12, labels)
    perceiver = Perceiver.from_checkpoint(seeing_checkpoint)
    for number, sample in enumerate(samples[:4]):
        outside, cabin, _, twist = perceiver.encode(sample.frame, sample.cabin)
        assert np.isnan(surround.twist[number]).all() if number == 0 else np.isfinite(surround.twist[number]).all()
    np.testing.assert_allclose(surround.twist[3], twist[0].numpy(), rtol=1e-3, atol=1e-3)
    perceiver.reset()
    perceiver(samples[2].frame, ("ego_motion",))
    moved = perceiver(samples[3].frame, ("ego_motion",)).ego_motion.previous_base_from_base
    np.testing.assert_allclose(surround.twist[3, 3:], moved[:3, 3] / 0.1, rtol=0.2, atol=1e-2)
    np.testing.assert_allclose(surround.outside[3], outside.numpy(), atol=2e-3)
    np.testing.assert_allclose(surround.cabin[3], cabin[0].numpy(), atol=2e-3)
    np.testing.assert_array_equal(surround.posture[3], samples[3].cabin.posture.astype(np.float32))
    assert surround.steering[3] == pytest.approx(samples[3].truth.steering, abs=1e-6)
    for number, (task, names) in zip(surround.classes[3], SCENE_CLASSES.items(), strict=True):
        assert names[number] == samples[3].truth.driving_context[task]


def test_what_is_there_is_not_rendered_again(driving_clips, seeing_checkpoint, few_clips, feature_folder, monkeypatch):
    monkeypatch.setattr(World, "generate", lambda *_, **__: pytest.fail("a world is built"))
    perceiver = Perceiver.from_checkpoint(seeing_checkpoint)
    again = cached_features(perceiver, few_clips, feature_folder, checkpoint=seeing_checkpoint)
    assert len(again) == 2 and np.array_equal(again[0].outside, driving_clips[0].outside)


def test_another_encoder_sees_the_same_clips(driving_clips, seeing_checkpoint, few_clips, feature_folder, monkeypatch):
    monkeypatch.setattr(World, "generate", lambda *_, **__: pytest.fail("a world is built"))
    perceiver = Perceiver.from_checkpoint(seeing_checkpoint)
    with torch.no_grad():
        for parameter in perceiver.network.neck.parameters():
            parameter.mul_(1.5)
    (other, *_) = cached_features(perceiver, few_clips, feature_folder, checkpoint=seeing_checkpoint)
    assert not np.allclose(other.outside, driving_clips[0].outside, atol=1e-2)
    np.testing.assert_array_equal(other.classes, driving_clips[0].classes)


def test_files_are_named_by_weights_and_settings_but_not_by_the_number_of_worlds(seeing_checkpoint, few_clips):
    network = Perceiver.from_checkpoint(seeing_checkpoint).network
    key = feature_key(network, few_clips)
    assert key == feature_key(network, few_clips.model_copy(update={"worlds": 9, "first_seed": 4}))
    assert key != feature_key(network, few_clips.model_copy(update={"rate_hz": 5.0}))
    network.dense.requires_grad_(False)
    next(network.dense.parameters()).add_(1.0)
    assert key == feature_key(network, few_clips)
    next(network.neck.parameters()).requires_grad_(False).add_(1.0)
    assert key != feature_key(network, few_clips)


def test_counts_name_every_class(driving_clips):
    counts = class_counts(driving_clips)
    assert [tuple(found) for found in counts.values()] == list(SCENE_CLASSES.values())
    assert all(sum(found.values()) == 12 for found in counts.values())


def test_clips_seek_what_is_rare():
    config = ClipsConfig(worlds=1, first_seed=0, clips_per_world=40)
    generator, times = np.random.default_rng(5), np.arange(0, 20, 0.1)
    drives = [plan_drive(plan_street(generator, 20.0), generator, 20.0) for _ in range(12)]
    drive = next(d for d in drives if 0 < np.mean([d.vehicle_behaviour(t) == "turning" for t in times]) < 0.25)

    def found(seek_rare):
        settings = config.model_copy(update={"seek_rare": seek_rare})
        starts = clip_starts(settings, drive, np.random.default_rng(0))
        assert len(starts) == 40 and all(0 <= start <= 20.0 - 2.3 for start in starts)
        return np.mean([drive.vehicle_behaviour(t + s) == "turning" for t in starts for s in np.arange(0, 2.4, 0.1)])

    assert found(True) > 1.3 * found(False)


def test_a_clip_must_fit_into_the_drive(labels):
    with pytest.raises(ValueError, match=r"a clip takes 2\.3 s, but the drive only 2 s"):
        next(render_clips(ClipsConfig(worlds=1, first_seed=0, world_seconds=2.0, width=32, height=32), 0, labels))
