# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Summaries of mesh vertices per class and cell, and the connected surfaces that they make up.

What is known of an object's surface is kept per mesh block, class and cell of edge `object_gap`, so that a block can
change or go without a look at any other, and no vertex need be kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from mtl_perception.core import UNKNOWN
from mtl_perception.mapping.fusion.blocks import Key, pack, unpack
from mtl_perception.mapping.surface.meshing import MeshBlock

SUMMARY = np.dtype(
    [
        ("cell", np.int64),  # packed
        ("kind", np.int32),  # label, and 256 times the instance
        ("vertices", np.uint32),
        ("position", np.float64, 3),  # sum over the vertices, metres
        ("colour", np.uint32, 3),  # sum, 0..255 each
        ("confidence", np.float64),  # sum
        ("mixed", np.float64),  # sum of the confidence of all vertices of the same block and cell that have a class
        ("minimum", np.float32, 3),  # metres
        ("maximum", np.float32, 3),
    ]
)
"""What is kept of the vertices of one block, kind and cell: 92 bytes."""

KINDS = 1 << 24
"""A kind, below this, is a label id and, 256 times that, a thing that panoptic images tell from others; 0: none."""

_AT_ONCE = 1024  # blocks summarised together, some 100 MB of arrays at most
_NEIGHBOURHOOD = [(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1)]
_STEPS = np.array([(x << 42) + (y << 21) + z for x, y, z in _NEIGHBOURHOOD if (x, y, z) > (0, 0, 0)])


@dataclass(frozen=True, eq=False)
class Surface:
    """Connected cells of one class, and what their vertices have in common; see `MapObject`.

    Attributes:
        cells: (C,) packed, sorted.
        blocks: (B,) packed keys of the mesh blocks that hold its vertices, sorted.
        vertices: how many, those on borders between blocks counted in each.
        confidence: 0..1, mean over the vertices.
        class_share: 0..1.
        centroid: (3,), metres, of the whole of it: the mean over the cells of the mean of each one's vertices. A cell
            counts as the square root of how many they are, and for less where many cells are beside it. So the centroid
            is drawn less to the part of a pole that was seen from all around, which has many times the vertices of a
            part as long that was seen from one side, and a cell that the surface only touches is not one that it fills.
        minimum, maximum: (3,), metres.
        colour: mean RGB 0..255.
    """

    cells: NDArray[np.int64]
    blocks: NDArray[np.int64]
    vertices: int
    confidence: float
    class_share: float
    centroid: NDArray[np.float64]
    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]
    colour: tuple[int, int, int]


def summarised(blocks: dict[Key, MeshBlock], countable: NDArray[np.bool_], edge: float) -> dict[int, bytes]:
    """Return, per packed key of a block with countable vertices, its `SUMMARY` entries, by cell and kind, as bytes.

    Args:
        blocks: meshes, whose instances are those that their numbers stand for (`Instances.meant`).
        countable: (256,), whether a label is one of objects.
        edge: of a cell, metres.
    """
    parts = [(key, block) for key, block in sorted(blocks.items()) if countable[block.labels].any()]
    found: dict[int, bytes] = {}
    for start in range(0, len(parts), _AT_ONCE):
        found |= _summarised(parts[start : start + _AT_ONCE], countable, edge)
    return found


def with_instance(entries: bytes, instance: int, other: int) -> bytes:
    """Return the entries of a block with one instance for another; they may then have a kind twice in a cell."""
    array = np.frombuffer(entries, SUMMARY).copy()
    chosen = array["kind"] // 256 == instance
    array["kind"][chosen] += (other - instance) * 256
    return array.tobytes()


def joined(parts: Sequence[bytes]) -> NDArray:
    """Return the entries (N,) of several blocks; NumPy's own way to join structured arrays takes 600 times as long."""
    return np.frombuffer(b"".join(parts), SUMMARY)


def surfaces_of(entries: NDArray, blocks: NDArray[np.int64], reach: int = 1) -> list[Surface]:
    """Return the connected surfaces among `SUMMARY` entries (N,) of one kind, in the order of their first cells.

    A surface's sums depend on its own entries only.

    Args:
        entries: (N,).
        blocks: (N,) the packed keys of the entries' blocks, in order.
        reach: so many cells may connected ones be apart, to any side; 1: they are neighbours.
    """
    if not len(entries):
        return []
    cells, place = np.unique(entries["cell"], return_inverse=True)
    _, component = np.unique(connected_cells(cells, reach), return_inverse=True)
    of_entry = component[place]
    order = np.argsort(of_entry, kind="stable")
    blocks, of_entry = blocks[order], of_entry[order]
    of = {name: entries[name][order] for name in SUMMARY.names or ()}  # aligned copies: sums of them are faster
    first = _firsts(of_entry)
    vertices = np.add.reduceat(of["vertices"], first, dtype=np.int64)
    colour = np.add.reduceat(of["colour"], first, axis=0, dtype=np.int64) / vertices[:, None]
    confidence = np.add.reduceat(of["confidence"], first)
    mixed = np.add.reduceat(of["mixed"], first)
    minimum = np.minimum.reduceat(of["minimum"], first, axis=0).astype(np.float64)
    maximum = np.maximum.reduceat(of["maximum"], first, axis=0).astype(np.float64)

    new_block = np.flatnonzero((np.diff(of_entry, prepend=-1) != 0) | (np.diff(blocks, prepend=-1) != 0))
    block_bounds = np.searchsorted(of_entry[new_block], np.arange(len(first) + 1))
    by_component = np.argsort(component, kind="stable")
    cell_bounds = np.searchsorted(component[by_component], np.arange(len(first) + 1))
    middles, in_cell = _middles(entries, place)
    middles, weight = middles[by_component], (np.sqrt(in_cell) / (1 + _beside(cells)))[by_component, None]
    sums = np.add.reduceat(np.concatenate([weight * middles, weight], axis=1), cell_bounds[:-1], axis=0)
    centroid = sums[:, :3] / sums[:, 3:]
    found = []  # with copies, so that one of them does not keep the others' arrays alive
    for at, (red, green, blue) in enumerate(colour.round().astype(int).tolist()):
        found.append(
            Surface(
                cells=cells[by_component[cell_bounds[at] : cell_bounds[at + 1]]],
                blocks=blocks[new_block[block_bounds[at] : block_bounds[at + 1]]],
                vertices=int(vertices[at]),
                confidence=float(confidence[at] / vertices[at]),
                class_share=float(confidence[at] / mixed[at]) if mixed[at] > 0 else 0.0,
                centroid=centroid[at].copy(),
                minimum=minimum[at].copy(),
                maximum=maximum[at].copy(),
                colour=(red, green, blue),
            )
        )
    return found


def connected_cells(cells: NDArray[np.int64], reach: int = 1) -> NDArray[np.int64]:
    """Return the component (N,) of each packed cell (N,), sorted and distinct; with reach 1, under 26-neighbourhood.

    A component is named by its first cell. It costs N log N for each two components whose boxes are within reach.
    """
    component = _spread_along(len(cells), *_links(cells))
    if reach == 1 or not component.any():
        return component
    first, of_cell = np.unique(component, return_inverse=True)
    return first[_spread_along(len(first), *_links_within(unpack(cells), of_cell, reach))][of_cell]


def _spread_along(count: int, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the component (N,), the least of its members, of each of so many that are linked by pairs (M,), (M,).

    Labels spread along the links and are then shortened, until none changes.
    """
    parent = np.arange(count)
    while True:
        low = np.minimum(parent[first], parent[second])
        before = parent.copy()
        np.minimum.at(parent, parent[first], low)
        np.minimum.at(parent, parent[second], low)
        parent = parent[parent]
        if (parent == before).all():
            return parent


def _links(cells: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    wanted = cells + _STEPS[:, None]
    at = np.searchsorted(cells, wanted)
    _, first = there = np.nonzero(cells[np.minimum(at, len(cells) - 1)] == wanted)
    return first, at[there]


def _links_within(
    points: NDArray[np.int32], component: NDArray[np.int64], reach: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs (M,), (M,) of components of which cells (N, 3), component (N,), are at most so many apart."""
    order = np.argsort(component, kind="stable")
    parts = np.split(points[order], _firsts(component[order])[1:])
    low, high = (np.stack([bound(part, axis=0) for part in parts]) for bound in (np.min, np.max))
    apart = np.maximum(low[:, None] - high, low - high[:, None]).max(axis=2)
    near = np.argwhere(np.triu(apart <= reach, 1))
    trees = {number: cKDTree(parts[number]) for number in np.unique(near).tolist()}
    linked = [
        np.isfinite(trees[one].query(parts[other], p=np.inf, distance_upper_bound=reach + 0.5)[0]).any()
        for one, other in near.tolist()
    ]
    return near[linked, 0], near[linked, 1]


def neighbours(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the packed cells, in order, that are among the 26 neighbours of packed cells (N,)."""
    return np.unique(cells[:, None] + np.concatenate([-_STEPS, _STEPS]))


def shared_cells(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which of the packed cells `one` (N,) are among `other` (M,), which is sorted."""
    if not len(other):
        return np.zeros(len(one), dtype=bool)
    return other[np.minimum(np.searchsorted(other, one), len(other) - 1)] == one


def _beside(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many of the cells that share a face with each of packed, sorted cells (N,) are among them."""
    count = np.zeros(len(cells), np.int64)
    for step in (1 << 42, 1 << 21, 1):
        at = np.minimum(np.searchsorted(cells, cells + step), len(cells) - 1)
        there = cells[at] == cells + step
        count[there] += 1
        count[at[there]] += 1
    return count


def _middles(entries: NDArray, place: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the mean (C, 3) of the vertices of each cell, and how many (C,); `place` (N,): each entry's cell."""
    order = np.argsort(place, kind="stable")
    first = _firsts(place[order])
    vertices = np.add.reduceat(entries["vertices"][order], first, dtype=np.int64)
    return np.add.reduceat(entries["position"][order], first, axis=0) / vertices[:, None], vertices


def _summarised(parts: list[tuple[Key, MeshBlock]], countable: NDArray[np.bool_], edge: float) -> dict[int, bytes]:
    label = np.concatenate([block.labels for _, block in parts])
    number = np.repeat(np.arange(len(parts)), [len(block.labels) for _, block in parts])
    points = np.concatenate([block.vertices for _, block in parts]).astype(np.float64)
    distinct, cell = np.unique(pack(np.floor(points / edge).astype(np.int64)), return_inverse=True)
    kind = np.concatenate([block.instances for _, block in parts]).astype(np.int64) * 256 + label
    place = (number * len(distinct) + cell) * KINDS + kind
    order = np.argsort(place, kind="stable")
    order = order[label[order] != UNKNOWN]
    place = place[order]

    confidence = np.concatenate([block.confidence for _, block in parts])[order].astype(np.float64)
    in_cell = _firsts(place // KINDS)
    first = _firsts(place)
    mixed = np.add.reduceat(confidence, in_cell)[np.searchsorted(in_cell, first, side="right") - 1]
    colours = np.concatenate([block.colours for _, block in parts])[order].astype(np.uint32)
    points = points[order]
    entries = np.empty(len(first), SUMMARY)
    entries["cell"] = distinct[cell[order[first]]]
    entries["kind"] = kind[order[first]]
    entries["vertices"] = np.diff(first, append=len(order))
    entries["position"] = np.add.reduceat(points, first, axis=0)
    entries["colour"] = np.add.reduceat(colours, first, axis=0)
    entries["confidence"] = np.add.reduceat(confidence, first)
    entries["mixed"] = mixed
    entries["minimum"] = np.minimum.reduceat(points, first, axis=0)
    entries["maximum"] = np.maximum.reduceat(points, first, axis=0)

    counted = countable[entries["kind"] % 256]
    entries, number = entries[counted], number[order[first]][counted]
    bounds = np.searchsorted(number, np.arange(len(parts) + 1))
    keys = pack(np.array([key for key, _ in parts])).tolist()
    return {key: entries[bounds[at] : bounds[at + 1]].tobytes() for at, key in enumerate(keys)}


def _firsts(ordered: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return where a new value begins among ordered values (N,), none negative."""
    return np.flatnonzero(np.diff(ordered, prepend=-1))
