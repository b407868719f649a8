# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Augmentation changes colours alike in both frames, and no truth."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from mtl_perception.training.augmentation import augment


def test_colours_change_alike_in_both_frames_and_truth_does_not(walls: Any) -> None:
    sample = walls.sample(3, (96, 64), np.random.default_rng(0))
    still = replace(sample, previous_images=sample.images)
    mirrored, brightness = 0, []
    for seed in range(8):
        changed = augment(still, np.random.default_rng(seed))
        assert changed.previous_images is not None
        difference = np.abs(changed.images.astype(float) - changed.previous_images.astype(float)).mean()
        assert difference < 10  # only the noise differs
        brightness.append(changed.images.mean() / sample.images.mean())
        flipped = not np.array_equal(changed.motion_mask, sample.motion_mask)
        mirrored += flipped
        original = sample.mirrored() if flipped else sample
        np.testing.assert_array_equal(changed.depth, original.depth)
        np.testing.assert_array_equal(changed.semantic, original.semantic)
        np.testing.assert_array_equal(changed.K, original.K)
    assert 0 < mirrored < 8
    assert max(brightness) > 1.3 * min(brightness)
