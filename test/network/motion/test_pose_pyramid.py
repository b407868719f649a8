# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Scene flow and motion mask from two frames and the camera's motion."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtl_perception.network.motion.motion_mask import MotionMaskDecoder
from mtl_perception.network.motion.scene_flow import SceneFlowDecoder

SIZES = ((15, 23), (8, 12), (4, 6), (2, 3))
DECODERS = (SceneFlowDecoder, MotionMaskDecoder)
INPUTS = ("previous_levels", "current_levels", "previous_image", "current_image", "pose_vector")


def inputs(count: int, seed: int = 1) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "previous_levels": [torch.randn(count, 8, h, w, generator=generator) for h, w in SIZES],
        "current_levels": [torch.randn(count, 8, h, w, generator=generator) for h, w in SIZES],
        "previous_image": torch.rand(count, 3, 59, 91, generator=generator),
        "current_image": torch.rand(count, 3, 59, 91, generator=generator),
        "pose_vector": 0.05 * torch.randn(count, 6, generator=generator),
    }


def changed(given: dict[str, Any], change: Any) -> dict[str, Any]:
    return {
        name: [change(level) for level in value] if isinstance(value, list) else change(value)
        for name, value in given.items()
    }


def build(kind: type[nn.Module], **options: int) -> nn.Module:
    torch.manual_seed(0)
    return kind(8, **options)


@pytest.mark.parametrize("count", [1, 3])
def test_shapes(count: int) -> None:
    assert build(SceneFlowDecoder)(**inputs(count)).shape == (count, 3, 30, 46)
    assert build(MotionMaskDecoder)(**inputs(count)).shape == (count, 30, 46)
    assert build(MotionMaskDecoder, finest_stride=1)(**inputs(count)).shape == (count, 59, 91)
    assert build(MotionMaskDecoder, finest_stride=4)(**inputs(count)).shape == (count, 15, 23)


@pytest.mark.parametrize("kind", DECODERS)
def test_gradients_reach_both_frames_and_every_weight_but_not_the_pose(kind: type[nn.Module]) -> None:
    decoder, given = build(kind), changed(inputs(2), Tensor.requires_grad_)
    decoder(**given).square().sum().backward()
    tensors = [*given["previous_levels"], *given["current_levels"], given["previous_image"], given["current_image"]]
    for tensor in (*tensors, *decoder.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.abs().sum() > 0
    assert given["pose_vector"].grad is None


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("kind", DECODERS)
def test_every_input_matters(kind: type[nn.Module], name: str) -> None:
    decoder = build(kind)
    other = {**inputs(2), name: inputs(2, seed=9)[name]}
    assert not torch.allclose(decoder(**inputs(2)), decoder(**other), rtol=1e-2, atol=1e-5)


def test_without_refinement_the_flow_is_the_pose_everywhere() -> None:
    decoder, given = build(SceneFlowDecoder), inputs(2)
    assert isinstance(decoder, SceneFlowDecoder)
    for refinement in (*decoder.refinements, decoder.image_refinement):
        for parameter in refinement.change.parameters():
            nn.init.zeros_(parameter)
    with torch.no_grad():  # the translation of the pose
        decoder.pose.bias.zero_()
        decoder.pose.weight.copy_(torch.eye(6)[3:, :, None, None])
    expected = given["pose_vector"][:, 3:, None, None].expand(2, 3, 30, 46)
    torch.testing.assert_close(decoder(**given), expected)


@pytest.mark.parametrize("metres", [-1.0, 1.0])
def test_a_refinement_can_go_far_either_way(metres: float) -> None:
    # More than the 1 cm that an ELU as its last step would allow.
    decoder, given = build(SceneFlowDecoder), inputs(1)
    assert isinstance(decoder, SceneFlowDecoder)
    before = decoder(**given)
    with torch.no_grad():
        for parameter in decoder.image_refinement.change.parameters():
            last = parameter
        last += 100.0 * metres
    torch.testing.assert_close(decoder(**given), before + metres)


def test_the_decoders_have_weights_of_their_own() -> None:
    flow, mask = build(SceneFlowDecoder), build(MotionMaskDecoder)
    assert not {id(p) for p in flow.parameters()} & {id(p) for p in mask.parameters()}


@pytest.mark.parametrize("kind", DECODERS)
def test_cameras_do_not_see_each_other(kind: type[nn.Module]) -> None:
    decoder, given = build(kind), inputs(3)
    alone = decoder(**changed(given, lambda x: x[1:2]))
    torch.testing.assert_close(decoder(**given)[1:2], alone, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("kind", DECODERS)
def test_bfloat16_stays_close(kind: type[nn.Module]) -> None:
    decoder, given = build(kind), inputs(2)
    exact = decoder(**given)
    pose = given["pose_vector"]
    rough = decoder.to(torch.bfloat16)(**{**changed(given, Tensor.bfloat16), "pose_vector": pose})
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), exact, atol=2e-3, rtol=0.1)


@pytest.mark.parametrize("kind", DECODERS)
def test_missing_levels_are_an_error(kind: type[nn.Module]) -> None:
    given = inputs(1)
    given["current_levels"].pop()
    with pytest.raises(ValueError, match="4 and 3 levels, not 4"):
        build(kind)(**given)
