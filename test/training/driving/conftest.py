# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A small network without tasks of driving, and the features that its encoder makes of two small worlds."""

import pytest
import torch

from mtl_perception.core import LabelSpace
from mtl_perception.network import MultiTaskNetwork, NetworkConfig, save_checkpoint
from mtl_perception.pipeline import Perceiver
from mtl_perception.resources import config_file
from mtl_perception.training.driving.config import ClipsConfig
from mtl_perception.training.driving.features import cached_features


@pytest.fixture(scope="session")
def few_clips():
    """Two worlds, one clip of each; seed 11 is of one camera, 12 of four."""
    return ClipsConfig(
        worlds=2, first_seed=11, clips_per_world=1, frames=6, world_seconds=6.0, width=64, height=48, difficult=0.0
    )


@pytest.fixture(scope="session")
def labels():
    return LabelSpace.load(config_file("labels", "default"))


@pytest.fixture(scope="session")
def seeing_checkpoint(tmp_path_factory, labels):
    """The file of a network with random weights that passes for trained in depth and ego motion."""
    config = NetworkConfig.model_validate(
        {
            "preset": "small",
            "tasks": ("depth", "ego_motion"),
            "num_labels": len(labels),
            "input_pixels": 64 * 64,
            "backbone": {"options": {"widths": (8, 8, 8, 8), "blocks": (1, 1, 1, 1)}},
            "neck": {"width": 8},
            "depth_bins": {"nearest": 0.5, "farthest": 50.0, "count": 8, "canonical_focal": 100.0},
            "dense": {"width": 8},
            "alignment": {"width": 8, "fine_width": 4},
            "grid": {"origin": (-8.0, -8.0, -1.0), "voxel_size": 1.0, "shape": (16, 16, 4)},
        }
    )
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("driving") / "small.safetensors"
    card = {"licence": "of the start", "validation": {"figures": {}}}
    save_checkpoint(path, MultiTaskNetwork(config), labels, ("depth", "ego_motion"), card)
    return path


@pytest.fixture(scope="session")
def feature_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("features")


@pytest.fixture(scope="session")
def driving_clips(seeing_checkpoint, few_clips, feature_folder):
    perceiver = Perceiver.from_checkpoint(seeing_checkpoint)
    return cached_features(perceiver, few_clips, feature_folder, checkpoint=seeing_checkpoint)
