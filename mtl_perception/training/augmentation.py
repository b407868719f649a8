# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Random changes of a sample that keep its truth true: mirror, colour, blur, noise."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.training.samples import TrainingSample


def augment(sample: TrainingSample, rng: np.random.Generator) -> TrainingSample:
    """Return the sample mirrored in half of the cases and with other colours; all its images change alike."""
    if rng.random() < 0.5:
        sample = sample.mirrored()
    change = _ColourChange(rng)
    previous = sample.previous_images
    return replace(
        sample,
        images=np.stack([change(image) for image in sample.images]),
        previous_images=None if previous is None else np.stack([change(image) for image in previous]),
    )


class _ColourChange:
    """One draw of gains, gamma, saturation, blur and noise; applied alike to a frame and the one before it."""

    def __init__(self, rng: np.random.Generator) -> None:
        gain = rng.uniform(0.7, 1.3) * rng.uniform(0.9, 1.1, 3)
        gamma = np.exp(rng.uniform(-0.3, 0.3))
        ramp = np.linspace(0.0, 1.0, 256)[:, None] ** gamma * gain * 255.0
        self.table = np.clip(ramp, 0, 255).astype(np.uint8)[None]  # (1, 256, 3)
        self.saturation = 0.0 if rng.random() < 0.08 else rng.uniform(0.6, 1.4)
        self.blur = rng.uniform(0.3, 1.0) if rng.random() < 0.25 else 0.0
        self.noise = rng.uniform(0.0, 6.0)
        self.rng = rng

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        changed = cv2.LUT(np.ascontiguousarray(image), self.table)
        grey = cv2.cvtColor(cv2.cvtColor(changed, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        changed = cv2.addWeighted(changed, self.saturation, grey, 1.0 - self.saturation, 0.0)
        if self.blur:
            changed = cv2.GaussianBlur(changed, (0, 0), self.blur)
        noisy = changed + self.rng.normal(0.0, self.noise, changed.shape)
        return np.clip(noisy, 0, 255).astype(np.uint8)
