# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a run starts from: the weights of a checkpoint, some of which it may leave as they are."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from mtl_perception.network import Checkpoint, MultiTaskNetwork, NetworkConfig, load_checkpoint
from mtl_perception.training.config import TrainingConfig


@dataclass(frozen=True)
class Start:
    """What a run starts from.

    Attributes:
        weights: by their names, those that were taken over.
        trained_tasks: what the network can do with them alone.
        card: what the checkpoint says of itself.
    """

    weights: Mapping[str, Tensor] = field(default_factory=dict)
    trained_tasks: tuple[str, ...] = ()
    card: Mapping[str, Any] = field(default_factory=dict)


def load_start(network: MultiTaskNetwork, config: TrainingConfig) -> Start:
    """Give a network the weights that a run starts from; decoders that the checkpoint lacks stay random.

    Args:
        network: with random weights.
        config: whose `start` and `start_parts` count.

    Raises:
        ValueError: the checkpoint cannot be read or is of another encoder, the network has no such part, or a part that
            is named has other weights there.
        FileNotFoundError: there is no such checkpoint.
    """
    if not config.start:
        return Start()
    checkpoint = load_checkpoint(config.start)
    own, saved = network.state_dict(), checkpoint.network.state_dict()
    common = {name: saved[name] for name in own.keys() & saved.keys() if own[name].shape == saved[name].shape}
    if config.start_parts:
        for part in config.start_parts:
            _part(network, part)
        prefixes = tuple(f"{part}." for part in config.start_parts)
        own = {name: tensor for name, tensor in own.items() if name.startswith(prefixes)}
        common = {name: tensor for name, tensor in common.items() if name.startswith(prefixes)}
    for name in own.keys() - common.keys():
        if name.startswith("encoder."):
            raise ValueError(f"checkpoint {config.start} is of another encoder: {name}")
        if config.start_parts:
            raise ValueError(f"start_parts: '{name}' is not in checkpoint {config.start}, or has another shape there")
    network.load_state_dict(common, strict=False)
    weights = {name: network.state_dict()[name].clone() for name in common}
    return Start(weights, _kept_tasks(network.config, checkpoint, common), checkpoint.card)


def freeze(network: MultiTaskNetwork, names: Sequence[str], loaded: Collection[str]) -> list[nn.Module]:
    """Let parts of a network have no gradients, and return them; their norms are to be kept in evaluation mode.

    Args:
        network: whose parts they are.
        names: of the parts.
        loaded: the names of all tensors that come from a checkpoint (`load_start`).

    Raises:
        ValueError: the network has no such part, or some of it would keep random weights.
    """
    parts = [_part(network, name) for name in names]
    for name in names:
        random = [key for key in network.state_dict() if key.startswith(f"{name}.") and key not in loaded]
        if random:
            raise ValueError(f"frozen: '{random[0]}' would keep random weights: the start's checkpoint has none for it")
    for part in parts:
        part.requires_grad_(False)
    return parts


def _kept_tasks(config: NetworkConfig, checkpoint: Checkpoint, loaded: Collection[str]) -> tuple[str, ...]:
    """Return the tasks that the checkpoint was trained for, if all that they need was taken over; else none."""
    tasks = tuple(task for task in checkpoint.trained_tasks if task in config.tasks)
    if not tasks:
        return ()
    needed = MultiTaskNetwork(config.restricted(tasks)).state_dict()
    return tasks if needed.keys() <= set(loaded) else ()


def _part(network: MultiTaskNetwork, name: str) -> nn.Module:
    parts = dict(network.named_children())
    if name not in parts:
        raise ValueError(f"the network has no part '{name}', but {', '.join(parts)}")
    return parts[name]
