# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Simple bodies as meshes: boxes, cylinders, spheres, capsules, strips and lofts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mtl_perception.data.world.scene import Mesh, merged


def quads(corners: ArrayLike, texture: ArrayLike, material: int) -> Mesh:
    """Return flat quadrilaterals: corners (Q, 4, 3) anticlockwise seen from outside, texture (Q, 4, 2 or 3)."""
    points = np.asarray(corners, dtype=np.float64)
    coordinates = np.asarray(texture, dtype=np.float64)
    if coordinates.shape[-1] == 2:
        coordinates = np.concatenate([coordinates, np.zeros_like(coordinates[..., :1])], axis=-1)
    split = [0, 1, 2, 0, 2, 3]
    return triangles(points[:, split].reshape(-1, 3, 3), coordinates[:, split].reshape(-1, 3, 3), material)


def triangles(
    corners: NDArray, texture: NDArray, material: int | NDArray[np.int32], normals: NDArray | None = None
) -> Mesh:
    """Return a mesh of triangles (T, 3, 3), flat shaded unless normals are given. Empty triangles are left out."""
    first, second = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
    face = np.stack([first[i] * second[j] - first[j] * second[i] for i, j in ((1, 2), (2, 0), (0, 1))], axis=1)
    area = np.sqrt(np.einsum("ij,ij->i", face, face))
    kept = area > 1e-9
    if normals is None:
        normals = np.repeat((face / np.maximum(area, 1e-12)[:, None])[:, None], 3, axis=1)
    count = int(kept.sum())
    chosen = np.full(count, material, np.int32) if np.isscalar(material) else np.asarray(material, np.int32)[kept]
    return Mesh(
        corners[kept].astype(np.float32),
        normals[kept].astype(np.float32),
        texture[kept].astype(np.float32),
        chosen,
        np.zeros(count, np.int32),
    )


def box(size: ArrayLike, centre: ArrayLike, material: int, top: int | None = None) -> Mesh:
    """Return a box; texture runs in metres along each face, sides with height measured from the mesh's z = 0."""
    sx, sy, sz = np.asarray(size, dtype=np.float64) / 2
    cx, cy, cz = np.asarray(centre, dtype=np.float64)
    low, high = cz - sz, cz + sz
    ring = [(cx + sx, cy - sy), (cx + sx, cy + sy), (cx - sx, cy + sy), (cx - sx, cy - sy)]
    corners, texture = [], []
    for (x0, y0), (x1, y1) in zip(ring, ring[1:] + ring[:1], strict=True):
        length = float(np.hypot(x1 - x0, y1 - y0))
        corners.append([(x0, y0, low), (x1, y1, low), (x1, y1, high), (x0, y0, high)])
        texture.append([(0, low), (length, low), (length, high), (0, high)])
    lids = [[(*ring[3], high), (*ring[0], high), (*ring[1], high), (*ring[2], high)]]
    lids.append([(*ring[0], low), (*ring[3], low), (*ring[2], low), (*ring[1], low)])
    lid_texture = [[point[:2] for point in lid] for lid in lids]
    sides = quads(corners, texture, material)
    covers = quads(lids, lid_texture, material if top is None else top)
    return merged([sides, covers])


def strip(left: NDArray, right: NDArray, texture_left: NDArray, texture_right: NDArray, material: int) -> Mesh:
    """Return the band between two lines of points (N, 3), facing up when `left` is on the left going forward."""
    corners = np.stack([right[:-1], right[1:], left[1:], left[:-1]], axis=1)
    texture = np.stack([texture_right[:-1], texture_right[1:], texture_left[1:], texture_left[:-1]], axis=1)
    return quads(corners, texture, material)


def cylinder(
    start: ArrayLike, end: ArrayLike, radius: float, material: int, end_radius: float | None = None, sides: int = 8
) -> Mesh:
    """Return a capped cylinder or cone between two points, smooth around its axis."""
    a, b = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
    length = float(np.linalg.norm(b - a))
    axis = (b - a) / length
    across = np.cross(axis, [1.0, 0.0, 0.0] if abs(axis[0]) < 0.9 else [0.0, 1.0, 0.0])
    across /= np.linalg.norm(across)
    other = np.cross(axis, across)
    pattern = _cylinder_pattern(sides)
    spoke = pattern.cosine * across + pattern.sine * other
    along, wall = pattern.end[..., None], pattern.wall[..., None]
    wide = radius + along * ((radius if end_radius is None else end_radius) - radius)
    rim = spoke * wide * pattern.on_rim[..., None]
    flat = np.zeros_like(pattern.angle)
    unrolled = np.stack([pattern.angle * radius, pattern.end * length, flat], axis=-1)
    return Mesh(
        corners=(a + along * (b - a) + rim).astype(np.float32),
        normals=np.where(wall, spoke, (2 * along - 1) * axis).astype(np.float32),
        texture=np.where(wall, unrolled, rim).astype(np.float32),
        material=np.full(4 * sides, material, np.int32),
        part=np.zeros(4 * sides, np.int32),
    )


def ellipsoid(centre: ArrayLike, radii: ArrayLike, material: int, detail: int = 1) -> Mesh:
    """Return an ellipsoid of 20 * 4**detail triangles; its texture coordinates are its own x, y, z."""
    unit = icosphere(detail)
    scale = np.broadcast_to(np.asarray(radii, dtype=np.float64), 3)
    normals = unit / scale
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    return triangles(unit * scale + np.asarray(centre), unit * scale, material, normals)


def repeated(mesh: Mesh, offsets: ArrayLike) -> Mesh:
    """Return copies of a mesh moved by offsets (N, 3); none at all for no offsets."""
    moves = np.asarray(offsets, dtype=np.float32).reshape(-1, 3)
    count = len(moves)
    corners = (mesh.corners + moves[:, None, None]).reshape(-1, 3, 3)
    normals, texture = np.tile(mesh.normals, (count, 1, 1)), np.tile(mesh.texture, (count, 1, 1))
    return Mesh(corners, normals, texture, np.tile(mesh.material, count), np.tile(mesh.part, count))


@lru_cache
def icosphere(detail: int) -> NDArray[np.float64]:
    """Return the triangles (T, 3, 3) of a unit sphere, outward."""
    g = (1 + 5**0.5) / 2
    vertices = np.array(
        [(-1, g, 0), (1, g, 0), (-1, -g, 0), (1, -g, 0), (0, -1, g), (0, 1, g)]
        + [(0, -1, -g), (0, 1, -g), (g, 0, -1), (g, 0, 1), (-g, 0, -1), (-g, 0, 1)]
    )
    faces = (
        "0 11 5 0 5 1 0 1 7 0 7 10 0 10 11 1 5 9 5 11 4 11 10 2 10 7 6 "
        "7 1 8 3 9 4 3 4 2 3 2 6 3 6 8 3 8 9 4 9 5 2 4 11 6 2 10 8 6 7 9 8 1"
    )
    result = vertices[np.array(faces.split(), dtype=int).reshape(-1, 3)]
    for _ in range(detail):
        a, b, c = result[:, 0], result[:, 1], result[:, 2]
        ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
        result = np.concatenate([np.stack(t, 1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])
        result = result / np.linalg.norm(result, axis=-1, keepdims=True)
    return result / np.linalg.norm(result, axis=-1, keepdims=True)


@dataclass(frozen=True, eq=False)
class _CylinderPattern:
    """Per corner of a cylinder's triangles (T, 3): angle, which end, whether on the rim, in the wall or a lid."""

    angle: NDArray[np.float64]
    cosine: NDArray[np.float64]
    sine: NDArray[np.float64]
    end: NDArray[np.float64]
    on_rim: NDArray[np.float64]
    wall: NDArray[np.bool_]


@lru_cache
def _cylinder_pattern(sides: int) -> _CylinderPattern:
    rows = []  # per corner: side index, end, on the rim, in the wall
    for i in range(sides):
        rows += [(i, 0, 1, 1), (i + 1, 0, 1, 1), (i + 1, 1, 1, 1)]
        rows += [(i, 0, 1, 1), (i + 1, 1, 1, 1), (i, 1, 1, 1)]
        rows += [(i, 0, 0, 0), (i + 1, 0, 1, 0), (i, 0, 1, 0)]
        rows += [(i, 1, 0, 0), (i, 1, 1, 0), (i + 1, 1, 1, 0)]
    index, end, on_rim, wall = np.array(rows, dtype=np.float64).reshape(-1, 3, 4).transpose(2, 0, 1)
    angle = index * 2 * np.pi / sides
    return _CylinderPattern(angle, np.cos(angle)[..., None], np.sin(angle)[..., None], end, on_rim, wall > 0)
