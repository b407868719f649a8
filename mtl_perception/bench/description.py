# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a network costs, module by module and task by task: parameters, FLOPs, activations, latency."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

OUTSIDE = "(between modules)"
"""The row of what the network does itself, outside of its modules."""


@dataclass(frozen=True)
class ModuleCost:
    """What one module costs in a pass of all tasks, with all that is inside it; several calls are summed.

    Attributes:
        name: as in `named_modules()`.
        parameters: how many numbers it learns.
        flops: of matrix products, convolutions and attention only; one multiply-add is 2.
        activation_bytes: outputs of the modules that call no other one; what works in place, or only gives another
            view of its input, adds nothing.
        seconds: median latency.
        share: of the whole pass's latency, 0..1.
    """

    name: str
    parameters: int
    flops: int
    activation_bytes: int
    seconds: float
    share: float


@dataclass(frozen=True)
class TaskCost:
    """What a pass costs that is asked for this task alone; FLOPs and seconds as in `ModuleCost`."""

    name: str
    flops: int
    seconds: float


@dataclass(frozen=True)
class Description:
    """The costs of a pass of all tasks, of each module in it, and of passes of single tasks."""

    parameters: int
    flops: int
    activation_bytes: int
    seconds: float
    modules: tuple[ModuleCost, ...]
    tasks: tuple[TaskCost, ...]


def describe(
    network: nn.Module,
    batch: Any,
    tasks: Collection[str],
    previous: Any = None,
    *,
    repeats: int = 3,
    depth: int = 1,
    **inputs: Any,
) -> Description:
    """Measure `network(batch, tasks, previous, **inputs)` on the CPU, in evaluation mode.

    Passes of all tasks and of single tasks take turns, so that what else the machine does hits all alike. Every pass is
    measured with the same hooks on the modules, which cost it some microseconds a module.

    Args:
        network: its children are the modules that are told apart; what two of them shared would count for both.
        batch, previous, inputs: what it is called with.
        tasks: those it is asked for.
        repeats: of each timed pass; a first one is not timed.
        depth: 1 for the children, 2 for theirs as well, and so on. A parent's row includes its children's.

    Raises:
        ValueError: there is nothing to repeat, no depth, or the network has no such task.
    """
    if repeats < 1 or depth < 1:
        raise ValueError(f"repeats ({repeats}) and depth ({depth}) must be at least 1")

    def run(asked: Collection[str]) -> None:
        network(batch, asked, previous, **inputs)

    rows = {name: module for name, module in network.named_modules() if name and name.count(".") < depth}
    was_training = network.training
    network.eval()
    try:
        with _learning_nothing(network), torch.inference_mode():
            counts = _count(rows, run, network, tasks)
            alone = {task: _count({}, run, network, (task,)) for task in tasks}
            run(tasks)  # the first pass of a kind is slower: oneDNN prepares its kernels
            rounds = [_time_round(rows, run, tasks) for _ in range(repeats)]
    finally:
        network.train(was_training)
    parameters = _with_rest({name: _parameters(module) for name, module in rows.items()}, _parameters(network))
    return Description(
        parameters=_parameters(network),
        flops=counts.flops,
        activation_bytes=counts.activation_bytes,
        seconds=median(each.seconds for each in rounds),
        modules=tuple(
            ModuleCost(
                name,
                parameters=int(parameters[name]),
                flops=int(counts.row_flops[name]),
                activation_bytes=int(counts.row_bytes[name]),
                seconds=median(each.rows[name] for each in rounds),
                share=median(each.rows[name] / each.seconds for each in rounds),
            )
            for name in (*rows, OUTSIDE)
        ),
        tasks=tuple(TaskCost(task, alone[task].flops, median(each.tasks[task] for each in rounds)) for task in tasks),
    )


@contextmanager
def metered(modules: Mapping[str, nn.Module], read: Callable[[], float]) -> Iterator[dict[str, float]]:
    """Yield per module how far the meter went on while it, or anything inside it, was called.

    A module whose parts are called one by one, by methods of its own, counts as long as one of them runs.
    """
    amounts: dict[str, float] = dict.fromkeys(modules, 0.0)
    running = dict.fromkeys(modules, 0)
    started: dict[str, float] = {}
    handles = []

    def enter(name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            running[name] += 1
            if running[name] == 1:
                started[name] = read()

        return hook

    def leave(name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            running[name] -= 1
            if running[name] == 0:
                amounts[name] += read() - started[name]

        return hook

    try:
        for name, module in modules.items():
            for part in module.modules():
                handles.append(part.register_forward_pre_hook(enter(name)))
                handles.append(part.register_forward_hook(leave(name)))
        yield amounts
    finally:
        for handle in handles:
            handle.remove()


class _Activations:
    """Adds up the bytes that modules put out which call no other module."""

    def __init__(self) -> None:
        self.bytes = 0
        self._calls_another: list[bool] = []

    @contextmanager
    def watching(self, network: nn.Module) -> Iterator[None]:
        handles = []
        try:
            for module in network.modules():
                handles.append(module.register_forward_pre_hook(self._enter))
                handles.append(module.register_forward_hook(self._leave))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, module: nn.Module, inputs: Any) -> None:
        if self._calls_another:
            self._calls_another[-1] = True
        self._calls_another.append(False)

    def _leave(self, module: nn.Module, inputs: Any, outputs: Any) -> None:
        if not self._calls_another.pop():
            known = {tensor.untyped_storage().data_ptr() for tensor in _tensors(inputs)}
            new = {tensor.untyped_storage().data_ptr(): tensor for tensor in _tensors(outputs)}
            self.bytes += sum(
                tensor.numel() * tensor.element_size() for address, tensor in new.items() if address not in known
            )


_Run = Callable[[Collection[str]], None]


class _Counts(NamedTuple):
    """What a pass counts, as a whole and per row."""

    flops: int
    activation_bytes: int
    row_flops: dict[str, float]
    row_bytes: dict[str, float]


class _Round(NamedTuple):
    """Seconds of a pass of all tasks, as a whole and per row, and of a pass of each task alone."""

    seconds: float
    rows: dict[str, float]
    tasks: dict[str, float]


def _count(rows: Mapping[str, nn.Module], run: _Run, network: nn.Module, tasks: Collection[str]) -> _Counts:
    # torch (2.13) does not know its own attention kernel of the CPU, nor the fused one of its transformer layers.
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    flops = FlopCounterMode(display=False, custom_mapping={attention: _attention_flops})
    activations = _Activations()
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        # The activations' hooks come first, so that a module's own output is counted when its row is read.
        with (
            activations.watching(network),
            metered(rows, flops.get_total_flops) as row_flops,
            metered(rows, lambda: activations.bytes) as row_bytes,
            flops,
        ):
            run(tasks)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    total = flops.get_total_flops()
    return _Counts(total, activations.bytes, _with_rest(row_flops, total), _with_rest(row_bytes, activations.bytes))


@contextmanager
def _learning_nothing(network: nn.Module) -> Iterator[None]:
    """Let no parameter ask for a gradient: torch's counter looks for it where a module is called with a parameter."""
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


def _time_round(rows: Mapping[str, nn.Module], run: _Run, tasks: Collection[str]) -> _Round:
    def seconds_of(asked: Collection[str]) -> tuple[float, dict[str, float]]:
        with metered(rows, time.perf_counter) as row_seconds:
            started = time.perf_counter()
            run(asked)
            return time.perf_counter() - started, row_seconds

    seconds, row_seconds = seconds_of(tasks)
    return _Round(seconds, _with_rest(row_seconds, seconds), {task: seconds_of((task,))[0] for task in tasks})


def _with_rest(rows: Mapping[str, float], whole: float) -> dict[str, float]:
    """Add what no row accounts for; the rows of inner modules are part of their parents'."""
    return {**rows, OUTSIDE: whole - sum(amount for name, amount in rows.items() if "." not in name)}


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _tensors(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _tensors(part)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _tensors(getattr(value, field.name))
