# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Objects: connected surfaces of one countable class, with ids that last."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import LabelSpace
from mtl_perception.mapping.config import MapperConfig
from mtl_perception.mapping.fusion.blocks import Key, pack
from mtl_perception.mapping.fusion.measured import MeasuredBlocks
from mtl_perception.mapping.surface.meshing import MeshBlock


@dataclass(frozen=True, eq=False)
class MapObject:
    """A static thing in the map, in the world frame.

    Attributes:
        id: stable over updates, never used again.
        label: label id.
        confidence: 0..1, mean over its vertices of how clearly their label leads its vote.
        centroid: (3,) mean of its vertices, metres.
        minimum, maximum: (3,) corners of its axis-aligned box, metres.
        colour: mean RGB 0..255.
        vertices: how many mesh vertices it has.
        first_seen_ns, last_seen_ns: stamps of the first and last frame that measured it.
        cells: sorted packed cells of edge `object_gap` that it fills, by which it is recognised.
    """

    id: int
    label: int
    confidence: float
    centroid: NDArray[np.float64]
    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]
    colour: tuple[int, int, int]
    vertices: int
    first_seen_ns: int
    last_seen_ns: int
    cells: NDArray[np.int64]


class ObjectRegistry:
    """Finds the objects in the mesh and recognises those of before."""

    def __init__(self, config: MapperConfig, labels: LabelSpace) -> None:
        """Start without objects."""
        self._config = config
        self._countable = labels.static_things
        self.objects: tuple[MapObject, ...] = ()
        self.next_id = 0
        self._things: dict[Key, tuple[MeshBlock, NDArray[np.int64]]] = {}  # blocks with countable vertices, and which
        self._is_current = True

    def note(self, changed: dict[Key, MeshBlock], removed: tuple[Key, ...]) -> None:
        """Learn which blocks have a new mesh, and which have none any more."""
        for key, block in changed.items():
            chosen = np.flatnonzero(self._countable[block.labels])
            had = self._things.pop(key, None)
            if len(chosen):
                self._things[key] = (block, chosen)
            self._is_current = self._is_current and had is None and not len(chosen)
        for key in removed:
            self._is_current = self._things.pop(key, None) is None and self._is_current

    def restore(self, objects: tuple[MapObject, ...], next_id: int, blocks: dict[Key, MeshBlock]) -> None:
        """Continue with the objects of a saved map and its mesh."""
        self.note(blocks, ())
        self.objects, self.next_id, self._is_current = objects, next_id, True

    def current(self, measured: MeasuredBlocks, now_ns: int) -> tuple[MapObject, ...]:
        """Return the objects as of now, with the stamps of when their blocks were measured."""
        if not self._is_current:
            self.objects = self._recognised(_clusters(self._things, measured, now_ns, self._config))
            self._is_current = True
        return self.objects

    def _recognised(self, found: list[MapObject]) -> tuple[MapObject, ...]:
        """Give each found object the id of the known one of its class with which it shares most cells, or a new id."""
        pairs = []
        for number, new in enumerate(found):
            for known in self.objects:
                if known.label == new.label and _boxes_touch(known, new, self._config.object_gap):
                    shared = len(np.intersect1d(known.cells, new.cells, assume_unique=True))
                    apart = float(np.linalg.norm(known.centroid - new.centroid))
                    if shared or apart < self._config.object_gap:
                        pairs.append((-shared, apart, known.id, number))
        by_id = {known.id: known for known in self.objects}
        named: dict[int, MapObject] = {}
        for _, _, known_id, number in sorted(pairs):
            if known_id in by_id and number not in named:
                first = min(by_id.pop(known_id).first_seen_ns, found[number].first_seen_ns)
                named[number] = replace(found[number], id=known_id, first_seen_ns=first)
        for number, new in enumerate(found):
            if number not in named:
                named[number] = replace(new, id=self.next_id)
                self.next_id += 1
        return tuple(sorted(named.values(), key=lambda item: item.id))


def _clusters(
    things: dict[Key, tuple[MeshBlock, NDArray[np.int64]]], measured: MeasuredBlocks, now_ns: int, config: MapperConfig
) -> list[MapObject]:
    """Return the objects among chosen vertices, without ids (-1), in an order that follows from the mesh alone."""
    if not things:
        return []
    keys = sorted(things)
    parts = [things[key] for key in keys]
    points = np.concatenate([block.vertices[chosen] for block, chosen in parts]).astype(np.float64)
    labels = np.concatenate([block.labels[chosen] for block, chosen in parts])
    colours = np.concatenate([block.colours[chosen] for block, chosen in parts])
    confidence = np.concatenate([block.confidence[chosen] for block, chosen in parts])
    stamps = np.repeat(measured.of(np.array(keys, np.int32), now_ns), [len(chosen) for _, chosen in parts], axis=0)

    cells = pack(np.floor(points / config.object_gap).astype(np.int64))
    found = []
    for label in np.unique(labels):
        of_label = np.flatnonzero(labels == label)
        distinct, place = np.unique(cells[of_label], return_inverse=True)
        component = connected_cells(distinct)[place]
        order = np.argsort(component, kind="stable")
        for members in np.split(of_label[order], np.flatnonzero(np.diff(component[order])) + 1):
            if len(members) >= config.object_min_vertices:
                red, green, blue = colours[members].mean(axis=0).round().astype(int).tolist()
                found.append(
                    MapObject(
                        id=-1,
                        label=int(label),
                        confidence=float(confidence[members].mean()),
                        centroid=points[members].mean(axis=0),
                        minimum=points[members].min(axis=0),
                        maximum=points[members].max(axis=0),
                        colour=(red, green, blue),
                        vertices=len(members),
                        first_seen_ns=int(stamps[members, 0].min()),
                        last_seen_ns=int(stamps[members, 1].max()),
                        cells=np.unique(cells[members]),
                    )
                )
    return found


def connected_cells(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the component (N,) of each packed cell (N,), sorted and distinct, under 26-neighbourhood.

    A component is named by its first cell. Labels spread along the links and are then shortened, until none changes.
    """
    links = []
    for x, y, z in _HALF_NEIGHBOURHOOD:
        step = (x << 42) + (y << 21) + z
        at = np.searchsorted(cells, cells + step)
        there = np.flatnonzero(cells[np.minimum(at, len(cells) - 1)] == cells + step)
        links.append(np.stack([there, at[there]]))
    first, second = np.concatenate(links, axis=1)
    parent = np.arange(len(cells))
    while True:
        low = np.minimum(parent[first], parent[second])
        before = parent.copy()
        np.minimum.at(parent, parent[first], low)
        np.minimum.at(parent, parent[second], low)
        parent = parent[parent]
        if (parent == before).all():
            return parent


def _boxes_touch(one: MapObject, other: MapObject, gap: float) -> bool:
    return bool((one.minimum <= other.maximum + gap).all() and (other.minimum <= one.maximum + gap).all())


_HALF_NEIGHBOURHOOD = [(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1) if (x, y, z) > (0, 0, 0)]
