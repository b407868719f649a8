# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Actors at an instant: which of them matter to a camera, where they are, and how their surface moves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl_perception.data.world.rendering.casting import Caster, Surface
from mtl_perception.data.world.scene import Actor, Mesh

RANGE_M = 100.0
"""Actors whose surface is farther away are neither in images nor in their truth."""

NEAR_M = 12.0
"""Actors nearer than this are there even out of view: their shadows may be in view."""

_KNOT_S = 1.0
_SWAY_M = 1.0
"""An actor leaves the straight line between two knots by less than this."""

_KNOTS_KEPT = 64


@dataclass(frozen=True)
class View:
    """What a camera may see: a cone, and where from shadows may fall into it.

    Attributes:
        origin, axis: (3,) in the world, metres; the axis is a unit vector.
        half_angle: of the cone, radians.
        shadow: (3,) from the top of a thing of one metre's height to the end of its shadow; 0 without a sun.
    """

    origin: NDArray[np.float64]
    axis: NDArray[np.float64]
    half_angle: float
    shadow: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PlacedActors:
    """Some actors at an instant.

    Attributes:
        caster: all their triangles, one actor after the other.
        index: (A,) which of the scene's actors.
        starts: (A,) the first triangle of each.
        centre, radius: (A, 3), (A,), metres: spheres that contain them.
    """

    caster: Caster
    index: NDArray[np.int64]
    starts: NDArray[np.int64]
    centre: NDArray[np.float64]
    radius: NDArray[np.float64]

    def hit(self, triangle: NDArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the scene's actor (N,) and the triangle of its mesh (N,) for triangles of the caster."""
        which = np.searchsorted(self.starts, triangle, side="right") - 1
        return self.index[which], triangle - self.starts[which]


class Actors:
    """All actors of a scene. What they do at the latest instant asked for is remembered."""

    def __init__(self, actors: Sequence[Actor]) -> None:
        self._actors = tuple(actors)
        self._bodies: dict[int, _Body] = {}
        self._part_reach = [_part_reach(actor.mesh) for actor in self._actors]
        self._knots: dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
        self._instant = math.nan
        self._poses: dict[int, NDArray[np.float64]] = {}
        self._moves: dict[int, bool] = {}

    def __getitem__(self, index: int) -> Actor:
        """Return one of the scene's actors."""
        return self._actors[index]

    def placed(self, seconds: float, view: View) -> PlacedActors | None:
        """Return those that a camera may see, or whose shadow it may see; None if there is none."""
        if not self._actors:
            return None
        centre, radius = self._whereabouts(seconds)
        chosen = np.flatnonzero(_in_view(centre, radius, view))
        if not len(chosen):
            return None
        bodies = [self._body(int(index)) for index in chosen]
        poses = [self.poses(int(index), seconds) for index in chosen]
        world_from_part = np.concatenate(poses)[:, :3].astype(np.float32)
        parts = np.cumsum([0] + [len(p) for p in poses[:-1]])
        part = np.concatenate([body.part + first for body, first in zip(bodies, parts, strict=True)])
        vertices = np.concatenate([body.vertices for body in bodies])
        placed = np.einsum("vij,vj->vi", world_from_part[part], vertices)
        first_vertex = np.cumsum([0] + [len(body.vertices) for body in bodies[:-1]]).astype(np.uint32)
        triangles = np.concatenate([body.triangles + at for body, at in zip(bodies, first_vertex, strict=True)])
        starts = np.cumsum([0] + [len(body.triangles) for body in bodies[:-1]])
        low = np.minimum.reduceat(placed, first_vertex.astype(np.int64))
        high = np.maximum.reduceat(placed, first_vertex.astype(np.int64))
        return PlacedActors(
            Caster(placed, triangles), chosen, starts, (low + high) / 2, np.linalg.norm(high - low, axis=1) / 2
        )

    def surface(self, index: int) -> Surface:
        """Return what an actor's triangles have, normals in the frames of its parts."""
        return self._body(index).surface

    def poses(self, index: int, seconds: float) -> NDArray[np.float64]:
        """Return an actor's poses (P, 4, 4)."""
        self._forget_other_instants(seconds)
        if index not in self._poses:
            self._poses[index] = self._actors[index].poses(seconds)
        return self._poses[index]

    def moves(self, index: int, seconds: float) -> bool:
        """Whether an actor as a whole moves."""
        self._forget_other_instants(seconds)
        if index not in self._moves:
            self._moves[index] = self._actors[index].moves(seconds)
        return self._moves[index]

    def later_from_now(self, index: int, seconds: float, later: float) -> NDArray[np.float64]:
        """Return per part (P, 4, 4) what takes points of the world at one instant to where they are at another."""
        now = self.poses(index, seconds)
        return self._actors[index].poses(later) @ np.linalg.inv(now)

    def _forget_other_instants(self, seconds: float) -> None:
        if seconds != self._instant:
            self._instant = seconds
            self._poses.clear()
            self._moves.clear()

    def _body(self, index: int) -> _Body:
        if index not in self._bodies:
            self._bodies[index] = _Body.of(self._actors[index].mesh)
        return self._bodies[index]

    def _whereabouts(self, seconds: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return spheres, centres (A, 3) and radii (A,), that contain the actors: few poses tell for many instants."""
        knot = math.floor(seconds / _KNOT_S)
        (before, reach_before), (after, reach_after) = self._knot(knot), self._knot(knot + 1)
        radius = np.linalg.norm(after - before, axis=1) / 2 + np.maximum(reach_before, reach_after) + _SWAY_M
        return (before + after) / 2, radius

    def _knot(self, knot: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if knot not in self._knots:
            if len(self._knots) >= _KNOTS_KEPT:
                self._knots.clear()
            centres, reach = np.empty((len(self._actors), 3)), np.empty(len(self._actors))
            for index, (actor, part_reach) in enumerate(zip(self._actors, self._part_reach, strict=True)):
                places = actor.poses(knot * _KNOT_S)[: len(part_reach), :3, 3]
                offset = places - places[0]
                centres[index] = places[0]
                reach[index] = (np.sqrt(np.einsum("ij,ij->i", offset, offset)) + part_reach).max()
            self._knots[knot] = centres, reach
        return self._knots[knot]


@dataclass(frozen=True, eq=False)
class _Body:
    """An actor's mesh with each corner once: vertices (V, 4) homogeneous, their parts (V,), triangles (T, 3)."""

    vertices: NDArray[np.float32]
    part: NDArray[np.int64]
    triangles: NDArray[np.uint32]
    surface: Surface

    @classmethod
    def of(cls, mesh: Mesh) -> _Body:
        corners = mesh.corners.reshape(-1, 3) + np.float32(0)  # no negative zeros, their bits differ
        tagged = np.empty((len(corners), 4), np.float32)
        tagged[:, :3], tagged[:, 3] = corners, np.repeat(mesh.part, 3)
        bits = tagged.view(np.uint64)
        # Equal corners have equal keys; the few different corners that share a key by chance are told apart below.
        key = bits[:, 0] * np.uint64(0x9E3779B97F4A7C15) ^ bits[:, 1] * np.uint64(0xC2B2AE3D27D4EB4F)
        _, first, of = np.unique(key, return_index=True, return_inverse=True)
        if not np.array_equal(tagged[first][of], tagged):
            first = of = np.arange(len(tagged))
        vertices = tagged[first]
        part = vertices[:, 3].astype(np.int64)
        vertices[:, 3] = 1.0
        return cls(vertices, part, of.reshape(-1, 3).astype(np.uint32), Surface(mesh))


def _part_reach(mesh: Mesh) -> NDArray[np.float64]:
    """Return how far each part's surface reaches from the part's origin (P,), metres."""
    farthest = np.sqrt(np.einsum("tij,tij->ti", mesh.corners, mesh.corners).max(axis=1))
    reach = np.zeros(int(mesh.part.max()) + 1)
    np.maximum.at(reach, mesh.part, farthest)
    return reach


def _in_view(centre: NDArray[np.float64], radius: NDArray[np.float64], view: View) -> NDArray[np.bool_]:
    """Return which spheres a camera may see, or the shadows of what is in them."""
    offset = centre - view.origin
    distance = np.linalg.norm(offset, axis=1)
    # The shadow reaches from the thing to its end; one sphere holds both. A thing is at most as high as its sphere.
    half = view.shadow * np.minimum(radius, 4.0)[:, None] / 2
    seen = _in_cone(offset, radius, view) | _in_cone(offset + half, radius + np.linalg.norm(half, axis=1), view)
    return (distance - radius < RANGE_M) & (seen | (distance - radius < NEAR_M))


def _in_cone(offset: NDArray[np.float64], radius: NDArray[np.float64], view: View) -> NDArray[np.bool_]:
    distance = np.maximum(np.linalg.norm(offset, axis=1), 1e-9)
    angle = np.arccos(np.clip(offset @ view.axis / distance, -1.0, 1.0))
    return (distance <= radius) | (angle < view.half_angle + np.arcsin(np.minimum(radius / distance, 1.0)))
