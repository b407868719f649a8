# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The saved state of a run: everything that it goes on from, in one file that is there whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mtl_perception.core import LabelSpace
from mtl_perception.network import NetworkConfig
from mtl_perception.training.config import TrainingConfig

Named = tuple[str, nn.Parameter]


@dataclass
class Record:
    """The numbers of a run that are no tensors.

    Attributes:
        step: steps that were made.
        losses: the running mean of each task's loss; `terms`: the same of what is asked for beside the truth.
        metrics: of the last validation.
        seconds: spent in steps, over all of the run's interruptions.
    """

    step: int = 0
    losses: dict[str, float] = field(default_factory=dict)
    terms: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0


def save_state(
    path: Path, config: TrainingConfig, record: Record, identity: Mapping[str, str], tensors: Mapping[str, Tensor]
) -> None:
    """Write a state to a temporary name and rename it: a process that is killed leaves the state before.

    Args:
        path: of the file.
        config: of the run.
        record: of the run.
        identity: digests of what the configuration names: its network, its labels, what it starts from, its teacher.
        tensors: of the run.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    metadata = {
        "record": json.dumps(asdict(record)),
        "config": config.model_dump_json(),
        "identity": json.dumps(dict(identity)),
    }
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, temporary, metadata)
    temporary.chmod(0o644)  # safetensors makes it readable to its owner alone
    temporary.replace(path)


def load_state(
    path: Path, config: TrainingConfig, identity: Mapping[str, str]
) -> tuple[Record, dict[str, Tensor]]:
    """Read a state for a run of `config`; see `save_state`.

    Raises:
        ValueError: it is not a state, or of a configuration that this one cannot go on from, or what that names has
            changed.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        record = Record(**json.loads(metadata["record"]))
        saved = TrainingConfig.model_validate_json(metadata["config"])
        known = json.loads(metadata["identity"])
        if type(record.step) is not int or not isinstance(known, dict):
            raise ValueError("its step is no number, or its identity has no names")
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read; choose another --out or remove it: {error}") from error
    obstacles = config.obstacles(saved, record.step)
    differing = [key for key in sorted({*identity, *known}) if known.get(key) != identity.get(key)]
    obstacles += [f"what it names as {key}" for key in differing]
    if obstacles:
        told = ", ".join(obstacles)
        raise ValueError(f"{path} belongs to another configuration ({told}): choose another --out or remove it")
    return record, tensors


def identity_of(
    network: NetworkConfig, labels: LabelSpace, start: Mapping[str, Tensor], teacher: str
) -> dict[str, str]:
    """Return digests of what a configuration names, by content: files may be moved, but not changed.

    Args:
        network: that is trained.
        labels: that it is trained in.
        start: the weights that it starts from.
        teacher: file or hub id of what teaches it; "" for none.
    """
    identity = {
        "network": _digest(network.model_dump_json().encode()),
        "labels": _digest(json.dumps(labels.to_dict(), sort_keys=True).encode()),
    }
    if start:
        identity["start"] = _digest(*(start[name].cpu().contiguous().numpy().tobytes() for name in sorted(start)))
    if teacher:
        identity["teacher"] = _digest(Path(teacher).read_bytes() if Path(teacher).is_file() else teacher.encode())
    return identity


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


def _digest(*contents: bytes) -> str:
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content)
    return digest.hexdigest()[:16]
