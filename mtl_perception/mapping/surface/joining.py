# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One mesh of the meshes of many blocks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from mtl_perception.mapping.fusion.blocks import Key
from mtl_perception.mapping.surface.meshing import EMPTY_MESH, MeshArrays, MeshBlock

_ATTRIBUTES = ("vertices", "colours", "labels", "confidence", "instances")


def joined(parts: Iterable[Mapping[Key, MeshBlock]], voxel_size: float, part_voxels: int) -> MeshArrays:
    """Join blocks to one mesh, in the order of the parts and, within one, of their keys; equal vertices are merged.

    Beside the result, only one of its arrays is in memory twice, and of what `parts` gives, one at a time.

    Args:
        parts: blocks of cubes of space, by key.
        voxel_size: metres.
        part_voxels: voxels along a cube's edge: cubes share vertices only on planes that are so far apart.
    """
    columns: dict[str, list[NDArray]] = {field: [] for field in (*_ATTRIBUTES, "triangles")}
    seams = []  # indices of vertices that another part may have too
    count = 0
    for part in parts:
        if part:
            mesh = _merged([part[key] for key in sorted(part)])
            for field, column in columns.items():
                column.append(getattr(mesh, field))
            columns["triangles"][-1] += np.int32(count)
            seams.append(np.flatnonzero(_on_plane(mesh.vertices, voxel_size, part_voxels)) + count)
            count += len(mesh.vertices)
    if not count:
        return EMPTY_MESH
    arrays = {field: np.concatenate(columns.pop(field)) for field in list(columns)}
    seam = np.concatenate(seams)
    first, inverse = _distinct(arrays["vertices"][seam])
    kept = np.ones(count, dtype=bool)
    kept[seam] = False
    kept[seam[first]] = True
    number = np.cumsum(kept, dtype=np.int32) - np.int32(1)
    number[seam] = number[seam[first]][inverse]
    for start in range(0, len(arrays["triangles"]), 1 << 20):
        triangles = arrays["triangles"][start : start + (1 << 20)]
        triangles[:] = number[triangles]
    return MeshArrays(triangles=arrays["triangles"], **{field: arrays.pop(field)[kept] for field in _ATTRIBUTES})


def _merged(blocks: list[MeshBlock]) -> MeshArrays:
    starts = np.cumsum([0] + [len(block.vertices) for block in blocks[:-1]])
    triangles = np.concatenate([block.triangles + start for block, start in zip(blocks, starts, strict=True)])
    vertices = np.concatenate([block.vertices for block in blocks])
    first, inverse = _distinct(vertices)
    return MeshArrays(
        vertices=vertices[first],
        triangles=inverse[triangles].astype(np.int32),
        colours=np.concatenate([block.colours for block in blocks])[first],
        labels=np.concatenate([block.labels for block in blocks])[first],
        confidence=np.concatenate([block.confidence for block in blocks])[first],
        instances=np.concatenate([block.instances for block in blocks])[first],
    )


def _distinct(vertices: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where each distinct vertex (V, 3) is first, in that order, and for each vertex its number among them.

    Equal edges give bit-equal vertices, so equal bytes are the same vertex.
    """
    words = np.ascontiguousarray(vertices + np.float32(0.0)).view(np.dtype((np.void, 12))).ravel()
    _, first, inverse = np.unique(words, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[inverse]


def _on_plane(vertices: NDArray[np.float32], voxel_size: float, part_voxels: int) -> NDArray[np.bool_]:
    """Return for vertices (V, 3) whether they lie on a face of a cube of space, to the bit as meshing rounds them."""
    face = np.rint(vertices.astype(np.float64) / (part_voxels * voxel_size)) * part_voxels
    return np.asarray((vertices == (face * voxel_size).astype(np.float32)).any(axis=1))
