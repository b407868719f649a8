# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""PLY files: what is written is read, here and by Open3D, and other programs' forms are read."""

from pathlib import Path

import numpy as np
import open3d as o3d
import pytest

from mtl_perception.core.ply import read_vertices, write_ply

VERTICES = np.array(
    [(0.5, -1, 2, 7, 0.25), (1, 0, 0, 255, -1e9), (3, 4, 5, 0, 1e-3)],
    dtype=[("x", "f4"), ("y", "f4"), ("z", "f4"), ("label", "u1"), ("weight", "f8")],
)
HEADER = """ply
format {form} 1.0
comment of another program
element vertex 3
property float x
property float y
property float z
property uint8 label
property float64 weight
element face 0
property list uchar int vertex_indices
end_header
"""


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mesh.ply"
    write_ply(path, VERTICES, np.array([[0, 1, 2]]), "metres")
    again = read_vertices(path)
    assert again.dtype.names == VERTICES.dtype.names
    assert all(np.array_equal(again[name], VERTICES[name]) for name in VERTICES.dtype.names or ())
    mesh = o3d.io.read_triangle_mesh(str(path))
    assert np.asarray(mesh.triangles).tolist() == [[0, 1, 2]]
    assert np.asarray(mesh.vertices)[2].tolist() == [3, 4, 5]


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_every_form_is_read(tmp_path: Path, form: str) -> None:
    path = tmp_path / "mesh.ply"
    if form == "ascii":
        body = "\n".join(" ".join(str(value) for value in row) for row in VERTICES.tolist()).encode()
    else:
        order = "<" if "little" in form else ">"
        body = VERTICES.astype(
            [(name, VERTICES.dtype[name].newbyteorder(order)) for name in VERTICES.dtype.names or ()]
        )
        body = body.tobytes()
    path.write_bytes(HEADER.format(form=form).encode() + body)
    assert all(np.allclose(read_vertices(path)[name], VERTICES[name]) for name in VERTICES.dtype.names or ())


def test_what_is_no_ply_file_or_cut_short_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "mesh.ply"
    write_ply(path, VERTICES, np.array([[0, 1, 2]]), "metres")
    whole = path.read_bytes()
    for content in (b"solid stl", whole[:40], whole[:-60]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"mesh\.ply"):
            read_vertices(path)
