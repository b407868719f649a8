# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which surface is which object: ids through growth, merging, splitting, and a short absence.

Every cell of an object carries the id that it came with, its origin. When two objects merge, one id stands for both and
the cells keep their origins; when they part, the origins tell which part is which. Cells that come later get the origin
of the nearest cell that has one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from mtl_perception.mapping.config import MapperConfig
from mtl_perception.mapping.fusion.blocks import pack, unpack
from mtl_perception.mapping.graph.object_cells import Surface, shared_cells

REMEMBERED = 256
"""How many ids of vanished objects are remembered at most, the latest to vanish."""
REMEMBERED_NS = 30 * 10**9
"""How long they are remembered at most, by the frames' stamps."""
NO_ID = -1
"""Origin of cells that belong to no object, and the id of a surface that is none."""

Move = Callable[[NDArray[np.float64], int], NDArray[np.float64]]
"""Returns new points (N, 3) of old ones, of a thing that was first seen at a stamp."""

_KEPT_SHARE = 0.75  # of object_min_vertices: an object of fewer is none any more


@dataclass(frozen=True)
class Known:
    """What is remembered of an id: how many vertices it had by itself, and when it was first and last measured."""

    id: int
    vertices: int
    first_seen_ns: int
    last_seen_ns: int


@dataclass(frozen=True, eq=False)
class Identity:
    """Which ids a surface stands for.

    Attributes:
        id: the one that it is reported by, NO_ID where it is no object.
        vertices: of the whole surface.
        first_seen_ns, last_seen_ns: stamps, of the whole surface.
        known: of each id that is in it, its own among them, by id; empty where it is no object. Of one that is alone it
            is as of now; of those that have merged, as of then.
        origins: (C,) per cell an id of `known`; NO_ID where it is no object.
    """

    id: int
    vertices: int
    first_seen_ns: int
    last_seen_ns: int
    known: tuple[Known, ...]
    origins: NDArray[np.int64]

    @property
    def absorbed(self) -> tuple[int, ...]:
        """The ids in it that it is not reported by, in order."""
        return tuple(item.id for item in self.known if item.id != self.id)

    def seen_between(self, first_ns: int, last_ns: int) -> Identity:
        """Return the same, seen at two more stamps."""
        known = tuple(
            replace(item, first_seen_ns=min(item.first_seen_ns, first_ns), last_seen_ns=max(item.last_seen_ns, last_ns))
            if item.id == self.id
            else item
            for item in self.known
        )
        first, last = min(self.first_seen_ns, first_ns), max(self.last_seen_ns, last_ns)
        return replace(self, first_seen_ns=first, last_seen_ns=last, known=known)

    def seen_again(self, stamp_ns: int) -> Identity:
        """Return the same, last seen at a later stamp."""
        known = self.known
        if len(known) == 1:
            known = (replace(known[0], last_seen_ns=stamp_ns),)
        return replace(self, last_seen_ns=stamp_ns, known=known)


@dataclass(frozen=True, eq=False)
class Vanished:
    """An id whose object is gone. It is given back to a surface of its class that comes to where it was.

    Attributes:
        known: of the id.
        label: label id.
        cells: (C,) packed, sorted, never empty: where it was.
        centre: (3,) its centroid, metres; the middle of its cells if it was one with others.
        vanished_ns: stamp.
    """

    known: Known
    label: int
    cells: NDArray[np.int64]
    centre: NDArray[np.float64]
    vanished_ns: int


class ObjectIds:
    """Gives surfaces their ids.

    It remembers vanished objects in the order in which they vanished: at most `REMEMBERED` of them, for at most
    `REMEMBERED_NS`, each with 8 bytes a cell.

    Attributes:
        next_id: the next new id; ids are never used for another thing.
        vanished: by id, in the order of vanishing.
    """

    def __init__(self, config: MapperConfig) -> None:
        """Know nothing."""
        self._edge = config.object_gap
        self._enough = config.object_min_vertices
        self._kept = int(np.ceil(_KEPT_SHARE * config.object_min_vertices))
        self.next_id = 0
        self.vanished: dict[int, Vanished] = {}

    def identified(
        self,
        label: int,
        surfaces: list[Surface],
        stamps_ns: list[tuple[int, int] | None],
        before: list[tuple[Surface, Identity]],
        now_ns: int,
    ) -> list[Identity]:
        """Return what each of `surfaces` is, given what was there.

        An id goes to the surface that has most of its cells. The surface is reported by the id, of those that meet in
        it and were reported until now, that had most vertices; without one, by that of all that meet in it. A surface
        that gets no id so takes those of vanished objects with which it shares cells, else that of one whose centre is
        nearer than `object_gap`, else a new one; if it has `object_min_vertices`, that is. One that has an id keeps it
        down to three quarters of that.

        Args:
            label: label id of all that follows.
            surfaces: all that are now at the cells of `before` and wherever something has changed.
            stamps_ns: per surface, when its blocks were first and last measured; None where this robot never has.
            before: the surfaces that were there, and what they were.
            now_ns: stamp.
        """
        self._forget(now_ns)
        reported = {identity.id: identity.vertices for _, identity in before}
        known = {item.id: item for _, identity in before for item in identity.known}
        origins = _carried(surfaces, before)
        met = self._met(surfaces, origins)
        self._vanish(label, before, set(known) - {item for ids in met.values() for item in ids}, now_ns)
        free = {
            at: surface for at, surface in enumerate(surfaces) if at not in met and surface.vertices >= self._enough
        }
        for at, returned in self._returned(label, free).items():
            for item in returned:
                del self.vanished[item.known.id]
                known[item.known.id] = item.known
                origins[at][shared_cells(surfaces[at].cells, item.cells)] = item.known.id
            # where two were one after the other, the later one may have taken all cells of the earlier one
            met[at] = [item.known.id for item in returned if item.known.id in origins[at]] or [returned[0].known.id]

        result = []
        for at, surface in enumerate(surfaces):
            ids = sorted(met.get(at, []), key=lambda item: (-reported.get(item, -1), -known[item].vertices, item))
            if not ids and at not in free:
                nobody = all_from(NO_ID, len(surface.cells))
                result.append(Identity(NO_ID, surface.vertices, *_span([stamps_ns[at]], now_ns), (), nobody))
                continue
            if not ids:
                ids = [self.next_id]
                self.next_id += 1
            there = [known[item] for item in sorted(ids) if item in known]
            known_ns = [(item.first_seen_ns, item.last_seen_ns) for item in there]
            first, last = _span([stamps_ns[at], *known_ns], now_ns)
            if len(ids) == 1:
                there = [Known(ids[0], surface.vertices, first, last)]
            of_cells = _spread(surface.cells, origins[at], ids)
            result.append(Identity(ids[0], surface.vertices, first, last, tuple(there), of_cells))
        return result

    def moved(self, move: Move) -> ObjectIds:
        """Return the same, with what has vanished where it has come to."""
        other = copy(self)
        other.vanished = {}
        for number, item in self.vanished.items():
            cells, _ = moved_cells(item.cells, move, item.known.first_seen_ns, self._edge)
            centre = move(item.centre[None], item.known.first_seen_ns)[0]
            other.vanished[number] = replace(item, cells=cells, centre=centre)
        return other

    def _met(self, surfaces: list[Surface], origins: list[NDArray[np.int64]]) -> dict[int, list[int]]:
        """Return, per surface that is large enough for ids of before, those of them that have most cells in it."""
        best: dict[int, tuple[int, int]] = {}  # per id: its cells in the surface, negative, and the surface
        for at, surface in enumerate(surfaces):
            if surface.vertices >= self._kept:
                ids, counts = np.unique(origins[at], return_counts=True)
                for item, count in zip(ids.tolist(), counts.tolist(), strict=True):
                    if item != NO_ID:
                        best[item] = min(best.get(item, (0, 0)), (-count, at))
        met: dict[int, list[int]] = {}
        for item, (_, at) in sorted(best.items()):
            met.setdefault(at, []).append(item)
        return met

    def _returned(self, label: int, free: dict[int, Surface]) -> dict[int, list[Vanished]]:
        """Return, per number of a surface, the vanished objects that it is."""
        found: dict[int, list[Vanished]] = {}
        elsewhere = []
        for item in self.vanished.values():
            if item.label == label and free:
                shared = {at: np.count_nonzero(shared_cells(item.cells, free[at].cells)) for at in free}
                most = max(free, key=lambda at: (shared[at], -at))
                if shared[most]:
                    found.setdefault(most, []).append(item)
                else:
                    elsewhere.append(item)
        for at, surface in free.items():
            if at not in found and elsewhere:
                distances = [float(np.linalg.norm(item.centre - surface.centroid)) for item in elsewhere]
                nearest = int(np.argmin(distances))
                if distances[nearest] < self._edge:
                    found[at] = [elsewhere.pop(nearest)]
        return found

    def _vanish(self, label: int, before: list[tuple[Surface, Identity]], lost: set[int], now_ns: int) -> None:
        for surface, identity in before:
            for item in identity.known:
                if item.id in lost:
                    cells = surface.cells[identity.origins == item.id]
                    alone = len(cells) == len(surface.cells)
                    centre = surface.centroid if alone else (unpack(cells).mean(axis=0) + 0.5) * self._edge
                    self.vanished[item.id] = Vanished(item, label, cells, centre, now_ns)
        while len(self.vanished) > REMEMBERED:
            del self.vanished[next(iter(self.vanished))]

    def _forget(self, now_ns: int) -> None:
        while self.vanished:
            oldest = next(iter(self.vanished.values()))
            if now_ns - oldest.vanished_ns <= REMEMBERED_NS:
                return
            del self.vanished[oldest.known.id]


def all_from(number: int, count: int) -> NDArray[np.int64]:
    """Return the origins (C,), not to be written, of so many cells that all have the same; they take no memory."""
    return np.broadcast_to(np.int64(number), count)


def moved_piece(
    surface: Surface,
    identity: Identity,
    move: Move,
    edge: float,
    are_free: Callable[[NDArray[np.int64]], NDArray[np.bool_]],
) -> tuple[Surface, Identity]:
    """Return a surface where it has come to, with those of the cells (N,) that are free (N,), and without its blocks.

    It may have no cell left. `edge` is that of the cells, metres.
    """
    cells, first = moved_cells(surface.cells, move, identity.first_seen_ns, edge)
    free = are_free(cells)
    centroid = move(surface.centroid[None], identity.first_seen_ns)[0]
    no_blocks = np.zeros(0, np.int64)
    return (
        replace(surface, cells=cells[free], blocks=no_blocks, centroid=centroid),
        replace(identity, origins=identity.origins[first[free]]),
    )


def moved_cells(
    cells: NDArray[np.int64],
    move: Move,
    first_seen_ns: int,
    edge: float,
) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """Return the cells, sorted, that the centres of packed cells come to, and which of these came there first."""
    centres = move((unpack(cells).astype(np.float64) + 0.5) * edge, first_seen_ns)
    return np.unique(pack(np.floor(centres / edge).astype(np.int64)), return_index=True)


def _span(spans_ns: Sequence[tuple[int, int] | None], otherwise_ns: int) -> tuple[int, int]:
    """Return the least and the greatest of the stamps that are known."""
    known = [span for span in spans_ns if span is not None] or [(otherwise_ns, otherwise_ns)]
    return min(first for first, _ in known), max(last for _, last in known)


def _carried(surfaces: list[Surface], before: list[tuple[Surface, Identity]]) -> list[NDArray[np.int64]]:
    """Return, per surface, the origins (C,) that its cells had before."""
    cells = np.concatenate([surface.cells for surface, _ in before] or [np.zeros(0, np.int64)])
    had = np.concatenate([identity.origins for _, identity in before] or [np.zeros(0, np.int64)])
    order = np.argsort(cells)
    cells, had = cells[order], had[order]
    result = []
    for surface in surfaces:
        origins = np.full(len(surface.cells), NO_ID, np.int64)
        there = shared_cells(surface.cells, cells)
        origins[there] = had[np.searchsorted(cells, surface.cells[there])]
        result.append(origins)
    return result


def _spread(cells: NDArray[np.int64], origins: NDArray[np.int64], ids: list[int]) -> NDArray[np.int64]:
    """Return the origins (C,) of cells, those that are none of `ids` replaced by that of the nearest cell that is."""
    if len(ids) == 1:
        return all_from(ids[0], len(cells))
    fixed = np.isin(origins, ids)
    if fixed.all():
        return origins
    points = unpack(cells)
    _, nearest = cKDTree(points[fixed]).query(points[~fixed])
    result = origins.copy()
    result[~fixed] = origins[fixed][nearest]
    return result
