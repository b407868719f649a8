# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""When the blocks of a map were first and last measured."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mtl_perception.mapping.fusion.blocks import pack

NEVER_NS = int(np.iinfo(np.int64).min)
"""The stamp of a block that was not measured."""

MOST_OTHERS = 14
"""Robots beside this one whose maps can be merged into it."""


def stamp_of_other(robot: int) -> int:
    """Return the stamp of blocks that another robot (1, 2, ...) has measured, and this one has not.

    It tells who measured them: when, by a clock that need not be that of this robot, is of no use for them. What hangs
    on times is given those of this robot instead, see `OtherRobots`.
    """
    return NEVER_NS + robot


def others_of(stamps_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for stamps (...) of which other robot (1, 2, ...) they are; 0 for times and for `NEVER_NS`."""
    return np.where(are_times(stamps_ns), 0, stamps_ns - NEVER_NS)


def are_times(stamps_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return for stamps (...) whether this robot has measured something then."""
    return stamps_ns > NEVER_NS + MOST_OTHERS


class MeasuredBlocks:
    """Per block the stamps of the first and of the last frame that measured it, in arrays sorted by block."""

    def __init__(self, elsewhere: Callable[[NDArray[np.int32]], NDArray[np.int64]] | None = None) -> None:
        """Know no block; `elsewhere` may know others: it returns their stamps (N, 2), or NEVER_NS, by keys (N, 3)."""
        self._elsewhere = elsewhere
        self._blocks = np.zeros(0, np.int64)
        self._stamps_ns = np.zeros((0, 2), np.int64)

    def note(self, keys: NDArray[np.int32], stamp_ns: int) -> None:
        """Keep that blocks `keys` (N, 3), some perhaps several times, were measured now."""
        blocks = np.unique(pack(keys))
        place, known = self._find(blocks)
        self._stamps_ns[place[known], 1] = stamp_ns
        self._blocks = np.insert(self._blocks, place[~known], blocks[~known])
        self._stamps_ns = np.insert(self._stamps_ns, place[~known], stamp_ns, axis=0)

    def forget(self, keys: NDArray[np.int32]) -> None:
        """Forget blocks `keys` (N, 3), known or not."""
        place, known = self._find(pack(keys))
        self._blocks = np.delete(self._blocks, place[known])
        self._stamps_ns = np.delete(self._stamps_ns, place[known], axis=0)

    def of(self, keys: NDArray[np.int32], never_ns: int) -> NDArray[np.int64]:
        """Return the first and the last stamp (N, 2) of blocks `keys` (N, 3); `never_ns` where none measured it."""
        place, known = self._find(pack(keys))
        stamps = np.full((len(keys), 2), NEVER_NS, np.int64)
        stamps[known] = self._stamps_ns[place[known]]
        if self._elsewhere is not None and not known.all():
            stamps[~known] = self._elsewhere(keys[~known])
        return np.where(stamps == NEVER_NS, np.int64(never_ns), stamps)

    def span(self, keys: NDArray[np.int32]) -> tuple[int, int] | None:
        """Return the first and the last stamp at which this robot measured any of blocks `keys` (N, 3); None: never."""
        stamps = self.of(keys, NEVER_NS)
        stamps = stamps[are_times(stamps)]
        return (int(stamps.min()), int(stamps.max())) if len(stamps) else None

    def add(self, keys: NDArray[np.int32], stamps_ns: NDArray[np.int64]) -> None:
        """Know blocks `keys` (N, 3), none twice and none known, with stamps (N, 2); not those with NEVER_NS."""
        measured = stamps_ns[:, 0] != NEVER_NS
        blocks, stamps_ns = pack(keys)[measured], stamps_ns[measured]
        order = np.argsort(blocks)
        place, _ = self._find(blocks[order])
        self._blocks = np.insert(self._blocks, place, blocks[order])
        self._stamps_ns = np.insert(self._stamps_ns, place, stamps_ns[order], axis=0)

    def _find(self, blocks: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Return where packed blocks (N,) are or belong, and whether they are there."""
        place = np.searchsorted(self._blocks, blocks)
        known = np.zeros(len(blocks), dtype=bool)
        inside = place < len(self._blocks)
        known[inside] = self._blocks[place[inside]] == blocks[inside]
        return place, known
