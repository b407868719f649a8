# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How much the tasks' gradients disagree about the shared weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor, nn


def gradient_conflicts(losses: Mapping[str, Tensor], shared: Sequence[nn.Parameter]) -> dict[tuple[str, str], float]:
    """Return the cosine between the gradients of each pair of tasks; below 0 they conflict.

    Yu et al. 2020, "Gradient surgery for multi-task learning", definition 1. It costs one backward pass a task; the
    losses' graph is kept. Directions are held in bfloat16: a cosine is then right to a few thousandths, at half the
    memory.

    Args:
        losses: scalars by task; one that does not depend on the shared weights, or not at present, is left out.
        shared: the shared weights.
    """
    directions: dict[str, Tensor] = {}
    for task, loss in losses.items():
        if not loss.requires_grad:
            continue
        gradients = torch.autograd.grad(loss, shared, retain_graph=True, allow_unused=True)
        flat = torch.cat(
            [
                torch.zeros(parameter.numel(), device=parameter.device) if gradient is None else gradient.flatten()
                for parameter, gradient in zip(shared, gradients, strict=True)
            ]
        )
        norm = float(flat.norm())
        if norm > 0:
            directions[task] = (flat / norm).bfloat16()
    return {
        (one, other): _cosine(directions[one].float(), directions[other].float())
        for one, other in combinations(directions, 2)
    }


def _cosine(first: Tensor, second: Tensor) -> float:
    return float(first @ second / (first.norm() * second.norm()))
