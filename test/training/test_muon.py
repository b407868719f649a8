# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Muon: updates are orthogonal, of a size that does not depend on the gradient's, and they go down."""

import pytest
import torch

from mtl_perception.training.muon import Muon, orthogonalised


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (8, 8)])
def test_singular_values_come_near_one_and_vectors_stay(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    result = orthogonalised(matrix)
    values = torch.linalg.svdvals(result)
    assert values.min() > 0.6 and values.max() < 1.3
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    core = u.T @ result @ vh.T  # diagonal when the singular vectors are the same
    assert (core - torch.diag(torch.diagonal(core))).abs().max() < 1e-6


def test_a_step_has_the_same_size_whatever_the_gradient() -> None:
    sizes = []
    for scale in (1e-3, 1e3):
        kernel = torch.nn.Parameter(torch.zeros(4, 3, 3, 3))
        kernel.grad = scale * torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(1))
        Muon([kernel], lr=0.1).step()
        sizes.append(kernel.detach().norm().item())
    assert sizes[0] == pytest.approx(sizes[1], rel=1e-3)


def test_it_finds_the_minimum_of_a_quadratic() -> None:
    target = torch.randn(4, 9, generator=torch.Generator().manual_seed(2))
    kernel = torch.nn.Parameter(torch.zeros(4, 9))
    optimizer = Muon([kernel], lr=0.05, momentum=0.9)
    for step in range(200):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / 200)
        optimizer.zero_grad()
        (kernel - target).square().sum().backward()
        optimizer.step()
    assert (kernel - target).abs().max() < 0.05
