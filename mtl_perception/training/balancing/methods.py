# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Published ways to weigh the tasks, and how a configuration names them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mtl_perception.training.balancing.balancer import Balancer, dynamic_weights, ratio, summed
from mtl_perception.training.balancing.feature_decoupling import Adaptive
from mtl_perception.training.config import BalancingConfig


def make_balancer(config: BalancingConfig, tasks: Sequence[str]) -> Balancer:
    """Return the method that a configuration names, for these tasks.

    Raises:
        ValueError: a weight is of another task.
    """
    factors = {str(task): weight for task, weight in config.weights.items()}
    if config.kind == "equal":
        return Equal(tasks, factors)
    if config.kind == "uncertainty":
        return Uncertainty(tasks, factors)
    if config.kind == "dynamic_average":
        return DynamicWeightAverage(tasks, factors, config.temperature, config.period)
    return Adaptive(tasks, factors, config.temperature, config.period)


class Equal(Balancer):
    """Every task weighs the same, but for the given factors."""

    def weights(self) -> dict[str, float]:
        """Return the factors."""
        return dict(self.factors)


class Uncertainty(Balancer):
    """Each task weighs by an uncertainty that is learned with the network.

    Kendall et al. 2018, "Multi-task learning using uncertainty to weigh losses for scene geometry and semantics": with
    s_j = log sigma_j^2, the total is the sum of f_j (exp(-s_j) L_j + s_j / 2), f_j the task's factor: on the loss alone
    s_j would learn it away. Theirs halves the first term of regressions only; here every loss is a mixture, and that
    would shift s_j by a constant.
    """

    def __init__(self, tasks: Sequence[str], factors: Mapping[str, float]) -> None:
        """Start with a variance of 1."""
        super().__init__(tasks, factors)
        self.log_variance = nn.Parameter(torch.zeros(len(self.tasks)))

    def weights(self) -> dict[str, float]:
        """Return exp(-s_j) times the factor."""
        precisions = (-self.log_variance.detach()).exp().tolist()
        return {task: self.factors[task] * value for task, value in zip(self.tasks, precisions, strict=True)}

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the sum; its gradient reaches the uncertainties of the tasks that the step has."""
        terms = []
        for task, loss in losses.items():
            s = self.log_variance[self._row(task)]
            terms.append(self.factors[task] * ((-s).exp() * loss + 0.5 * s))
        return summed(terms)

    def _row(self, task: str) -> int:
        if task not in self.factors:
            raise KeyError(task)
        return self.tasks.index(task)


class DynamicWeightAverage(Balancer):
    """The slower a task's loss falls from one period to the next, the more it weighs.

    Liu et al. 2019, "End-to-end multi-task learning with attention", section 3.2, whose period is an epoch: weights are
    T softmax(r_j / temperature), r_j the ratio of the mean losses of the last two periods (1 until there are two).
    """

    means: Tensor
    """(2, T): of the period before the last, and of the last; NaN where there is none."""
    sums: Tensor
    """(2, T): the sum of the running period's losses, and how many they are."""
    steps: Tensor

    def __init__(self, tasks: Sequence[str], factors: Mapping[str, float], temperature: float, period: int) -> None:
        """Start with equal weights; `period` in steps."""
        super().__init__(tasks, factors)
        self.temperature, self.period = temperature, period
        self.register_buffer("means", torch.full((2, len(self.tasks)), torch.nan, dtype=torch.float64))
        self.register_buffer("sums", torch.zeros(2, len(self.tasks), dtype=torch.float64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def weights(self) -> dict[str, float]:
        """Return the weight of each task; but for the factors they sum to the number of tasks."""
        before, last = self.means.tolist()
        ratios = {task: ratio(last[row], before[row]) for row, task in enumerate(self.tasks)}
        weights = dynamic_weights(ratios, self.temperature)
        return {task: self.factors[task] * weight for task, weight in weights.items()}

    @torch.no_grad()
    def update(self, losses: Mapping[str, float]) -> None:
        """Take in one step's losses; a task that the step lacks stays as it is."""
        for task, value in losses.items():
            self.sums[:, self.tasks.index(task)] += self.sums.new_tensor([value, 1.0])
        self.steps += 1
        if int(self.steps) % self.period == 0:
            mean = self.sums[0] / self.sums[1]  # NaN for a task that no step had
            self.means.copy_(torch.stack([self.means[1], torch.where(mean.isnan(), self.means[1], mean)]))
            self.sums.zero_()
