# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The saved state of a run: everything that it goes on from, in one file that is there whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mtl_perception.training.config import TrainingConfig

Named = tuple[str, nn.Parameter]


@dataclass
class Record:
    """The numbers of a run that are no tensors.

    Attributes:
        step: steps that were made.
        losses: the running mean of each task's loss.
        metrics: of the last validation.
        seconds: spent in steps, over all of the run's interruptions.
    """

    step: int = 0
    losses: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0


def save_state(path: Path, config: TrainingConfig, record: Record, tensors: Mapping[str, Tensor]) -> None:
    """Write a state to a temporary name and rename it: a process that is killed leaves the state before."""
    temporary = path.with_name(f".{path.name}.tmp")
    metadata = {"record": json.dumps(asdict(record)), "config": config.model_dump_json()}
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, temporary, metadata)
    temporary.chmod(0o644)  # safetensors makes it readable to its owner alone
    temporary.replace(path)


def load_state(path: Path, config: TrainingConfig) -> tuple[Record, dict[str, Tensor]]:
    """Read a state for a run of `config`.

    Raises:
        ValueError: it is not a state, or of a configuration that this one cannot go on from.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        record = Record(**json.loads(metadata["record"]))
        saved = TrainingConfig.model_validate_json(metadata["config"])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} cannot be read; choose another --out or remove it: {error}") from error
    obstacles = ", ".join(config.obstacles(saved, record.step))
    if obstacles:
        raise ValueError(f"{path} belongs to another configuration ({obstacles}): choose another --out or remove it")
    return record, tensors


def optimizer_tensors(optimizers: Sequence[torch.optim.Optimizer], parameters: Iterable[Named]) -> dict[str, Tensor]:
    """Return what optimisers keep, as `<key>.<name of the parameter>`."""
    return {
        f"{key}.{name}": value
        for name, parameter in parameters
        for optimizer in optimizers
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizers(
    optimizers: Sequence[torch.optim.Optimizer], parameters: Iterable[Named], tensors: Mapping[str, Tensor]
) -> None:
    """Give optimisers back what `optimizer_tensors` returned, on the parameters' devices and in their memory layout."""
    owners = {id(p): optimizer for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]}
    by_name = dict(parameters)
    for label, tensor in tensors.items():
        key, _, name = label.partition(".")
        parameter = by_name[name]
        if tensor.shape == parameter.shape and tensor.dim():
            tensor = torch.zeros_like(parameter, requires_grad=False).copy_(tensor)
        else:
            tensor = tensor.to(parameter.device)  # the count of steps, too: a fused optimiser reads it there
        owners[id(parameter)].state[parameter][key] = tensor


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `prefix`, without it."""
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
