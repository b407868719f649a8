# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Global gated fusion: what the gates close is gone, what they leave open passes; the unique stream of any size."""

import pytest
import torch
from torch import Tensor, nn

from mtl_perception.network.dense.gated_fusion import GlobalGatedFusion, UniqueStream


def streams(count: int = 2) -> list[Tensor]:
    """Return the maps before and after the attention and a coarser unique stream."""
    generator = torch.Generator().manual_seed(1)
    sizes = ((15, 23), (15, 23), (2, 3))
    return [torch.randn(count, 8, *size, generator=generator) for size in sizes]


def fusion() -> GlobalGatedFusion:
    """Return a module with seeded weights."""
    torch.manual_seed(0)
    return GlobalGatedFusion(8)


def identity(convolution: nn.Module) -> None:
    """Let a 1x1 convolution pass everything on."""
    assert isinstance(convolution, nn.Conv2d)
    nn.init.dirac_(convolution.weight)


@pytest.mark.parametrize("count", [1, 3])
def test_shape(count: int) -> None:
    assert fusion()(*streams(count)).shape == (count, 8, 15, 23)


def test_there_is_one_gate_a_stream_and_channel_in_0_to_1() -> None:
    module, seen = fusion(), []
    module.gate.register_forward_hook(lambda _m, _i, output: seen.append(output))
    module(*streams())
    assert seen[0].shape == (2, 24, 1, 1) and (seen[0] > 0).all() and (seen[0] < 1).all()
    assert seen[0].std() > 0 and not torch.equal(seen[0][0], seen[0][1])  # each image has its own


@pytest.mark.parametrize("open_stream", range(3))
def test_the_gates_choose_the_stream(open_stream: int) -> None:
    module, inputs = fusion(), streams()
    for convolution in (module.before, module.after, module.unique, module.output):
        identity(convolution)
    nn.init.zeros_(module.feed_forward[2].weight)  # leaves the shortcut
    gates = torch.zeros(2, 24, 1, 1)
    gates[:, 8 * open_stream : 8 * open_stream + 8] = 1.0
    module.gate.register_forward_hook(lambda _m, _i, _o: gates)
    expected = nn.functional.interpolate(inputs[open_stream], (15, 23), mode="bilinear")
    torch.testing.assert_close(module(*inputs), expected)


def test_the_feed_forward_adds_to_its_shortcut() -> None:
    module, inputs = fusion(), streams()
    full = module(*inputs)
    branch: list[Tensor] = []
    module.feed_forward.register_forward_hook(lambda _m, _i, output: branch.append(output))
    module(*inputs)
    nn.init.zeros_(module.feed_forward[2].weight)
    torch.testing.assert_close(module(*inputs) + module.output(branch[0]), full)


def test_gates_see_the_whole_image() -> None:
    module, inputs = fusion(), streams(1)
    before = module(*inputs)
    inputs[1][0, :, 14, 22] += 100.0
    assert (module(*inputs)[0, :, 0, 0] != before[0, :, 0, 0]).any()


def test_gradients_reach_every_stream_and_parameter() -> None:
    module, inputs = fusion(), [x.requires_grad_() for x in streams()]
    module(*inputs).square().sum().backward()
    for tensor in [*inputs, *module.parameters()]:
        assert tensor.grad is not None and tensor.grad.abs().sum() > 0


def test_images_do_not_mix() -> None:
    module, inputs = fusion(), streams(3)
    torch.testing.assert_close(module(*inputs)[1:2], module(*(x[1:2] for x in inputs)), atol=1e-5, rtol=1e-4)


def test_bfloat16() -> None:
    module, inputs = fusion(), streams()
    exact = module(*inputs)
    rounded = module.to(torch.bfloat16)(*(x.bfloat16() for x in inputs))
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).abs().mean() < 0.05 * exact.abs().mean()


@pytest.mark.parametrize("size", [(5, 7), (1, 1), (4, 6)])
def test_the_unique_stream_keeps_the_size_of_the_last_map(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    module, last = UniqueStream(12, 8, 16), torch.randn(2, 12, *size, requires_grad=True)
    output = module(last)
    assert output.shape == (2, 8, *size)
    output.square().sum().backward()
    assert last.grad is not None and (last.grad.flatten(1).abs().sum(dim=1) > 0).all()
    assert module.to(torch.bfloat16)(last.detach().bfloat16()).isfinite().all()
