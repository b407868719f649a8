# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Moments with their past: as the network has them in use, and thinned out."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mtl_perception.core.prediction import TASKS
from mtl_perception.network import NetworkConfig, load_checkpoint, save_checkpoint
from mtl_perception.pipeline import Perceiver
from mtl_perception.resources import config_file
from mtl_perception.training.driving.heads import DRIVING_TASKS, run_heads
from mtl_perception.training.driving.moments import Thinning, drawn, moments, random_moments
from mtl_perception.training.driving.sequences import render_clips
from mtl_perception.training.driving.stage import with_driving_tasks

NOTHING_MISSING = dict.fromkeys(Thinning.__dataclass_fields__, 0.0)


@pytest.fixture(scope="module")
def driver_network(seeing_checkpoint):
    torch.manual_seed(1)
    preset = NetworkConfig.load(config_file("networks", "nano"))
    return with_driving_tasks(load_checkpoint(seeing_checkpoint), preset).eval()


def test_batches_say_what_the_perceiver_says_frame_by_frame(driver_network, driving_clips, few_clips, labels, tmp_path):
    clip = driving_clips[1]
    with torch.inference_mode():
        output = run_heads(driver_network.driving, moments([(clip, number) for number in range(len(clip))]))
    path = tmp_path / "driving.safetensors"
    tasks = tuple(task for task in TASKS if task in DRIVING_TASKS)
    save_checkpoint(path, driver_network, labels, tasks, {})
    perceiver = Perceiver.from_checkpoint(path)
    (samples,) = render_clips(few_clips, 12, labels)
    for number, sample in enumerate(samples):
        prediction = perceiver(sample.frame, tasks, cabin=sample.cabin)
        assert float(output["steering"][number]) == pytest.approx(prediction.steering.angle, abs=2e-3)
        for task, probabilities in prediction.driving_context.items():
            found = output["scene_logits"][task][number].softmax(dim=0).tolist()
            assert found == pytest.approx(list(probabilities.values()), abs=5e-3), task


def test_a_checkpoint_that_cannot_tell_the_motion_does_without(seeing_checkpoint):
    checkpoint = load_checkpoint(seeing_checkpoint)
    preset = NetworkConfig.load(config_file("networks", "nano"))
    still = with_driving_tasks(replace(checkpoint, trained_tasks=("depth",)), preset)
    moved = with_driving_tasks(checkpoint, preset)
    for section in ("steering", "driving"):
        assert getattr(preset, section).motion and getattr(moved.config, section).motion
        assert not getattr(still.config, section).motion


def test_steering_follows_the_motion_that_the_images_tell(driver_network, driving_clips):
    clip = replace(driving_clips[1], twist=np.tile(np.float32([0, 0, 0.1, 5, 0, 0]), (len(driving_clips[1]), 1)))
    turned = replace(clip, twist=clip.twist * np.float32([1, 1, -1, 1, 1, 1]))
    unknown = replace(clip, twist=np.full_like(clip.twist, np.nan))
    with torch.inference_mode():
        angles = [
            run_heads(driver_network.driving, moments([(each, 5)]), ("steering",))["steering"].item()
            for each in (clip, turned, unknown)
        ]
    assert len({round(angle, 5) for angle in angles}) == 3 and np.isfinite(angles).all()


def test_the_classes_of_the_vehicle_follow_from_the_motion_of_all_frames(driver_network, driving_clips):
    clip = driving_clips[1]
    stood = replace(clip, twist=clip.twist * np.float32([[0]] * 4 + [[1]] * (len(clip) - 4)))
    with torch.inference_mode():
        one, other = (
            run_heads(driver_network.driving, moments([(each, 5)]))["scene_logits"]["vehicle_behaviour"]
            for each in (clip, stood)
        )
    assert not torch.allclose(one, other, atol=1e-4)


def test_a_moment_may_have_another_driver(driving_clips):
    mono, surround = driving_clips
    drivers = [replace(mono, outside=mono.outside[:, :0], classes=np.full_like(mono.classes, 3))]
    often, never = (Thinning(**{**NOTHING_MISSING, "other_driver": share}) for share in (0.5, 0.0))
    batch = random_moments([surround], 20, np.random.default_rng(0), often, drivers)
    own = random_moments([surround], 20, np.random.default_rng(0), never, drivers)
    exchanged = (batch.classes[:, :2] == 3).all(dim=1)
    assert 0 < exchanged.sum() < 20
    assert torch.equal(batch.outside, own.outside) and torch.equal(batch.classes[:, 2:], own.classes[:, 2:])
    same = (batch.cabin_maps == own.cabin_maps).flatten(1).all(dim=1)
    assert torch.equal(same, ~exchanged) and torch.equal(batch.classes[~exchanged], own.classes[~exchanged])
    shown = torch.from_numpy(mono.cabin).float()
    assert all((shown == cabin).flatten(1).all(dim=1).any() for cabin in batch.cabin_maps[exchanged])


def test_what_is_said_to_be_drawn_is_drawn(driving_clips):
    thinning = Thinning(other_driver=0.5)
    numbers = [np.full_like(driving_clips[0].classes, number) for number in range(2)]
    drivers = [replace(driving_clips[0], classes=classes) for classes in numbers]
    clips = [replace(clip, classes=np.full_like(clip.classes, 4)) for clip in driving_clips]
    draws = drawn(clips, 20, np.random.default_rng(3), thinning, drivers)
    batch = random_moments(clips, 20, np.random.default_rng(3), thinning, drivers)
    assert {draw.driver is None for draw in draws} == {True, False}
    expected = [4 if draw.driver is None else draw.driver[0] for draw in draws]
    assert batch.classes[:, 0].tolist() == expected
    np.testing.assert_array_equal(batch.steering, [clips[draw.clip].steering[draw.frame] for draw in draws])


def test_the_past_is_what_came_before(driving_clips):
    mono, surround = driving_clips
    batch = moments([(mono, 5), (surround, 2), (surround, 0)])
    assert batch.past.tolist() == [[3, 4, 5, 6, 7], [-1, -1, -1, 8, 9], [-1] * 5]
    torch.testing.assert_close(batch.age[1], torch.tensor([0, 0, 0, 0.2, 0.1]))
    assert torch.bincount(batch.frame_index).tolist() == [1, 4, 4, 1, 1, 1, 1, 1, 4, 4]
    np.testing.assert_array_equal(batch.outside[batch.frame_index == 9].numpy(), surround.outside[1].astype(np.float32))
    np.testing.assert_array_equal(batch.outside[batch.frame_index == 3].numpy(), mono.outside[0].astype(np.float32))
    np.testing.assert_array_equal(batch.twist[[1, 9]].numpy(), surround.twist[[2, 1]])


def test_rows_do_not_see_each_other(driver_network, driving_clips):
    mono, surround = driving_clips
    with torch.inference_mode():
        both = run_heads(driver_network.driving, moments([(mono, 5), (surround, 3)]))
        alone = run_heads(driver_network.driving, moments([(surround, 3)]))
    torch.testing.assert_close(both["steering"][1:], alone["steering"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("what", ["short_past", "lost_frame", "slower", "fewer_cameras", "no_view", "no_joints"])
def test_what_may_be_missing_is_missing_at_times(driving_clips, what):
    thinning = Thinning(**{**NOTHING_MISSING, what: 0.2})
    whole = moments([(driving_clips[1], 5)] * 20)
    batch = moments([(driving_clips[1], 5)] * 20, np.random.default_rng(0), thinning)
    cameras = torch.bincount(batch.frame_index)[:20]
    differs = {
        "short_past": (batch.past >= 0).sum(dim=1) < 5,
        "lost_frame": (batch.past >= 0).sum(dim=1) < 5,
        "slower": (batch.age.max(dim=1).values < 0.45) | ((batch.past >= 0).sum(dim=1) < 5),
        "fewer_cameras": cameras < 4,
        "no_view": ~batch.cabin.valid.all(dim=1),
        "no_joints": ~batch.cabin.joints_valid,
    }
    assert whole.cabin.valid.all() and (whole.past >= 0).all()
    assert 0 < int(differs[what].sum()) < 20 and cameras.min() >= 1
    if what not in ("fewer_cameras",):
        assert (cameras == 4).all()


def test_joints_are_noisy_and_get_lost_but_the_clip_stays_as_it_is(driving_clips):
    before = driving_clips[0].posture.copy()
    thinning = Thinning(**{**NOTHING_MISSING, "joint_noise_m": 0.01, "lost_joint": 0.2})
    batch = moments([(driving_clips[0], 2)], np.random.default_rng(0), thinning)
    posture = batch.cabin.posture[0].numpy()
    error = (posture - before[2])[np.isfinite(posture).all(axis=1)]
    assert 0.002 < np.abs(error).mean() < 0.03
    assert np.isfinite(posture).sum() < np.isfinite(before[2]).sum()
    np.testing.assert_array_equal(driving_clips[0].posture, before)


def test_moments_follow_from_the_generator(driving_clips):
    first, again = (random_moments(driving_clips, 8, np.random.default_rng(3), Thinning()) for _ in range(2))
    other = random_moments(driving_clips, 8, np.random.default_rng(4), Thinning())
    assert torch.equal(first.outside, again.outside) and torch.equal(first.past, again.past)
    assert first.outside.shape != other.outside.shape or not torch.equal(first.outside, other.outside)
