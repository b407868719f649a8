# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A pyramid from tokens."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mtl_perception.network.encoding.token_reassembly import TokenReassembly

WIDTHS = (4, 6, 8, 10)


def reassembly(geometry: int = 0) -> TokenReassembly:
    torch.manual_seed(0)
    return TokenReassembly(12, 8, WIDTHS, geometry)


def tokens(count: int, geometry: int = 0, height: int = 5, width: int = 7) -> tuple[list[Tensor], list[Tensor]]:
    torch.manual_seed(1)
    maps = [torch.randn(count, 12 + geometry, height, width) for _ in range(4)]
    return maps, [torch.randn(count, 12) for _ in range(4)]


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(5, 7), (4, 6)])
def test_levels_double_from_one_to_the_next(count: int, height: int, width: int) -> None:
    levels = reassembly(2)(*tokens(count, 2, height, width))
    sizes = [(4 * height, 4 * width), (2 * height, 2 * width), (height, width), (-(-height // 2), -(-width // 2))]
    assert [tuple(x.shape) for x in levels] == [(count, 8, *size) for size in sizes]


def test_the_first_step_is_one_linear_layer_of_patch_and_summary() -> None:
    model = reassembly()
    maps, summaries = tokens(2)
    weight = torch.cat([model.patch[2].weight[:, :, 0, 0], model.summary[2].weight], dim=1)
    joined = torch.cat([maps[2], summaries[2][:, :, None, None].expand_as(maps[2])], dim=1).permute(0, 2, 3, 1)
    projected = functional.gelu(functional.linear(joined, weight, model.patch[2].bias)).permute(0, 3, 1, 2)
    expected = model.smooth[2](model.project[2](projected))
    torch.testing.assert_close(model(maps, summaries)[2], expected)


def test_each_level_is_of_its_own_depth_and_summary() -> None:
    model = reassembly(2)
    maps, summaries = tokens(2, 2)
    for x in (*maps, *summaries):
        x.requires_grad_()
    for depth in range(4):
        model(maps, summaries)[depth].square().sum().backward()
        assert [x.grad is not None for x in maps] == [x.grad is not None for x in summaries]
        assert [x.grad is not None for x in maps] == [level == depth for level in range(4)]
        assert (maps[depth].grad.abs().amax(dim=(2, 3)) > 0).all() and (summaries[depth].grad.abs() > 0).all()
        maps[depth].grad, summaries[depth].grad = None, None
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


def test_a_patch_appears_where_it_is() -> None:
    model = reassembly()
    maps, summaries = tokens(1)
    changed = [x.clone() for x in maps]
    for x in changed:
        x[:, :, 2, 4] += 3.0
    for a, b, scale in zip(model(changed, summaries), model(maps, summaries), (4, 2, 1, 0.5), strict=True):
        rows, columns = torch.nonzero((a - b).abs().amax(dim=(0, 1)) > 1e-6, as_tuple=True)
        reach = scale / 2 + (1 if scale >= 1 else 2)  # of the 3x3 convolutions: one, or two at the coarsest level
        assert (rows + 0.5 - 2.5 * scale).abs().max() <= reach
        assert (columns + 0.5 - 4.5 * scale).abs().max() <= reach


def test_images_of_a_batch_do_not_see_each_other() -> None:
    model = reassembly().eval()
    maps, summaries = tokens(3)
    one = model([x[1:2] for x in maps], [x[1:2] for x in summaries])
    for a, b in zip(model(maps, summaries), one, strict=True):
        torch.testing.assert_close(a[1:2], b, rtol=1e-4, atol=1e-5)


def test_bfloat16() -> None:
    model = reassembly()
    maps, summaries = tokens(2)
    exact = model(maps, summaries)
    rounded = model.to(torch.bfloat16)([x.bfloat16() for x in maps], [x.bfloat16() for x in summaries])
    for a, b in zip(exact, rounded, strict=True):
        assert b.dtype == torch.bfloat16
        assert (a - b).abs().max() < 0.05 * a.abs().max()


def test_errors() -> None:
    with pytest.raises(ValueError, match="four widths, not 3"):
        TokenReassembly(12, 8, (4, 6, 8))
    maps, summaries = tokens(1)
    with pytest.raises(ValueError, match="shorter"):
        reassembly()(maps, summaries[:3])
