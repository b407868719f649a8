# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: safetensors with the configuration, the label space and the model card in the metadata."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from mtl_perception.core import LabelSpace
from mtl_perception.network.config import NetworkConfig
from mtl_perception.network.multi_task import MultiTaskNetwork
from mtl_perception.resources import checkpoint_file

FORMAT = "mtl_perception-checkpoint-2"
"""Changes with every change of the configuration's keys or of the tensors' names that older files do not follow."""
HUB_FILE = "model.safetensors"
"""The file that is looked for in a repository of the Hugging Face hub."""
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A trained network and what is known about it.

    Attributes:
        network: in evaluation mode, float32.
        labels: the label space that its semantics are in.
        trained_tasks: the tasks that it was trained for; others must not be published.
        card: training data, licence, steps, validation figures.
        name: the file's name, or the hub id.
    """

    network: MultiTaskNetwork
    labels: LabelSpace
    trained_tasks: tuple[str, ...]
    card: Mapping[str, Any]
    name: str


def save_checkpoint(
    path: str | Path,
    network: MultiTaskNetwork,
    labels: LabelSpace,
    trained_tasks: tuple[str, ...],
    card: Mapping[str, Any],
) -> None:
    """Write a checkpoint: weights as float16, to a temporary name that is then renamed.

    The statistics of norms stay as they are: they are few, and a variance may be larger or smaller than float16 holds.

    Raises:
        ValueError: a weight is larger than float16 holds.
    """
    path = Path(path)
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    for name, _ in network.named_parameters():
        weight = tensors[name]
        tensors[name] = weight.half()
        if not torch.isfinite(tensors[name]).all():
            raise ValueError(f"checkpoint {path}: '{name}' reaches {float(weight.abs().max()):g}, float16 has no such")
    metadata = {
        "format": FORMAT,
        "network": network.config.model_dump_json(),
        "labels": json.dumps(labels.to_dict()),
        "trained_tasks": json.dumps(list(trained_tasks)),
        "card": json.dumps(dict(card)),
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    save_file(tensors, temporary, metadata)
    temporary.chmod(0o644)  # safetensors makes it readable to its owner alone
    temporary.replace(path)


def load_checkpoint(source: str | Path) -> Checkpoint:
    """Read a checkpoint: a file, one of the package by its name, or a hub id, `organisation/name` or that `@revision`.

    A path that exists is a file, whatever it looks like.

    Raises:
        FileNotFoundError: there is no such file, and no such repository that could be reached.
        ValueError: it is not a checkpoint of this suite, or its tensors do not fit its configuration; the message names
            the file and the tensor.
    """
    path = Path(source)
    if not path.is_file() and _HUB_ID.fullmatch(str(source)) and path.suffix != ".safetensors":
        return _read(_from_hub(str(source)), str(source))
    path = checkpoint_file(source)
    return _read(path, path.name)


def _from_hub(name: str) -> Path:
    # Only here: importing it takes longer than loading a small checkpoint.
    from huggingface_hub import hf_hub_download

    repository, _, revision = name.partition("@")
    try:
        return Path(hf_hub_download(repository, HUB_FILE, revision=revision or None))
    except (OSError, ValueError) as error:  # the hub's own errors are among these
        reason = str(error).strip().splitlines()[0]
        raise FileNotFoundError(f"checkpoint {name} is neither a file nor on the hub: {reason}") from error


def _read(path: Path, name: str) -> Checkpoint:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise ValueError(f"checkpoint {path} is not a safetensors file: {error}") from error
    if metadata.get("format") != FORMAT:
        raise ValueError(f"checkpoint {path}: format is {metadata.get('format')!r}, expected {FORMAT!r}")
    try:
        config = NetworkConfig.model_validate_json(metadata["network"])
    except ValidationError as error:
        raise ValueError(f"checkpoint {path}: its network configuration is wrong: {error}") from error
    # The weights are in the file: what the backbone was first initialised with need not be there any more.
    backbone = config.backbone.model_copy(update={"pretrained": None})
    network = MultiTaskNetwork(config.model_copy(update={"backbone": backbone}))
    _fill(network, tensors, path)
    labels = LabelSpace.from_dict(json.loads(metadata["labels"]))
    if len(labels) != network.config.num_labels:
        raise ValueError(f"checkpoint {path}: {len(labels)} labels, but the network has {network.config.num_labels}")
    trained = tuple(json.loads(metadata["trained_tasks"]))
    return Checkpoint(network.eval(), labels, trained, json.loads(metadata["card"]), name)


def _fill(network: MultiTaskNetwork, tensors: dict[str, torch.Tensor], path: Path) -> None:
    expected = network.state_dict()
    for name in sorted(expected.keys() | tensors.keys()):
        if name not in tensors:
            raise ValueError(f"checkpoint {path}: tensor '{name}' is missing")
        if name not in expected:
            raise ValueError(f"checkpoint {path}: tensor '{name}' has no place in network '{network.config.preset}'")
        if tensors[name].shape != expected[name].shape:
            found, wanted = tuple(tensors[name].shape), tuple(expected[name].shape)
            raise ValueError(f"checkpoint {path}: tensor '{name}' is {found}, expected {wanted}")
        if not torch.isfinite(tensors[name]).all():
            raise ValueError(f"checkpoint {path}: tensor '{name}' holds values that are not finite")
    network.load_state_dict({name: tensor.to(expected[name].dtype) for name, tensor in tensors.items()})
