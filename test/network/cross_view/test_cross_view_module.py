# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""CvM as a whole, and its fusion into the shared levels."""

import math
from dataclasses import replace

import pytest
import torch

from mtl_perception.network import CameraBatch, PreviousFrame
from mtl_perception.network.cross_view.cross_view_module import CrossViewFusion, CrossViewModule
from mtl_perception.network.cross_view.neighbours import Neighbours, select_neighbours

RANGE = (1.0, 50.0)


def small() -> CrossViewModule:
    torch.manual_seed(0)
    return CrossViewModule(
        nearest=RANGE[0], farthest=RANGE[1], width=16, planes=6, layers=2, stage_widths=(8, 12, 16)
    ).eval()


def turned(degrees: float, x: float = 0.0) -> torch.Tensor:
    """Return base_from_camera of a camera that looks forward, turned to the left, at a place along the base's y."""
    mount = torch.tensor([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = torch.eye(4)
    turn[:2, :2], turn[1, 3] = torch.tensor([[cos, -sin], [sin, cos]]), x
    return turn @ mount


def views(batch: CameraBatch, poses: list[torch.Tensor], frames: list[int]) -> CameraBatch:
    """Return a batch of seeded images of size 61 x 91 at the poses."""
    count = len(poses)
    return CameraBatch(
        torch.rand(count, 3, 61, 91, generator=torch.Generator().manual_seed(3)),
        batch.K[:1].expand(count, 3, 3),
        torch.stack(poses),
        torch.ones(count, dtype=torch.bool),
        torch.tensor(frames),
        max(frames) + 1,
    )


def test_the_published_module_has_four_to_five_million_parameters() -> None:
    count = sum(p.numel() for p in CrossViewModule(nearest=1.0, farthest=60.0).parameters())
    assert 4_000_000 < count < 5_000_000
    assert f"{count:,}" in (CrossViewModule.__doc__ or "")


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("with_previous", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_shapes_and_gradients(batch: CameraBatch, count: int, with_previous: bool, training: bool) -> None:
    module = small().train(training)
    cameras = views(batch, [turned(20 * i, 0.3 * i) for i in range(count)], [0] * count)
    images = cameras.images.requires_grad_()
    neighbours = select_neighbours(cameras, None, *RANGE)
    previous = torch.randn(count, 16, 8, 12) if with_previous else None
    if with_previous:
        neighbours.index[:, 0] = torch.arange(count) + count
        neighbours.valid[:, 0] = True
    features, cost = module(images, cameras.K, neighbours, previous)
    assert features.shape == (count, 16, 8, 12) and cost.shape == (count, 6, 8, 12)
    cost.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
    assert (images.grad.abs().sum(dim=(1, 2, 3)) > 0).all()


def test_an_unrelated_camera_changes_nothing(batch: CameraBatch) -> None:
    module = small()
    cameras = views(batch, [turned(0), turned(20, 0.4), turned(180), turned(10)], [0, 0, 0, 1])
    related = cameras.select(torch.arange(2))
    features, cost = module(cameras.images, cameras.K, select_neighbours(cameras, None, *RANGE))
    fewer, fewer_cost = module(related.images, related.K, select_neighbours(related, None, *RANGE))
    torch.testing.assert_close(features[:2], fewer, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(cost[:2], fewer_cost, rtol=1e-4, atol=1e-4)
    single = cameras.select(torch.arange(1))
    alone, _ = module(single.images, single.K, select_neighbours(single, None, *RANGE))
    assert (features[:1] - alone).abs().mean() > 1e-2  # a related one does


def test_a_single_image_tells_nothing_about_depth(batch: CameraBatch) -> None:
    cameras = views(batch, [turned(0)], [0])
    _, cost = small()(cameras.images, cameras.K, select_neighbours(cameras, None, *RANGE))
    torch.testing.assert_close(cost, cost[:, :1].expand_as(cost), rtol=1e-3, atol=1e-3)
    assert (cost > 0).all()


def test_the_frame_before_gives_the_cost_its_planes(batch: CameraBatch) -> None:
    module = small()
    cameras = views(batch, [turned(0)], [0])
    earlier = views(batch, [turned(0), turned(0)], [0, 1]).select(torch.tensor([1]))
    features, _ = module(earlier.images, earlier.K, select_neighbours(earlier, None, *RANGE))
    pose = torch.eye(4)[None].clone()
    pose[:, 0, 3] = 0.5
    previous = PreviousFrame({}, cameras.K, pose, torch.tensor([True]))
    neighbours = select_neighbours(cameras, previous, *RANGE)
    _, cost = module(cameras.images, cameras.K, neighbours, features)
    assert (cost - cost.mean(dim=1, keepdim=True)).abs().mean() > 1e-2
    heard = [module(cameras.images, cameras.K, neighbours, sign * features)[0] for sign in (1, -1)]
    assert (heard[0] - heard[1]).abs().mean() > 1e-2
    unknown = select_neighbours(cameras, replace(previous, valid=torch.tensor([False])), *RANGE)
    garbage = torch.full_like(features, float("nan"))
    torch.testing.assert_close(
        module(cameras.images, cameras.K, unknown, garbage)[1],
        module(cameras.images, cameras.K, select_neighbours(cameras, None, *RANGE))[1],
    )


def test_bfloat16_is_close_to_float32(batch: CameraBatch) -> None:
    module = small()
    cameras = views(batch, [turned(0), turned(20, 0.4)], [0, 0])
    neighbours: Neighbours = select_neighbours(cameras, None, *RANGE)
    expected = module(cameras.images, cameras.K, neighbours)
    results = module.to(torch.bfloat16)(cameras.images.bfloat16(), cameras.K, neighbours)
    for result, value in zip(results, expected, strict=True):
        assert result.dtype == torch.bfloat16
        assert (result.float() - value).abs().mean() < 0.05 * value.abs().mean()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fusion_enters_the_two_finest_levels_and_keeps_all_shapes(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    fusion = CrossViewFusion(10, 16, 6).to(dtype)
    levels = [torch.randn(2, 10, *size, dtype=dtype) for size in ((16, 23), (8, 12), (4, 6), (2, 3))]
    features = torch.randn(2, 16, 8, 12, dtype=dtype, requires_grad=True)
    cost = torch.randn(2, 6, 8, 12, dtype=dtype, requires_grad=True)
    fused = fusion(levels, features, cost)
    assert [level.shape for level in fused] == [level.shape for level in levels]
    assert fused[2] is levels[2] and fused[3] is levels[3]
    for level in fused[:2]:
        gradients = torch.autograd.grad(level.float().square().sum(), (features, cost), retain_graph=True)
        assert all(gradient.isfinite().all() and gradient.abs().sum() > 0 for gradient in gradients)


def test_fusion_puts_a_pixel_where_it_is() -> None:
    torch.manual_seed(0)
    fusion = CrossViewFusion(10, 16, 6)
    levels = [torch.randn(1, 10, *size) for size in ((16, 24), (8, 12), (4, 6), (2, 3))]
    features, cost = torch.zeros(1, 16, 8, 12), torch.zeros(1, 6, 8, 12)
    without = fusion(levels, features, cost)
    cost[0, :, 3, 5] = 1.0
    changes = [(a - b).abs().sum(dim=(0, 1)) for a, b in zip(fusion(levels, features, cost), without, strict=True)]
    assert changes[1].nonzero().tolist() == [[3, 5]]
    strong = changes[0] > 0.5 * changes[0].max()
    assert strong.nonzero().tolist() == [[6, 10], [6, 11], [7, 10], [7, 11]]
