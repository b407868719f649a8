# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Labelled meshes as PLY files (binary, little endian), which every mesh viewer opens."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mtl_perception.mapping.meshing import MeshArrays

_HEADER = """ply
format binary_little_endian 1.0
comment positions in metres, world frame; label 255 is unknown
element vertex {vertices}
property float x
property float y
property float z
property uchar red
property uchar green
property uchar blue
property uchar label
property float confidence
element face {triangles}
property list uchar int vertex_indices
end_header
"""


def write_ply(path: Path, mesh: MeshArrays) -> None:
    """Write a mesh to `path`, over what is there.

    Raises:
        OSError: the file cannot be written.
    """
    vertices = np.zeros(
        len(mesh.vertices), dtype=[("xyz", "<f4", 3), ("rgb", "u1", 3), ("label", "u1"), ("confidence", "<f4")]
    )
    vertices["xyz"], vertices["rgb"] = mesh.vertices, mesh.colours
    vertices["label"], vertices["confidence"] = mesh.labels, mesh.confidence
    faces = np.zeros(len(mesh.triangles), dtype=[("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, mesh.triangles
    header = _HEADER.format(vertices=len(vertices), triangles=len(faces))
    path.write_bytes(header.encode("ascii") + vertices.tobytes() + faces.tobytes())
