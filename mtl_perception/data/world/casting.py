# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Rays into meshes: where they end and what is there. Rays run on one thread; use processes for more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import open3d as o3d
from numpy.typing import NDArray

from mtl_perception.data.world.scene import Mesh

THREADS = 1
Array = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Hits:
    """The rays that end on something, and where.

    Attributes:
        ray: (M,) which of the rays.
        depth: (M,) in units of the ray's direction.
        normal: (M, 3) unit, of the surface, to its outside.
        texture: (M, 3) texture coordinates.
        material, label, instance, moving: (M,) int32.
    """

    ray: NDArray[np.int64]
    depth: Array
    normal: Array
    texture: Array
    material: NDArray[np.int32]
    label: NDArray[np.int32]
    instance: NDArray[np.int32]
    moving: NDArray[np.int32]


class Caster:
    """A mesh that rays can be cast at, with what each of its triangles is (label, instance, moving: (T,))."""

    def __init__(self, mesh: Mesh, label: NDArray, instance: NDArray, moving: NDArray) -> None:
        self.surface = np.concatenate([mesh.normals, mesh.texture], axis=2)
        self.tags = np.stack([mesh.material, label, instance, moving], axis=1).astype(np.int32)
        self._scene = o3d.t.geometry.RaycastingScene(nthreads=THREADS)
        vertices = np.ascontiguousarray(mesh.corners.reshape(-1, 3), np.float32)
        indices = np.arange(len(vertices), dtype=np.uint32).reshape(-1, 3)
        self._scene.add_triangles(_tensor(vertices), _tensor(indices))

    def cast(self, rays: Array) -> tuple[Array, NDArray[np.uint32], Array]:
        """Return depth (N,) inf where rays (N, 6) miss, triangle (N,), and weights (N, 2) of its corners 2 and 3."""
        answer = self._scene.cast_rays(_tensor(rays), nthreads=THREADS)
        return answer["t_hit"].numpy(), answer["primitive_ids"].numpy(), answer["primitive_uvs"].numpy()

    def blocked(self, rays: Array, far: float) -> NDArray[np.bool_]:
        """Return which rays (N, 6) hit something before `far` times their length."""
        return self._scene.test_occlusions(_tensor(rays), tnear=0.001, tfar=float(far), nthreads=THREADS).numpy()


def first_hits(origin: Array, directions: Array, casters: Sequence[Caster]) -> Hits:
    """Cast rays from one point in directions (N, 3) at several meshes; the nearest hit counts."""
    rays = np.empty((len(directions), 6), np.float32)
    rays[:, :3], rays[:, 3:] = origin, directions
    answers = [caster.cast(rays) for caster in casters]
    depth = answers[0][0]
    owner = np.where(np.isfinite(depth), 0, -1)
    for index, (other, _, _) in enumerate(answers[1:], start=1):
        owner[other < depth] = index
        depth = np.minimum(depth, other)
    ray = np.flatnonzero(owner >= 0)
    surface, tags = np.empty((len(ray), 6), np.float32), np.empty((len(ray), 4), np.int32)
    for index, (caster, (_, triangle, weights)) in enumerate(zip(casters, answers, strict=True)):
        mine = np.flatnonzero(owner[ray] == index)
        which = triangle[ray[mine]]
        corners = caster.surface[which]
        second, third = weights[ray[mine]].T[..., None]
        surface[mine] = corners[:, 0] * (1 - second - third) + corners[:, 1] * second + corners[:, 2] * third
        tags[mine] = caster.tags[which]
    normal = surface[:, :3]
    normal /= np.maximum(np.sqrt(np.einsum("ij,ij->i", normal, normal)), 1e-6)[:, None]
    return Hits(ray, depth[ray], normal, surface[:, 3:], *np.ascontiguousarray(tags.T))


def _tensor(array: NDArray) -> o3d.core.Tensor:
    return o3d.core.Tensor.from_numpy(array)
