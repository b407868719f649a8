# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: safetensors with the configuration, the label space and the model card in the metadata."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from mtl_perception.core import LabelSpace
from mtl_perception.core.outside_files import parse_json
from mtl_perception.core.validation_text import validation_text
from mtl_perception.network.config import NetworkConfig
from mtl_perception.network.multi_task import MultiTaskNetwork
from mtl_perception.resources import checkpoint_file

FORMAT = "mtl_perception-checkpoint-2"
"""Changes with every change of the configuration's keys or of the tensors' names that older files do not follow."""
HUB_FILE = "model.safetensors"
"""The file that is looked for in a repository of the Hugging Face hub."""
_LENGTH_BYTES = 8  # of the header's length, with which a safetensors file begins
_MOST_HEADER_BYTES = 16 * 2**20
_SPARE_WEIGHTS = 2**20
_FLOATS, _WHOLE = ("F16", "BF16", "F32"), ("I64", "I32")
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
        OSError: it cannot be written; what was there before stays.
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
    try:
        save_file(tensors, temporary, metadata)
        temporary.chmod(0o644)  # safetensors makes it readable to its owner alone
        temporary.replace(path)
    except SafetensorError as error:  # what it says of a full disk
        raise OSError(f"checkpoint {path} cannot be written: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(source: str | Path) -> Checkpoint:
    """Read a checkpoint: a file, one of the package by its name, or a hub id, `organisation/name` or that `@revision`.

    A path that exists is a file, whatever it looks like.

    Raises:
        FileNotFoundError: there is no such file, and no such repository that could be reached.
        ValueError: it is not a checkpoint of this suite, or its tensors do not fit its configuration; the message names
            the file and the tensor. Nothing is allocated beyond what the file has the data of.
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
    _check_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            return _checked(file, path, name)
    except SafetensorError as error:
        raise ValueError(f"checkpoint {path} is not a safetensors file: {error}") from error


def _check_header(path: Path) -> None:
    """Refuse a file whose header says to be larger than any of ours before somebody reads it."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    if length > _MOST_HEADER_BYTES:
        raise ValueError(
            f"checkpoint {path} is not a safetensors file: its header has {length} bytes, at most {_MOST_HEADER_BYTES}"
        )


def _checked(file: Any, path: Path, name: str) -> Checkpoint:
    """Return what an open file holds. Nothing is allocated that the file does not have the data of."""
    metadata = file.metadata() or {}
    if metadata.get("format") != FORMAT:
        raise ValueError(f"checkpoint {path}: format is {metadata.get('format')!r:.80}, expected {FORMAT!r}")
    stored = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    network = _network(metadata, sum(prod(part.get_shape()) for part in stored.values()), path)
    _check_tensors(network, stored, path)
    _fill(network, {key: file.get_tensor(key) for key in stored}, path)
    try:
        labels = LabelSpace.from_dict(_entry(metadata, "labels", dict))
    except ValueError as error:
        raise ValueError(f"checkpoint {path}: its labels are wrong: {error}") from error
    if len(labels) != network.config.num_labels:
        raise ValueError(f"checkpoint {path}: {len(labels)} labels, but the network has {network.config.num_labels}")
    try:
        trained = tuple(_entry(metadata, "trained_tasks", list))
        absent = [task for task in trained if task not in network.config.tasks]
        if absent:
            raise ValueError(f"trained_tasks names {absent[0]!r:.80}, the network has {list(network.config.tasks)}")
        return Checkpoint(network.eval(), labels, trained, _entry(metadata, "card", dict), name)
    except ValueError as error:
        raise ValueError(f"checkpoint {path}: {error}") from error


def _entry(metadata: Mapping[str, str], key: str, kind: type) -> Any:
    """Return an entry of the metadata; a ValueError names it where it is not as it must be."""
    try:
        value = parse_json(metadata.get(key, "null"))
    except ValueError as error:
        raise ValueError(f"{key} is not JSON: {error}") from error
    if not isinstance(value, kind):
        raise ValueError(f"{key} is {value!r:.80}, expected a JSON {'list' if kind is list else 'object'}")
    return value


def _network(metadata: Mapping[str, str], weights: int, path: Path) -> MultiTaskNetwork:
    """Build the network that the metadata describes, unless it has far more weights than the file."""
    try:
        config = NetworkConfig.model_validate_json(metadata.get("network", ""))
    except ValidationError as error:
        raise ValueError(f"checkpoint {path}: its network configuration is wrong: {validation_text(error)}") from error
    # The weights are in the file: what the backbone was first initialised with need not be there any more.
    backbone = config.backbone.model_copy(update={"pretrained": None})
    try:
        with _at_most(2 * weights + _SPARE_WEIGHTS):
            return MultiTaskNetwork(config.model_copy(update={"backbone": backbone}))
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:  # what torch says of impossible sizes
        raise ValueError(
            f"checkpoint {path}: its network configuration cannot be built: {str(error).splitlines()[0]}"
        ) from error


@contextmanager
def _at_most(weights: int) -> Iterator[None]:
    """Let this thread make no module with so many weights: a ValueError comes before their memory is used."""
    thread, counted = threading.get_ident(), 0

    def count(_module: torch.nn.Module, _name: str, weight: torch.nn.Parameter | None) -> None:
        nonlocal counted
        if weight is not None and threading.get_ident() == thread:
            counted += weight.numel()
            if counted > weights:
                raise ValueError(f"it has more than {counted} weights, which the file does not")

    hook = torch.nn.modules.module.register_module_parameter_registration_hook(count)  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        hook.remove()


def _check_tensors(network: MultiTaskNetwork, stored: Mapping[str, Any], path: Path) -> None:
    """Compare names, shapes and types with what the network expects, by the file's header alone."""
    expected = network.state_dict()
    for name in sorted(expected.keys() | stored.keys()):
        if name not in stored:
            raise ValueError(f"checkpoint {path}: tensor '{name}' is missing")
        if name not in expected:
            raise ValueError(f"checkpoint {path}: tensor '{name}' has no place in network '{network.config.preset}'")
        found, wanted = tuple(stored[name].get_shape()), tuple(expected[name].shape)
        if found != wanted:
            raise ValueError(f"checkpoint {path}: tensor '{name}' is {found}, expected {wanted}")
        kinds = _FLOATS if expected[name].is_floating_point() else _WHOLE
        if stored[name].get_dtype() not in kinds:
            raise ValueError(
                f"checkpoint {path}: tensor '{name}' is {stored[name].get_dtype()}, expected {' or '.join(kinds)}"
            )


def _fill(network: MultiTaskNetwork, tensors: dict[str, torch.Tensor], path: Path) -> None:
    expected = network.state_dict()
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"checkpoint {path}: tensor '{name}' holds values that are not finite")
    network.load_state_dict({name: tensor.to(expected[name].dtype) for name, tensor in tensors.items()})
