# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Rays into triangles: where they end and on what. Rays run on one thread; use processes for more."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import open3d as o3d
from numpy.typing import NDArray

from mtl_perception.data.world.scene import Mesh

THREADS = 1
Array = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Hits:
    """Where rays end.

    Attributes:
        depth: float32 (N,) in units of the ray's direction, inf where it hits nothing.
        triangle: uint32 (N,), meaningless where nothing is hit.
        weights: float32 (N, 2), of the triangle's second and third corner.
        normal: float32 (N, 3), unit, of the flat triangle; 0 where nothing is hit.
    """

    depth: NDArray[np.float32]
    triangle: NDArray[np.uint32]
    weights: NDArray[np.float32]
    normal: NDArray[np.float32]


class Caster:
    """Triangles that rays can be cast at."""

    def __init__(self, vertices: NDArray[np.float32], triangles: NDArray[np.uint32]) -> None:
        """Take vertices (V, 3) in metres and the triangles' corners (T, 3) as indices of them."""
        self._scene = o3d.t.geometry.RaycastingScene(nthreads=THREADS)
        self._scene.add_triangles(_tensor(vertices), _tensor(triangles))

    def cast(self, rays: NDArray[np.float32]) -> Hits:
        """Return where rays (N, 6), origins and directions, end."""
        answer = self._scene.cast_rays(_tensor(rays), nthreads=THREADS)
        return Hits(*(answer[key].numpy() for key in ("t_hit", "primitive_ids", "primitive_uvs", "primitive_normals")))

    def blocked(self, rays: NDArray[np.float32], far: float) -> NDArray[np.bool_]:
        """Return which rays (N, 6) hit something before `far` times their length."""
        return self._scene.test_occlusions(_tensor(rays), tnear=0.001, tfar=float(far), nthreads=THREADS).numpy()


class Surface:
    """What the corners of triangles have, to be had anywhere between them: normals and texture coordinates."""

    def __init__(self, mesh: Mesh) -> None:
        first, second, third = np.concatenate([mesh.normals, mesh.texture], axis=2).astype(np.float32).swapaxes(0, 1)
        self._values = np.concatenate([first, second - first, third - first], axis=1)

    def at(self, triangle: NDArray, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return normals, of any length, and texture coordinates (N, 6) at points in triangles; weights (N, 2)."""
        shares = np.ones((len(triangle), 3), np.float32)
        shares[:, 1:] = weights
        return np.einsum("nk,nkj->nj", shares, self._values.take(triangle, axis=0).reshape(-1, 3, 6))


def _tensor(array: NDArray) -> o3d.core.Tensor:
    return o3d.core.Tensor.from_numpy(array)
