# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A tiny network and batches to put through it."""

from pathlib import Path

import pytest
import torch

from mtl_perception.core import TASKS
from mtl_perception.network import CameraBatch, MultiTaskNetwork, NetworkConfig

TINY = {
    "preset": "tiny",
    "tasks": ("depth", "semantic", "motion_mask", "occupancy"),
    "num_labels": 16,
    "input_pixels": 96 * 64,
    "backbone": {"options": {"widths": (8, 8, 8, 8), "blocks": (1, 1, 1, 1)}},
    "neck": {"width": 8},
    "depth_bins": {"nearest": 0.5, "farthest": 50.0, "count": 24, "canonical_focal": 100.0},
    "dense": {"width": 8},
    "reprojection_motion": {"embedding": 4, "radius": 1},
    "grid": {"origin": (-8.0, -8.0, -1.0), "voxel_size": 0.5, "shape": (32, 32, 8)},
    "volume": {"lift_width": 6, "plane_width": 8, "detection_labels": (8, 9), "map_layers": {"road": (1,), "line": ()}},
}
# Every module of every system, as small as they come.
TINY_FULL = TINY | {
    "preset": "tiny_full",
    "tasks": TASKS,
    "dense": {"decoder": "refined", "multi_scale_fusion": True, "head_widths": (8, 8)},
    "cross_view": {"width": 16, "planes": 8, "layers": 2},
    "dense_dual_branch": True,
    "cross_task": {"layers": 1, "heads": 2, "reduction": 1, "unique_stream": True},
    "reprojection_motion": None,
    "panoptic": {"kind": "queries", "width": 32, "queries": 6, "encoder_layers": 1, "decoder_layers": 2},
    "volume": TINY["volume"] | {"prototypes": True, "boxes": 5},
    "steering": {"width": 16, "frames": 4},
    "driving": {"width": 8},
}


@pytest.fixture
def tiny_config() -> NetworkConfig:
    """Return the configuration of a network that runs in milliseconds."""
    return NetworkConfig.model_validate(TINY)


@pytest.fixture
def tiny_network(tiny_config: NetworkConfig) -> MultiTaskNetwork:
    """Return that network with seeded weights, in evaluation mode."""
    torch.manual_seed(0)
    return MultiTaskNetwork(tiny_config).eval()


@pytest.fixture(scope="session")
def full_config() -> NetworkConfig:
    """Return the configuration of a small network with every module."""
    return NetworkConfig.model_validate(TINY_FULL)


@pytest.fixture
def full_network(full_config: NetworkConfig) -> MultiTaskNetwork:
    """Return that network with seeded weights, in evaluation mode."""
    torch.manual_seed(0)
    return MultiTaskNetwork(full_config).eval()


@pytest.fixture(scope="session")
def batch() -> CameraBatch:
    """Return three images of two frames: cameras 1.5 m above the ground, looking forward."""
    mount = torch.tensor([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
    K = torch.tensor([[100.0, 0, 47.5], [0, 100, 31.5], [0, 0, 1]])
    return CameraBatch(
        images=torch.rand(3, 3, 64, 96, generator=torch.Generator().manual_seed(1)),
        K=K.expand(3, 3, 3),
        base_from_camera=mount.expand(3, 4, 4),
        ground_known=torch.tensor([True, True, False]),
        frame_index=torch.tensor([0, 0, 1]),
        num_frames=2,
    )


@pytest.fixture
def checkpoint_file(tmp_path: Path) -> Path:
    """Return where a test may write a checkpoint."""
    return tmp_path / "tiny.safetensors"
