# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Frames with their truth as one compressed file: a description in JSON, with its arrays beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import BevMap, Camera, CameraTruth, EgoMotion, GroundTruth, Occupancy, Sample, VoxelGrid
from mtl_perception.core.camera import Rig
from mtl_perception.core.frame import CabinFrame, RigFrame
from mtl_perception.core.ground_truth import Box, Sweep
from mtl_perception.core.outside_files import read_npz

FORMAT = 1
"""Changes with the files' content."""
_DESCRIPTION = "description"
_KINDS: Mapping[str, type] = {
    kind.__name__: kind
    for kind in (
        *(Sample, RigFrame, Rig, Camera, CabinFrame),
        *(GroundTruth, CameraTruth, EgoMotion, Sweep, Box, Occupancy, VoxelGrid, BevMap),
    )
}
"""What a file may hold; nothing else is built from it."""

_Content = TypeVar("_Content")


def write_clip(path: Path, clip: Any) -> None:
    """Write a data class of samples and frames, under a temporary name that is then renamed.

    Raises:
        OSError: the file cannot be written.
        TypeError: it holds something that files do not hold.
    """
    arrays: dict[str, NDArray] = {}
    description = {field.name: _described(getattr(clip, field.name), arrays) for field in fields(clip)}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.npz")
    np.savez_compressed(temporary, **{_DESCRIPTION: np.array(json.dumps(description))}, **arrays)  # type: ignore[arg-type]
    temporary.replace(path)


def read_clip(path: Path, kind: type[_Content]) -> _Content:
    """Read what `write_clip` has written of a data class of this kind.

    Raises:
        ValueError: it is no such file, or damaged; names it.
        OSError: it cannot be read.
    """
    try:
        arrays = read_npz(path)
        description = json.loads(str(arrays[_DESCRIPTION]))
        return kind(**{name: _built(value, arrays) for name, value in description.items()})
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not a clip of frames: {error!r}") from error


def _described(value: Any, arrays: dict[str, NDArray]) -> Any:
    """Return a value as JSON has it; arrays go to `arrays`, and their names into their places."""
    if isinstance(value, np.ndarray):
        name = f"array_{len(arrays)}"
        arrays[name] = value
        return {"array": name}
    if isinstance(value, np.generic):
        return value.item()
    if is_dataclass(value) and type(value).__name__ in _KINDS:
        described = {field.name: _described(getattr(value, field.name), arrays) for field in fields(value)}
        return {"kind": type(value).__name__, "fields": described}
    if isinstance(value, Mapping):
        return {"mapping": [[key, _described(item, arrays)] for key, item in value.items()]}
    if isinstance(value, (tuple, list)):
        return [_described(item, arrays) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a file of frames cannot hold a {type(value).__name__}")


def _built(value: Any, arrays: Mapping[str, NDArray]) -> Any:
    """Return what `_described` was given; lists become tuples."""
    if isinstance(value, list):
        return tuple(_built(item, arrays) for item in value)
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return arrays[value["array"]]
    if "mapping" in value:
        return {key: _built(item, arrays) for key, item in value["mapping"]}
    return _KINDS[value["kind"]](**{name: _built(item, arrays) for name, item in value["fields"].items()})
