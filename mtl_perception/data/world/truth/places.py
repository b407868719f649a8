# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where one can be in a world, and from where one can go where: the places of a 3D scene graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import open3d as o3d
from numpy.typing import NDArray

from mtl_perception.data.world.scene import Region, Scene, Thing

INDOOR_GRID_M, OUTDOOR_GRID_M = 0.75, 1.5
"""There is at most one place in each square of this size: the one with most room around it."""
FINE = 3
"""Squares are searched FINE x FINE times."""
ROBOT_RADIUS_M = 0.2
ROBOT_HEIGHT_M = 1.8
HIGHEST_STEP_M = 0.2
FARTHEST_M = 3.0
"""Clearance is not told beyond this."""
_HEIGHTS_M = (0.3, 0.7, 1.1, 1.5)
_RAYS_START_M = 0.06  # above the ground: below everything that stands on it


@dataclass(frozen=True, eq=False)
class Places:
    """A graph of free space, over still things; what moves is not looked at.

    Attributes:
        positions: (N, 3), on the ground, metres in the world.
        clearance: (N,), metres to the nearest obstacle between the robot's foot and head, at most `FARTHEST_M`.
        region: int32 (N,), index into the scene's regions; -1 where it is in none.
        edges: int32 (E, 2), indices of neighbours between which the way is free, the lower first.
    """

    positions: NDArray[np.float64]
    clearance: NDArray[np.float64]
    region: NDArray[np.int32]
    edges: NDArray[np.int32]


def places_of(scene: Scene) -> Places:
    """Return the places on the ground that has a layer ("road", "pavement", "crossing", "floor", ...)."""
    walkable = [thing for thing in scene.still if thing.layer]
    if not walkable:
        nothing = np.zeros((0, 2), np.int32)
        return Places(np.zeros((0, 3)), np.zeros(0), np.zeros(0, np.int32), nothing)
    grid = INDOOR_GRID_M if any(thing.layer == "floor" for thing in walkable) else OUTDOOR_GRID_M
    ground, clearance = _surveyed(grid, walkable, [thing for thing in scene.still if not thing.layer])
    chosen = _clearest(clearance)
    edges = _edges(chosen, ground, clearance)
    connected, number = np.unique(edges, return_inverse=True)  # a place that leads nowhere is none
    edges = number.reshape(-1, 2).astype(np.int32)
    x, y = chosen[connected].T
    positions = np.stack([*ground.points(x, y).T, ground.height[x, y]], axis=1)
    return Places(positions, clearance[x, y], regions_of(positions, scene.regions), edges)


def regions_of(points: NDArray, regions: list[Region] | tuple[Region, ...]) -> NDArray[np.int32]:
    """Return for points (N, 2 or 3) the index (N,) of the region whose outline they are in, the first of several."""
    result = np.full(len(points), -1, np.int32)
    for index, region in enumerate(regions):
        result[(result < 0) & inside_outline(points, region.outline)] = index
    return result


def inside_outline(points: NDArray, outline: NDArray) -> NDArray[np.bool_]:
    """Return which points (N, 2 or 3) are inside a polygon (M, 2): rays from there cross it an odd number of times."""
    x, y = points[:, 0], points[:, 1]
    inside = np.zeros(len(points), dtype=bool)
    for (x0, y0), (x1, y1) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        if y0 != y1:
            inside ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) / (y1 - y0) * (x1 - x0))
    return inside


@dataclass(frozen=True, eq=False)
class _Ground:
    """Heights (X, Y) of the ground on a grid of points, NaN where there is none."""

    low: NDArray[np.float64]
    step: float
    height: NDArray[np.float64]

    def points(self, x: NDArray, y: NDArray) -> NDArray[np.float64]:
        return np.stack([x, y], axis=-1) * self.step + self.low


def _surveyed(grid: float, walkable: list[Thing], others: list[Thing]) -> tuple[_Ground, NDArray[np.float64]]:
    """Return the ground, and how much room (X, Y) is around the points of it; 0 where one cannot stand."""
    corners = np.concatenate([thing.mesh.corners.reshape(-1, 3) for thing in walkable])
    step = grid / FINE
    low = np.floor(corners.min(axis=0)[:2] / grid) * grid + step / 2
    cells = np.ceil((corners.max(axis=0)[:2] - low) / grid).astype(int) + 1
    x, y = np.meshgrid(*(np.arange(count * FINE) for count in cells), indexing="ij")
    flat = _Ground(low, step, np.empty(0)).points(x, y)
    above = float(corners[:, 2].max()) + 1.0
    fallen, _ = _cast(_target(walkable), np.concatenate([flat, np.full((*x.shape, 1), above)], axis=-1), -1.0)
    height = np.where(np.isfinite(fallen), above - fallen, np.nan)
    clearance = np.zeros(x.shape)
    there = np.isfinite(height)
    points = np.concatenate([flat[there], height[there, None]], axis=1)
    clearance[there] = _clearance(points, others) if others else FARTHEST_M
    return _Ground(low, step, height), clearance


def _clearance(points: NDArray[np.float64], others: list[Thing]) -> NDArray[np.float64]:
    """Return how much room is around points (N, 3) of the ground; 0 under and inside of things."""
    target = _target(others)
    free_above, normal_up = _cast(target, points + [0.0, 0.0, _RAYS_START_M], 1.0)
    # Who looks up and sees the outer side of a surface is inside of something.
    can_stand = (free_above > ROBOT_HEIGHT_M) & ~(np.isfinite(free_above) & (normal_up > 0))
    result = np.full(len(points), 0.0)
    corners = np.concatenate([thing.mesh.corners for thing in others])
    low, high = (points[:, 2].max() + height for height in (HIGHEST_STEP_M, ROBOT_HEIGHT_M))
    obstacles = corners[(corners[..., 2].max(axis=1) > low) & (corners[..., 2].min(axis=1) < high)]
    nearest = np.full(int(can_stand.sum()), FARTHEST_M)
    if len(obstacles):
        target = _target_of(obstacles)
        for height in _HEIGHTS_M:
            query = (points[can_stand] + [0.0, 0.0, height]).astype(np.float32)
            distance = target.compute_distance(o3d.core.Tensor.from_numpy(query), nthreads=1).numpy()
            nearest = np.minimum(nearest, distance)
    result[can_stand] = nearest
    return result


def _clearest(clearance: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the indices (N, 2) of the best point of each square, where a robot fits."""
    cells = np.array(clearance.shape) // FINE
    blocks = clearance.reshape(cells[0], FINE, cells[1], FINE).transpose(0, 2, 1, 3).reshape(*cells, FINE * FINE)
    # The middle is searched first, so that open ground has a regular grid.
    order = np.argsort([abs(k // FINE - FINE // 2) + abs(k % FINE - FINE // 2) for k in range(FINE**2)], kind="stable")
    best = order[blocks[..., order].argmax(axis=-1)]
    x, y = np.nonzero(blocks.max(axis=-1) >= ROBOT_RADIUS_M)
    within = best[x, y]
    return np.stack([x * FINE + within // FINE, y * FINE + within % FINE], axis=1)


def _edges(chosen: NDArray[np.int64], ground: _Ground, clearance: NDArray[np.float64]) -> NDArray[np.int32]:
    """Return the pairs (E, 2) of places in neighbouring squares between which the ground is free and without a step."""
    cells = chosen // FINE
    number = np.full(np.array(clearance.shape) // FINE + 2, -1)
    number[cells[:, 0] + 1, cells[:, 1] + 1] = np.arange(len(chosen))
    pairs = []
    for dx, dy in ((1, 0), (0, 1), (1, 1), (1, -1)):
        neighbour = number[cells[:, 0] + 1 + dx, cells[:, 1] + 1 + dy]
        pairs.append(np.stack([np.arange(len(chosen)), neighbour], axis=1)[neighbour >= 0])
    edges = np.concatenate(pairs)
    start, end = chosen[edges[:, 0]], chosen[edges[:, 1]]
    free = np.ones(len(edges), dtype=bool)
    before = ground.height[start[:, 0], start[:, 1]]
    for share in np.linspace(0, 1, 4 * FINE):
        x, y = np.rint(start + share * (end - start)).astype(int).T
        now = ground.height[x, y]
        free &= (clearance[x, y] >= ROBOT_RADIUS_M / 2) & (np.abs(now - before) <= HIGHEST_STEP_M)  # NaN is not free
        before = now
    return np.sort(edges[free], axis=1).astype(np.int32)


def _cast(
    target: o3d.t.geometry.RaycastingScene, origins: NDArray[np.float64], up: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return how far it is (...) up (1) or down (-1) from points (..., 3), inf: for ever; and z of the normal there."""
    rays = np.zeros((*origins.shape[:-1], 6), np.float32)
    rays[..., :3], rays[..., 5] = origins, up
    answer = target.cast_rays(o3d.core.Tensor.from_numpy(rays), nthreads=1)
    return answer["t_hit"].numpy(), answer["primitive_normals"].numpy()[..., 2]


def _target(things: list[Thing]) -> o3d.t.geometry.RaycastingScene:
    return _target_of(np.concatenate([thing.mesh.corners for thing in things]))


def _target_of(corners: NDArray[np.float32]) -> o3d.t.geometry.RaycastingScene:
    vertices = np.ascontiguousarray(corners.reshape(-1, 3))
    target = o3d.t.geometry.RaycastingScene(nthreads=1)
    indices = np.arange(len(vertices), dtype=np.uint32).reshape(-1, 3)
    target.add_triangles(o3d.core.Tensor.from_numpy(vertices), o3d.core.Tensor.from_numpy(indices))
    return target
