# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A tiny network for all tasks, with random weights, and what it is worth on one small world."""

from pathlib import Path
from typing import Any

import pytest
import torch

from mtl_perception.core import TASKS, LabelSpace
from mtl_perception.network import MultiTaskNetwork, NetworkConfig, save_checkpoint
from mtl_perception.resources import config_file
from mtl_perception.training.validation.command import validate
from mtl_perception.training.validation.pictures import Shot

NETWORK = {
    "preset": "tiny",
    "tasks": list(TASKS),
    "num_labels": 16,
    "input_pixels": 96 * 64,
    "backbone": {"options": {"widths": [8, 8, 8, 8], "blocks": [1, 1, 1, 1]}},
    "neck": {"width": 8},
    "dense": {"width": 8},
    "depth_bins": {"nearest": 0.5, "farthest": 50.0, "count": 24, "canonical_focal": 100.0},
    "reprojection_motion": {"embedding": 4, "radius": 1},
    "panoptic": {"kind": "light", "width": 8},
    "volume": {
        "lift_width": 4,
        "plane_width": 8,
        "detection_labels": [8, 10],
        "map_layers": {"road": [1], "pavement": [2]},
        "boxes": 4,
    },
    "grid": {"origin": [-8.0, -8.0, -1.0], "voxel_size": 0.5, "shape": [32, 32, 8]},
    "steering": {"width": 8, "frames": 16},
    "driving": {"width": 8, "dual_branch": False},
}
SMALL: dict[str, Any] = {
    "worlds": 1,
    "kinds": ("street",),
    "rigs": ("mono",),
    "recordings": "none",
    "image_size": (48, 36),
}


@pytest.fixture(scope="package")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint that says that it was trained for all tasks."""
    torch.manual_seed(0)
    network = MultiTaskNetwork(NetworkConfig.model_validate(NETWORK)).eval()
    path = tmp_path_factory.mktemp("tiny") / "tiny.safetensors"
    card = {
        "licence": "a licence",
        "step": 12,
        "hours": 0.5,
        "training": {
            "network": "tiny",
            "steps": 12,
            "seed": 7,
            "sources": [
                {"kind": "street", "worlds": 40, "first_seed": 5, "cameras": "mono", "frames_per_step": 2},
                {"kind": "rgbd", "last_id": 700, "folder": "room", "frames_per_step": 1},
            ],
        },
    }
    save_checkpoint(path, network, LabelSpace.load(config_file("labels", "default")), TASKS, card)
    return path


@pytest.fixture(scope="package")
def clips_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the rendered clips are kept."""
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="package")
def tiny_validation(tiny_checkpoint: Path, clips_folder: Path) -> tuple[dict[str, Any], list[Shot]]:
    """Return the figures of that checkpoint, and the pictures."""
    return validate(tiny_checkpoint, cache=clips_folder, **SMALL)
