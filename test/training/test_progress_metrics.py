# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics while a network trains: of every task, the same each time, and the network stays as it is."""

from __future__ import annotations

from pathlib import Path

import torch

from mtl_perception.core import LabelSpace
from mtl_perception.network import MultiTaskNetwork
from mtl_perception.resources import config_file
from mtl_perception.training.progress_metrics import ProgressMetrics


def test_each_task_has_a_metric_on_each_kind_of_world(make_config, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("mtl_perception.training.progress_metrics.RIGS", ("mono",))
    torch.manual_seed(0)
    network = MultiTaskNetwork(make_config().network_config()).eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    labels = LabelSpace.load(config_file("labels", "default"))
    measure = ProgressMetrics(labels, tmp_path / "clips", 1, (96, 64))
    metrics = measure(network)
    assert {"street depth abs_rel", "street semantic miou", "street motion_mask iou", "indoor depth abs_rel"} <= set(
        metrics
    )
    assert metrics["street depth abs_rel"] > 0.1  # it knows nothing yet
    assert len(list((tmp_path / "clips").iterdir())) == 2
    assert measure(network) == metrics
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    with torch.no_grad():
        network.dense.heads["depth"].decoder.logits.bias[3] += 50.0
    assert measure(network)["street depth abs_rel"] != metrics["street depth abs_rel"]
