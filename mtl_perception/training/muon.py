# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The optimiser of the convolution kernels: momentum whose updates are made orthogonal.

Muon (Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"). torch's own takes matrices only;
a kernel is a matrix here, one row an output channel.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, then the nearest (semi-)orthogonal matrix by a Newton-Schulz iteration.

    An update's size does not depend on the gradient's: `lr` is about the root mean square change of a row.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        """Optimise parameters of two or more dimensions; all but the first are flattened."""
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Make one step; parameters without a gradient stay."""
        for group in self.param_groups:
            alike: dict[tuple[int, int], list[nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike[len(parameter), parameter[0].numel()].append(parameter)
            for (rows, columns), parameters in alike.items():
                updates = [self._nesterov(parameter, group["momentum"]) for parameter in parameters]
                # Kernels of one shape are made orthogonal together: the small ones cost little more than one does.
                matrices = orthogonalised(torch.stack([update.reshape(rows, columns) for update in updates]))
                scale = group["lr"] * max(1.0, rows / columns) ** 0.5
                for parameter, matrix in zip(parameters, matrices.unbind(), strict=True):
                    parameter.add_(matrix.reshape(parameter.shape), alpha=-scale)

    def _nesterov(self, parameter: nn.Parameter, decay: float) -> Tensor:
        assert parameter.grad is not None
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].mul_(decay).add_(parameter.grad)
        return parameter.grad.add(state["momentum"], alpha=decay)


def orthogonalised(matrices: Tensor) -> Tensor:
    """Return matrices (..., R, C) with the same singular vectors and singular values near 1 (0.7 to 1.2).

    Five steps of the quintic Newton-Schulz iteration with Jordan's coefficients. Each step multiplies X by a polynomial
    of X X^T, so the steps are made on the small square matrix, and X is multiplied once, by the product of them all:
    the same result at well under half the cost for kernels, which are much wider than high.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    high = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if high else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    gram = x @ x.mT
    identity = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    product = identity
    for step in range(5):
        factor = a * identity + b * gram + c * (gram @ gram)
        product = factor if step == 0 else factor @ product
        if step < 4:
            gram = factor @ gram @ factor
    x = product @ x
    return x.mT if high else x
