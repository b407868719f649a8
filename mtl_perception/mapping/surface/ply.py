# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Labelled meshes of the map as PLY files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import ply
from mtl_perception.mapping.surface.meshing import MeshArrays

_COMMENT = "positions in metres, world frame; label 255 is unknown, instance 0 is none"
_VERTEX = [(axis, "f4") for axis in "xyz"] + [(colour, "u1") for colour in ("red", "green", "blue", "label")]


def write_ply(path: Path, mesh: MeshArrays) -> None:
    """Write a mesh to `path`, over what is there.

    Raises:
        OSError: the file cannot be written.
    """
    ply.write_ply(path, _vertices(mesh), mesh.triangles, _COMMENT)


def mesh_bytes(mesh: MeshArrays) -> bytes:
    """Return a mesh as the content of a PLY file."""
    return ply.ply_bytes(_vertices(mesh), mesh.triangles, _COMMENT)


def _vertices(mesh: MeshArrays) -> NDArray:
    # Open3D leaves properties of 16 bits out, so instances have 32.
    vertices = np.zeros(len(mesh.vertices), dtype=[*_VERTEX, ("confidence", "f4"), ("instance", "i4")])
    for names, values in ((("x", "y", "z"), mesh.vertices), (("red", "green", "blue"), mesh.colours)):
        for name, column in zip(names, values.T, strict=True):
            vertices[name] = column
    vertices["label"], vertices["confidence"], vertices["instance"] = mesh.labels, mesh.confidence, mesh.instances
    return vertices
