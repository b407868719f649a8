# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A robot's way through a user's own mesh: from a trajectory file, or found where there is room."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open3d as o3d
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from mtl_perception.core.transforms import Transform, interpolate, transform_from
from mtl_perception.data.world.paths import upright

HEADROOM_M = 1.8
NARROWEST_M = 0.35
"""Free space around the robot's middle without which there is no way."""
WIDEST_M = 5.0
FASTEST_M_S, FASTEST_TURN_RAD_S = 0.8, 0.4

_STEP_M, _COLUMNS = 0.2, 500
_AROUND_M, _LARGE_M2 = 2.0, 4.0
_LEVEL_COSINE = 0.8
_ROOF_COSINE = 0.2
_LEVEL_M = 0.3
_HEIGHTS_M = (0.4, 0.9, 1.4)


@dataclass(frozen=True, eq=False)
class MeshPath:
    """How a robot moves through a mesh.

    Attributes:
        world_from_base: its pose 4x4 at a time in seconds; before the start and after the end it stands still.
        duration_s: how long it is on its way.
    """

    world_from_base: Callable[[float], Transform]
    duration_s: float


def path_from_file(path: Path) -> MeshPath:
    """Read a trajectory in TUM's format: lines of "t x y z qx qy qz qw", seconds and world_from_base, "#" comments.

    Between its poses it is interpolated, linear in place and spherically in rotation. Second 0 is its first pose.

    Raises:
        OSError: the file cannot be read.
        ValueError: a line makes no sense, times do not grow, or there are fewer than two poses; names file and line.
    """
    times: list[float] = []
    poses: list[Transform] = []
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            time, x, y, z, *quaternion = (float(word) for word in line.replace(",", " ").split())
            pose = transform_from((x, y, z), quaternion)
            if len(quaternion) != 4 or not np.isfinite(time) or (times and not time > times[-1]):
                raise ValueError("8 numbers are expected: a time later than that before, a place and a quaternion")
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
        times.append(time)
        poses.append(pose)
    if len(times) < 2:
        raise ValueError(f"{path}: a trajectory has two poses or more, this one {len(times)}")
    start, moments = times[0], np.array(times) - times[0]

    def world_from_base(seconds: float) -> Transform:
        after = int(np.clip(np.searchsorted(moments, seconds), 1, len(moments) - 1))
        share = (seconds - moments[after - 1]) / (moments[after] - moments[after - 1])
        return interpolate(poses[after - 1], poses[after], float(np.clip(share, 0.0, 1.0)))

    return MeshPath(world_from_base, times[-1] - start)


def path_in_free_space(corners: NDArray[np.float32], duration_s: float, generator: np.random.Generator) -> MeshPath:
    """Return a round walk in the widest free space of triangles (T, 3, 3): a circle inside of it, on its ground.

    The ground is that of the large level surfaces with headroom around which there is most to see, and of the widest
    places the one nearest to that. The robot looks where it goes.

    Raises:
        ValueError: there is no ground with room for a robot.
    """
    low, step, height, room = _surveyed(corners)
    if room.max() < NARROWEST_M:
        raise ValueError(f"there is no ground with {HEADROOM_M} m of height and {NARROWEST_M} m of room around it")
    wide = np.argwhere(room >= min(room.max(), WIDEST_M))
    away = np.linalg.norm(low + wide * step - np.median(corners[..., :2].mean(axis=1), axis=0), axis=1)
    widest = tuple(wide[away.argmin()])
    middle = low + np.array(widest) * step
    # The clearance is known to a step, and the robot has a width.
    radius = float(np.clip(room[widest] - step - NARROWEST_M, 0.05, WIDEST_M))
    speed = min(FASTEST_M_S, FASTEST_TURN_RAD_S * radius)
    turn, phase = float(generator.choice([-1.0, 1.0])), float(generator.uniform(0, 2 * np.pi))
    ground = float(height[widest])

    def world_from_base(seconds: float) -> Transform:
        angle = phase + turn * speed * float(np.clip(seconds, 0.0, duration_s)) / radius
        x, y = middle + radius * np.array([np.cos(angle), np.sin(angle)])
        return upright((x, y, ground), angle + turn * np.pi / 2)

    return MeshPath(world_from_base, duration_s)


def _surveyed(
    corners: NDArray[np.float32],
) -> tuple[NDArray[np.float64], float, NDArray[np.float64], NDArray[np.float64]]:
    """Return the first point of a grid, its step, and at each point (X, Y) the ground's height and the room there."""
    # Not where only the ground goes on for ever.
    around = _AROUND_M * np.array([[-1.0], [1.0]])
    low, high = np.percentile(corners.mean(axis=1), [2, 98], axis=0) + around
    low = np.maximum(low, corners.min(axis=(0, 1)))
    high = np.minimum(high, corners.max(axis=(0, 1)))
    step = max(_STEP_M, float((high - low)[:2].max()) / _COLUMNS)
    x, y = np.meshgrid(*(np.arange(low[axis] + step / 2, high[axis], step) for axis in (0, 1)), indexing="ij")
    first = low[:2] + step / 2
    column, z = _walkable(corners, np.stack([x.ravel(), y.ravel()], axis=1), float(corners[..., 2].max()) + 1.0)
    height = np.full(x.shape, np.nan)
    if len(z):
        chosen = np.abs(z - _level(z, corners, step)) < _LEVEL_M
        height.reshape(-1)[column[chosen]] = z[chosen]
    there = np.isfinite(height)
    # Where the ground ends, the room does. Not by OpenCV, whose last bits differ from call to call (its issue 24082).
    room = distance_transform_edt(np.pad(there, 1))[1:-1, 1:-1] * step
    obstacles = corners[corners[..., 2].max(axis=1) > np.nanmin(height, initial=np.inf) + _LEVEL_M]
    if there.any() and len(obstacles):
        points = np.stack([x[there], y[there], height[there]], axis=1)
        room[there] = np.minimum(room[there], _clearance(obstacles, points))
    return first, step, height, room


def _walkable(
    corners: NDArray[np.float32], columns: NDArray[np.float64], top: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return level surfaces with headroom: the column (M,) they are in, and their height (M,)."""
    rays = np.zeros((len(columns), 6), np.float32)
    rays[:, :2], rays[:, 2], rays[:, 5] = columns, top, -1.0
    answer = _target(corners).list_intersections(o3d.core.Tensor.from_numpy(rays), nthreads=1)
    column, z = answer["ray_ids"].numpy().astype(np.int64), top - answer["t_hit"].numpy().astype(np.float64)
    triangle = corners[answer["primitive_ids"].numpy()].astype(np.float64)
    normal = np.cross(triangle[:, 1] - triangle[:, 0], triangle[:, 2] - triangle[:, 0])
    upwards = normal[:, 2] / np.maximum(np.linalg.norm(normal, axis=1), 1e-12)
    order = np.lexsort((-z, column))
    column, z, upwards = column[order], z[order], upwards[order]
    same = column[1:] == column[:-1]
    above: NDArray[np.float64] = np.full(z.shape, np.inf)
    above[1:][same] = -np.diff(z)[same]
    good = (np.abs(upwards) > _LEVEL_COSINE) & (above > HEADROOM_M)
    # Whoever looks up at the outside of a roof from below is within a body, as a house without rooms is one. Where all
    # is so, the triangles are turned inside out.
    within = np.zeros(len(z), bool)
    within[1:] = same & (upwards[:-1] > _ROOF_COSINE)
    if (good & ~within).any():
        good &= ~within
    return column[good], z[good]


def _level(z: NDArray[np.float64], corners: NDArray[np.float32], step: float) -> float:
    """Return the height of the level that has most triangles above it, up to head height, of all large levels."""
    edges = np.arange(z.min() - _LEVEL_M / 2, z.max() + 1.5 * _LEVEL_M, _LEVEL_M)
    counts, _ = np.histogram(z, edges)
    large = np.flatnonzero(counts >= min(_LARGE_M2 / step**2, counts.max()))
    heights = np.array([np.median(z[(z >= edges[k]) & (z < edges[k + 1])]) for k in large])
    middles = corners[..., 2].mean(axis=1)
    details = [np.sum((middles > height - _LEVEL_M / 2) & (middles < height + HEADROOM_M)) for height in heights]
    return float(heights[int(np.argmax(details))])


def _clearance(obstacles: NDArray[np.float32], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far it is from points (N, 3) of the ground to obstacles, between knee and head."""
    target = _target(obstacles)
    nearest = np.full(len(points), np.inf)
    for height in _HEIGHTS_M:
        query = o3d.core.Tensor.from_numpy((points + [0.0, 0.0, height]).astype(np.float32))
        nearest = np.minimum(nearest, target.compute_distance(query, nthreads=1).numpy())
    return nearest


def _target(corners: NDArray[np.float32]) -> o3d.t.geometry.RaycastingScene:
    vertices = np.ascontiguousarray(corners.reshape(-1, 3), np.float32)
    target = o3d.t.geometry.RaycastingScene(nthreads=1)
    indices = np.arange(len(vertices), dtype=np.uint32).reshape(-1, 3)
    target.add_triangles(o3d.core.Tensor.from_numpy(vertices), o3d.core.Tensor.from_numpy(indices))
    return target
