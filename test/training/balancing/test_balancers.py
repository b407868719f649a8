# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Balancing methods: their weights, what they follow from, and that they resume exactly."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mtl_perception.training.balancing import (
    Adaptive,
    Balancer,
    DynamicWeightAverage,
    Equal,
    Uncertainty,
    make_balancer,
)
from mtl_perception.training.config import BalancingConfig

KINDS = ("equal", "uncertainty", "dynamic_average", "adaptive")


def losses_at(step: int) -> dict[str, float]:
    return {"fast": 100.0 * 0.97**step, "slow": 0.5 * 0.999**step}


def as_tensors(losses: dict[str, float]) -> dict[str, Tensor]:
    return {task: torch.tensor(value, dtype=torch.float32) for task, value in losses.items()}


def trained(balancer: Balancer, steps: int, first: int = 0) -> Balancer:
    for step in range(first, first + steps):
        balancer.update(losses_at(step))
    return balancer


def adaptive(**options: float) -> Adaptive:
    return Adaptive(("fast", "slow"), {}, **{"period": 20, "warm_up": 10, **options})  # type: ignore[arg-type]


def balanced(balancer: Adaptive) -> dict[str, float]:
    """Return the weights without the losses' units."""
    sums, counts = balancer.initial.tolist()
    return {task: weight * (sums[row] / counts[row]) for row, (task, weight) in enumerate(balancer.weights().items())}


@pytest.mark.parametrize("kind", KINDS)
def test_a_configuration_names_each_method_and_its_factors_count(kind: str) -> None:
    plain = make_balancer(BalancingConfig(kind=kind), ("depth", "semantic"))
    assert plain.weights() == {"depth": 1.0, "semantic": 1.0}
    doubled = make_balancer(BalancingConfig(kind=kind, weights={"depth": 2.0}), ("depth", "semantic"))
    losses = {"depth": torch.tensor(3.0), "semantic": torch.tensor(1.0)}
    for balancer in (plain, doubled):
        balancer.update({"depth": 3.0, "semantic": 1.0})
    assert doubled.weights()["depth"] == pytest.approx(2.0 * plain.weights()["depth"])
    assert doubled.total(losses).item() - plain.total(losses).item() == pytest.approx(plain.weights()["depth"] * 3.0)
    with pytest.raises(ValueError, match="'edges', which is not trained"):
        make_balancer(BalancingConfig(kind=kind, weights={"edges": 2.0}), ("depth", "semantic"))
    with pytest.raises(ValueError, match="no loss"):
        plain.total({})
    with pytest.raises(KeyError):
        plain.total({"edges": torch.tensor(1.0)})


def test_equal_weights_are_a_sum() -> None:
    total = Equal(("a", "b"), {"b": 0.5}).total({"a": torch.tensor(2.0), "b": torch.tensor(4.0)})
    assert total.item() == pytest.approx(4.0)


def test_uncertainty_converges_to_where_its_derivative_is_zero() -> None:
    balancer = Uncertainty(("a", "b"), {"b": 3.0})
    optimizer = torch.optim.Adam(balancer.parameters(), lr=0.05)
    losses = {"a": torch.tensor(4.0), "b": torch.tensor(0.25)}
    for _ in range(400):
        optimizer.zero_grad()
        balancer.total(losses).backward()
        optimizer.step()
    # d/ds (exp(-s) L + s / 2) = 0 at exp(-s) = 1 / (2 L), whatever the factor.
    assert balancer.weights() == pytest.approx({"a": 0.125, "b": 3.0 * 2.0}, rel=1e-2)
    optimizer.zero_grad()
    balancer.total({"a": losses["a"]}).backward()
    assert balancer.log_variance.grad is not None and balancer.log_variance.grad[1] == 0


def test_dynamic_average_weighs_by_the_ratio_of_two_periods() -> None:
    balancer = DynamicWeightAverage(("fast", "slow"), {}, temperature=2.0, period=10)
    trained(balancer, 19)
    assert balancer.weights() == {"fast": 1.0, "slow": 1.0}
    trained(balancer, 1, first=19)
    weights = balancer.weights()
    expected = 2 / (1 + torch.tensor((0.97**10 - 0.999**10) / 2).exp().item())
    assert weights["slow"] == pytest.approx(expected, rel=1e-6) and sum(weights.values()) == pytest.approx(2.0)
    for _ in range(10):  # a period without one of the tasks leaves that one's ratio as it is
        balancer.update({"fast": 100.0 * 0.97**30})
    assert balancer.means[1, 1] == pytest.approx(0.5 * sum(0.999**step for step in range(10, 20)) / 10)


def test_adaptive_weights_are_equal_at_first_and_sum_to_the_number_of_tasks() -> None:
    for steps in (1, 39, 40, 95, 200):
        assert sum(balanced(trained(adaptive(), steps)).values()) == pytest.approx(2.0)
    assert balanced(trained(adaptive(), 39)) == pytest.approx({"fast": 1.0, "slow": 1.0})  # a ratio needs two periods


def test_adaptive_weighs_the_slower_task_more_whatever_the_units() -> None:
    weights = balanced(trained(adaptive(), 100))
    # Ratios of a period of 20 steps: 0.97^20 = 0.54 and 0.999^20 = 0.98.
    expected = 2 / (1 + torch.tensor((0.97**20 - 0.999**20) / 2).exp().item())
    assert weights["slow"] == pytest.approx(expected, rel=2e-2)
    spreads = [balanced(trained(adaptive(temperature=t), 60))["slow"] - 1.0 for t in (0.5, 2.0, 50.0)]
    assert spreads[0] > spreads[1] > spreads[2] > 0


def test_adaptive_measures_losses_by_their_mean_over_the_first_steps() -> None:
    balancer = Adaptive(("a", "b"), {}, warm_up=4)
    first = balancer.total({"a": torch.tensor(7.0), "b": torch.tensor(1e-3)})
    assert first.item() == pytest.approx(2.0)  # nothing is known yet: each by itself
    for value in (1.0, 2.0, 3.0, 4.0, 100.0):
        balancer.update({"a": value, "b": 1000.0 * value})
    loss = torch.tensor(5.0, requires_grad=True)
    total = balancer.total({"a": loss, "b": torch.tensor(2500.0)})
    assert total.item() == pytest.approx(5.0 / 2.5 + 1.0)
    total.backward()
    assert loss.grad is not None and loss.grad.item() == pytest.approx(1 / 2.5)


def test_adaptive_bears_losses_that_are_missing_or_zero() -> None:
    balancer = Adaptive(("a", "b", "c"), {}, period=2)
    for step in range(8):
        balancer.update({"a": 1.0 / (1 + step), **({"b": 1.0} if step % 2 == 0 else {})})
    assert balancer.weights()["b"] == pytest.approx(balancer.weights()["c"])
    falling = Adaptive(("a", "b"), {}, period=1)
    for value in (0.0, 0.0, 1.0):
        falling.update({"a": value, "b": 1.0})
        assert torch.isfinite(falling.total({"a": torch.tensor(value)}))


def test_a_low_temperature_gives_the_slowest_task_all_the_weight() -> None:
    balancer = DynamicWeightAverage(("a", "b"), {}, temperature=0.01, period=1)
    for value in (1.0, 20.0):
        balancer.update({"a": value, "b": 1.0})
    assert balancer.weights() == pytest.approx({"a": 2.0, "b": 0.0})


@pytest.mark.parametrize("kind", KINDS)
def test_resuming_gives_identical_weights(kind: str) -> None:
    tasks = ("fast", "slow")
    config = BalancingConfig(kind=kind, period=7)
    whole = trained(make_balancer(config, tasks), 50)
    with torch.no_grad():
        for parameter in whole.parameters():
            parameter.copy_(torch.tensor([0.3, -0.7]))
    resumed = make_balancer(config, tasks)
    resumed.load_state_dict({name: tensor.clone() for name, tensor in whole.state_dict().items()})
    for step in range(50, 90):
        assert resumed.weights() == whole.weights()
        losses = as_tensors(losses_at(step))
        assert torch.equal(resumed.total(losses), whole.total(losses))
        for balancer in (whole, resumed):
            balancer.update(losses_at(step))
