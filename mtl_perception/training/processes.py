# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One process or many: how those that `accelerate launch` starts make one step together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
from accelerate import PartialState
from accelerate.utils import broadcast, parse_flag_from_env, reduce
from torch import Tensor, nn

LONGEST_WAIT = timedelta(hours=6)
"""The others wait while the main process renders what class weights are counted on, or validates."""


@dataclass(frozen=True)
class Agreement:
    """What all processes know of a step.

    Attributes:
        losses: the mean of each task's loss over the processes whose batch has its truth.
        stop: whether one of them was asked to stop.
        failed: whether the step failed in one of them.
    """

    losses: dict[str, float]
    stop: bool
    failed: bool


class Processes:
    """The processes of a run, and the device of this one.

    Each draws its own batches; gradients are the mean over processes, where one whose batch lacks a task's truth counts
    as one whose gradient of it is zero. Batch norm uses each process's own batch (the synchronised one needs GPUs); its
    running statistics are the mean over processes. Nothing of it is a wrapper around the network: the losses call parts
    of it, not its `forward`.
    """

    def __init__(self) -> None:
        """Join the other processes, if `accelerate launch` (or torchrun) started several."""
        cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.cuda.is_available()
        self._state = PartialState(cpu=cpu, timeout=LONGEST_WAIT)
        self.device: torch.device = self._state.device
        self.index: int = self._state.process_index
        self.count: int = self._state.num_processes
        self.is_main: bool = self._state.is_main_process

    def agree(
        self,
        parameters: Sequence[nn.Parameter],
        tasks: Sequence[str],
        losses: Mapping[str, float],
        stop: bool,
        failed: bool,
    ) -> Agreement:
        """Average the gradients in place, in one exchange with all else that must be the same everywhere.

        A parameter keeps no gradient if it has none in any process.
        """
        if self.count == 1:
            return Agreement(dict(losses), stop, failed)
        used = [0.0 if p.grad is None else 1.0 for p in parameters]
        known = [*(losses.get(task, 0.0) for task in tasks), *(float(task in losses) for task in tasks)]
        flags = torch.tensor([*used, *known, float(stop), float(failed)], device=self.device)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        sums = reduce(torch.cat([*(g.reshape(-1) for g in gradients), flags]), "sum")
        sizes = [p.numel() for p in parameters]
        *parts, flags = sums.split([*sizes, len(flags)])
        numbers = flags.tolist()
        for parameter, total, uses in zip(parameters, parts, numbers[: len(sizes)], strict=True):
            if uses:
                parameter.grad = torch.empty_like(parameter).copy_((total / self.count).view_as(parameter))
        values, counts = numbers[len(sizes) :][: len(tasks)], numbers[len(sizes) + len(tasks) :][: len(tasks)]
        means = {task: v / n for task, v, n in zip(tasks, values, counts, strict=True) if n}
        return Agreement(means, bool(numbers[-2]), bool(numbers[-1]))

    def average_buffers(self, module: nn.Module) -> None:
        """Make the floating-point buffers of a module's state the mean over processes.

        Others are constants; a mean is off by a rounding error, which a resumed run would not have.
        """
        if self.count == 1:
            return
        state, parameters = module.state_dict(), dict(module.named_parameters())
        buffers = [state[name] for name in state if name not in parameters and state[name].is_floating_point()]
        if buffers:
            mean = reduce(torch.cat([buffer.reshape(-1) for buffer in buffers]), "mean")
            for buffer, values in zip(buffers, mean.split([b.numel() for b in buffers]), strict=True):
                buffer.copy_(values.view_as(buffer))

    def of_main(self, tensor: Tensor) -> Tensor:
        """Return the main process's tensor of the same shape."""
        return tensor if self.count == 1 else broadcast(tensor)

    def wait(self) -> None:
        """Wait until all are here."""
        self._state.wait_for_everyone()
