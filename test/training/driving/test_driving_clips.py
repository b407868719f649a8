# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Files of rendered clips: they hold the frames exactly, and what is there is kept."""

from argparse import Namespace
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from mtl_perception.core import Camera
from mtl_perception.training import train
from mtl_perception.training.driving.clips import clip_paths, clips_key, load_clip, render_missing, save_clip
from mtl_perception.training.driving.config import ClipsConfig
from mtl_perception.training.driving.sequences import render_clips


@pytest.fixture(scope="module")
def two_clips():
    """A world of four cameras."""
    return ClipsConfig(
        worlds=1, first_seed=12, clips_per_world=2, frames=2, world_seconds=4.0, width=64, height=48, difficult=1.0
    )


@pytest.fixture(scope="module")
def clip_cache(two_clips, tmp_path_factory):
    cache = tmp_path_factory.mktemp("clips")
    render_missing(two_clips, cache)
    return cache


def test_frames_come_back_to_the_last_bit(two_clips, clip_cache, labels):
    paths = list(clip_paths(two_clips, clip_cache).values())
    for path, clip in zip(paths, render_clips(two_clips, 12, labels), strict=True):
        for before, after in zip(clip, load_clip(path), strict=True):
            _assert_same_frame(before, after)
            assert (before.cabin.posture.dtype, before.cabin.gestures.shape) == (np.float64, (42, 3))
            np.testing.assert_array_equal(before.cabin.posture, after.cabin.posture)
            np.testing.assert_array_equal(before.cabin.gestures, after.cabin.gestures)
            _assert_same_images(before.cabin.images, after.cabin.images)
            assert before.truth.steering == after.truth.steering
            assert before.truth.driving_context == after.truth.driving_context


def test_what_is_missing_is_rendered_and_nothing_else(two_clips, clip_cache, labels):
    paths = clip_paths(two_clips, clip_cache)
    first, second = paths.values()
    kept, expected = first.stat().st_mtime_ns, load_clip(second)
    second.unlink()
    assert render_missing(two_clips, clip_cache) == [first, second]
    assert first.stat().st_mtime_ns == kept
    for before, after in zip(expected, load_clip(second), strict=True):
        _assert_same_frame(before, after)
    assert sorted(first.parent.iterdir()) == [first, second]


def test_the_folder_is_that_of_the_settings_whatever_the_number(two_clips):
    fewer = two_clips.model_copy(update={"clips_per_world": 1, "worlds": 5, "first_seed": 2})
    assert clips_key(fewer) == clips_key(two_clips)
    assert clips_key(two_clips.model_copy(update={"frames": 3})) != clips_key(two_clips)
    assert clips_key(two_clips.model_copy(update={"seek_rare": False})) != clips_key(two_clips)


def test_a_clip_does_not_depend_on_how_many_there_are(two_clips, clip_cache, labels):
    (alone,) = render_clips(two_clips.model_copy(update={"clips_per_world": 1}), 12, labels)
    _assert_same_frame(alone[0], load_clip(next(iter(clip_paths(two_clips, clip_cache).values())))[0])


def test_a_clip_without_a_driver_or_angle_is_refused(two_clips, clip_cache, tmp_path):
    clip = load_clip(next(iter(clip_paths(two_clips, clip_cache).values())))
    with pytest.raises(ValueError, match="not a driver in every frame"):
        save_clip(tmp_path / "a.npz", [clip[0], replace(clip[1], cabin=None)])
    with pytest.raises(ValueError, match="steering angle"):
        save_clip(tmp_path / "a.npz", [replace(clip[0], truth=replace(clip[0].truth, steering=None))])
    assert not list(tmp_path.iterdir())


def test_clips_are_rendered_before_there_is_a_checkpoint(two_clips, tmp_path):
    small = {**two_clips.model_dump(), "clips_per_world": 1, "width": 32, "height": 32, "rigs": ["mono"]}
    content = {
        "stage": "driving", "start": "not_there.safetensors", "network": "nano", "steps": 1,
        "clips": small, "held_out": {**small, "first_seed": 13},
    }  # fmt: skip
    path = tmp_path / "driving.yaml"
    path.write_text(yaml.safe_dump(content))
    arguments = Namespace(
        config=str(path), data=Path(), out=tmp_path / "run", cache=tmp_path / "cache", start=None, workers=1,
        render_only=True,
    )  # fmt: skip
    assert train.run(arguments) == 0
    assert sorted(found.name for found in (tmp_path / "cache").glob("driving_clips_*/*")) == [
        "0000012_0.npz",
        "0000013_0.npz",
    ]
    with pytest.raises(ValueError, match="--render-only is for the driving stage"):
        train.run(Namespace(**{**vars(arguments), "config": "nano"}))


def _assert_same_frame(before, after):
    first, second = before.frame, after.frame
    assert (first.stamp_ns, first.image_stamps_ns) == (second.stamp_ns, second.image_stamps_ns)
    assert (first.world_frame, first.rig.base_frame) == (second.world_frame, second.rig.base_frame)
    np.testing.assert_array_equal(first.world_from_base, second.world_from_base)
    _assert_same_images(first.images, second.images)
    _assert_same_images(first.world_from_camera, second.world_from_camera)
    for one, other in zip(first.rig, second.rig, strict=True):
        for field in fields(Camera):
            value, again = getattr(one, field.name), getattr(other, field.name)
            assert type(value) is type(again)
            np.testing.assert_array_equal(value, again)


def _assert_same_images(before, after):
    assert list(before) == list(after)
    for name, image in before.items():
        assert image.dtype == after[name].dtype
        np.testing.assert_array_equal(image, after[name])
