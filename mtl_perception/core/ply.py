# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Triangle meshes as PLY files, which every mesh viewer opens: written binary (little endian), read in every form."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.outside_files import read_bytes
from mtl_perception.core.validation_text import error_text

_NAMES = {"i1": "char", "u1": "uchar", "i2": "short", "u2": "ushort", "i4": "int", "u4": "uint", "f4": "float"}
_NAMES |= {"f8": "double"}
_TYPES = {name: code for code, name in _NAMES.items()}
_TYPES |= {"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"}
_TYPES |= {"float32": "f4", "float64": "f8"}
_ROWS = 1 << 16  # of a piece that is written
_MOST_BYTES = 1 << 33
_CORNERS = ("vertex_indices", "vertex_index")
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


class PlyMesh(NamedTuple):
    """What a PLY file holds.

    Attributes:
        vertices: (V,) with a field for each property of the vertices.
        triangles: int32 (T, 3), indices of vertices; faces with more corners are cut into triangles like a fan.
    """

    vertices: NDArray
    triangles: NDArray[np.int32]


def read_mesh(path: Path, needed: Collection[str] = ()) -> PlyMesh:
    """Read a PLY file of any form. (Open3D's reader ends the process on some damaged ones.)

    Args:
        path: the file.
        needed: properties that its vertices must have.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no PLY file, is cut short, has a face of vertices that are not there, or lacks a property
            that is needed; names the file.
    """
    try:
        mesh = _mesh(read_bytes(path, _MOST_BYTES))
        missing = [name for name in needed if name not in (mesh.vertices.dtype.names or ())]
        if missing:
            raise ValueError(f"its vertices have no '{missing[0]}'")
    except (ValueError, KeyError, IndexError, OverflowError, TypeError) as error:
        raise ValueError(f"{path} is not a PLY file that can be read: {error_text(error)}") from error
    return mesh


def columns(vertices: NDArray, *names: str) -> NDArray:
    """Return fields (V, len(names)) of structured vertices."""
    return np.stack([vertices[name] for name in names], axis=1)


@dataclass(frozen=True)
class _Element:
    """An element of the header: its name, how many there are, and (name, type, type of the count or "") of each
    property."""

    name: str
    count: int
    properties: tuple[tuple[str, str, str], ...]


def _mesh(content: bytes) -> PlyMesh:
    end = content.find(b"end_header")
    lines = [line.split() for line in content[: max(end, 0)].decode("ascii", "replace").split("\n")]
    if lines[0] != ["ply"] or end < 0:
        raise ValueError("its header is not that of one")
    start = content.index(b"\n", end) + 1
    form = next((words[1] for words in lines if words[:1] == ["format"]), "")
    order = _ORDER[form]
    first, *others = _elements(lines)
    if first.name != "vertex" or any(counted for _, _, counted in first.properties):
        raise ValueError("vertices must come first and be plain numbers")
    kind = np.dtype([(name, order + type_) for name, type_, _ in first.properties])
    if form == "ascii":  # the same rows, all of whose numbers are doubles
        content, start = np.array(content[start:].split(), dtype=np.float64).tobytes(), 0
        rows = _rows(content, start, first, np.dtype([(name, "<f8") for name, _, _ in first.properties]))
        vertices = np.empty(first.count, dtype=kind)
        with np.errstate(invalid="ignore", over="ignore"):
            for name in kind.names or ():
                vertices[name] = rows[name]
    else:
        rows = vertices = _rows(content, start, first, kind)
    polygons = _polygons(content, start + rows.nbytes, others, order, "f8" if form == "ascii" else None)
    triangles = [np.stack([p[:, 0], p[:, k], p[:, k + 1]], axis=1) for p in polygons for k in range(1, p.shape[1] - 1)]
    corners = np.concatenate([np.zeros((0, 3), np.int32), *triangles])
    if len(corners) and not (corners >= 0).all() & (corners < len(vertices)).all() & (corners % 1 == 0).all():
        raise ValueError(f"a face has a corner that is none of its {len(vertices)} vertices")
    return PlyMesh(vertices, corners.astype(np.int32, copy=False))


def _elements(lines: list[list[str]]) -> list[_Element]:
    starts = [index for index, words in enumerate(lines) if words[:1] == ["element"]]
    found = []
    for start, stop in zip(starts, [*starts[1:], len(lines)], strict=True):
        properties = [words for words in lines[start:stop] if words[:1] == ["property"]]
        found.append(_Element(lines[start][1], int(lines[start][2]), tuple(map(_property, properties))))
        if found[-1].count < 0:
            raise ValueError(f"it has {found[-1].count} of '{found[-1].name}'")
    return found


def _property(words: list[str]) -> tuple[str, str, str]:
    if words[1] == "list":
        _, _, counted, kind, name = words
        return name, _TYPES[kind], _TYPES[counted]
    _, kind, name = words
    return name, _TYPES[kind], ""


def _rows(body: bytes, start: int, element: _Element, kind: np.dtype) -> NDArray:
    there = (len(body) - start) // max(kind.itemsize, 1)
    if element.count > there:
        raise ValueError(f"it is cut short: it has {there} of the {element.count} of '{element.name}'")
    return np.frombuffer(body, dtype=kind, count=element.count, offset=start) if element.count else np.empty(0, kind)


def _polygons(
    body: bytes, start: int, elements: list[_Element], order: str, type_of_all: str | None
) -> Iterator[NDArray]:
    """Give the corners (faces, corners of each) of faces that follow each other and have as many corners."""
    for element in elements:
        properties = [
            (name, order + (type_of_all or kind), counted and order + (type_of_all or counted))
            for name, kind, counted in element.properties
        ]
        lists = [name for name, _, counted in properties if counted]
        corners = next((name for name in lists if name in _CORNERS), None)
        if element.name == "face" and corners is not None:
            for rows in _alike(body, start, element, properties):
                if rows[corners].shape[1] < 3:
                    raise ValueError(f"a face has {rows[corners].shape[1]} corners")
                yield rows[corners]
            return
        if lists:
            raise ValueError(f"lists of '{element.name}' come before the faces")
        start += _rows(body, start, element, np.dtype([(name, kind) for name, kind, _ in properties])).nbytes


def _alike(body: bytes, start: int, element: _Element, properties: list[tuple[str, str, str]]) -> Iterator[NDArray]:
    """Give the rows of an element with lists, those together that follow each other and whose lists are as long."""
    left, together = element.count, 1
    while left:
        kind, lengths = _row_type(body, start, properties)
        there = min(left, together, (len(body) - start) // kind.itemsize)
        rows = np.frombuffer(body, dtype=kind, count=there, offset=start)
        differs = np.zeros(there, dtype=bool)
        for name, length in lengths.items():
            differs |= rows[f"{name} count"] != length
        some = int(differs.argmax()) if differs.any() else there
        yield rows[:some]
        start, left = start + some * kind.itemsize, left - some
        together = 2 * together if some == there else 1  # what is looked at in vain stays less than what is found


def _row_type(body: bytes, start: int, properties: list[tuple[str, str, str]]) -> tuple[np.dtype, dict[str, int]]:
    """Return the type of the row that begins at `start`, and how long its lists are."""
    fields: list[tuple[Any, ...]] = []
    lengths: dict[str, int] = {}
    size = 0
    for name, kind, counted in properties:
        if counted:
            count = np.dtype(counted)
            _check_room(body, start + size + count.itemsize)
            length = float(np.frombuffer(body, dtype=count, count=1, offset=start + size)[0])
            if not (length >= 0 and length % 1 == 0):
                raise ValueError(f"a list of '{name}' has {length:g} entries")
            lengths[name] = int(length)
            fields += [(f"{name} count", counted), (name, kind, (lengths[name],))]
            size += count.itemsize + lengths[name] * np.dtype(kind).itemsize
        else:
            fields.append((name, kind))
            size += np.dtype(kind).itemsize
        _check_room(body, start + size)
    return np.dtype(fields), lengths


def _check_room(body: bytes, end: int) -> None:
    if end > len(body):
        raise ValueError("it is cut short within a face")
