# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What every balancing method is: task losses in, their weighted sum out."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class Balancer(nn.Module, ABC):
    """Weighs the tasks' losses. All that it goes on from is in its `state_dict`.

    A step may lack tasks: a batch need not hold every truth.
    """

    def __init__(self, tasks: Sequence[str], factors: Mapping[str, float]) -> None:
        """Weigh `tasks`; `factors` are what the user wants of them beforehand, 1 where none is given.

        Raises:
            ValueError: a factor is of no task.
        """
        super().__init__()
        unknown = sorted(set(factors) - set(tasks))
        if unknown:
            raise ValueError(f"a weight for task '{unknown[0]}', which is not trained")
        self.tasks = tuple(tasks)
        self.factors = {task: float(factors.get(task, 1.0)) for task in self.tasks}

    @abstractmethod
    def weights(self) -> dict[str, float]:
        """Return what each task's loss is multiplied by at present."""

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum of one step's losses (scalars).

        Raises:
            ValueError: there is no loss.
            KeyError: an unknown task.
        """
        weights = self.weights()
        return summed([weights[task] * loss for task, loss in losses.items()])

    def update(self, losses: Mapping[str, float]) -> None:
        """Take in the losses of a step that was made: finite, and the mean of all processes."""


def summed(losses: Sequence[Tensor]) -> Tensor:
    """Return the sum of scalars.

    Raises:
        ValueError: there are none.
    """
    if not losses:
        raise ValueError("no loss to sum")
    return torch.stack([loss.float() for loss in losses]).sum()


def dynamic_weights(ratios: Mapping[str, float], temperature: float) -> dict[str, float]:
    """Return T softmax(r / temperature), r a task's last loss over the one before (Liu et al. 2019, equation 7)."""
    largest = max(ratios.values())
    exponentials = {task: math.exp((ratio - largest) / temperature) for task, ratio in ratios.items()}
    scale = len(ratios) / sum(exponentials.values())
    return {task: scale * value for task, value in exponentials.items()}


def ratio(last: float, before: float) -> float:
    """Return how a loss went from one period to the next; 1 where one of them is not known (NaN)."""
    if math.isnan(last) or math.isnan(before):
        return 1.0
    # A loss of 0 has nothing left to learn; the bound keeps one bad period from taking all the weight.
    return min(last / max(before, 1e-8), 10.0)
