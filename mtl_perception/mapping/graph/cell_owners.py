# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which surface a cell is of, found without a record of each cell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mtl_perception.mapping.fusion.blocks import pack, unpack
from mtl_perception.mapping.graph.object_cells import shared_cells

NOBODY = -1
"""The owner of a cell that is of no surface."""

_CUBE_BITS = 3  # a cube has 8x8x8 cells


class CellOwners:
    """Surfaces by number, each with cells of a kind that no other surface of this kind has.

    Each cube of 8x8x8 cells lists the surfaces that have cells in it, with some 150 bytes; cells are looked for among
    those of these surfaces.
    """

    def __init__(self) -> None:
        """Know no surfaces."""
        self._cells: dict[int, NDArray[np.int64]] = {}  # per number
        self._cubes: dict[int, dict[int, tuple[int, ...]]] = {}  # per kind and cube, the numbers that are there

    def add(self, number: int, kind: int, cells: NDArray[np.int64]) -> None:
        """Add a surface that has packed, sorted cells (N,), which are not copied."""
        self._cells[number] = cells
        cubes = self._cubes.setdefault(kind, {})
        for cube in np.unique(_cubes_of(cells)).tolist():
            cubes[cube] = (*cubes.get(cube, ()), number)

    def remove(self, number: int, kind: int) -> None:
        """Remove a surface of a kind."""
        cubes = self._cubes[kind]
        for cube in np.unique(_cubes_of(self._cells.pop(number))).tolist():
            left = tuple(other for other in cubes[cube] if other != number)
            if left:
                cubes[cube] = left
            else:
                del cubes[cube]
        if not cubes:
            del self._cubes[kind]

    def kinds(self) -> list[int]:
        """Return the kinds of which there are surfaces."""
        return [*self._cubes]

    def of_kind(self, kind: int) -> set[int]:
        """Return the numbers of all surfaces of a kind."""
        return {number for numbers in self._cubes.get(kind, {}).values() for number in numbers}

    def at(self, kind: int, cells: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number (N,) of the surface of a kind that has each packed cell (N,), or `NOBODY`."""
        result = np.full(len(cells), NOBODY, np.int64)
        cubes = self._cubes.get(kind)
        if cubes is None:
            return result
        distinct, which = np.unique(_cubes_of(cells), return_inverse=True)
        order = np.argsort(which, kind="stable")
        bounds = np.searchsorted(which[order], np.arange(len(distinct) + 1))
        for at, cube in enumerate(distinct.tolist()):
            for number in cubes.get(cube, ()):
                here = order[bounds[at] : bounds[at + 1]]
                result[here[shared_cells(cells[here], self._cells[number])]] = number
        return result


def _cubes_of(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    return pack(unpack(cells) >> _CUBE_BITS)
