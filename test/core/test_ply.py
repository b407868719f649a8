# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""PLY files: what is written is read, here and by Open3D, and other programs' forms are read."""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import open3d as o3d
import pytest

from mtl_perception.core.ply import columns, read_mesh, write_ply

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
    again = read_mesh(path).vertices
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
    assert all(np.allclose(read_mesh(path).vertices[name], VERTICES[name]) for name in VERTICES.dtype.names or ())


def test_what_is_no_ply_file_or_cut_short_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "mesh.ply"
    write_ply(path, VERTICES, np.array([[0, 1, 2]]), "metres")
    whole = path.read_bytes()
    for content in (b"solid stl", whole[:40], whole[:-60]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"mesh\.ply"):
            read_mesh(path)


FACES = """ply
format {form} 1.0
element vertex 5
property double x
property double y
property double z
element wheel 2
property short spokes
element face 4
property uchar grey
property list uchar uint vertex_index
property list uchar float uv
element edge 1
property int vertex1
end_header
"""
CORNERS = ((0, 1, 2), (2, 3, 4), (0, 1, 2, 3, 4), (0, 2, 4))


def faces(form: str, corners: Sequence[Sequence[int]] = CORNERS, counted: int | None = None) -> bytes:
    """The file with these faces, the first of which says that it has `counted` corners."""
    rows: list[tuple[str, list[float]]] = [("3d", [n, 0, 1]) for n in range(5)] + [("h", [7])] * 2
    for number, face in enumerate(corners):
        says = counted if counted is not None and number == 0 else len(face)
        rows += [("B", [9]), ("B", [says]), (f"{len(face)}I", list(face)), ("B", [2]), ("2f", [0.25, 0.5])]
    rows += [("i", [1])]
    head = FACES.format(form=form).encode()
    if form == "ascii":
        return head + " ".join(str(value) for _, row in rows for value in row).encode()
    order = "<" if "little" in form else ">"
    return head + b"".join(struct.pack(order + kind, *row) for kind, row in rows)


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_faces_with_other_properties_and_any_number_of_corners_become_triangles(tmp_path: Path, form: str) -> None:
    path = tmp_path / "mesh.ply"
    path.write_bytes(faces(form))
    fan = [[0, 1, 2], [0, 2, 3], [0, 3, 4]]
    assert read_mesh(path).triangles.tolist() == [[0, 1, 2], [2, 3, 4], *fan, [0, 2, 4]]
    assert np.array_equal(columns(read_mesh(path).vertices, "x", "z"), [[n, 1] for n in range(5)])


def test_a_large_mesh_is_what_open3d_reads_of_it(tmp_path: Path) -> None:
    path, generator = tmp_path / "mesh.ply", np.random.default_rng(0)
    vertices = np.zeros(70_000, [("x", "f4"), ("y", "f4"), ("z", "f4")])
    vertices["x"] = generator.normal(size=len(vertices))
    triangles = generator.integers(0, len(vertices), (200_000, 3))
    write_ply(path, vertices, triangles, "metres")
    mesh, theirs = read_mesh(path), o3d.io.read_triangle_mesh(str(path))
    assert np.array_equal(mesh.triangles, triangles) and np.array_equal(mesh.triangles, np.asarray(theirs.triangles))
    assert np.array_equal(columns(mesh.vertices, "x", "y", "z"), np.asarray(theirs.vertices))


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian"])
def test_faces_that_cannot_be_are_refused_by_name(tmp_path: Path, form: str) -> None:
    path = tmp_path / "mesh.ply"
    for content, why in (
        (faces(form, [(0, 1, 5)] + [(0, 1, 2)] * 3), "5 vertices"),
        (faces(form, [(0, 1)] + [(0, 1, 2)] * 3), "2 corners"),
        (faces(form, CORNERS[:2]), "(cut short|0 corners)"),
        (faces(form, counted=255), "cut short"),
        (faces(form).replace(b"property short spokes", b"property list uchar short spokes"), "before the faces"),
        (faces(form).replace(b"element face 4", b"element face -4"), "-4 of 'face'"),
        (faces(form).replace(b"element vertex 5", b"element vertex 999999999999"), "cut short"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"mesh\.ply .*{why}"):
            read_mesh(path)
    path.write_bytes(faces(form))
    with pytest.raises(ValueError, match=r"mesh\.ply .*'red'"):
        read_mesh(path, ("x", "red"))
