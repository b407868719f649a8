# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The archives of a saved map, read so that one that somebody else has made cannot take more memory than its file has.

They are zip files whose entries are not compressed. An entry that is, entries that together are larger than the file,
and arrays that say to be larger or smaller than their entry are refused before anything is allocated.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from mtl_perception.mapping.errors import MapFormatError

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive to read its entries, each of which fits into memory if the file does.

    Raises:
        MapFormatError: its entries are compressed, overlap, or have the same name.
        OSError, zipfile.BadZipFile: it cannot be read.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        compressed = [entry for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
        if compressed:
            raise MapFormatError(f"{path}: {compressed[0].filename!r:.80} is compressed, which no entry of a map is")
        size, of_file = sum(entry.file_size for entry in entries), path.stat().st_size
        if size > of_file:
            raise MapFormatError(f"{path}: its entries have {size} bytes, the file {of_file}")
        if len({entry.filename for entry in entries}) != len(entries):
            raise MapFormatError(f"{path}: a name is there twice")
        yield archive


def read_arrays(path: Path) -> dict[str, NDArray]:
    """Return the arrays of an .npz file.

    Raises:
        MapFormatError: it is no archive as a map has them, or an array does not fill its entry.
        OSError, ValueError, zipfile.BadZipFile: it cannot be read.
    """
    arrays = {}
    with opened(path) as archive:
        for entry in archive.infolist():
            content = archive.read(entry)
            _check_size(f"{path}: {entry.filename}", content)
            arrays[entry.filename.removesuffix(".npy")] = np.lib.format.read_array(
                io.BytesIO(content), allow_pickle=False
            )
    return arrays


def write_arrays(path: Path, arrays: dict[str, NDArray]) -> None:
    """Write arrays into an .npz file, under whatever names: np.savez takes some for options of its own."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def _check_size(name: str, content: bytes) -> None:
    """Refuse an array whose header says that it has another size than its bytes."""
    file: BinaryIO = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise MapFormatError(f"{name} has version {version} of NumPy's format")
    shape, _, dtype = _HEADERS[version](file)
    if dtype.hasobject:
        raise MapFormatError(f"{name} holds objects, which is refused")
    wanted, found = prod(shape) * dtype.itemsize, len(content) - file.tell()
    if min(shape, default=0) < 0 or wanted != found:
        raise MapFormatError(f"{name} is {dtype} {shape}, which are {wanted} bytes, but has {found}")
