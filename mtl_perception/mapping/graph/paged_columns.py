# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Arrays that grow with the map, of which only what was used lately is in memory."""

from __future__ import annotations

import logging
import mmap
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mtl_perception.mapping.window.private_folder import default_parent

Field = tuple[DTypeLike, tuple[int, ...], object]
"""Type, shape and first value of a field."""

_SMALL = 1 << 22  # bytes; as long as all columns are smaller, they stay in memory
_RELEASED = 1 << 13  # rows that are added until all pages leave memory; those in use come back at once
_ALIGNMENT = 64  # bytes
_LOG = logging.getLogger(__name__)


class PagedColumns:
    """Columns of as many rows each, in a file without a name that is mapped into memory.

    The system brings pages of it into memory when they are used, and they count as the process's memory then; as rows
    are added, all pages are let go now and again. So memory is as large as what is used between, not as the columns.
    Where there is no disk space, the columns stay in memory.
    """

    def __init__(self, fields: Mapping[str, Field], parent: Path | None = None) -> None:
        """Make columns without rows; the file is made in `parent`, or where `PrivateFolder` makes its folders."""
        self._fields = {name: (np.dtype(dtype), shape, fill) for name, (dtype, shape, fill) in fields.items()}
        self._parent = parent
        self._rows = self._room = self._rows_at_release = 0
        self._map: mmap.mmap | None = None
        self._columns = self._placed(bytearray())

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._rows

    def __getitem__(self, field: str) -> NDArray:
        """Return a column (N, ...), not a copy."""
        return self._columns[field][: self._rows]

    def grow(self, rows: int) -> None:
        """Have at least so many rows, the new ones with the first values."""
        if rows <= self._rows:
            return
        if rows > self._room:
            self._make_room(max(rows, 2 * self._room))
        for name, (_, _, fill) in self._fields.items():
            self._columns[name][self._rows : rows] = fill
        self._rows = rows
        if rows - self._rows_at_release >= _RELEASED:
            self._release()

    def _make_room(self, rows: int) -> None:
        old, old_map, self._room = self._columns, self._map, rows
        size = sum(self._sizes())
        self._map = self._mapped(size) if size > _SMALL else None
        self._columns = self._placed(bytearray(size) if self._map is None else self._map)
        for name, column in old.items():
            self._columns[name][: self._rows] = column[: self._rows]
            _let_go(old_map)
            self._release()

    def _release(self) -> None:
        _let_go(self._map)
        self._rows_at_release = self._rows

    def _mapped(self, size: int) -> mmap.mmap | None:
        try:
            with tempfile.TemporaryFile(dir=self._parent or default_parent()) as file:
                os.posix_fallocate(file.fileno(), 0, size)  # a page that finds no space later would kill the process
                return mmap.mmap(file.fileno(), size)
        except OSError as error:
            _LOG.warning("what the map knows of the ground stays in memory: %s", error)
            return None

    def _placed(self, buffer: bytearray | mmap.mmap) -> dict[str, NDArray]:
        """Return the columns, each in its part of a buffer."""
        columns, start = {}, 0
        for (name, (dtype, shape, _)), size in zip(self._fields.items(), self._sizes(), strict=True):
            columns[name] = np.ndarray((self._room, *shape), dtype, buffer, start)
            start += size
        return columns

    def _sizes(self) -> list[int]:
        """Return the bytes of each column, with what aligns the next one."""
        rows = [self._room * dtype.itemsize * int(np.prod(shape)) for dtype, shape, _ in self._fields.values()]
        return [-(-size // _ALIGNMENT) * _ALIGNMENT for size in rows]


def _let_go(pages: mmap.mmap | None) -> None:
    """Take the pages of a file out of memory; what was written to them stays in the file, for the mapping is shared."""
    if pages is not None:
        pages.madvise(mmap.MADV_DONTNEED)
