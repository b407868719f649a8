# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Our marching cubes beside Open3D's on the same voxels."""

import numpy as np
import open3d as o3d

from mtl_perception.mapping import Mapper, MapperConfig
from mtl_perception.mapping.surface.marching_cubes import CORNERS, EDGE_AXES, EDGE_STARTS, TRIANGLE_COUNTS, TRIANGLES


def test_triangles_are_those_of_open3d(walk, labels):
    mapper = Mapper(MapperConfig(), labels)
    for frame in walk:
        mapper.integrate(frame)
    # Open3D wants more than the threshold, we want at least that much.
    reference = mapper.to_open3d().extract_triangle_mesh(mapper.config.min_weight - 1e-4)
    theirs = signatures(reference.vertex.positions.numpy(), reference.triangle.indices.numpy())
    mesh = mapper.mesh()
    ours = signatures(mesh.vertices, mesh.triangles)
    assert len(mesh.vertices) == len(reference.vertex.positions)
    assert len(ours) == len(theirs) > 1000
    assert farthest_nearest(ours, theirs) < 1e-4
    assert farthest_nearest(theirs, ours) < 1e-4


def signatures(vertices, triangles):
    """Centre and scaled normal (T, 6) of each triangle: alike whichever corner is first, not if it is turned over."""
    a, b, c = (vertices[triangles[:, corner]].astype(np.float64) for corner in range(3))
    return np.concatenate([(a + b + c) / 3, np.cross(b - a, c - a) / 0.05], axis=1)


def farthest_nearest(queries, points):
    search = o3d.core.nns.NearestNeighborSearch(o3d.core.Tensor(points))
    search.knn_index()
    _, squared = search.knn_search(o3d.core.Tensor(queries), 1)
    return float(np.sqrt(squared.numpy().max()))


def test_every_triangle_of_every_case_cuts_edges_that_cross_the_surface():
    ends = EDGE_STARTS + np.eye(3, dtype=int)[EDGE_AXES]
    corner_of = {tuple(corner): number for number, corner in enumerate(CORNERS.tolist())}
    for case in range(256):
        inside = [bool(case >> corner & 1) for corner in range(8)]
        crossing = {
            edge
            for edge in range(12)
            if inside[corner_of[tuple(EDGE_STARTS[edge].tolist())]] != inside[corner_of[tuple(ends[edge].tolist())]]
        }
        used = set(TRIANGLES[case, : TRIANGLE_COUNTS[case]].ravel().tolist())
        assert used == crossing, case
