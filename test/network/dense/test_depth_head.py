# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The depth head: a distribution over log-spaced bins gives depth, its spread, and whether there is a surface."""

import math

import pytest
import torch
from torch import nn

from mtl_perception.network.config import DepthBins
from mtl_perception.network.dense.detail import DepthHead, DetailDecoder
from mtl_perception.network.dense.heads import RefinedHead

BINS = DepthBins(nearest=0.5, farthest=50.0, count=24, canonical_focal=100.0)


def test_bins_are_uniform_in_log_depth_and_end_where_told() -> None:
    bins = DepthHead(nn.Identity(), BINS).bins
    torch.testing.assert_close(bins, torch.logspace(math.log10(0.5), math.log10(50.0), 24))


def test_bins_stay_exact_in_bfloat16() -> None:
    head = DepthHead(nn.Identity(), BINS)
    assert torch.equal(head.to(torch.bfloat16).bins, DepthHead(nn.Identity(), BINS).bins)


def test_bins_are_not_stored() -> None:
    names = DepthHead(DetailDecoder(8, 4, 8, 25), BINS).state_dict()
    assert names and all(name.startswith("decoder.") for name in names)


@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_a_certain_bin_is_its_depth(scale: float) -> None:
    head = DepthHead(nn.Identity(), BINS)
    logits = torch.zeros(1, 25, 1, 2)
    logits[0, 5] = 60.0
    logits[0, 24, 0, 1] = 120.0  # the second pixel is sky
    depth, std, surface = head.statistics(logits, torch.tensor([scale]))
    torch.testing.assert_close(depth, scale * head.bins[5].expand(1, 1, 2))
    assert (std < 1e-3 * depth).all()
    torch.testing.assert_close(surface, torch.tensor([[[1.0, 0.0]]]))


def test_depth_is_what_has_the_smallest_expected_relative_error() -> None:
    head = DepthHead(nn.Identity(), BINS)
    logits = 2 * torch.randn(1, 25, 1, 40, generator=torch.Generator().manual_seed(0))
    depth, _, _ = head.statistics(logits, torch.ones(1))
    probability = logits[0, :-1, 0].softmax(dim=0).repeat_interleave(21, dim=0) / 21
    depths = (head.bins[:, None] * (head.step * torch.linspace(-0.5, 0.5, 21)).exp()).flatten()  # as wide as bins are

    def expected_error(estimate: torch.Tensor) -> torch.Tensor:
        return ((estimate[:, None] - depths).abs() / depths) @ probability

    least = expected_error(torch.logspace(math.log10(0.5), math.log10(50.0), 461)).amin(dim=0)
    assert (expected_error(depth[0, 0]).diagonal() < least + 0.002).all()


def test_the_harmonic_mean_moves_as_the_distribution_does() -> None:
    head = DepthHead(nn.Identity(), BINS)
    logits = torch.randn(2, 25, 3, 4, generator=torch.Generator().manual_seed(0))
    inverse = (logits[:, :-1].softmax(dim=1) / head.bins[None, :, None, None]).sum(dim=1)
    scale = torch.tensor([1.0, 3.0])
    torch.testing.assert_close(head.harmonic_mean(logits, scale), scale[:, None, None] / inverse)


def test_depth_stays_on_one_of_two_surfaces() -> None:
    head = DepthHead(nn.Identity(), BINS)
    logits = torch.full((1, 25, 1, 2), -60.0)
    logits[0, [4, 16]] = 0.0
    logits[0, 16, 0, 1] = 3.0  # more likely even per metre of error
    depth, std, _ = head.statistics(logits, torch.ones(1))
    assert (depth[0, 0] / head.bins[[4, 16]]).log().abs().max() <= head.step / 2
    torch.testing.assert_close(std[0, 0, 0], depth[0, 0, 0] * 6 * head.step)


@pytest.mark.parametrize("count", [1, 3])
def test_either_decoder_fits(count: int) -> None:
    torch.manual_seed(0)
    shared, stem = torch.randn(count, 8, 5, 7), torch.randn(count, 4, 10, 14)
    light = DepthHead(DetailDecoder(8, 4, 8, 25), BINS).eval()
    refined = DepthHead(RefinedHead(8, 25, (8, 8)), BINS).eval()
    for logits, size in ((light(shared, stem), (10, 14)), (refined(shared), (20, 28))):
        assert logits.shape == (count, 25, *size)
        depth, std, surface = light.statistics(logits, torch.ones(count))
        assert depth.shape == std.shape == surface.shape == (count, *size)
        assert (depth > 0.5).all() and (depth < 50.0).all() and (std > 0).all()


def test_statistics_in_bfloat16_are_float32_and_near() -> None:
    head = DepthHead(nn.Identity(), BINS)
    logits = torch.randn(2, 25, 4, 6, generator=torch.Generator().manual_seed(1))
    exact, *_ = head.statistics(logits, torch.ones(2))
    depth, std, surface = head.to(torch.bfloat16).statistics(logits.bfloat16(), torch.ones(2))
    assert depth.dtype == std.dtype == surface.dtype == torch.float32
    torch.testing.assert_close(depth, exact, atol=0.0, rtol=0.02)
