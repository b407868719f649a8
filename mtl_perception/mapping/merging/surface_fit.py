# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One map's surface laid over another's, from a guess: yaw and a shift.

ICP with distances from points to planes (Chen and Medioni, "Object Modelling by Registration of Multiple Range
Images", 1992), coarse to fine. Open3D's own finds all six unknowns; as gravity is known, there are four here: what
tilts one map against the other is drift, and must not be hidden in the transform.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from mtl_perception.core.transforms import Transform
from mtl_perception.mapping.merging.surface_samples import SurfaceSamples

_STEPS = 15  # at each reach
_STILL = 1e-5  # metres and radians
_FACING = 0.7  # cosine of the angle between normals of what can be one surface
_LEAST = 50  # points that must be near others
_STIFFNESS = 1e-3  # of the unknowns that no surface tells anything about


@dataclass(frozen=True, eq=False)
class Fit:
    """How a map lies over another.

    Attributes:
        transform: self_from_other.
        residual: metres, root of the mean squared distance between surfaces, where they are near each other.
        near: how many of the points were near the other surface.
    """

    transform: Transform
    residual: float
    near: int


def fitted(guess: Transform, ours: SurfaceSamples, theirs: SurfaceSamples, reaches: tuple[float, ...]) -> Fit | None:
    """Lay their surface over ours; None where almost nothing comes near.

    Args:
        guess: self_from_other.
        ours, theirs: points of both surfaces.
        reaches: metres within which points are taken for the same surface, one after the other.
    """
    tree = cKDTree(ours.points)
    transform, residual, near = guess, np.inf, 0
    for reach in reaches:
        for _ in range(_STEPS):
            moved = theirs.moved(transform)
            away, nearest = tree.query(moved.points, distance_upper_bound=reach)
            rows = np.flatnonzero(np.isfinite(away))
            target = nearest[rows]
            facing = (moved.normals[rows] * ours.normals[target]).sum(axis=1) > _FACING
            rows, target = rows[facing], target[facing]
            if len(rows) < _LEAST:
                return None
            step, residual = _step(moved.points[rows], ours.points[target], ours.normals[target])
            near = len(rows)
            transform = step @ transform
            if np.abs(step - np.eye(4))[:3].max() < _STILL:
                break
    return Fit(transform, residual, near)


def _step(
    points: NDArray[np.float64], planes: NDArray[np.float64], normals: NDArray[np.float64]
) -> tuple[Transform, float]:
    """Return the yaw and shift that bring points (N, 3) nearest to planes through others, and how far they were."""
    middle = points.mean(axis=0)
    arm = points - middle
    scale = max(float(np.hypot(arm[:, 0], arm[:, 1]).mean()), 1e-6)
    turning = (arm[:, 0] * normals[:, 1] - arm[:, 1] * normals[:, 0]) / scale
    factors = np.concatenate([turning[:, None], normals], axis=1)
    off = ((points - planes) * normals).sum(axis=1)
    square = factors.T @ factors / len(points) + _STIFFNESS * np.eye(4)
    yaw, *shift = np.linalg.solve(square, -factors.T @ off / len(points)).tolist()
    sine, cosine = np.sin(yaw / scale), np.cos(yaw / scale)
    step = np.eye(4)
    step[:2, :2] = [[cosine, -sine], [sine, cosine]]
    step[:3, 3] = middle + shift - step[:3, :3] @ middle
    return step, float(np.sqrt((off**2).mean()))
