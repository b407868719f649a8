# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Points all over a map's surface, as many as are needed to lay it over another one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.transforms import Transform, transform_points
from mtl_perception.mapping.fusion.blocks import Key, pack
from mtl_perception.mapping.graph.object_cells import neighbours
from mtl_perception.mapping.surface.meshing import MeshBlock

_UPRIGHT = 0.5  # of a normal's length may be along z


@dataclass(frozen=True, eq=False)
class SurfaceSamples:
    """Points of a surface.

    Attributes:
        points: (N, 3), metres.
        normals: (N, 3) of length 1, which look into free space.
        of_things: (N,), whether they are of things that can be counted.
    """

    points: NDArray[np.float64]
    normals: NDArray[np.float64]
    of_things: NDArray[np.bool_]

    def __len__(self) -> int:
        """Return the number of points."""
        return len(self.points)

    def moved(self, transform: Transform) -> SurfaceSamples:
        """Return them where a transform brings them."""
        points = transform_points(transform, self.points)
        return SurfaceSamples(points, self.normals @ transform[:3, :3].T, self.of_things)

    def thinned(self, most: int) -> SurfaceSamples:
        """Return at most so many of them, evenly chosen."""
        return self._chosen(np.unique(np.linspace(0, len(self) - 1, min(most, len(self))).astype(np.int64)))

    def beside(self, other: SurfaceSamples, self_from_other: Transform, distance: float) -> SurfaceSamples:
        """Return at least those that have points of another surface within a distance, metres, and few more."""
        cells = np.unique(pack(np.floor(transform_points(self_from_other, other.points) / distance).astype(np.int64)))
        near = np.concatenate([cells, neighbours(cells)])
        return self._chosen(np.isin(pack(np.floor(self.points / distance).astype(np.int64)), near))

    def upright(self) -> SurfaceSamples:
        """Return those on walls and sides of things: floors and ceilings say nothing of where one is along them."""
        return self._chosen(np.abs(self.normals[:, 2]) < _UPRIGHT)

    def _chosen(self, rows: NDArray) -> SurfaceSamples:
        return SurfaceSamples(self.points[rows], self.normals[rows], self.of_things[rows])


def samples_of(
    parts: Iterable[Mapping[Key, MeshBlock]], spacing: float, things: NDArray[np.bool_]
) -> SurfaceSamples:
    """Return one vertex for each cell of an edge `spacing`, metres, in which a mesh in parts has any.

    `things` (256,) tells of which labels things are that can be counted.
    """
    points, normals, of_things = [np.zeros((0, 3))], [np.zeros((0, 3))], [np.zeros(0, dtype=bool)]
    for meshes in parts:
        blocks = [meshes[key] for key in sorted(meshes)]
        if not blocks:
            continue
        first = np.cumsum([0, *(len(block.vertices) for block in blocks[:-1])])
        triangles = np.concatenate([block.triangles + start for block, start in zip(blocks, first, strict=True)])
        vertices = np.concatenate([block.vertices for block in blocks]).astype(np.float64)
        _, chosen = np.unique(pack(np.floor(vertices / spacing).astype(np.int64)), return_index=True)
        normal = _normals(vertices, triangles)[chosen]
        length = np.linalg.norm(normal, axis=1)
        known = length > 0
        points.append(vertices[chosen[known]])
        normals.append(normal[known] / length[known, None])
        of_things.append(things[np.concatenate([block.labels for block in blocks])[chosen[known]]])
    return SurfaceSamples(np.concatenate(points), np.concatenate(normals), np.concatenate(of_things))


def _normals(vertices: NDArray[np.float64], triangles: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return the normals (V, 3) of vertices, as long as the triangles around are large."""
    corners = vertices[triangles]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    flat = triangles.reshape(-1)
    return np.stack(
        [np.bincount(flat, np.repeat(across[:, axis], 3), minlength=len(vertices)) for axis in range(3)], axis=1
    )
