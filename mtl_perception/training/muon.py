# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The optimiser of the convolution kernels: momentum whose updates are made orthogonal.

Muon (Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"). torch's own takes matrices only;
a kernel is a matrix here, one row an output channel.
"""

from __future__ import annotations

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
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(parameter)
                state["momentum"].mul_(group["momentum"]).add_(parameter.grad)
                update = parameter.grad.add(state["momentum"], alpha=group["momentum"])
                matrix = orthogonalised(update.reshape(len(update), -1))
                matrix *= max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
                parameter.add_(matrix.reshape(parameter.shape), alpha=-group["lr"])


def orthogonalised(matrix: Tensor) -> Tensor:
    """Return a matrix with the same singular vectors and singular values near 1 (0.7 to 1.2).

    Five steps of the quintic Newton-Schulz iteration with Jordan's coefficients.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = wide / (wide.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if matrix.shape[0] <= matrix.shape[1] else x.T
