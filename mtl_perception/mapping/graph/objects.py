# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Objects: connected surfaces of one countable class, with ids that last. Only what has changed is looked at again."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import LabelSpace
from mtl_perception.mapping.config import MapperConfig
from mtl_perception.mapping.errors import MapFormatError
from mtl_perception.mapping.fusion.blocks import Key, pack, unpack
from mtl_perception.mapping.fusion.measured import MeasuredBlocks
from mtl_perception.mapping.graph.cell_owners import NOBODY, CellOwners
from mtl_perception.mapping.graph.map_object import MapObject, ObjectsState
from mtl_perception.mapping.graph.object_cells import (
    SUMMARY,
    Surface,
    joined,
    neighbours,
    shared_cells,
    summarised,
    surfaces_of,
    with_instance,
)
from mtl_perception.mapping.graph.object_ids import NO_ID, Identity, Move, ObjectIds, all_from, moved_cells, moved_piece
from mtl_perception.mapping.graph.summary_store import NOTHING, SummaryStore
from mtl_perception.mapping.surface.meshing import MeshBlock

_NOWHERE = -1  # packed key of no block
_NEVER = -1  # stamp of a block that no frame has measured
_HIDDEN_M = 3.0  # as far may parts of a thing be from each other that is told from others by a number of its own


@dataclass(frozen=True, eq=False)
class _Piece:
    """A connected surface, an object or too small for one."""

    kind: int
    surface: Surface
    identity: Identity


class ObjectRegistry:
    """Finds the objects in the mesh and recognises those of before.

    A step costs as much as the changed blocks and the objects in and next to them. In memory, each cell of a surface
    takes 8 bytes. Each block takes 92 bytes for every class and cell in which it has countable vertices, but most of
    them are on disk, see `SummaryStore`.
    """

    def __init__(self, config: MapperConfig, labels: LabelSpace, archive_folder: Path | None = None) -> None:
        """Start without objects; the folder for what is not in memory is made in `archive_folder`."""
        self._archive_folder = archive_folder
        self._edge = config.object_gap
        self._countable = labels.static_things
        self._ids = ObjectIds(config)
        self._entries = SummaryStore(archive_folder)
        self._dirty: dict[int, bytes] = {}  # per packed key of a block that has changed, its summaries of before
        self._measured_again: set[int] = set()
        self._pieces: dict[int, _Piece] = {}  # by number; the numbers mean nothing
        self._next_piece = 0
        self._owners = CellOwners()  # by these numbers
        self._reported: list[int] = []  # ids, in order
        self._objects: list[MapObject] = []  # of these ids
        self._current: tuple[MapObject, ...] | None = None  # the same, None when they have changed since
        self._told: set[int] = set()  # ids that `take_changes` has told of
        self._untold: set[int] = set()  # ids of which something has changed since

    def note(self, changed: dict[Key, MeshBlock], removed: tuple[Key, ...]) -> None:
        """Learn which blocks have a new mesh, and which have none any more. The meshes are not kept."""
        entries = summarised(changed, self._countable, self._edge)
        for block in pack(np.array([*changed, *removed], np.int64).reshape(-1, 3)).tolist():
            new, old = entries.get(block, NOTHING), self._entries.get(block)
            if new != old:
                self._dirty.setdefault(block, old)
                self._entries.put(block, new)

    def join(self, instance: int, other: int) -> None:
        """Learn that a thing is another one, that is known."""
        blocks = set(self._dirty)
        for kind in self._owners.kinds():
            if kind // 256 == instance:
                for number in self._owners.of_kind(kind):
                    blocks.update(self._pieces[number].surface.blocks.tolist())
        for block in sorted(blocks):
            old = self._entries.get(block)
            new = with_instance(old, instance, other)
            if new != old:
                self._dirty.setdefault(block, old)
                self._entries.put(block, new)

    def note_measured(self, keys: NDArray[np.int32]) -> None:
        """Learn that blocks `keys` (N, 3) were measured again, whether or not their meshes have changed."""
        self._measured_again.update(block for block in pack(keys).tolist() if block in self._entries)

    def current(self, measured: MeasuredBlocks, now_ns: int) -> tuple[MapObject, ...]:
        """Return the objects as of now, by id, with the stamps of when their blocks were measured.

        It is the same tuple until something changes.
        """
        if self._dirty or self._measured_again:
            self._current = None
        if self._dirty:
            before = joined(list(self._dirty.values()))
            kept = sorted(block for block in self._dirty if block in self._entries)
            after, block_of = self._gathered(kept)
            for kind in np.union1d(before["kind"], after["kind"]).tolist():
                of_kind = after["kind"] == kind
                touched = np.union1d(before["cell"][before["kind"] == kind], after["cell"][of_kind])
                self._find_again(kind, touched, np.unique(block_of[of_kind]), measured, now_ns)
        again = sorted(self._measured_again - self._dirty.keys())
        if again:
            self._advance(again, measured)
        self._dirty.clear()
        self._measured_again.clear()
        if self._current is None:
            self._current = tuple(self._objects)
        return self._current

    def close(self) -> None:
        """Remove what is on disk; it cannot be used any more."""
        self._entries.close()

    def start_anew(self) -> None:
        """Tell of all objects next time."""
        self._told.clear()
        self._untold = set(self._reported)

    def take_changes(self) -> tuple[list[MapObject], list[int]]:
        """Return the objects that are new or others since this was asked before, and the ids of those that are gone.

        They are as of the last call of `current`.
        """
        changed, gone = [], []
        for number in sorted(self._untold):
            place = bisect_left(self._reported, number)
            if place < len(self._reported) and self._reported[place] == number:
                changed.append(self._objects[place])
            else:
                gone.append(number)
        self._untold.clear()
        self._told.difference_update(gone)
        self._told.update(item.id for item in changed)
        return changed, gone

    def moved(self, move: Move) -> ObjectRegistry:
        """Return a registry that knows where these objects have come to, and waits for the mesh that is there now."""
        other = ObjectRegistry.__new__(ObjectRegistry)
        other._archive_folder, other._entries = self._archive_folder, SummaryStore(self._archive_folder)
        other._edge, other._countable, other._ids = self._edge, self._countable, self._ids.moved(move)
        other._dirty, other._measured_again = {}, set()
        other._pieces, other._next_piece, other._owners = {}, 0, CellOwners()
        pieces = (piece for piece in self._pieces.values() if piece.identity.id != NO_ID)
        other._dirty[_NOWHERE] = b"".join(other._put_moved(piece, move) for piece in pieces)
        there = {piece.identity.id for piece in other._pieces.values()}
        other._objects = [item for item in self._objects if item.id in there]
        other._reported, other._current = [item.id for item in other._objects], None
        other._told, other._untold = set(), set()
        return other

    def take_ids(self, count: int) -> int:
        """Return the first of so many ids that are given to things of another map."""
        self._ids.next_id += count
        return self._ids.next_id - count

    def adopt(self, things: Iterable[tuple[MapObject, Identity]], move: Move) -> None:
        """Learn of things of another map; where they come to, their surfaces are in the meshes that are noted next.

        A thing that turns out to be one with a thing of this map is absorbed by it. `current` must have been asked
        since the last change.

        Args:
            things: with instances and ids (see `take_ids`) of this map.
            move: brings points there.
        """
        places = NOTHING
        for item, identity in things:
            surface = Surface(
                item.cells, pack(item.blocks[:0]), 0, item.confidence, item.class_share, item.centroid, item.minimum,
                item.maximum, item.colour,
            )  # fmt: skip
            piece = _Piece(_kind_of(item), surface, replace(identity, vertices=0))  # ids of more vertices come first
            owner = self._owner_of(item, move)
            if owner is not None:
                seen = self._pieces[owner].identity.seen_between(item.first_seen_ns, item.last_seen_ns)
                self._pieces[owner] = replace(self._pieces[owner], identity=seen)
            cells = self._put_moved(piece, move)
            if cells:
                self._report(_object_of(self._pieces[self._next_piece - 1]))
                places += cells
        if places:
            self._dirty[_NOWHERE] = places

    def become_of(self, things: Iterable[MapObject], move: Move) -> dict[int, int]:
        """Return by which ids things that were adopted are reported now; those of which nothing is left are missing.

        Of a thing whose own id was not needed, that is the one of the object that has most of its cells.
        """
        stands_for = {known.id: piece.identity.id for piece in self._pieces.values() for known in piece.identity.known}
        owners = {item.id: self._owner_of(item, move) for item in things}
        found = {number: self._pieces[owner].identity.id for number, owner in owners.items() if owner is not None}
        return found | {number: stands_for[number] for number in owners if number in stands_for}

    def state(self, measured: MeasuredBlocks, now_ns: int) -> ObjectsState:
        """Return all that follows from what was noted until now."""
        objects = self.current(measured, now_ns)
        entries, blocks = _put_together(self._entries.items())
        owners = [int(self._owners.at(_kind_of(item), item.cells[:1])[0]) for item in objects]
        identities = [self._pieces[number].identity for number in owners]
        return ObjectsState(
            self._ids.next_id, objects, tuple(identities), tuple(self._ids.vanished.values()), blocks, entries
        )

    def restore(self, state: ObjectsState) -> None:
        """Continue, from a registry that knows nothing, with what `state` gave.

        Raises:
            MapFormatError: an object is no surface among the entries.
        """
        bounds = np.flatnonzero(np.diff(state.blocks, prepend=-1, append=-1))
        for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            self._entries.put(int(state.blocks[start]), state.entries[start:end].tobytes())
        saved = {
            (_kind_of(item), int(item.cells[0])): (item, identity)
            for item, identity in zip(state.objects, state.identities, strict=True)
        }
        for kind in np.unique(state.entries["kind"]).tolist():
            chosen = state.entries["kind"] == kind
            for surface in surfaces_of(state.entries[chosen], state.blocks[chosen], self._reach(kind)):
                item, identity = saved.pop((kind, int(surface.cells[0])), (None, None))
                if item is None or identity is None:
                    nobody = all_from(NO_ID, len(surface.cells))
                    self._add(_Piece(kind, surface, Identity(NO_ID, surface.vertices, 0, 0, (), nobody)))
                    continue
                if not _is_of(item, surface):
                    raise MapFormatError(f"object {item.id} is not the surface that the map has at its place")
                self._add(_Piece(kind, surface, identity))
                self._report(item)
        if saved:
            item, _ = next(iter(saved.values()))
            raise MapFormatError(f"object {item.id} is at a place where the map has no surface of its class")
        self._ids.next_id = state.next_id
        self._ids.vanished = {item.known.id: item for item in state.vanished}

    def _find_again(
        self, kind: int, touched: NDArray[np.int64], blocks: NDArray[np.int64], measured: MeasuredBlocks, now_ns: int
    ) -> None:
        """Find the surfaces of a kind at the cells `touched` anew, with all that they are connected with.

        `blocks` are those changed blocks that have entries of the kind now.
        """
        owners = self._owners.at(kind, touched)
        fresh = touched[owners == NOBODY]
        near = {*owners.tolist(), *self._owners.at(kind, neighbours(fresh)).tolist()} - {NOBODY}
        numbers = near if self._reach(kind) == 1 else self._owners.of_kind(kind)
        for number in numbers:
            self._owners.remove(number, kind)
        # in an order that does not hang on the numbers, which are others once a map has been loaded
        old = sorted((self._pieces.pop(number) for number in numbers), key=lambda piece: int(piece.surface.cells[0]))
        cells = np.sort(np.concatenate([fresh, *(piece.surface.cells for piece in old)]))
        entries, block_of = self._gathered(
            np.unique(np.concatenate([blocks, *(piece.surface.blocks for piece in old)])).tolist()
        )
        chosen = np.flatnonzero(entries["kind"] == kind)
        chosen = chosen[shared_cells(entries["cell"][chosen], cells)]
        surfaces = surfaces_of(entries[chosen], block_of[chosen], self._reach(kind))
        identities = self._ids.identified(
            kind % 256,
            surfaces,
            [measured.span(unpack(surface.blocks)) for surface in surfaces],
            [(piece.surface, piece.identity) for piece in old],
            now_ns,
        )
        for piece in old:
            if piece.identity.id != NO_ID:
                place = bisect_left(self._reported, piece.identity.id)
                del self._reported[place], self._objects[place]
                if piece.identity.id in self._told:
                    self._untold.add(piece.identity.id)
                else:
                    self._untold.discard(piece.identity.id)
        for surface, identity in zip(surfaces, identities, strict=True):
            piece = _Piece(kind, surface, identity)
            self._add(piece)
            if identity.id != NO_ID:
                self._report(_object_of(piece))

    def _advance(self, blocks: list[int], measured: MeasuredBlocks) -> None:
        """Note that blocks, which have not changed, were measured again."""
        newest: dict[int, int] = {}  # per number of a piece
        stamps = measured.of(unpack(np.array(blocks, np.int64)), _NEVER)[:, 1].tolist()
        for block, stamp_ns in zip(blocks, stamps, strict=True):
            entries = joined([self._entries.get(block)])
            for kind in np.unique(entries["kind"]).tolist():
                for number in np.unique(self._owners.at(kind, entries["cell"][entries["kind"] == kind])).tolist():
                    newest[number] = max(newest.get(number, _NEVER), stamp_ns)
        for number, stamp_ns in newest.items():
            piece = self._pieces[number]
            if piece.identity.id != NO_ID and stamp_ns > piece.identity.last_seen_ns:
                self._pieces[number] = replace(piece, identity=piece.identity.seen_again(stamp_ns))
                place = bisect_left(self._reported, piece.identity.id)
                self._objects[place] = replace(self._objects[place], last_seen_ns=stamp_ns)
                self._untold.add(piece.identity.id)

    def _reach(self, kind: int) -> int:
        """Return how many cells apart the parts of a thing may be: what hides its middle does not make two of it."""
        return max(1, round(_HIDDEN_M / self._edge)) if kind // 256 else 1

    def _gathered(self, blocks: list[int]) -> tuple[NDArray, NDArray[np.int64]]:
        """Return the entries (N,) of packed blocks, those that have none left out, and the block (N,) of each."""
        return _put_together((block, self._entries.get(block)) for block in blocks)

    def _owner_of(self, item: MapObject, move: Move) -> int | None:
        """Return the number of the piece that is an object and has most of the cells that a thing comes to."""
        cells, _ = moved_cells(item.cells, move, item.first_seen_ns, self._edge)
        there = Counter(self._owners.at(_kind_of(item), cells).tolist())
        pieces = [number for number in there if number != NOBODY and self._pieces[number].identity.id != NO_ID]
        return max(pieces, key=lambda number: (there[number], -self._pieces[number].identity.id), default=None)

    def _put_moved(self, piece: _Piece, move: Move) -> bytes:
        """Add a piece where it comes to and none is; return empty entries of all cells that it may be one with."""
        surface, identity = moved_piece(
            piece.surface, piece.identity, move, self._edge, lambda cells: self._owners.at(piece.kind, cells) == NOBODY
        )
        if len(surface.cells):
            self._add(_Piece(piece.kind, surface, identity))
        around = np.union1d(surface.cells, neighbours(surface.cells))
        entries = np.zeros(len(around), SUMMARY)
        entries["cell"], entries["kind"] = around, piece.kind
        return entries.tobytes()

    def _add(self, piece: _Piece) -> None:
        self._pieces[self._next_piece] = piece
        self._owners.add(self._next_piece, piece.kind, piece.surface.cells)
        self._next_piece += 1

    def _report(self, item: MapObject) -> None:
        place = bisect_left(self._reported, item.id)
        self._reported.insert(place, item.id)
        self._objects.insert(place, item)
        self._untold.add(item.id)


def _put_together(blocks: Iterable[tuple[int, bytes]]) -> tuple[NDArray, NDArray[np.int64]]:
    """Return the entries (N,) of all blocks, and the block (N,) of each."""
    numbers, parts = zip(*blocks, strict=True) if (blocks := [*blocks]) else ((), ())
    counts = np.array([len(part) // SUMMARY.itemsize for part in parts], np.int64)
    return joined(parts), np.repeat(np.array(numbers, np.int64), counts)


def _kind_of(item: MapObject) -> int:
    return item.instance * 256 + item.label


def _object_of(piece: _Piece) -> MapObject:
    surface, identity = piece.surface, piece.identity
    return MapObject(
        id=identity.id,
        label=piece.kind % 256,
        instance=piece.kind // 256,
        confidence=surface.confidence,
        class_share=surface.class_share,
        centroid=surface.centroid,
        minimum=surface.minimum,
        maximum=surface.maximum,
        colour=surface.colour,
        vertices=surface.vertices,
        first_seen_ns=identity.first_seen_ns,
        last_seen_ns=identity.last_seen_ns,
        absorbed=identity.absorbed,
        blocks=unpack(surface.blocks),
        cells=surface.cells,
    )


def _is_of(item: MapObject, surface: Surface) -> bool:
    return (
        np.array_equal(item.cells, surface.cells)
        and np.array_equal(pack(item.blocks), surface.blocks)
        and item.vertices == surface.vertices
    )
