# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the rays of one camera end on, among still things and actors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.labels import UNKNOWN
from mtl_perception.data.world.rendering.actors import Actors, PlacedActors
from mtl_perception.data.world.rendering.casting import Caster, Surface
from mtl_perception.data.world.scene import Thing, merged

Array = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Seen:
    """What rays end on; N rays, of which M end on something.

    Attributes:
        depth: float32 (N,) in units of the ray's direction, inf where it hits nothing.
        label: uint8 (N,), `UNKNOWN` where nothing is hit.
        instance: int32 (N,), 0 where it is no thing.
        normal: float32 (N, 3) of the flat triangle, unit, in the world; 0 where nothing is hit.
        on_actor: int64 (K,), which rays end on actors.
        actor, part: int64 (K,), on which, and on which of its parts.
        ray: int64 (M,), which rays end on something, in any order.
        smooth: float32 (3, M), the normals to shade with, unit, in the world.
        texture: float32 (3, M), texture coordinates.
        material: int32 (M,).
    """

    depth: NDArray[np.float32]
    label: NDArray[np.uint8]
    instance: NDArray[np.int32]
    normal: NDArray[np.float32]
    on_actor: NDArray[np.int64]
    actor: NDArray[np.int64]
    part: NDArray[np.int64]
    ray: NDArray[np.int64]
    smooth: NDArray[np.float32]
    texture: NDArray[np.float32]
    material: NDArray[np.int32]


class StillThings:
    """All still things of a scene as one mesh."""

    def __init__(self, things: list[Thing]) -> None:
        mesh = merged([thing.mesh for thing in things])
        counts = [len(thing.mesh) for thing in things]
        corners = np.ascontiguousarray(mesh.corners.reshape(-1, 3), np.float32)
        self.caster = Caster(corners, np.arange(len(corners), dtype=np.uint32).reshape(-1, 3))
        self.surface = Surface(mesh)
        self.material = mesh.material.astype(np.int32)
        self.label = np.repeat(np.array([thing.label for thing in things], np.uint8), counts)
        self.instance = np.repeat(np.array([thing.instance for thing in things], np.int32), counts)


def look(
    origin: NDArray[np.float32],
    directions: NDArray[np.float32],
    unit: NDArray[np.float32],
    still: StillThings,
    actors: Actors,
    placed: PlacedActors | None,
    seconds: float,
    blind: NDArray[np.int64],
) -> Seen:
    """Return what rays from one point see, in directions (N, 3), but `blind` ones; `unit` are the same of length 1."""
    rays = np.empty((len(directions), 6), np.float32)
    rays[:, :3], rays[:, 3:] = origin, directions
    hits = still.caster.cast(rays)
    depth, normal = hits.depth, hits.normal
    depth[blind] = np.inf
    on_still = np.isfinite(depth)
    on_actor, actor, part = (np.zeros(0, np.int64) for _ in range(3))
    if placed is not None:
        candidates = _towards(origin, unit, placed)
        actor_hits = placed.caster.cast(rays[candidates])
        nearer = np.flatnonzero(actor_hits.depth < depth[candidates])
        on_actor = candidates[nearer]
        depth[on_actor], normal[on_actor] = actor_hits.depth[nearer], actor_hits.normal[nearer]
        on_still[on_actor] = False
    ray = np.flatnonzero(on_still)
    triangle = hits.triangle.take(ray).astype(np.int64)
    label, instance = np.full(len(depth), UNKNOWN, np.uint8), np.zeros(len(depth), np.int32)
    label[ray], instance[ray] = still.label.take(triangle), still.instance.take(triangle)
    surface = still.surface.at(triangle, hits.weights.take(ray, axis=0))
    material = still.material.take(triangle)
    if placed is not None and len(on_actor):
        actor, triangle = placed.hit(actor_hits.triangle.take(nearer).astype(np.int64))
        faces = _ActorFaces.of(actors, actor, triangle, actor_hits.weights[nearer], seconds)
        label[on_actor], instance[on_actor], part = faces.label, faces.instance, faces.part
        ray = np.concatenate([ray, on_actor])
        surface, material = np.concatenate([surface, faces.surface]), np.concatenate([material, faces.material])
    surface = np.ascontiguousarray(surface.T)
    smooth = surface[:3]
    smooth /= np.maximum(np.sqrt(smooth[0] ** 2 + smooth[1] ** 2 + smooth[2] ** 2), np.float32(1e-6))
    return Seen(depth, label, instance, normal, on_actor, actor, part, ray, smooth, surface[3:], material)


@dataclass(frozen=True, eq=False)
class _ActorFaces:
    """What K points on actors are: normals in the world and texture coordinates (K, 6), and the rest (K,)."""

    surface: NDArray[np.float32]
    material: NDArray[np.int32]
    label: NDArray[np.uint8]
    instance: NDArray[np.int32]
    part: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        actors: Actors,
        actor: NDArray[np.int64],
        triangle: NDArray[np.int64],
        weights: NDArray[np.float32],
        seconds: float,
    ) -> _ActorFaces:
        count = len(actor)
        surface, material = np.empty((count, 6), np.float32), np.empty(count, np.int32)
        label, instance, part = np.empty(count, np.uint8), np.empty(count, np.int32), np.empty(count, np.int64)
        for index in np.unique(actor).tolist():
            mine = np.flatnonzero(actor == index)
            which, mesh = triangle[mine], actors[index].mesh
            label[mine], instance[mine] = actors[index].label, actors[index].instance
            material[mine], part[mine] = mesh.material[which], mesh.part[which]
            rotation = actors.poses(index, seconds)[:, :3, :3].astype(np.float32)[part[mine]]
            here = actors.surface(index).at(which, weights[mine])
            surface[mine, :3] = np.einsum("nij,nj->ni", rotation, here[:, :3])
            surface[mine, 3:] = here[:, 3:]
        return cls(surface, material, label, instance, part)


def _towards(origin: NDArray[np.float32], unit: NDArray[np.float32], placed: PlacedActors) -> NDArray[np.int64]:
    """Return which rays come near an actor at all."""
    offset = placed.centre - origin
    distance = np.maximum(np.linalg.norm(offset, axis=1), 1e-9)
    inside = distance <= placed.radius
    cosine = np.sqrt(np.maximum(1 - np.minimum(placed.radius / distance, 1.0) ** 2, 0.0)) - 1e-4
    cosine[inside] = -2.0
    towards = (offset / distance[:, None]).astype(np.float32)
    return np.flatnonzero((towards @ unit.T > cosine.astype(np.float32)[:, None]).any(axis=0))
