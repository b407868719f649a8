# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Marching cubes over chosen blocks of the map.

Open3D meshes a whole grid only, in an order that differs from call to call. This gives the very triangles of Open3D's
`extract_triangle_mesh`, for any set of blocks, in a fixed order: a cell belongs to the block that holds its lower
corner, so a block's triangles depend on that block and its neighbours above and on nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import UNKNOWN
from mtl_perception.mapping.fusion.blocks import BLOCK, BlockStore, Key, pack, unpack
from mtl_perception.mapping.surface.marching_cubes import CORNERS, EDGE_AXES, EDGE_STARTS, TRIANGLE_COUNTS, TRIANGLES

_SIDE = BLOCK + 1  # a block's voxels and the first layer of its neighbours above
_EDGES = _SIDE**3 * 3
_STEPS = np.array([1, _SIDE, _SIDE**2])  # along x, y, z in a padded block
UPPER = np.array([[x, y, z] for z in (0, 1) for y in (0, 1) for x in (0, 1)], dtype=np.int32)
"""From a block to itself and to the neighbours above it, whose voxels its triangles depend on, (8, 3); x first."""


@dataclass(frozen=True, eq=False)
class MeshArrays:
    """A triangle mesh in the world frame.

    Attributes:
        vertices: float32 (V, 3), metres.
        triangles: int32 (T, 3), indices of vertices; counter-clockwise seen from free space.
        colours: uint8 (V, 3) RGB.
        labels: uint8 (V,), label ids, 255 unknown.
        confidence: float32 (V,), 0..1, how clearly the vertex's label leads its vote.
        instances: uint16 (V,), the voxel's thing (`fusion.instances`), 0 for none.
    """

    vertices: NDArray[np.float32]
    triangles: NDArray[np.int32]
    colours: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    confidence: NDArray[np.float32]
    instances: NDArray[np.uint16]


MeshBlock = MeshArrays
"""The mesh of one block: every vertex that its triangles use, so neighbouring blocks repeat those on their border."""

EMPTY_MESH = MeshArrays(
    np.zeros((0, 3), np.float32),
    np.zeros((0, 3), np.int32),
    np.zeros((0, 3), np.uint8),
    np.zeros(0, np.uint8),
    np.zeros(0, np.float32),
    np.zeros(0, np.uint16),
)


def mesh_blocks(store: BlockStore, keys: NDArray[np.int32], min_weight: float) -> dict[Key, MeshBlock]:
    """Mesh the blocks `keys` (N, 3); blocks without a triangle are left out. Voxels below `min_weight` are not used."""
    keys = keys[store.find(keys) >= 0]
    if not len(keys):
        return {}
    rows = _rows_with_neighbours(store, keys)
    tsdf = _padded(store.voxels["tsdf"], rows, fill=1.0)
    known = _padded(store.voxels["weight"], rows, fill=0.0) >= min_weight
    block, triangle_edges = _triangles(tsdf, known)
    if not len(block):
        return {}
    edges, corners = _numbered(block[:, None] * _EDGES + triangle_edges, len(keys) * _EDGES)
    vertices = _vertices(store, keys, rows, tsdf, edges)
    return _split(keys, block, corners, edges // _EDGES, vertices)


def blocks_to_mesh(changed: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the keys (M, 3), in order, of blocks whose triangles depend on the blocks `changed` (N, 3)."""
    return unpack(np.unique(pack(changed[:, None] - UPPER)))


def _rows_with_neighbours(store: BlockStore, keys: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the rows (N, 8) of each block and its neighbours above, x first; -1 where there is none."""
    packed = pack(keys[:, None] + UPPER)
    unique, inverse = np.unique(packed, return_inverse=True)
    return store.find(unpack(unique))[inverse.reshape(packed.shape)]


def _padded(values: NDArray[np.float32], rows: NDArray[np.int64], fill: float) -> NDArray[np.float32]:
    """Return blocks (N, 9, 9, 9) as z, y, x: a block's voxels and the layer above it in each direction."""
    values = values.reshape(-1, BLOCK, BLOCK, BLOCK)
    padded = np.full((len(rows), _SIDE, _SIDE, _SIDE), fill, np.float32)
    for neighbour, (x, y, z) in enumerate(UPPER):
        into = tuple(slice(BLOCK, None) if step else slice(0, BLOCK) for step in (z, y, x))
        source = tuple(slice(0, 1) if step else slice(None) for step in (z, y, x))
        there = np.flatnonzero(rows[:, neighbour] >= 0)
        padded[(there, *into)] = values[(rows[there, neighbour], *source)]
    return padded


def _triangles(tsdf: NDArray[np.float32], known: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return, for each triangle, its block (T,) and the edges of its corners (T, 3), numbered in the padded block."""
    inside = (tsdf < 0).astype(np.uint8)
    case = np.zeros((len(tsdf), BLOCK, BLOCK, BLOCK), np.uint8)
    complete = np.ones(case.shape, dtype=bool)
    for bit, (x, y, z) in enumerate(CORNERS):
        window = (slice(None), slice(z, z + BLOCK), slice(y, y + BLOCK), slice(x, x + BLOCK))
        case |= inside[window] << np.uint8(bit)
        complete &= known[window]
    block, z, y, x = np.nonzero(complete & (case != 0) & (case != 255))
    case = case[block, z, y, x]
    count = TRIANGLE_COUNTS[case]
    cell = np.repeat(np.arange(len(case)), count)
    nth = np.arange(len(cell)) - np.repeat(np.cumsum(count) - count, count)
    edge = TRIANGLES[case[cell], nth]
    lattice = np.stack([x, y, z], axis=1)[cell] @ _STEPS
    return block[cell], (lattice[:, None] + _EDGE_LATTICE[edge]) * 3 + EDGE_AXES[edge]


def _numbered(edges: NDArray[np.int64], count: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return the distinct ones of `edges` (T, 3) in order, and for each its place among them; all are below `count`."""
    used = np.zeros(count, dtype=bool)
    used[edges] = True
    distinct = np.flatnonzero(used).astype(np.int64)
    place = np.zeros(count, dtype=np.int32)
    place[distinct] = np.arange(len(distinct), dtype=np.int32)
    return distinct, place[edges]


def _vertices(
    store: BlockStore,
    keys: NDArray[np.int32],
    rows: NDArray[np.int64],
    tsdf: NDArray[np.float32],
    edges: NDArray[np.int64],
) -> MeshArrays:
    """Return one vertex for each edge (V,) at the zero crossing, with the colour and label found there."""
    block, within = edges // _EDGES, edges % _EDGES
    axis, lattice = within % 3, within // 3
    start = np.stack([lattice % _SIDE, lattice // _SIDE % _SIDE, lattice // _SIDE**2], axis=1)
    end = start.copy()
    end[np.arange(len(end)), axis] += 1
    values = tsdf.reshape(len(tsdf), -1)
    low, high = values[block, lattice].astype(np.float64), values[block, lattice + _STEPS[axis]].astype(np.float64)
    share = low / (low - high)

    position = (keys[block].astype(np.int64) * BLOCK + start).astype(np.float64)
    position[np.arange(len(position)), axis] += share
    near, far = _voxel(rows, block, start), _voxel(rows, block, end)
    swap = share > 0.5
    near, far = np.where(swap, far, near), np.where(swap, near, far)
    share = np.where(swap, 1.0 - share, share)

    colours = store.flat("color")
    labels, votes = store.flat("label"), store.flat("votes")
    weights = store.flat("weight")
    labelled = np.where(labels[near] == UNKNOWN, far, near)
    colour = colours[near] * (1.0 - share)[:, None] + colours[far] * share[:, None]
    return MeshArrays(
        vertices=(position * store.voxel_size).astype(np.float32),
        triangles=EMPTY_MESH.triangles,
        colours=np.clip(np.rint(colour), 0, 255).astype(np.uint8),
        labels=labels[labelled],
        confidence=np.clip(votes[labelled] / np.maximum(weights[labelled], 1e-6), 0.0, 1.0),
        instances=store.flat("instance")[labelled],
    )


def _voxel(rows: NDArray[np.int64], block: NDArray[np.int64], lattice: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the voxels, as indices into all rows' voxels, at lattice points (V, 3) of padded blocks (V,)."""
    over, local = lattice // BLOCK, lattice % BLOCK
    row = rows[block, over @ np.array([1, 2, 4])]
    return row * BLOCK**3 + local @ np.array([1, BLOCK, BLOCK**2])


def _split(
    keys: NDArray[np.int32],
    triangle_block: NDArray[np.int64],
    corners: NDArray[np.int32],
    vertex_block: NDArray[np.int64],
    mesh: MeshArrays,
) -> dict[Key, MeshBlock]:
    numbers = np.arange(len(keys) + 1)
    first_triangle = np.searchsorted(triangle_block, numbers)
    first_vertex = np.searchsorted(vertex_block, numbers)
    blocks = {}
    for number in np.unique(triangle_block):
        triangles = slice(first_triangle[number], first_triangle[number + 1])
        vertices = slice(first_vertex[number], first_vertex[number + 1])
        x, y, z = keys[number].tolist()
        blocks[(x, y, z)] = MeshBlock(
            vertices=mesh.vertices[vertices].copy(),
            triangles=(corners[triangles] - first_vertex[number]).astype(np.int32),
            colours=mesh.colours[vertices].copy(),
            labels=mesh.labels[vertices].copy(),
            confidence=mesh.confidence[vertices].astype(np.float32),
            instances=mesh.instances[vertices].copy(),
        )
    return blocks


_EDGE_LATTICE = EDGE_STARTS @ _STEPS
