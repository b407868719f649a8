# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The adaptive feature-decoupled multi-task loss of UV-M3TL: weights by how fast tasks learn, and different features.

UV-M3TL (arXiv 2602.01594) names both ingredients of its AFD-Loss, but no public source gives the formula. Ours:

    sum_j weight_j L_j / L0_j + mu * decoupling_loss, mu = 0.1

with weights in the form of dynamic weight averaging (Liu et al. 2019, "End-to-End Multi-Task Learning with Attention",
section 3.2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional

from mtl_perception.training.balancing.balancer import Balancer, dynamic_weights, ratio, summed

_TINY = 1e-8
"""The least that a loss is divided by."""


class Adaptive(Balancer):
    """Task weights that follow the losses' dynamics: the slower a task's loss falls, the more it weighs.

    weight_j = T softmax_j(r_j / temperature), where r_j is the ratio of the loss's moving average at the end of the
    last period to that of the period before (1 until there are two). Losses are divided by their mean over the first
    steps, so that units do not matter. A period stands for dynamic weight averaging's epoch: from one step to the next
    the ratio of moving averages would be 1 but for noise.
    """

    steps: Tensor
    averages: Tensor
    """(3, T): the moving averages at the end of the period before the last, of the last, and now; NaN if unknown."""
    initial: Tensor
    """(2, T): the sum of the first losses, and how many they are."""

    def __init__(
        self,
        tasks: Sequence[str],
        factors: Mapping[str, float],
        temperature: float = 2.0,
        period: int = 100,
        decay: float = 0.95,
        warm_up: int = 50,
    ) -> None:
        """Start with equal weights.

        Args:
            tasks: names.
            factors: by task, see `Balancer`.
            temperature: higher is nearer to equal weights.
            period: steps from one comparison of a loss with itself to the next.
            decay: of the moving averages, a step.
            warm_up: steps whose mean loss is the unit of a task's loss.
        """
        super().__init__(tasks, factors)
        self.temperature, self.period, self.decay, self.warm_up = temperature, period, decay, warm_up
        count = len(self.tasks)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("averages", torch.full((3, count), torch.nan, dtype=torch.float64))
        self.register_buffer("initial", torch.zeros(2, count, dtype=torch.float64))

    def weights(self) -> dict[str, float]:
        """Return what each loss is multiplied by: weight over unit."""
        units = self._units()
        return {task: weight / (units[task] or 1.0) for task, weight in self._balanced().items()}

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum. No gradient flows through weights and units."""
        units, weights = self._units(), self._balanced()
        # A task that is seen for the first time is measured by itself.
        return summed(
            [weights[task] * loss / (units[task] or max(float(loss.detach()), _TINY)) for task, loss in losses.items()]
        )

    @torch.no_grad()
    def update(self, losses: Mapping[str, float]) -> None:
        """Take in one step's losses; a task that the step lacks stays as it is."""
        for task, value in losses.items():
            row = self.tasks.index(task)
            if float(self.initial[1, row]) < self.warm_up:
                self.initial[:, row] += self.initial.new_tensor([value, 1.0])
            now = self.averages[2, row]
            now.copy_(torch.where(now.isnan(), value, self.decay * now + (1 - self.decay) * value))
        self.steps += 1
        if int(self.steps) % self.period == 0:
            self.averages.copy_(self.averages[[1, 2, 2]])

    def _balanced(self) -> dict[str, float]:
        before, last, _ = self.averages.tolist()
        ratios = {task: ratio(last[row], before[row]) for row, task in enumerate(self.tasks)}
        weights = dynamic_weights(ratios, self.temperature)
        return {task: self.factors[task] * weight for task, weight in weights.items()}

    def _units(self) -> dict[str, float]:
        """Return the mean of each task's first losses, 0 where there are none yet."""
        sums, counts = self.initial.tolist()
        return {
            task: max(sums[row] / counts[row], _TINY) if counts[row] else 0.0 for row, task in enumerate(self.tasks)
        }


def decoupling_loss(shared: Tensor, specific: Mapping[str, Tensor]) -> Tensor:
    """Return how much the tasks' features repeat the shared ones and each other.

    The mean of cos^2 between each task's and the shared features, plus that between the tasks' (0 for a single task);
    each is 0 for orthogonal and 1 for parallel features. Compared are layer-normalised means over the positions, row by
    row, in float32.

    Args:
        shared: (N, C, h, w) maps or (N, C) vectors.
        specific: by task, likewise.

    Raises:
        ValueError: there is no task.
    """
    if not specific:
        raise ValueError("no task-specific features")
    common = summary(shared)
    own = [summary(features) for features in specific.values()]
    loss = torch.stack([_squared_cosine(summary, common) for summary in own]).mean()
    if len(own) > 1:
        loss = loss + torch.stack([_squared_cosine(one, other) for one, other in combinations(own, 2)]).mean()
    return loss


def summary(features: Tensor) -> Tensor:
    """Return (N, C), the mean over positions, layer-normalised."""
    means = features.float().flatten(2).mean(dim=2) if features.dim() > 2 else features.float()
    return functional.layer_norm(means, means.shape[1:])


def _squared_cosine(first: Tensor, second: Tensor) -> Tensor:
    return functional.cosine_similarity(first, second, dim=1).square().mean()
