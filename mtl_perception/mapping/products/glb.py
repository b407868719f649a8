# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Labelled meshes of the map as binary glTF 2.0 (GLB), for viewers, browsers and game engines.

Vertices keep the world's coordinates (REP-103: x forward, y left, z up). The file's one node turns them to glTF's axes
(z forward, x left, y up), so a program that applies nodes, as all viewers do, shows the map upright.

Colours are linear, as glTF wants them, and the material is unlit (KHR_materials_unlit): the light is in the images
already. `_LABEL` and `_INSTANCE` are vertex attributes of the application, which glTF allows with an underscore.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.mapping.surface.meshing import MeshArrays

MOST_BYTES = (1 << 32) - 1
"""The most that a file of this kind can have: some 80 million vertices."""

_ROWS = 1 << 16  # of a piece that is written
_VERTEX = np.dtype(  # every attribute at a multiple of 4 bytes
    {
        "names": ["position", "colour", "label", "instance"],
        "formats": [("<f4", 3), ("<u2", 4), "u1", "<u2"],
        "offsets": [0, 12, 20, 24],
        "itemsize": 28,
    }
)
_UBYTE, _USHORT, _UINT, _FLOAT = 5121, 5123, 5125, 5126
_VERTICES, _INDICES = 34962, 34963  # targets of buffer views
_GLTF_FROM_WORLD = [-0.5, -0.5, -0.5, 0.5]  # quaternion x y z w: (x, y, z) becomes (y, z, x)


def file_size(mesh: MeshArrays) -> int:
    """Return how many bytes the file of a mesh has."""
    return 12 + 8 + len(_head(mesh)) + (8 + _data_size(mesh) if len(mesh.triangles) else 0)


def write_glb(path: Path, mesh: MeshArrays) -> None:
    """Write a mesh to `path`, over what is there.

    Raises:
        ValueError: it needs more than `MOST_BYTES`.
        OSError: the file cannot be written.
    """
    size = file_size(mesh)
    if size > MOST_BYTES:
        raise ValueError(f"{path}: {size} bytes are more than a binary glTF can have")
    head = _head(mesh)
    with path.open("wb") as file:
        file.write(struct.pack("<4sII", b"glTF", 2, size))
        file.write(struct.pack("<I4s", len(head), b"JSON") + head)
        if len(mesh.triangles):
            file.write(struct.pack("<I4s", _data_size(mesh), b"BIN\0"))
            file.writelines(_data(mesh))


def _data_size(mesh: MeshArrays) -> int:
    return len(mesh.vertices) * _VERTEX.itemsize + len(mesh.triangles) * 12


def _data(mesh: MeshArrays) -> Iterator[bytes]:
    """Give vertices and triangles piece by piece: a large mesh is not in memory a second time."""
    for start in range(0, len(mesh.vertices), _ROWS):
        rows = slice(start, start + _ROWS)
        packed = np.zeros(len(mesh.vertices[rows]), _VERTEX)
        packed["position"] = mesh.vertices[rows]
        packed["colour"][:, :3] = _LINEAR[mesh.colours[rows]]
        packed["colour"][:, 3] = 65535
        packed["label"], packed["instance"] = mesh.labels[rows], mesh.instances[rows]
        yield packed.tobytes()
    for start in range(0, len(mesh.triangles), _ROWS):
        yield mesh.triangles[start : start + _ROWS].astype("<u4").tobytes()


def _head(mesh: MeshArrays) -> bytes:
    scene: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "mtl_perception"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": "gltf_from_world", "rotation": _GLTF_FROM_WORLD}],
    }
    if len(mesh.triangles):
        scene["nodes"][0]["mesh"] = 0
        scene |= _mesh_entries(mesh)
    text = json.dumps(scene, separators=(",", ":")).encode("ascii")
    return text + b" " * (-len(text) % 4)


def _mesh_entries(mesh: MeshArrays) -> dict[str, Any]:
    vertices, triangles = len(mesh.vertices), len(mesh.triangles)
    bounds = {"min": mesh.vertices.min(axis=0).tolist(), "max": mesh.vertices.max(axis=0).tolist()}
    attributes: list[tuple[str, dict[str, Any]]] = [
        ("POSITION", {"componentType": _FLOAT, "type": "VEC3", **bounds}),
        ("COLOR_0", {"componentType": _USHORT, "type": "VEC4", "normalized": True}),
        ("_LABEL", {"componentType": _UBYTE, "type": "SCALAR"}),
        ("_INSTANCE", {"componentType": _USHORT, "type": "SCALAR"}),
    ]
    offsets = [_VERTEX.fields[name][1] for name in _VERTEX.names or ()] if _VERTEX.fields else []
    accessors = [
        {"bufferView": 0, "byteOffset": offset, "count": vertices, **accessor}
        for offset, (_, accessor) in zip(offsets, attributes, strict=True)
    ]
    accessors.append({"bufferView": 1, "componentType": _UINT, "count": 3 * triangles, "type": "SCALAR"})
    size = vertices * _VERTEX.itemsize
    primitive = {
        "attributes": {name: number for number, (name, _) in enumerate(attributes)},
        "indices": len(attributes),
        "material": 0,
    }
    unlit = "KHR_materials_unlit"
    return {
        "extensionsUsed": [unlit],
        "meshes": [{"name": "map", "primitives": [primitive]}],
        "materials": [{"pbrMetallicRoughness": {"metallicFactor": 0, "roughnessFactor": 1}, "extensions": {unlit: {}}}],
        "accessors": accessors,
        "bufferViews": [
            {"buffer": 0, "byteLength": size, "byteStride": _VERTEX.itemsize, "target": _VERTICES},
            {"buffer": 0, "byteOffset": size, "byteLength": 12 * triangles, "target": _INDICES},
        ],
        "buffers": [{"byteLength": _data_size(mesh)}],
    }


def _linear() -> NDArray[np.uint16]:
    """Return what glTF calls each 8-bit value of sRGB (IEC 61966-2-1), of 65535."""
    value = np.arange(256) / 255.0
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return np.rint(65535.0 * linear).astype(np.uint16)


_LINEAR = _linear()
