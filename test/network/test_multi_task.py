# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The assembled network: only what is asked for runs, cameras do not leak into each other, gradients reach all."""

import copy
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mtl_perception.network import CameraBatch, MultiTaskNetwork, NetworkConfig, PreviousFrame
from mtl_perception.network.driving.streams import CabinBatch
from mtl_perception.network.example import example_cabin, history_of

DRIVING_TASKS = ("steering", "driver_behaviour", "driver_emotion", "vehicle_behaviour", "traffic_context")
# What runs for each task of the full network beside encoder and neck; the names are those of `named_modules`.
CROSS_VIEW = {"cross_view", "cross_view_fusion"}
FUSED = {f"dense.fusion.{task}" for task in ("depth", "semantic", "normals", "edges")}
DENSE = CROSS_VIEW | FUSED | {"dense.dual_branch", "dense.attention"}
DEPTH = DENSE | {"dense.gate.depth", "dense.unique.depth", "dense.heads.depth"}
LIFTED = DEPTH | {"volume.context", "volume.lift", "volume.heads.prototypes"}
BOXES = {"volume.heads.features.detections", "volume.heads.detections"}
LAYERS = {"volume.heads.features.bev_map", "volume.heads.bev_map"}
OCCUPANCY = {"volume.heads.features.occupancy", "volume.heads.aggregator", "volume.heads.occupancy"}
NEEDED = {
    "depth": DEPTH,
    "semantic": DENSE | {"dense.gate.semantic", "dense.unique.semantic", "dense.heads.semantic"},
    "normals": DENSE | {"dense.heads.normals"},
    "edges": DENSE | {"dense.heads.edges"},
    "panoptic": CROSS_VIEW | {"panoptic"},
    "ego_motion": {"motion.ego_motion"},
    "motion_mask": {"motion.motion_mask"},
    "scene_flow": DEPTH | {"motion.motion_mask", "motion.scene_flow"},
    "detections": LIFTED | BOXES,
    "bev_map": LIFTED | LAYERS,
    "occupancy": LIFTED | BOXES | LAYERS | OCCUPANCY,
    "steering": {"driving.steering"},
    "traffic_context": {"driving.scene", "driving.scene.embedding.specific.traffic_context"},
    "vehicle_behaviour": {"driving.scene", "driving.scene.embedding.specific.vehicle_behaviour"},
}
WATCHED = frozenset().union(*NEEDED.values()) | {
    "driving.scene.embedding.specific.driver_behaviour",
    "driving.scene.embedding.specific.driver_emotion",
    "dense.gate.semantic",
}


@pytest.fixture(scope="module")
def full_network(full_config: NetworkConfig) -> MultiTaskNetwork:
    """Return one network with every module for all tests here: who changes it takes a copy."""
    torch.manual_seed(0)
    return MultiTaskNetwork(full_config).eval()


def previous_of(memory: Mapping[str, Tensor], batch: CameraBatch, motion: Tensor | None) -> PreviousFrame:
    """Return the memory of a pass over the same cameras, all of which have been seen."""
    return PreviousFrame(memory, batch.K, motion, torch.ones(len(batch.images), dtype=torch.bool))


def second_pass(network: MultiTaskNetwork, batch: CameraBatch, tasks: Collection[str], **inputs: Any) -> Any:
    """Return the output for a batch whose frame before was the same images, with the cameras standing still."""
    still = torch.eye(4).repeat(len(batch.images), 1, 1)
    first = network(batch, tasks, **inputs)
    return network(batch, tasks, previous_of(first.memory, batch, still), history=history_of(first, 3), **inputs)


@pytest.fixture(scope="module")
def memory(full_network: MultiTaskNetwork, batch: CameraBatch) -> dict[str, Tensor]:
    """Return what the network remembers of the batch after a pass for all tasks."""
    with torch.no_grad():
        return dict(full_network(batch, full_network.config.tasks).memory)


@torch.no_grad()
def ran(
    network: MultiTaskNetwork, batch: CameraBatch, memory: Mapping[str, Tensor], tasks: Collection[str]
) -> set[str]:
    """Return which of the watched modules ran in a pass with a previous frame."""
    previous = previous_of(memory, batch, torch.eye(4).repeat(3, 1, 1))
    seen: set[str] = set()
    hooks = [
        module.register_forward_hook(lambda _m, _i, _o, name=name: seen.add(name))
        for name, module in network.named_modules()
        if name
    ]
    network(batch, tasks, previous)
    for hook in hooks:
        hook.remove()
    return {watched for watched in WATCHED if any(name == watched or name.startswith(watched + ".") for name in seen)}


@pytest.mark.parametrize("task", sorted(NEEDED))
def test_only_what_a_task_needs_runs(
    full_network: MultiTaskNetwork, batch: CameraBatch, memory: Mapping[str, Tensor], task: str
) -> None:
    assert ran(full_network, batch, memory, (task,)) == NEEDED[task]


def test_nothing_but_the_shared_part_runs_for_no_task(
    full_network: MultiTaskNetwork, batch: CameraBatch, memory: Mapping[str, Tensor]
) -> None:
    assert ran(full_network, batch, memory, ()) == set()


@torch.no_grad()
def test_tasks_of_the_driver_are_for_a_pass_with_a_cabin(full_network: MultiTaskNetwork, batch: CameraBatch) -> None:
    assert full_network(batch, DRIVING_TASKS).scene_logits.keys() == {"vehicle_behaviour", "traffic_context"}
    logits = full_network(batch, DRIVING_TASKS, cabin=example_cabin(full_network.config, batch)).scene_logits
    assert {task: tuple(rows.shape) for task, rows in logits.items()} == {
        "driver_behaviour": (2, 7),
        "driver_emotion": (2, 5),
        "vehicle_behaviour": (2, 5),
        "traffic_context": (2, 3),
    }


@torch.no_grad()
def test_the_encoder_sees_all_cameras_in_one_pass(full_network: MultiTaskNetwork, batch: CameraBatch) -> None:
    sizes: list[int] = []
    hook = full_network.encoder.register_forward_hook(lambda _m, inputs, _o: sizes.append(len(inputs[0])))
    second_pass(full_network, batch, full_network.config.tasks, cabin=example_cabin(full_network.config, batch))
    assert sizes == [3 + 2 * 3] * 2  # three outside and two frames' three inside; nothing of the frame before again
    full_network(batch, ("depth", "steering"), cabin=example_cabin(full_network.config, batch))
    hook.remove()
    assert sizes[2:] == [3]  # these tasks do not look inside


@torch.no_grad()
def test_shapes_and_ranges(full_network: MultiTaskNetwork, batch: CameraBatch) -> None:
    output = second_pass(full_network, batch, full_network.config.tasks)
    assert (output.depth > 0.4).all() and (output.depth < 51).all() and (output.depth_std > 0).all()
    assert (output.surface >= 0).all() and (output.surface <= 1).all()
    finest = output.depth.shape[-2:]
    assert finest == (64, 96) and output.depth_logits.shape == (3, 25, *finest)
    assert output.semantic_logits.shape == (3, 16, *finest) and output.edge_logits.shape == (3, *finest)
    torch.testing.assert_close(output.normals.norm(dim=1), torch.ones(3, *finest))
    assert output.queries.class_logits.shape == (3, 6, 17) and output.queries.mask_logits.shape[:2] == (3, 6)
    assert output.motion_logits.shape == (3, 32, 48) and output.independent_flow.shape == (3, 3, 32, 48)
    assert output.ego_motion.vector.shape == (3, 6)
    assert output.occupancy_logits.shape == (2, 17, 32, 32, 8) and output.reached.shape == (2, 32, 32, 8)
    assert output.boxes.heatmap.shape == (2, 2, 32, 32) and output.map_logits.shape == (2, 2, 32, 32)
    assert output.steering.shape == (2,) and output.steering_log_variance.shape == (2,)


@torch.no_grad()
def test_without_a_frame_before_there_is_only_something_to_remember(
    full_network: MultiTaskNetwork, batch: CameraBatch
) -> None:
    output = full_network(batch, full_network.config.tasks)
    assert output.motion_logits is None and output.ego_motion is None and output.independent_flow is None
    assert {"image", "level_0", "level_3", "cross_view", "embedded"} <= output.memory.keys()
    assert {"tokens", "scene"} == output.frame_memory.keys()


@torch.no_grad()
def test_motion_that_is_not_known_is_estimated(full_network: MultiTaskNetwork, batch: CameraBatch) -> None:
    memory = full_network(batch, full_network.config.tasks).memory
    estimated = full_network(batch, ("scene_flow", "ego_motion"), previous_of(memory, batch, None))
    told = previous_of(memory, batch, estimated.ego_motion.previous_from_current)
    known = full_network(batch, ("scene_flow",), told)
    torch.testing.assert_close(known.complete_flow, estimated.complete_flow, atol=1e-5, rtol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("name", ["tiny_network", "full_network"])
def test_a_camera_does_not_depend_on_unrelated_ones(
    name: str, batch: CameraBatch, request: pytest.FixtureRequest
) -> None:
    network = request.getfixturevalue(name)
    both = second_pass(network, batch, network.config.tasks)
    alone = second_pass(network, batch.select(torch.tensor([2])), network.config.tasks)
    for what in ("depth", "semantic_logits", "normals", "edge_logits", "motion_logits", "complete_flow"):
        if getattr(both, what) is not None:
            torch.testing.assert_close(getattr(both, what)[2:], getattr(alone, what), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(both.occupancy_logits[1:], alone.occupancy_logits, atol=1e-4, rtol=1e-3)

    # A camera of the same frame that looks the other way.
    turned = batch.base_from_camera.clone()
    turned[1, :3, :3] = torch.diag(torch.tensor([-1.0, -1.0, 1.0])) @ turned[1, :3, :3]
    beside = network(replace(batch, base_from_camera=turned), ("depth",))
    first = network(batch.select(torch.tensor([0])), ("depth",))
    torch.testing.assert_close(beside.depth[:1], first.depth, atol=1e-4, rtol=1e-3)


@torch.no_grad()
def test_an_adjacent_camera_has_a_say(full_network: MultiTaskNetwork, batch: CameraBatch) -> None:
    beside = full_network(batch, ("depth",))  # cameras 0 and 1 look the same way
    alone = full_network(batch.select(torch.tensor([0])), ("depth",))
    assert (beside.depth_logits[0] - alone.depth_logits[0]).abs().max() > 1e-3


def test_every_parameter_gets_a_gradient(full_network: MultiTaskNetwork, batch: CameraBatch) -> None:
    network = copy.deepcopy(full_network).train()
    cabin = example_cabin(network.config, batch)
    output = second_pass(network, batch, network.config.tasks, cabin=cabin)
    parts = [
        output.depth_logits,
        output.semantic_logits,
        output.normals[:, :1],
        output.edge_logits,
        output.queries.class_logits,
        output.queries.mask_logits,
        output.motion_logits,
        output.ego_motion.vector,
        output.ego_motion.log_variance,
        output.independent_flow,
        output.occupancy_logits,
        *vars(output.boxes).values(),
        output.map_logits,
        output.prototype_mask_logits,
        *output.suppression_logits.values(),
        output.steering,
        output.steering_log_variance,
        *output.scene_logits.values(),
    ]
    torch.stack([part.float().square().mean() for part in parts]).sum().backward()
    without = {name for name, parameter in network.named_parameters() if parameter.grad is None}
    # The text side of OneFormer is there for its contrastive loss only.
    assert {name for name in without if not name.startswith("panoptic.")} == set()


@torch.no_grad()
@pytest.mark.parametrize("name", ["tiny_network", "full_network"])
@pytest.mark.parametrize(("count", "size"), [(1, (48, 64)), (3, (45, 61))])
def test_any_number_of_cameras_odd_sizes_and_bfloat16(
    name: str, count: int, size: tuple[int, int], batch: CameraBatch, request: pytest.FixtureRequest
) -> None:
    network = request.getfixturevalue(name)
    some = batch.select(torch.arange(count))
    some = replace(some, images=some.images[:, :, : size[0], : size[1]])
    full = second_pass(network, some, network.config.tasks)
    half = second_pass(copy.deepcopy(network).to(torch.bfloat16), _bfloat16(some), network.config.tasks)
    for what in ("depth", "semantic_logits", "occupancy_logits", "motion_logits"):
        exact, rough = getattr(full, what), getattr(half, what)
        assert torch.isfinite(exact).all() and torch.isfinite(rough).all() and rough.shape == exact.shape
        error = (rough.float() - exact).abs().mean()
        assert error < 0.1 * exact.abs().mean() + 0.05, what


def _bfloat16(batch: CameraBatch) -> CameraBatch:
    """Return the batch with images in bfloat16; the geometry stays exact."""
    return replace(batch, images=batch.images.to(torch.bfloat16))


def test_a_task_that_the_network_lacks_is_refused_by_name(tiny_config: NetworkConfig, batch: CameraBatch) -> None:
    network = MultiTaskNetwork(tiny_config.restricted(("depth",)))
    with pytest.raises(ValueError, match="'tiny' has no decoder for semantic"):
        network(batch, ("semantic",))


def test_reprojection_without_poses_gives_no_mask(tiny_network: MultiTaskNetwork, batch: CameraBatch) -> None:
    memory = tiny_network(batch, ("motion_mask",)).memory
    assert tiny_network(batch, ("motion_mask",), previous_of(memory, batch, None)).motion_logits is None
    assert tiny_network(batch, ("motion_mask",), PreviousFrame({}, batch.K, None, batch.ground_known)).memory


@torch.no_grad()
def test_the_cabin_shares_the_encoder(full_network: MultiTaskNetwork, batch: CameraBatch) -> None:
    cabin = example_cabin(full_network.config, batch)
    assert isinstance(cabin, CabinBatch)
    darker = replace(cabin, images=0.5 * cabin.images)
    tasks = ("driver_behaviour", "depth")
    first, second = full_network(batch, tasks, cabin=cabin), full_network(batch, tasks, cabin=darker)
    assert (first.scene_logits["driver_behaviour"] != second.scene_logits["driver_behaviour"]).any()
    torch.testing.assert_close(first.depth, second.depth)
