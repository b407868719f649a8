# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A region as bytes: the file of an archive, and the entry of a saved map.

    magic, region, counts and sizes (64 bytes); SHA-256 of these and part one; SHA-256 of these and part two;
    part one, compressed: the blocks' places and stamps, and the meshes; part two, compressed: the voxels

Both parts are Zstandard frames; numbers are little endian. What is read is bit by bit what was written. Part one is
read alone where no voxels are wanted. 14 kB of voxels of a block become about 2 kB, those of clean depth less.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import BinaryIO

import numpy as np
from backports import zstd
from numpy.typing import NDArray

from mtl_perception.mapping.fusion.blocks import ATTRIBUTES, FARTHEST_BLOCK, VOXELS, Key, pack, unpack
from mtl_perception.mapping.surface.meshing import MeshBlock
from mtl_perception.mapping.window.regions import PLACES, REGION, block_keys, places_of

_MAGIC = b"MTLREG01"
_HEAD = struct.Struct("<8s3i4x4I2Q8x")  # magic, region, blocks, meshes, vertices, triangles, bytes of both parts
_MOST_OF_A_MESH = 5 * VOXELS  # triangles, five a cell; the vertices, one an edge, are fewer
_FARTHEST_REGION = FARTHEST_BLOCK // REGION
_FARTHEST_VERTEX = 1e7  # metres
_DIGEST = hashlib.sha256().digest_size
_LEVEL = 1  # of compression; 200 MB/s, and higher levels gain 3 %


class RegionError(ValueError):
    """Bytes are no whole region; the text names where they come from."""


@dataclass(frozen=True, eq=False)
class Region:
    """What a map knows of a region.

    Attributes:
        region: which it is.
        keys: int32 (N, 3) of its blocks, in order.
        seen_ns: int64 (N, 2), when each was first and last measured; NEVER_NS where it never was.
        meshes: per block that has one, its mesh.
        voxels: per attribute, (N, VOXELS, ...); nothing where only part one was read.
    """

    region: int
    keys: NDArray[np.int32]
    seen_ns: NDArray[np.int64]
    meshes: Mapping[Key, MeshBlock]
    voxels: Mapping[str, NDArray]


def encode(content: Region) -> bytes:
    """Return a region, with voxels, as bytes; equal regions give equal bytes."""
    meshed = sorted(content.meshes)
    meshes = [content.meshes[key] for key in meshed]
    counts = [(len(mesh.vertices), len(mesh.triangles)) for mesh in meshes]
    surface = [
        places_of(content.keys).astype("u1"),
        content.seen_ns.astype("<i8"),
        places_of(np.array(meshed, np.int32).reshape(-1, 3)).astype("u1"),
        np.array(counts, "<i4").reshape(-1, 2),
        *(getattr(mesh, field).astype(kind) for field, (kind, _) in _MESH_FIELDS.items() for mesh in meshes),
    ]
    voxels = [content.voxels[name].astype(np.dtype(kind).newbyteorder("<")) for name, (kind, _) in ATTRIBUTES.items()]
    parts = [zstd.compress(b"".join(array.tobytes() for array in part), _LEVEL) for part in (surface, voxels)]
    vertices, triangles = np.sum(counts, axis=0, dtype=int).tolist() if counts else (0, 0)
    x, y, z = unpack(np.array(content.region)).tolist()
    sizes = (len(content.keys), len(meshed), vertices, triangles)
    head = _HEAD.pack(_MAGIC, x, y, z, *sizes, *map(len, parts))
    return b"".join([head, *(_digest(head, part) for part in parts), *parts])


def read(file: BinaryIO, name: str, with_voxels: bool = True) -> Region:
    """Read a region, or all of it but the voxels.

    Args:
        file: open at the region's beginning.
        name: of the file, for errors.
        with_voxels: whether the voxels are wanted.

    Raises:
        RegionError: it is damaged, or none.
        OSError: it cannot be read.
    """
    head = file.read(_HEAD.size)
    digests = [file.read(_DIGEST) for _ in range(2)]
    if len(digests[1]) != _DIGEST or not head.startswith(_MAGIC):
        raise RegionError(f"{name} is no region of a map, or of another version")
    _, x, y, z, blocks, meshed, vertices, triangles, *sizes = _HEAD.unpack(head)
    lengths = _lengths(blocks, meshed, vertices, triangles)
    if max(map(abs, (x, y, z))) >= _FARTHEST_REGION:
        raise RegionError(f"{name} is damaged: there is no region {x}, {y}, {z}")
    if not (max(blocks, meshed) <= PLACES and max(vertices, triangles) <= meshed * _MOST_OF_A_MESH):
        raise RegionError(f"{name} is damaged: it says to have {blocks} blocks with {vertices} vertices")
    if any(size > _most_compressed(length) for size, length in zip(sizes, lengths, strict=True)):
        raise RegionError(f"{name} is damaged: it says that its parts have {sizes} bytes")
    parts = []
    for size, digest in zip(sizes[: 1 + with_voxels], digests, strict=False):
        part = file.read(size)
        if _digest(head, part) != digest:
            raise RegionError(f"{name} is damaged: its checksum is not that of its content")
        parts.append(part)
    try:
        region = int(pack(np.array([x, y, z])))
        reader = _Reader(_decompressed(parts[0], lengths[0]))
        keys = block_keys(region)[_places(reader, blocks)]
        seen_ns = reader.take("<i8", blocks, 2).astype(np.int64)
        meshes = _meshes(reader, block_keys(region)[_places(reader, meshed)], (vertices, triangles))
        reader.end()
        voxels = _voxels(_decompressed(parts[1], lengths[1]), blocks) if with_voxels else {}
    except (ValueError, EOFError, zstd.ZstdError) as error:
        raise RegionError(f"{name} is damaged: {error}") from error
    return Region(region, keys, seen_ns, meshes, voxels)


def check_usable(content: Region, name: str) -> None:
    """Look whether a region that others may have made holds numbers that a map can go on with.

    Raises:
        RegionError: a value is not finite, a vertex is nowhere, or a triangle has a corner that is no vertex.
    """
    for mesh in content.meshes.values():
        corners, count = mesh.triangles, len(mesh.vertices)
        if not (np.abs(mesh.vertices) <= _FARTHEST_VERTEX).all():
            raise RegionError(f"{name} is damaged: a mesh has vertices that are nowhere")
        if corners.size and not (corners.min() >= 0 and corners.max() < count):
            raise RegionError(f"{name} is damaged: a triangle has corners that are no vertices")
    for field, values in content.voxels.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise RegionError(f"{name} is damaged: its voxels' {field} is not finite")


def _lengths(blocks: int, meshed: int, vertices: int, triangles: int) -> tuple[int, int]:
    """Return how many bytes both parts have, not compressed."""
    rows = {"triangles": triangles}
    meshes = sum(rows.get(field, vertices) * _bytes_of(*kind) for field, kind in _MESH_FIELDS.items())
    voxels = sum(_bytes_of(*kind) for kind in ATTRIBUTES.values())
    return blocks * (1 + 2 * 8) + meshed * (1 + 2 * 4) + meshes, blocks * VOXELS * voxels


def _bytes_of(kind: str, shape: tuple[int, ...]) -> int:
    return np.dtype(kind).itemsize * prod(shape)


def _most_compressed(length: int) -> int:
    """Return how many bytes a Zstandard frame has at most: what cannot be compressed gets some longer."""
    return length + (length >> 7) + 512


def _decompressed(part: bytes, length: int) -> bytes:
    """Return the bytes of a part; never more than `length` and one, whatever it would become."""
    content = zstd.ZstdDecompressor().decompress(part, max_length=length + 1)
    if len(content) != length:
        raise ValueError(f"a part has {len(content)} bytes or more, expected {length}")
    return content


def _places(reader: _Reader, count: int) -> NDArray[np.uint8]:
    places = reader.take("u1", count)
    if (places >= PLACES).any() or (np.diff(places.astype(int)) <= 0).any():
        raise ValueError("its blocks are out of order")
    return places


def _meshes(reader: _Reader, keys: NDArray[np.int32], totals: tuple[int, int]) -> dict[Key, MeshBlock]:
    counts = reader.take("<i4", len(keys), 2)
    if (counts < 0).any() or counts.sum(axis=0).tolist() != list(totals):
        raise ValueError("its meshes have other sizes than it says")
    ends = np.cumsum(counts, axis=0)[:-1]
    fields = {}
    for field, (kind, shape) in _MESH_FIELDS.items():
        of_triangles = int(field == "triangles")
        rows = reader.take(kind, totals[of_triangles], *shape)
        # copies: a mesh that outlives the others must not hold their memory
        native = np.dtype(kind).newbyteorder("=")
        fields[field] = [part.astype(native) for part in np.split(rows, ends[:, of_triangles])]
    return {
        (x, y, z): MeshBlock(**{field: parts[number] for field, parts in fields.items()})
        for number, (x, y, z) in enumerate(keys.tolist())
    }


def _voxels(part: bytes, blocks: int) -> dict[str, NDArray]:
    reader = _Reader(part)
    voxels = {
        name: reader.take(np.dtype(kind).newbyteorder("<"), blocks, VOXELS, *shape)
        for name, (kind, shape) in ATTRIBUTES.items()
    }
    reader.end()
    return voxels


class _Reader:
    """Arrays one after the other."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def take(self, kind: str | np.dtype, *shape: int) -> NDArray:
        """Return the next array, read-only; a ValueError says that there is too little."""
        count = int(np.prod(shape, dtype=np.int64))
        array = np.frombuffer(self._content, kind, count, self._at) if count else np.zeros(0, kind)
        self._at += array.nbytes
        return array.reshape(shape)

    def end(self) -> None:
        """Raise a ValueError if there is more."""
        if self._at != len(self._content):
            raise ValueError(f"{len(self._content) - self._at} bytes are too many")


def _digest(head: bytes, part: bytes) -> bytes:
    digest = hashlib.sha256(head)
    digest.update(part)
    return digest.digest()


_MESH_FIELDS: dict[str, tuple[str, tuple[int, ...]]] = {
    "vertices": ("<f4", (3,)),
    "triangles": ("<i4", (3,)),
    "colours": ("u1", (3,)),
    "labels": ("u1", ()),
    "confidence": ("<f4", ()),
    "instances": ("<u2", ()),
}
