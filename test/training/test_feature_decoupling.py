# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The adaptive weights follow how fast tasks learn; the decoupling loss measures and undoes repetition."""

from __future__ import annotations

import copy
import json
from itertools import combinations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mtl_perception.training.feature_decoupling import AdaptiveTaskWeights, decoupling_loss


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def losses_at(step: int) -> dict[str, Tensor]:
    return {"fast": torch.tensor(100.0 * 0.97**step), "slow": torch.tensor(0.5 * 0.999**step)}


def trained(steps: int) -> AdaptiveTaskWeights:
    weights = AdaptiveTaskWeights(("fast", "slow"), period=20, warm_up=10)
    for step in range(steps):
        weights.update(losses_at(step))
    return weights


def test_weights_are_equal_at_first_and_always_sum_to_the_number_of_tasks() -> None:
    assert AdaptiveTaskWeights(("a", "b", "c")).weights() == {"a": 1.0, "b": 1.0, "c": 1.0}
    for steps in (1, 39, 40, 95, 200):
        assert sum(trained(steps).weights().values()) == pytest.approx(2.0)
    assert trained(39).weights() == {"fast": 1.0, "slow": 1.0}  # a ratio needs two periods


def test_the_slower_task_weighs_more_whatever_the_units() -> None:
    weights = trained(100).weights()
    # Ratios of a period of 20 steps: 0.97^20 = 0.54 and 0.999^20 = 0.98.
    assert weights["slow"] > 1.0 > weights["fast"]
    expected = 2 / (1 + torch.tensor((0.97**20 - 0.999**20) / 2).exp().item())
    assert weights["slow"] == pytest.approx(expected, rel=2e-2)
    rising = AdaptiveTaskWeights(("a", "b"), period=5)
    for step in range(10):
        rising.update({"a": torch.tensor(1.0 + step), "b": torch.tensor(1.0)})
    assert rising.weights()["a"] > 1.0


def test_a_high_temperature_evens_the_weights_out() -> None:
    spreads = []
    for temperature in (0.5, 2.0, 50.0):
        weights = AdaptiveTaskWeights(("fast", "slow"), temperature=temperature, period=20)
        for step in range(60):
            weights.update(losses_at(step))
        spreads.append(weights.weights()["slow"] - 1.0)
    assert spreads[0] > spreads[1] > spreads[2] > 0


def test_losses_are_measured_by_their_mean_over_the_first_steps() -> None:
    weights = AdaptiveTaskWeights(("a", "b"), warm_up=4)
    for value in (1.0, 2.0, 3.0, 4.0, 100.0):
        weights.update({"a": torch.tensor(value), "b": torch.tensor(1000.0 * value)})
    loss = torch.tensor(5.0, requires_grad=True)
    total = weights.total({"a": loss, "b": torch.tensor(2500.0)})
    assert total.item() == pytest.approx(5.0 / 2.5 + 1.0)
    total.backward()
    assert loss.grad.item() == pytest.approx(1 / 2.5)
    assert weights.total({"b": torch.tensor(2500.0)}).item() == pytest.approx(1.0)


def test_resuming_gives_identical_weights() -> None:
    whole = trained(50)
    state = json.loads(json.dumps(whole.state_dict()))
    kept = copy.deepcopy(state)
    resumed = AdaptiveTaskWeights(("fast", "slow"), period=20, warm_up=10)
    resumed.load_state_dict(state)
    assert resumed.weights() == whole.weights() and whole.weights()["slow"] > 1.0
    for step in range(50, 90):
        for weights in (whole, resumed):
            weights.update(losses_at(step))
        assert resumed.weights() == whole.weights()
        assert torch.equal(resumed.total(losses_at(step)), whole.total(losses_at(step)))
    assert resumed.state_dict() == whole.state_dict() and state == kept
    with pytest.raises(ValueError, match="a state of the tasks"):
        AdaptiveTaskWeights(("fast",)).load_state_dict(state)


def test_a_loss_that_is_missing_or_not_finite_changes_nothing() -> None:
    weights = AdaptiveTaskWeights(("a", "b", "c"), period=2)
    for step in range(8):
        losses = {"a": torch.tensor(1.0 / (1 + step))}
        if step % 2 == 0:
            losses["b"] = torch.tensor(1.0)
        else:
            losses["b"] = torch.tensor(torch.nan)
        weights.update(losses)
    values = weights.weights()
    assert values["b"] == pytest.approx(values["c"]) and values["a"] < values["b"]
    assert weights.total({"b": torch.tensor(3.0)}).item() == pytest.approx(3 * values["b"])
    with pytest.raises(KeyError):
        weights.update({"d": torch.tensor(1.0)})
    with pytest.raises(ValueError, match="no loss"):
        weights.total({})


def test_a_loss_that_falls_to_zero_is_no_trouble() -> None:
    weights = AdaptiveTaskWeights(("a", "b"), period=1)
    for value in (0.0, 0.0, 1.0):
        weights.update({"a": torch.tensor(value), "b": torch.tensor(1.0)})
        assert all(0 < weight < 2 for weight in weights.weights().values())
        assert torch.isfinite(weights.total({"a": torch.tensor(value)}))


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
