# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A tiny network, a run of a few steps, and views of a wall that cost nothing to make."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from mtl_perception.core.transforms import BODY_FROM_OPTICAL
from mtl_perception.training.config import TrainingConfig
from mtl_perception.training.samples import TrainingSample

NETWORK = {
    "preset": "tiny",
    "tasks": ["depth", "semantic", "motion_mask"],
    "num_labels": 16,
    "input_pixels": 96 * 64,
    "backbone": {"options": {"widths": [8, 8, 8, 8], "blocks": [1, 1, 1, 1]}},
    "neck": {"width": 8},
    "dense": {"width": 8},
    "depth_bins": {"nearest": 0.5, "farthest": 50.0, "count": 24, "canonical_focal": 100.0},
    "reprojection_motion": {"embedding": 4, "radius": 1},
    "grid": {"origin": [-8.0, -8.0, -1.0], "voxel_size": 0.5, "shape": [32, 32, 8]},
}


class Walls:
    """A camera before a wall whose colour tells its distance, which something passes."""

    def available(self, progress: float) -> int:
        return 12

    def sample(self, index: int, size: tuple[int, int], rng: np.random.Generator) -> TrainingSample:
        width, height = size
        drawn = np.random.default_rng(index)
        wall = (drawn.integers(0, 60, (1, height, width, 3)) + 12 * index).astype(np.uint8)
        moving = np.zeros((1, height, width), np.uint8)
        column = 4 * (index % 8)
        moving[:, height // 2 :, column : column + width // 4] = 255
        image = np.where(moving[..., None] > 0, np.uint8(255), wall)
        return TrainingSample(
            images=image,
            K=np.array([[[width, 0, width / 2 - 0.5], [0, width, height / 2 - 0.5], [0, 0, 1.0]]]),
            base_from_camera=BODY_FROM_OPTICAL[None],
            ground_known=False,
            depth=np.full((1, height, width), 2.0 + index, np.float32),
            semantic=np.where(moving > 0, np.uint8(8), np.uint8(3)),
            dataset="",
            motion_mask=moving,
            previous_images=wall,
            previous_from_current=np.eye(4)[None],
            seconds=0.1,
        )


MakeConfig = Callable[..., TrainingConfig]


@pytest.fixture
def walls() -> Walls:
    """The views, to be given to a trainer as its one source."""
    return Walls()


@pytest.fixture
def make_config(tmp_path: Path) -> MakeConfig:
    """Return a function that describes a run of 12 steps on the one source `walls`, with changes."""

    def make(network: dict | None = None, **changes: object) -> TrainingConfig:
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump({**NETWORK, **(network or {})}))
        values = {
            "network": str(path),
            "labels": "default",
            "licence": "test",
            "sources": [{"kind": "indoor", "frames_per_step": 2, "worlds": 1, "cameras": "mono"}],
            "stages": [{"until": 1.0, "width": 64, "height": 64}],
            "steps": 12,
            "kernel_learning_rate": 0.03,
            "learning_rate": 0.01,
            "warmup_steps": 2,
            "average_decay": 0.5,
            "save_every": 6,
            "tensorboard": False,
        }
        return TrainingConfig.model_validate(values | changes)

    return make
