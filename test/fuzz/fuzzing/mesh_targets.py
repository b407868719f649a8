# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Meshes: PLY files, the user's models that a world is made of, a world's truth, and the mesh of a saved map."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open3d as o3d

from fuzzing import make
from fuzzing.file_case import file_case, folder_case
from fuzzing.harness import Case, Target
from fuzzing.hostile import contents, json_files
from fuzzing.make import Maker
from fuzzing.product_targets import small_map
from mtl_perception.core import ply
from mtl_perception.core.ground_truth import Box
from mtl_perception.data.world import mesh_scene
from mtl_perception.data.world.scene import Region
from mtl_perception.data.world.truth.places import Places
from mtl_perception.data.world.truth.world_truth import (
    OBJECTS_FILE,
    WorldMesh,
    WorldObject,
    WorldTruth,
    load_world_truth,
    save_world_truth,
)
from mtl_perception.mapping import MeshArrays
from mtl_perception.mapping.products.glb import write_glb
from mtl_perception.running.report import read_map

_TEXT = (
    b"ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
    b"property uchar red\nproperty uchar green\nproperty uchar blue\nproperty uchar label\n"
    b"element face 2\nproperty list uchar int vertex_indices\nend_header\n"
    b"0 0 0 9 8 7 1\n1 0 0 9 8 7 1\n0 1 0 9 8 7 1\n1 1 0 9 8 7 1\n3 0 1 2\n4 0 1 3 2\n"
)


def _binary() -> bytes:
    head = _TEXT.replace(b"ascii", b"binary_little_endian").partition(b"end_header\n")[0]
    rows = b"".join(struct.pack("<3f4B", x, y, 0, 9, 8, 7, 1) for x, y in ((0, 0), (1, 0), (0, 1), (1, 1)))
    return head + b"end_header\n" + rows + struct.pack("<B3iB4i", 3, 0, 1, 2, 4, 0, 1, 3, 2)


def _ply_files() -> Maker:
    """Make PLY files with other bytes, and with other words in the header."""
    words = (b"0", b"-1", b"5", b"99999999999", b"1e9", b"list", b"property", b"element", b"face", b"double", b"x", b"")

    def build(content: bytes, edits: list[tuple[int, int]]) -> bytes:
        head, end, body = content.partition(b"end_header")
        parts = head.split(b" ")
        for where, what in edits:
            tail = parts[where % len(parts)].partition(b"\n")
            parts[where % len(parts)] = b"".join([words[what % len(words)], *tail[1:]])
        return b" ".join(parts) + end + body

    edit = make.tuples(make.integers(0, 999), make.integers(0, 999))
    both = make.sampled_from((_TEXT, _binary()))
    return make.one_of(contents(_TEXT, _binary()), make.builds(build, both, make.lists(edit, max_size=3)))


def _ply_file(folder: Path) -> Case:
    def read(path: Path) -> None:
        vertices, triangles = ply.read_mesh(path)
        assert vertices.ndim == 1 and triangles.shape[1:] == (3,) and triangles.dtype == np.int32
        assert not len(triangles) or (triangles.min() >= 0 and triangles.max() < len(vertices))

    return file_case(folder / "mesh.ply", _ply_files(), read, [_TEXT, _binary()])


def _read_surface(path: Path) -> None:
    with o3d.utility.VerbosityContextManager(o3d.utility.VerbosityLevel.Error):  # thousands of them
        surface = mesh_scene._read(path)
    count = len(surface.corners)
    assert surface.corners.shape == surface.colours.shape == (count, 3, 3) and surface.labels.shape == (count,)
    assert np.isfinite(surface.corners).all() and (surface.labels >= 0).all()


def _mesh_ply(folder: Path) -> Case:
    return file_case(folder / "mesh.ply", _ply_files(), _read_surface, [_TEXT, _binary()])


def _model(suffix: str) -> Callable[[Path], Case]:
    def prepare(folder: Path) -> Case:
        path = folder / f"mesh{suffix}"
        box = o3d.geometry.TriangleMesh.create_box()
        if suffix == ".glb":  # Open3D cannot read those that it writes
            corners, triangles = np.asarray(box.vertices, np.float32), np.asarray(box.triangles, np.int32)
            nothing = np.zeros(len(corners))
            colours = np.full(corners.shape, 9, np.uint8)
            codes = nothing.astype(np.uint8), nothing.astype(np.float32), nothing.astype(np.uint16)
            write_glb(path, MeshArrays(corners, triangles, colours, *codes))
        else:
            box.compute_triangle_normals()
            o3d.io.write_triangle_mesh(str(path), box)
        valid = path.read_bytes()
        made = contents(valid, others=[b"", valid[:30]])
        if suffix == ".gltf":
            made = make.one_of(made, json_files(json.loads(valid)))
        return file_case(path, made, _read_surface, [valid])

    return prepare


def _world_truth(folder: Path) -> Case:
    mesh = WorldMesh(
        np.eye(3, dtype=np.float32), np.array([[0, 1, 2]], np.int32), np.ones(3, np.uint8), np.full((3, 3), 9, np.uint8)
    )
    box = Box(np.eye(4), (4.0, 2.0, 1.5), "car", "3", 1.0, np.zeros(3))
    region = Region("room", "room", np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]), 0.0, 2.5, ())
    places = Places(np.zeros((2, 3)), np.ones(2), np.zeros(2, np.int32), np.array([[0, 1]], np.int32))
    save_world_truth(WorldTruth(("road", "car"), mesh, (WorldObject(3, "car", box, False),), (region,), places), folder)
    document = json.loads((folder / OBJECTS_FILE).read_text())
    files = {OBJECTS_FILE: json_files(document), "world.ply": contents((folder / "world.ply").read_bytes())}

    def read(where: Path) -> None:
        truth = load_world_truth(where)
        assert truth.places.positions.shape[1:] == (3,) and len(truth.mesh.labels) == len(truth.mesh.vertices)

    return folder_case(folder, files, read)


def _map_mesh(folder: Path) -> Case:
    path, _, _ = small_map(folder)
    manifest = json.loads((path / "manifest.json").read_text())
    files = {"mesh.ply": contents((path / "mesh.ply").read_bytes()), "manifest.json": json_files(manifest)}

    def read(where: Path) -> None:
        saved = read_map(where)
        assert saved.mesh.vertices.shape == saved.mesh.colours.shape and len(saved.labels)

    return folder_case(path, files, read)


TARGETS = (
    Target("ply", ("core.ply.read_mesh",), 3000, _ply_file),
    Target("mesh_ply", ("data.world.mesh_scene._read",), 2000, _mesh_ply),
    *(Target(f"mesh_{suffix[1:]}", (), 1500, _model(suffix)) for suffix in (".obj", ".stl", ".glb", ".gltf")),
    Target("world_truth", ("data.world.truth.world_truth.load_world_truth",), 2000, _world_truth),
    Target("map_mesh", ("running.report.read_map",), 1000, _map_mesh),
)
