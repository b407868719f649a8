# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Triangle meshes as PLY files, which every mesh viewer opens: written binary (little endian)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_NAMES = {"i1": "char", "u1": "uchar", "i2": "short", "u2": "ushort", "i4": "int", "u4": "uint", "f4": "float"}
_NAMES |= {"f8": "double"}
_TYPES = {name: code for code, name in _NAMES.items()}
_TYPES |= {"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"}
_TYPES |= {"float32": "f4", "float64": "f8"}
_ROWS = 1 << 16  # of a piece that is written
_ORDER = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": "<"}


def write_ply(path: Path, vertices: NDArray, triangles: NDArray, comment: str) -> None:
    """Write a mesh to `path`, over what is there; see `ply_bytes`.

    Raises:
        OSError: the file cannot be written.
    """
    with path.open("wb") as file:
        file.writelines(_parts(vertices, triangles, comment))


def ply_bytes(vertices: NDArray, triangles: NDArray, comment: str) -> bytes:
    """Return a mesh as the content of a PLY file.

    Args:
        vertices: (V,) of a structured type; its fields (x, y, z, red, ...) become the properties.
        triangles: (T, 3), indices of vertices.
        comment: one line about units, frame and meaning.
    """
    return b"".join(_parts(vertices, triangles, comment))


def _parts(vertices: NDArray, triangles: NDArray, comment: str) -> Iterator[bytes]:
    """Give the file piece by piece: a large mesh is not in memory a second time."""
    fields = [(name, vertices.dtype[name].newbyteorder("<")) for name in vertices.dtype.names or ()]
    header = ["ply", "format binary_little_endian 1.0", f"comment {comment}", f"element vertex {len(vertices)}"]
    header += [f"property {_NAMES[kind.str[1:]]} {name}" for name, kind in fields]
    header += [f"element face {len(triangles)}", "property list uchar int vertex_indices", "end_header", ""]
    yield "\n".join(header).encode("ascii")
    for start in range(0, len(vertices), _ROWS):
        some = vertices[start : start + _ROWS]
        packed = np.empty(len(some), dtype=fields)
        for name, _ in fields:
            packed[name] = some[name]
        yield packed.tobytes()
    for start in range(0, len(triangles), _ROWS):
        corners = triangles[start : start + _ROWS]
        faces = np.empty(len(corners), dtype=[("count", "u1"), ("corners", "<i4", 3)])
        faces["count"], faces["corners"] = 3, corners
        yield faces.tobytes()


def read_vertices(path: Path) -> NDArray:
    """Read the vertices (V,) of a PLY file of any form, with a field for each of their properties.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no PLY file, or is cut short; names the file.
    """
    try:
        return _vertices(path.read_bytes())
    except (ValueError, KeyError, IndexError, OverflowError) as error:
        raise ValueError(f"{path} is not a PLY file that can be read: {error}") from error


def _vertices(content: bytes) -> NDArray:
    head, end, body = content.partition(b"end_header")
    lines = [line.split() for line in head.decode("ascii", "replace").split("\n")]
    if lines[0] != ["ply"] or not end:
        raise ValueError("its header is not that of one")
    order = next((words[1] for words in lines if words[:1] == ["format"]), "")
    first, *others = [index for index, words in enumerate(lines) if words[:1] == ["element"]]
    count, properties = int(lines[first][2]), lines[first + 1 : (others or [len(lines)])[0]]
    properties = [words for words in properties if words[:1] == ["property"]]
    if count < 0 or lines[first][1] != "vertex" or any(words[1] == "list" for words in properties):
        raise ValueError("vertices must come first and be plain numbers")
    kind = np.dtype([(name, _ORDER[order] + _TYPES[type_name]) for _, type_name, name in properties])
    body = body[body.index(b"\n") + 1 :]
    if order != "ascii":
        return np.frombuffer(body, dtype=kind, count=count)
    numbers = np.array(body.split()[: count * len(properties)], dtype=np.float64).reshape(count, len(properties))
    vertices = np.empty(count, dtype=kind)
    for column, name in enumerate(kind.names or ()):
        vertices[name] = numbers[:, column]
    return vertices
