# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The switches that ablation studies turn: off by default, and each takes away what its name says, nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import yaml

from mtl_perception.network import CameraBatch, MultiTaskNetwork, NetworkConfig, PreviousFrame
from mtl_perception.network.cross_view.neighbours import select_neighbours
from mtl_perception.network.driving.dual_branch import DualBranchEmbedding
from mtl_perception.network.motion.ego_motion import EgoMotionDecoder, SeparateEgoMotion
from mtl_perception.training.ablation.study import base_file, merged


def test_defaults_switch_nothing() -> None:
    config = _config({"cross_view": {"width": 16}, "dense": {"multi_scale_fusion": True}, "cross_task": {}})
    assert config.cross_view is not None
    assert config.cross_task is not None
    assert config.cross_view.parts == ("features", "cost")
    assert config.cross_view.neighbours == 3
    assert config.cross_task.gate
    assert config.dual_branch_parts == "both"
    assert (config.pose.levels, config.pose.encoder) == ("all", "shared")


@pytest.mark.parametrize("part", ["features", "cost"])
def test_one_part_of_the_cross_view_module_is_all_that_enters_the_levels(part: str) -> None:
    view = {"width": 16, "planes": 4, "layers": 1, "parts": [part]}
    network = _network({"cross_view": view}, ("depth",))
    batch, previous = _batch(), _previous(network)
    fusion, (features, cost) = network.cross_view_fusion, _views(network, batch, previous)
    own = network.encode(batch, tasks=("depth",))[0].own
    expected = fusion(own, features, cost)
    changed = fusion(own, features + (part == "cost"), cost + (part == "features"))
    for one, other in zip(expected, changed, strict=True):
        torch.testing.assert_close(one, other)
    assert fusion.reduce.in_channels == (16 if part == "features" else 4)
    assert cost.shape[1] == (0 if part == "features" else 4)


def test_reused_features_take_the_place_of_the_cross_view_encoder_and_of_nothing_else() -> None:
    view = {"width": 16, "planes": 4, "layers": 1, "stage_widths": [8, 8, 16]}
    own, reused = (_network({"cross_view": view | {"features": kind}}, ("depth",)) for kind in ("own", "reused"))
    names = [
        {name for name, _ in network.cross_view.named_parameters() if not name.startswith("encoder.")}
        for network in (own, reused)
    ]
    assert names[0] == names[1]
    assert own.cross_view.encoder.stages[-1].body[0].out_channels == 16
    batch, previous = _batch(), _previous(reused)
    features = reused.encode(batch, previous, tasks=("depth",))[0]
    neighbours = select_neighbours(batch, previous, 0.4, 80.0)
    views, cost = reused.cross_view(features.own[1], batch.K, neighbours, previous.features["cross_view"])
    for level, expected in zip(features.levels, reused.cross_view_fusion(features.own, views, cost), strict=True):
        torch.testing.assert_close(level, expected)


def test_fewer_neighbours_are_the_previous_frame_and_those_that_see_most() -> None:
    network = _network({}, ("depth",))
    batch, previous = _batch(), _previous(network)
    every = select_neighbours(batch, previous, 0.4, 80.0)
    for most in (1, 2, 3):
        chosen = select_neighbours(batch, previous, 0.4, 80.0, most)
        assert chosen.valid.sum(dim=1).max() == most
        assert bool(chosen.valid[:, 0].all())
        assert not bool((chosen.valid & ~every.valid).any())
        assert torch.equal(chosen.index, every.index)
    alone = select_neighbours(batch, None, 0.4, 80.0, 1)
    assert bool((alone.valid.sum(dim=1) == 1).all())
    assert bool(alone.valid[:, 1].all())  # without a frame before it is the adjacent camera


def test_without_the_gate_attention_goes_to_the_heads_as_it_is() -> None:
    changes = {"dense": {"decoder": "refined", "multi_scale_fusion": True, "head_widths": [16, 8]}}
    gated, plain = (
        _network(merged(changes, {"cross_task": {"gate": gate}}), ("depth", "edges")) for gate in (True, False)
    )
    assert len(gated.dense.gate) == 1
    assert len(plain.dense.gate) == 0
    assert plain(_batch(), ("depth", "edges")).depth is not None


@pytest.mark.parametrize("branches", ["shared", "specific"])
def test_a_single_branch_of_the_embedding_is_all_that_tasks_see(branches: Any) -> None:
    torch.manual_seed(0)
    embedding = DualBranchEmbedding(8, (1, 1), ("depth", "edges"), dense=True, branches=branches).eval()
    streams = [torch.randn(2, 8, 4, 4), torch.randn(2, 8, 4, 4)]
    output = embedding(streams, ("depth", "edges"))
    assert output.fused["depth"].shape == (2, 8, 4, 4)
    assert bool(output.specific) == (branches == "specific")
    assert bool(output.shared.any()) == (branches == "shared")
    names = {name.split(".")[0] for name, _ in embedding.named_parameters()}
    assert names == {branches, "fusion"} | ({"join_group"} if embedding.join_group[0].state_dict() else set())
    if branches == "shared":  # both tasks take a layer of the same map
        inverse = [torch.linalg.pinv(embedding.fusion[task].weight[:, :, 0, 0]) for task in ("depth", "edges")]
        maps = [
            torch.einsum("ij,njhw->nihw", inverse[row], output.fused[task] - embedding.fusion[task].bias[:, None, None])
            for row, task in enumerate(("depth", "edges"))
        ]
        torch.testing.assert_close(maps[0], maps[1], rtol=1e-3, atol=1e-3)


def test_the_coarsest_level_alone_decides_the_pose() -> None:
    network = _network({"pose": {"levels": "coarsest"}}, ("ego_motion",))
    batch, previous = _batch(), _previous(network, known=False)
    levels = [torch.randn(len(batch.images), 32, 16 // 2**level, 24 // 2**level) for level in range(4)]
    first = network.motion.estimate(levels, batch, previous, None)
    finer = [level + 1.0 for level in levels[:-1]] + levels[-1:]
    second = network.motion.estimate(finer, batch, previous, None)
    assert torch.equal(first.vector, second.vector)
    third = network.motion.estimate([*levels[:-1], levels[-1] + 1.0], batch, previous, None)
    assert not torch.equal(first.vector, third.vector)
    assert isinstance(network.motion.ego_motion, EgoMotionDecoder)
    assert len(network.motion.ego_motion.blocks) == 1


def test_a_separate_pose_encoder_looks_at_the_images_only() -> None:
    network = _network({"pose": {"encoder": "separate"}}, ("ego_motion",))
    batch, previous = _batch(), _previous(network, known=False)
    levels = [torch.randn(len(batch.images), 32, 16 // 2**level, 24 // 2**level) for level in range(4)]
    first = network.motion.estimate(levels, batch, previous, None)
    second = network.motion.estimate([level + 1.0 for level in levels], batch, previous, None)
    assert torch.equal(first.vector, second.vector)
    assert isinstance(network.motion.ego_motion, SeparateEgoMotion)
    assert network(batch, ("ego_motion",), previous).ego_motion.vector.shape == (len(batch.images), 6)


def _config(changes: dict[str, Any], tasks: tuple[str, ...] | None = None) -> NetworkConfig:
    content = yaml.safe_load(base_file("network").read_text())
    config = NetworkConfig.model_validate(merged(content, changes))
    return config if tasks is None else config.restricted(tasks)


def _network(changes: dict[str, Any], tasks: tuple[str, ...]) -> MultiTaskNetwork:
    torch.manual_seed(0)
    return MultiTaskNetwork(_config(changes, tasks)).eval()


def _batch() -> CameraBatch:
    """Three cameras of one frame side by side, each seeing what its neighbours see."""
    torch.manual_seed(1)
    K = torch.tensor([[45.0, 0, 47.5], [0, 45.0, 31.5], [0, 0, 1]]).repeat(3, 1, 1)
    optical = torch.tensor([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.4], [0, 0, 0, 1]]).repeat(3, 1, 1)
    optical[:, 1, 3] = torch.tensor([-0.5, 0.0, 0.6])
    return CameraBatch(
        torch.rand(3, 3, 64, 96), K, optical, torch.ones(3, dtype=torch.bool), torch.zeros(3, dtype=torch.int64), 1
    )


def _previous(network: MultiTaskNetwork, known: bool = True) -> PreviousFrame:
    batch = _batch()
    moved = torch.eye(4).repeat(3, 1, 1)
    moved[:, 2, 3] = 0.3
    with torch.no_grad():
        memory = network.memory_of(batch)
    return PreviousFrame(memory, batch.K, moved if known else None, torch.ones(3, dtype=torch.bool))


def _views(network: MultiTaskNetwork, batch: CameraBatch, previous: PreviousFrame) -> tuple[torch.Tensor, torch.Tensor]:
    neighbours = select_neighbours(batch, previous, 0.4, 80.0)
    features, cost = network.cross_view(batch.images, batch.K, neighbours, previous.features["cross_view"])
    return features, cost
