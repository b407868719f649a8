# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The assembled network: only what is asked for runs, cameras do not leak into other frames, gradients reach all."""

from collections.abc import Collection

import pytest
import torch

from mtl_perception.network import CameraBatch, MultiTaskNetwork, NetworkConfig, PreviousFrame
from mtl_perception.network.motion.reprojection import thumbnail

DECODERS = ("depth", "semantic", "motion", "lift", "occupancy")


def ran(network: MultiTaskNetwork, batch: CameraBatch, tasks: Collection[str]) -> set[str]:
    """Return which of the decoders (and their own modules) ran."""
    seen: set[str] = set()
    hooks = [
        module.register_forward_hook(lambda _m, _i, _o, name=name: seen.add(name.split(".")[0]))
        for name, module in network.named_modules()
        if name.split(".")[0] in DECODERS
    ]
    network(batch, tasks)
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        (("semantic",), {"semantic"}),
        (("depth",), {"depth"}),
        (("occupancy",), {"depth", "lift", "occupancy"}),
        (("motion_mask",), {"depth", "motion"}),
        ((), set()),
    ],
)
def test_only_what_the_tasks_need_runs(
    tiny_network: MultiTaskNetwork, batch: CameraBatch, tasks: tuple[str, ...], expected: set[str]
) -> None:
    assert ran(tiny_network, batch, tasks) == expected


def test_the_encoder_sees_all_cameras_in_one_pass(tiny_network: MultiTaskNetwork, batch: CameraBatch) -> None:
    sizes: list[int] = []
    tiny_network.encoder.register_forward_hook(lambda _m, inputs, _o: sizes.append(len(inputs[0])))
    tiny_network(batch, tiny_network.config.tasks)
    assert sizes == [3]


def test_shapes_and_ranges(tiny_network: MultiTaskNetwork, batch: CameraBatch) -> None:
    output = tiny_network(batch, tiny_network.config.tasks)
    assert output.depth is not None and output.depth_std is not None and output.surface is not None
    assert output.depth.shape == (3, 32, 48) and (output.depth > 0.4).all() and (output.depth < 51).all()
    assert (output.depth_std > 0).all() and (output.surface >= 0).all() and (output.surface <= 1).all()
    assert output.semantic_logits is not None and output.semantic_logits.shape == (3, 16, 32, 48)
    assert output.occupancy_logits is not None and output.occupancy_logits.shape == (2, 17, 32, 32, 8)
    assert output.motion_logits is None and output.motion_embedding is not None  # there was no previous frame


def test_a_frame_does_not_depend_on_others_in_the_batch(tiny_network: MultiTaskNetwork, batch: CameraBatch) -> None:
    both = tiny_network(batch, tiny_network.config.tasks)
    alone = tiny_network(batch.select(torch.tensor([2])), tiny_network.config.tasks)
    for name in ("depth", "semantic_logits"):
        torch.testing.assert_close(getattr(both, name)[2:], getattr(alone, name), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(both.occupancy_logits[1:], alone.occupancy_logits, atol=1e-4, rtol=1e-3)


def test_every_parameter_gets_a_gradient(tiny_network: MultiTaskNetwork, batch: CameraBatch) -> None:
    tiny_network.train()
    with torch.no_grad():
        embedding = tiny_network.motion.embedding(tiny_network.encode(batch).shared)
    previous = PreviousFrame(
        embedding, thumbnail(batch.images), batch.K, torch.eye(4).repeat(3, 1, 1), torch.ones(3, dtype=torch.bool)
    )
    output = tiny_network(batch, tiny_network.config.tasks, previous)
    parts = (output.depth_logits, output.semantic_logits, output.motion_logits, output.occupancy_logits)
    torch.stack([part.square().mean() for part in parts if part is not None]).sum().backward()
    without = [name for name, parameter in tiny_network.named_parameters() if parameter.grad is None]
    assert without == []


def test_a_task_that_the_network_lacks_is_refused_by_name(tiny_config: NetworkConfig, batch: CameraBatch) -> None:
    network = MultiTaskNetwork(tiny_config.model_copy(update={"tasks": ("depth",)}))
    with pytest.raises(ValueError, match="'tiny' has no decoder for semantic"):
        network(batch, ("semantic",))


def test_a_configuration_must_hold_what_its_tasks_need(tiny_config: NetworkConfig) -> None:
    with pytest.raises(ValueError, match="'occupancy' needs task 'depth'"):
        NetworkConfig.model_validate(tiny_config.model_dump() | {"tasks": ("occupancy",)})


def test_input_size_follows_the_camera(tiny_config: NetworkConfig) -> None:
    assert tiny_config.model_copy(update={"input_pixels": 42240}).input_size(640, 480) == (240, 176)
    assert tiny_config.model_copy(update={"input_pixels": 42240}).input_size(1600, 900) == (272, 160)
