# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The adaptive feature-decoupled multi-task loss of UV-M3TL: weights by how fast tasks learn, and different features.

UV-M3TL (arXiv 2602.01594) names both ingredients of its AFD-Loss, but no public source gives the formula. Ours:

    sum_j weight_j L_j / L0_j + mu * decoupling_loss, mu = 0.1

with weights in the form of dynamic weight averaging (Liu et al. 2019, "End-to-End Multi-Task Learning with Attention",
section 3.2).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


class AdaptiveTaskWeights:
    """Task weights that follow the losses' dynamics: the slower a task's loss falls, the more it weighs.

    weight_j = T softmax_j(r_j / temperature), where r_j is the ratio of the loss's moving average at the end of the
    last period to that of the period before (1 until there are two). Losses are divided by their mean over the first
    `warm_up` steps, so that units do not matter. A period stands for dynamic weight averaging's epoch: from one step to
    the next the ratio of moving averages would be 1 but for noise.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        temperature: float = 2.0,
        period: int = 100,
        decay: float = 0.95,
        warm_up: int = 50,
    ) -> None:
        """Start with equal weights.

        Args:
            tasks: names.
            temperature: higher is nearer to equal weights.
            period: steps from one comparison of a loss with itself to the next.
            decay: of the moving averages, a step.
            warm_up: steps whose mean loss is the unit of a task's loss.
        """
        self.tasks = tuple(tasks)
        self.temperature = temperature
        self.period = period
        self.decay = decay
        self.warm_up = warm_up
        self._step = 0
        self._average: dict[str, float] = {}
        self._last: dict[str, float] = {}
        self._before: dict[str, float] = {}
        self._initial_sum = dict.fromkeys(self.tasks, 0.0)
        self._initial_steps = dict.fromkeys(self.tasks, 0)

    def update(self, losses: Mapping[str, Tensor]) -> None:
        """Take in one step's losses (scalars). A task that the step lacks, or whose loss is not finite, stays as it is.

        Raises:
            KeyError: an unknown task.
        """
        for task, loss in losses.items():
            value = float(loss.detach())
            if not math.isfinite(value):
                continue
            if self._initial_steps[task] < self.warm_up:
                self._initial_sum[task] += value
                self._initial_steps[task] += 1
            self._average[task] = self.decay * self._average.get(task, value) + (1 - self.decay) * value
        self._step += 1
        if self._step % self.period == 0:
            self._before, self._last = self._last, dict(self._average)

    def weights(self) -> dict[str, float]:
        """Return the weight of each task; they sum to the number of tasks."""
        exponentials = {task: math.exp(self._ratio(task) / self.temperature) for task in self.tasks}
        scale = len(self.tasks) / sum(exponentials.values())
        return {task: scale * value for task, value in exponentials.items()}

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum of one step's losses, which `update` has taken in before.

        No gradient flows through weights and units.

        Raises:
            ValueError: there is no loss.
            KeyError: an unknown task.
        """
        if not losses:
            raise ValueError("no loss to sum")
        weights = self.weights()
        return torch.stack([weights[task] / self._unit(task) * loss for task, loss in losses.items()]).sum()

    def state_dict(self) -> dict[str, Any]:
        """Return all that the weights follow from, as numbers."""
        return {
            "step": self._step,
            "average": dict(self._average),
            "last": dict(self._last),
            "before": dict(self._before),
            "initial_sum": dict(self._initial_sum),
            "initial_steps": dict(self._initial_steps),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on exactly where `state_dict` was taken.

        Raises:
            ValueError: the state is of other tasks.
        """
        if set(state["initial_sum"]) != set(self.tasks):
            raise ValueError(f"a state of the tasks {sorted(state['initial_sum'])}, expected {sorted(self.tasks)}")
        self._step = state["step"]
        self._average = dict(state["average"])
        self._last = dict(state["last"])
        self._before = dict(state["before"])
        self._initial_sum = dict(state["initial_sum"])
        self._initial_steps = dict(state["initial_steps"])

    def _ratio(self, task: str) -> float:
        if task not in self._before:
            return 1.0
        # A loss of 0 has nothing left to learn; the bound keeps one bad period from taking all the weight.
        return min(self._last[task] / max(self._before[task], 1e-8), 10.0)

    def _unit(self, task: str) -> float:
        steps = self._initial_steps[task]
        return max(self._initial_sum[task] / steps, 1e-8) if steps else 1.0


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
    common = _summary(shared)
    own = [_summary(features) for features in specific.values()]
    loss = torch.stack([_squared_cosine(summary, common) for summary in own]).mean()
    if len(own) > 1:
        loss = loss + torch.stack([_squared_cosine(one, other) for one, other in combinations(own, 2)]).mean()
    return loss


def _summary(features: Tensor) -> Tensor:
    """Return (N, C), the mean over positions, layer-normalised."""
    means = features.float().flatten(2).mean(dim=2) if features.dim() > 2 else features.float()
    return functional.layer_norm(means, means.shape[1:])


def _squared_cosine(first: Tensor, second: Tensor) -> Tensor:
    return functional.cosine_similarity(first, second, dim=1).square().mean()
