# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Networks of all modules are exported; what an export is otherwise: test_export.py."""

from pathlib import Path

import torch

from mtl_perception.core import LabelSpace
from mtl_perception.network import Checkpoint, MultiTaskNetwork, NetworkConfig
from mtl_perception.network.example import example_batch
from mtl_perception.network.export import OUTPUTS, export
from mtl_perception.resources import config_file

LABELS = LabelSpace.load(config_file("labels", "default"))


def trained(network: MultiTaskNetwork) -> Checkpoint:
    """Return a checkpoint that claims to be trained for all that the network has."""
    return Checkpoint(network, LABELS, network.config.tasks, {"steps": 7}, "tiny")


def test_a_network_with_every_kind_of_module_is_exported(full_config: NetworkConfig, tmp_path: Path) -> None:
    small = {"cross_view": {"width": 8, "planes": 4, "layers": 1}, "tasks": ("depth", "detections")}
    torch.manual_seed(0)
    network = MultiTaskNetwork(NetworkConfig.model_validate(full_config.model_dump() | small)).eval()
    result = export(trained(network), tmp_path / "full.onnx", [example_batch(network.config, 2)])
    assert result.accepted
    names = [difference.name for difference in result.differences]
    assert names[:3] == ["depth", "depth_std", "surface"]
    assert names[3:] == [name.replace(".", "_") for name in OUTPUTS["detections"]]


def test_decoders_of_transformers_are_exported(full_config: NetworkConfig, tmp_path: Path) -> None:
    alone = {"tasks": ("panoptic",), "cross_view": None, "cross_task": None, "dense_dual_branch": False}
    torch.manual_seed(0)
    network = MultiTaskNetwork(NetworkConfig.model_validate(full_config.model_dump() | alone)).eval()
    result = export(trained(network), tmp_path / "panoptic.onnx", [example_batch(network.config)])
    assert result.accepted
    assert [difference.name for difference in result.differences] == ["queries_class_logits", "queries_mask_logits"]
