# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a run starts from: the weights of a checkpoint, some of which it may leave as they are."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from torch import Tensor, nn

from mtl_perception.network import MultiTaskNetwork, load_checkpoint
from mtl_perception.training.config import TrainingConfig


def load_start(network: MultiTaskNetwork, config: TrainingConfig) -> dict[str, Tensor]:
    """Give a network the weights that a run starts from, and return those; what the checkpoint lacks stays random.

    Args:
        network: with random weights.
        config: whose `start` and `start_parts` count.

    Raises:
        ValueError: the checkpoint cannot be read or is of another encoder, or the network has no such part.
        FileNotFoundError: there is no such checkpoint.
    """
    if not config.start:
        return {}
    own, saved = network.state_dict(), load_checkpoint(config.start).network.state_dict()
    common = {name: saved[name] for name in own.keys() & saved.keys() if own[name].shape == saved[name].shape}
    if config.start_parts:
        for part in config.start_parts:
            _part(network, part)
        prefixes = tuple(f"{part}." for part in config.start_parts)
        own = {name: tensor for name, tensor in own.items() if name.startswith(prefixes)}
        common = {name: tensor for name, tensor in common.items() if name.startswith(prefixes)}
    lacking = [name for name in own if name.startswith("encoder.") and name not in common]
    if lacking:
        raise ValueError(f"checkpoint {config.start} is of another encoder: {lacking[0]}")
    network.load_state_dict(common, strict=False)
    return {name: network.state_dict()[name].clone() for name in common}


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


def _part(network: MultiTaskNetwork, name: str) -> nn.Module:
    parts = dict(network.named_children())
    if name not in parts:
        raise ValueError(f"the network has no part '{name}', but {', '.join(parts)}")
    return parts[name]
