# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The decoupling loss measures and undoes how much features repeat each other."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mtl_perception.training.balancing import decoupling_loss


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def orthogonal_vectors() -> Tensor:
    """Three rows of zero mean, so that layer normalisation leaves their directions."""
    return torch.tensor(
        [[1.0, -1.0, 1.0, -1.0], [1.0, 1.0, -1.0, -1.0], [1.0, -1.0, -1.0, 1.0]],
    )


def test_it_is_zero_for_orthogonal_features() -> None:
    shared, first, second = orthogonal_vectors()[:, None].expand(3, 5, 4)
    assert decoupling_loss(shared, {"a": first, "b": 3.0 * second}).item() == pytest.approx(0.0, abs=1e-9)


def test_each_term_is_one_for_parallel_features() -> None:
    shared, first, second = orthogonal_vectors()[:, None].expand(3, 5, 4)
    assert decoupling_loss(shared, {"a": 2.0 * shared}).item() == pytest.approx(1.0, abs=1e-4)
    assert decoupling_loss(shared, {"a": -shared}).item() == pytest.approx(1.0, abs=1e-4)
    assert decoupling_loss(shared, {"a": shared, "b": first}).item() == pytest.approx(0.5, abs=1e-4)
    assert decoupling_loss(shared, {"a": first, "b": first, "c": second}).item() == pytest.approx(1 / 3, abs=1e-4)
    assert decoupling_loss(shared, {"a": shared, "b": shared}).item() == pytest.approx(2.0, abs=1e-4)


def test_maps_count_by_their_means() -> None:
    shared, first = torch.randn(2, 3, 8, 5, 7)
    by_maps = decoupling_loss(shared, {"a": first})
    by_vectors = decoupling_loss(shared.mean(dim=(2, 3)), {"a": first.mean(dim=(2, 3))})
    assert by_maps.item() == pytest.approx(by_vectors.item(), rel=1e-4)


def likeness(features: list[Tensor]) -> float:
    return max(functional.cosine_similarity(one, other).abs().mean().item() for one, other in combinations(features, 2))


def test_its_gradient_makes_features_less_alike() -> None:
    base = torch.randn(4, 16)
    features = [(base + 0.5 * torch.randn(4, 16)).requires_grad_() for _ in range(3)]

    before = likeness(features)
    for _ in range(50):
        loss = decoupling_loss(features[0], {"a": features[1], "b": features[2]})
        steps = torch.autograd.grad(loss, features)
        features = [(old - 2.0 * step).detach().requires_grad_() for old, step in zip(features, steps, strict=True)]
    assert before > 0.6 and likeness(features) < 0.3


def test_the_gradient_reaches_all_and_is_finite_for_constant_features() -> None:
    features = [torch.zeros(2, 8, 3, 3, requires_grad=True), *torch.randn(2, 2, 8, 3, 3).requires_grad_().unbind()]
    for tensor in features[1:]:
        tensor.retain_grad()
    decoupling_loss(features[1], {"a": features[2], "b": features[0]}).backward()
    assert all(torch.isfinite(tensor.grad).all() for tensor in features)
    assert features[1].grad.abs().sum() > 0 and features[2].grad.abs().sum() > 0


def test_bfloat16_features_are_compared_in_float32() -> None:
    shared, first = torch.randn(2, 3, 64)
    rough = decoupling_loss(shared.bfloat16(), {"a": first.bfloat16()})
    assert rough.dtype == torch.float32
    assert rough.item() == pytest.approx(decoupling_loss(shared, {"a": first}).item(), abs=1e-2)
    with pytest.raises(ValueError, match="no task-specific features"):
        decoupling_loss(shared, {})
