# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Whether two images that show the same place, of two cameras or of two moments, say that it is equally far."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mtl_perception.core import CameraPrediction
from mtl_perception.core.transforms import Transform, inverse, transform_points

_POINTS = 600  # at most, of the one camera's image
_MIN_POINTS = 30


@dataclass(frozen=True)
class Overlap:
    """What two images say of the places that both show.

    Attributes:
        difference: median of how far their depths differ, relative: 0.5 is half as far again.
        points: that both show.
    """

    difference: float
    points: int


def compare(first: CameraPrediction, second: CameraPrediction) -> Overlap | None:
    """Compare the second image's depth with what the first one's says that it should be.

    The images may be of different stamps where their poses are known: what stands still is in its place.

    Returns:
        None where the images hardly overlap, or a depth is not there.
    """
    if first.depth is None or second.depth is None:
        return None
    camera, other = first.camera, second.camera
    step = max(1, int(np.sqrt(camera.width * camera.height / _POINTS)))
    rows, columns = (
        grid.ravel() for grid in np.mgrid[step // 2 : camera.height : step, step // 2 : camera.width : step]
    )
    depth = first.depth[rows, columns]
    known = depth > 0
    if first.motion_mask is not None:
        known &= first.motion_mask[rows, columns] == 0
    rows, columns, depth = rows[known], columns[known], depth[known].astype(np.float64)
    rays = np.stack([columns, rows, np.ones_like(rows)], axis=1) @ np.linalg.inv(camera.K).T
    points = transform_points(_other_from_camera(first, second), rays * depth[:, None])
    points = points[points[:, 2] > 0]
    pixels = points @ other.K.T
    with np.errstate(over="ignore"):
        column, row = np.rint(pixels[:, :2] / pixels[:, 2:]).T
    inside = (column >= 0) & (column < other.width) & (row >= 0) & (row < other.height)
    at = row[inside].astype(np.intp), column[inside].astype(np.intp)
    expected, found = points[inside, 2], second.depth[at]
    usable = found > 0
    if second.motion_mask is not None:
        usable &= second.motion_mask[at] == 0
    if usable.sum() < _MIN_POINTS:
        return None
    apart = np.abs(np.log(expected[usable] / found[usable]))
    return Overlap(float(np.expm1(np.median(apart))), int(usable.sum()))


def _other_from_camera(first: CameraPrediction, second: CameraPrediction) -> Transform:
    if first.world_from_camera is not None and second.world_from_camera is not None:
        return inverse(second.world_from_camera) @ first.world_from_camera
    return inverse(second.camera.base_from_camera) @ first.camera.base_from_camera
