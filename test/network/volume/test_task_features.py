# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Task-specific features: enhanced by prototypes, suppressed by a score."""

import pytest
import torch
from torch import nn

from mtl_perception.network.volume.plane_backbone import PlaneBackbone
from mtl_perception.network.volume.task_features import TaskSpecificFeatureGenerator

HEIGHTS = [5, None]


def build(height: int | None) -> TaskSpecificFeatureGenerator:
    torch.manual_seed(0)
    return TaskSpecificFeatureGenerator(8, 3, 12, height).eval()


@pytest.mark.parametrize("height", HEIGHTS)
@pytest.mark.parametrize("frames", [1, 3])
def test_shapes_of_odd_grids(height: int | None, frames: int) -> None:
    generator = build(height)
    features, suppression = generator(torch.randn(frames, 8, 9, 11, 5), torch.randn(frames, 3, 8))
    place = (9, 11) if height else (9, 11, 5)
    assert features.shape == (frames, 12, *place) and suppression.shape == (frames, *place)
    generator.train()(torch.randn(frames, 8, 9, 11, 5), torch.randn(frames, 3, 8))[0].sum().backward()
    assert all(parameter.grad is not None for parameter in generator.parameters())


@pytest.mark.parametrize("height", HEIGHTS)
def test_suppression_scales_the_features(height: int | None) -> None:
    generator = build(height)
    voxels, group = torch.randn(2, 8, 9, 11, 5), torch.randn(2, 3, 8)
    last = generator.score[-1]
    results = []
    with torch.no_grad():
        last.weight.zero_()
        for logit in (30.0, 0.0, -30.0):
            last.bias.fill_(logit)
            features, suppression = generator(voxels, group)
            assert (suppression == logit).all()
            results.append(features)
    torch.testing.assert_close(results[1], results[0] / 2)
    assert results[0].abs().max() > 0.01 and results[2].abs().max() < 1e-6


@pytest.mark.parametrize("height", HEIGHTS)
def test_stages_follow_the_equations(height: int | None) -> None:
    generator = build(height)
    voxels, group = torch.randn(2, 8, 9, 11, 5), torch.randn(2, 3, 8)
    transformed = generator.transform(voxels)
    prototypes = generator.prototypes(group)
    wise = torch.einsum("bgc,bc...->bg...", prototypes, transformed)
    gate = generator.scale(torch.cat([prototypes.max(dim=1).values, prototypes.mean(dim=1)], dim=1))
    aware = torch.einsum("bc,bc...->bc...", gate, transformed)
    expected = generator.enhance(torch.cat([wise, aware], dim=1)) * generator.score(aware).sigmoid()
    torch.testing.assert_close(generator(voxels, group)[0], expected)


def test_the_gate_is_of_the_maximum_and_the_mean_so_the_order_of_prototypes_does_not_enter_it() -> None:
    generator = build(None)
    voxels, group = torch.randn(1, 8, 5, 5, 5), torch.randn(1, 3, 8)
    _, suppression = generator(voxels, group)  # reads only the gated features
    torch.testing.assert_close(generator(voxels, group[:, [2, 0, 1]])[1], suppression)
    assert not torch.allclose(generator(voxels, group + torch.randn(1, 3, 8))[1], suppression)


@pytest.mark.parametrize("height", HEIGHTS)
def test_gradients_reach_voxels_and_prototypes(height: int | None) -> None:
    voxels = torch.randn(1, 8, 6, 6, 5, requires_grad=True)
    group = torch.randn(1, 3, 8, requires_grad=True)
    build(height)(voxels, group)[0].sum().backward()
    assert voxels.grad is not None and voxels.grad.abs().sum() > 0
    assert group.grad is not None and group.grad.abs().sum() > 0


@pytest.mark.parametrize("height", HEIGHTS)
def test_frames_do_not_see_each_other(height: int | None) -> None:
    generator = build(height)
    voxels, group = torch.randn(3, 8, 9, 7, 5), torch.randn(3, 3, 8)
    together = generator(voxels, group)
    for alone, all_of_them in zip(generator(voxels[1:2], group[1:2]), together, strict=True):
        torch.testing.assert_close(alone, all_of_them[1:2])


@pytest.mark.parametrize("height", HEIGHTS)
def test_bfloat16(height: int | None) -> None:
    generator = build(height)
    voxels, group = torch.randn(1, 8, 9, 7, 5), torch.randn(1, 3, 8)
    expected = generator(voxels, group)
    result = generator.to(torch.bfloat16)(voxels.bfloat16(), group.bfloat16())
    for value, wanted in zip(result, expected, strict=True):
        assert value.dtype == torch.bfloat16
        torch.testing.assert_close(value.float(), wanted, atol=0.1, rtol=0.1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_plane_backbone_keeps_the_ground_plane_and_does_not_care_about_memory_format(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    backbone = PlaneBackbone(6, 5, 8).eval().to(dtype)
    voxels = torch.randn(2, 6, 9, 7, 5, dtype=dtype)
    plane = backbone(voxels)
    assert plane.shape == (2, 8, 9, 7) and plane.dtype == dtype
    other = backbone(voxels.contiguous(memory_format=torch.channels_last_3d))
    torch.testing.assert_close(other, plane, atol=0.05 if dtype == torch.bfloat16 else 1e-5, rtol=0.05)


def test_plane_backbone_sees_every_height() -> None:
    torch.manual_seed(0)
    backbone = PlaneBackbone(2, 3, 8).eval()
    nn.init.constant_(backbone.fold[0].weight, 0.1)
    empty = torch.zeros(1, 2, 6, 6, 3)
    for height in range(3):
        voxels = empty.clone()
        voxels[0, :, 3, 3, height] = 1.0
        assert not torch.allclose(backbone(voxels), backbone(empty))
