# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A small network to measure, made from the smallest preset."""

from pathlib import Path

import pytest
import torch
import yaml

from mtl_perception.network import MultiTaskNetwork, NetworkConfig
from mtl_perception.resources import config_file

SMALL = {
    "preset": "tiny",
    "tasks": ["depth", "semantic", "motion_mask", "occupancy"],
    "input_pixels": 96 * 64,
    "backbone": {"options": {"widths": [8, 8, 8, 8], "blocks": [1, 1, 1, 1]}},
    "neck": {"width": 8},
    "dense": {"width": 8},
    "grid": {"origin": [-8.0, -8.0, -1.0], "voxel_size": 0.5, "shape": [32, 32, 8]},
}


@pytest.fixture
def network_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(config_file("networks", "nano").read_text()), **SMALL}))
    return path


@pytest.fixture
def small_config(network_file: Path) -> NetworkConfig:
    return NetworkConfig.load(network_file)


@pytest.fixture
def small_network(small_config: NetworkConfig) -> MultiTaskNetwork:
    torch.manual_seed(0)
    return MultiTaskNetwork(small_config).eval()
