# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Scene heads: AIDE's classes, and logits of the tasks asked for only."""

from __future__ import annotations

import pytest
import torch

from mtl_perception.core.scene_classes import SCENE_CLASSES
from mtl_perception.network.driving.scene_heads import SceneHeads


@pytest.mark.parametrize("batch", [1, 3])
def test_the_four_tasks_of_aide(batch: int) -> None:
    heads = SceneHeads(16)
    logits = heads({task: torch.randn(batch, 16) for task in SCENE_CLASSES})
    sizes = {task: values.shape for task, values in logits.items()}
    assert sizes == {
        "driver_behaviour": (batch, 7),
        "driver_emotion": (batch, 5),
        "vehicle_behaviour": (batch, 5),
        "traffic_context": (batch, 3),
    }


def test_class_names_are_different() -> None:
    for names in SCENE_CLASSES.values():
        assert len(set(names)) == len(names)


def test_tasks_read_their_own_vector_only() -> None:
    heads = SceneHeads(16, {"a": 2, "b": 4})
    vectors = {task: torch.randn(3, 16, requires_grad=True) for task in ("a", "b")}
    heads(vectors)["a"].sum().backward()
    assert vectors["a"].grad is not None and vectors["b"].grad is None
    assert heads.logits["a"].weight.grad is not None and heads.logits["b"].weight.grad is None


def test_only_the_tasks_given_are_classified() -> None:
    heads = SceneHeads(16)
    assert set(heads({"driver_emotion": torch.randn(2, 16)})) == {"driver_emotion"}
    with pytest.raises(KeyError):
        heads({"weather": torch.randn(2, 16)})


def test_bfloat16() -> None:
    heads = SceneHeads(16).to(torch.bfloat16)
    logits = heads({"traffic_context": torch.randn(2, 16).bfloat16()})["traffic_context"]
    assert logits.dtype == torch.bfloat16 and torch.isfinite(logits).all()
