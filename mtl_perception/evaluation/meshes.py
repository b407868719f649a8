# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How far a mesh is from a reference mesh."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import open3d as o3d
from numpy.typing import NDArray


@dataclass(frozen=True)
class MeshDistance:
    """Distances between a mesh and a reference.

    Attributes:
        accuracy: mean distance of the mesh's vertices to the reference surface, metres.
        completeness: share of the reference's vertices that lie within the tolerance of the mesh, 0..1.
    """

    accuracy: float
    completeness: float


def mesh_distance(
    vertices: NDArray, triangles: NDArray, reference_vertices: NDArray, reference_triangles: NDArray, tolerance: float
) -> MeshDistance:
    """Compare a mesh (vertices (V, 3) in metres, triangles (T, 3)) with a reference; `tolerance` in metres.

    Raises:
        ValueError: one of the meshes has no triangle.
    """
    accuracy = surface_distances(vertices, reference_vertices, reference_triangles).mean()
    completeness = (surface_distances(reference_vertices, vertices, triangles) <= tolerance).mean()
    return MeshDistance(float(accuracy), float(completeness))


def surface_distances(points: NDArray, vertices: NDArray, triangles: NDArray) -> NDArray[np.float32]:
    """Return the distance (N,) in metres of each point (N, 3) to the nearest place on a mesh.

    Raises:
        ValueError: there is no point or no triangle.
    """
    if not len(points) or not len(triangles):
        raise ValueError(f"distances need points and triangles, there are {len(points)} and {len(triangles)}")
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(
        o3d.core.Tensor.from_numpy(np.ascontiguousarray(vertices, dtype=np.float32)),
        o3d.core.Tensor.from_numpy(np.ascontiguousarray(triangles, dtype=np.uint32)),
    )
    query = o3d.core.Tensor.from_numpy(np.ascontiguousarray(points, dtype=np.float32))
    return np.asarray(scene.compute_distance(query).numpy(), dtype=np.float32)
