# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reading pickles of public data sets without running what they say: only numbers, text, containers and arrays are
made."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from mtl_perception.data.recordings.recording import DAMAGES

_ALLOWED = {
    ("builtins", "set"),
    ("builtins", "frozenset"),
    ("builtins", "complex"),
    ("builtins", "slice"),
    ("builtins", "bytearray"),
    ("collections", "OrderedDict"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),  # how pickle protocol 2 writes bytes
} | {
    (module, name)
    for core in ("numpy.core", "numpy._core")  # NumPy 1 and 2
    for module, name in (
        (f"{core}.multiarray", "_reconstruct"),
        (f"{core}.multiarray", "scalar"),
        (f"{core}.numeric", "_frombuffer"),
    )
}


def read_pickle(path: Path) -> Any:
    """Read a pickle that holds nothing but plain data and NumPy arrays.

    Raises:
        ValueError: the file is no pickle, or asks for anything else; names the file and what it asks for.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        try:
            return _PlainUnpickler(file).load()
        except (pickle.UnpicklingError, ImportError, *DAMAGES) as error:
            raise ValueError(f"{path} is not a pickle of plain data: {error}") from error


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Allow what the list names, and nothing else."""
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)
