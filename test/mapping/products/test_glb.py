# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Meshes as binary glTF: read by Open3D, and byte by byte as the specification says."""

import json
import struct

import numpy as np
import open3d as o3d
import pytest

from mtl_perception.mapping.products import glb
from mtl_perception.mapping.surface.meshing import EMPTY_MESH, MeshArrays

TYPES = {5121: "<u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}


def chunks(content: bytes) -> tuple[dict, bytes]:
    magic, version, size = struct.unpack_from("<4sII", content)
    assert (magic, version, size) == (b"glTF", 2, len(content)) and size % 4 == 0
    length, kind = struct.unpack_from("<I4s", content, 12)
    assert kind == b"JSON" and length % 4 == 0
    scene, rest = json.loads(content[20 : 20 + length]), content[20 + length :]
    if not rest:
        return scene, b""
    length, kind = struct.unpack_from("<I4s", rest)
    assert kind == b"BIN\0" and length % 4 == 0 and length == len(rest) - 8 == scene["buffers"][0]["byteLength"]
    return scene, rest[8:]


def accessor(scene: dict, data: bytes, number: int) -> np.ndarray:
    """What an accessor gives, after section 3.6.2 of the specification, with its rules for where data may lie."""
    entry = scene["accessors"][number]
    view = scene["bufferViews"][entry["bufferView"]]
    kind, width = np.dtype(TYPES[entry["componentType"]]), WIDTHS[entry["type"]]
    stride, offset = view.get("byteStride", kind.itemsize * width), entry.get("byteOffset", 0)
    start = view.get("byteOffset", 0) + offset
    assert start % kind.itemsize == 0
    if "byteStride" in view:
        assert offset % 4 == 0 and stride % 4 == 0 and 4 <= stride <= 252
    assert offset + (entry["count"] - 1) * stride + kind.itemsize * width <= view["byteLength"]
    values = np.ndarray((entry["count"], width), kind, data, start, (stride, kind.itemsize))
    return values[:, 0] if width == 1 else values


@pytest.fixture(scope="module")
def mesh():
    """A random mesh of more vertices and triangles than are written at once."""
    random = np.random.default_rng(0)
    count = 70000
    return MeshArrays(
        vertices=random.uniform(-50, 50, (count, 3)).astype(np.float32),
        triangles=random.permutation(3 * count).reshape(-1, 3).astype(np.int32) % count,
        colours=random.integers(0, 256, (count, 3)).astype(np.uint8),
        labels=random.integers(0, 256, count).astype(np.uint8),
        confidence=np.ones(count, np.float32),
        instances=random.integers(0, 65536, count).astype(np.uint16),
    )


def test_every_vertex_and_triangle_is_where_the_file_says(mesh, tmp_path):
    glb.write_glb(tmp_path / "mesh.glb", mesh)
    scene, data = chunks((tmp_path / "mesh.glb").read_bytes())
    (primitive,) = scene["meshes"][scene["nodes"][0]["mesh"]]["primitives"]
    found = {name: accessor(scene, data, number) for name, number in primitive["attributes"].items()}
    assert np.array_equal(found["POSITION"], mesh.vertices)
    assert np.array_equal(found["_LABEL"], mesh.labels) and np.array_equal(found["_INSTANCE"], mesh.instances)
    assert np.array_equal(accessor(scene, data, primitive["indices"]).reshape(-1, 3), mesh.triangles)
    linear = found["COLOR_0"][:, :3] / 65535
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.array_equal(np.rint(255 * srgb), mesh.colours) and (found["COLOR_0"][:, 3] == 65535).all()
    bounds = scene["accessors"][primitive["attributes"]["POSITION"]]
    assert bounds["min"] == mesh.vertices.min(axis=0).tolist() and bounds["max"] == mesh.vertices.max(axis=0).tolist()
    assert glb.file_size(mesh) == (tmp_path / "mesh.glb").stat().st_size


def test_open3d_reads_it_and_the_world_is_upright(mesh, tmp_path):
    glb.write_glb(tmp_path / "mesh.glb", mesh)
    model = o3d.io.read_triangle_model(str(tmp_path / "mesh.glb"))
    (part,) = model.meshes
    # x right, y up, z towards the viewer in glTF: left, up and forward of the world
    expected = mesh.vertices[:, [1, 2, 0]]
    found, triangles = np.asarray(part.mesh.vertices), np.asarray(part.mesh.triangles)
    assert len(triangles) == len(mesh.triangles)
    np.testing.assert_allclose(found[triangles[:1000]], expected[mesh.triangles[:1000]], atol=1e-4)


def test_a_mesh_without_triangles_is_a_file_too(tmp_path):
    glb.write_glb(tmp_path / "mesh.glb", EMPTY_MESH)
    scene, data = chunks((tmp_path / "mesh.glb").read_bytes())
    assert data == b"" and "meshes" not in scene and "mesh" not in scene["nodes"][0]
    assert glb.file_size(EMPTY_MESH) == (tmp_path / "mesh.glb").stat().st_size


def test_a_mesh_that_is_too_large_is_refused_before_anything_is_written(mesh, tmp_path, monkeypatch):
    monkeypatch.setattr(glb, "MOST_BYTES", 1000)
    with pytest.raises(ValueError, match=r"mesh\.glb: \d+ bytes are more"):
        glb.write_glb(tmp_path / "mesh.glb", mesh)
    assert not (tmp_path / "mesh.glb").exists()
