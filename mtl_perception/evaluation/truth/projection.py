# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Points in space to depth in images: LiDAR sweeps, and depth cameras that sit elsewhere than the camera.

What moves by itself is projected to where it was when it was measured; between a sweep and an image lie at most some
tens of milliseconds, so a car at 10 m/s is off by some decimetres. Benchmarks accept that, and so does this.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from mtl_perception.core.camera import Camera
from mtl_perception.core.frame import RigFrame
from mtl_perception.core.ground_truth import Sweep
from mtl_perception.core.transforms import Transform, inverse, transform_points
from mtl_perception.evaluation.judged import SparseDepth

STILL_NS = 50_000_000
"""Without poses the rig is taken to stand still for this long: at 1 m/s that is 5 cm."""

NEAREST_M = 0.1
"""What is nearer to the camera than this is the robot itself, or noise."""

_HIDDEN_BEYOND = 0.05  # of the depth: what is farther than its neighbours by less belongs to their surface
_WIDEST = np.tan(np.radians(85.0))  # rays farther from the axis than this are in no image of a pinhole camera
_CELL = 0.5  # spacings: the size of a cell of the depth buffer
_SAMPLED = 400  # points, from which the spacing is estimated
_NEIGHBOURS = 64  # enough to reach from one line of a LiDAR to the next ones


def sparse_depths(frame: RigFrame, sweep: Sweep, cameras: Iterable[str]) -> dict[str, SparseDepth]:
    """Return, per camera of a frame that has an image, the depth of a sweep's points where the camera sees them.

    Points go through the world: base at the sweep's stamp, world, camera at its image's own stamp. Where a pose is not
    known, the rig is taken to stand still, but for no longer than `STILL_NS`; cameras whose images are further away in
    time are left out, and so are those that see no point.
    """
    if sweep.points is None:
        return {}
    found = {}
    for name in cameras:
        moved = camera_from_base(frame, name, sweep.stamp_ns, sweep.world_from_base)
        if moved is not None:
            depth = visible_depth(frame.rig[name], transform_points(moved, sweep.points))
            if len(depth.depth):
                found[name] = depth
    return found


def camera_from_base(frame: RigFrame, name: str, stamp_ns: int, world_from_base: Transform | None) -> Transform | None:
    """Return the transform from the base at a stamp to a camera at its image's stamp; None where it is not known."""
    if world_from_base is not None and name in frame.world_from_camera:
        return inverse(frame.world_from_camera[name]) @ world_from_base
    if abs(frame.image_stamps_ns[name] - stamp_ns) <= STILL_NS:
        return inverse(frame.rig[name].base_from_camera)
    return None


def visible_depth(camera: Camera, points: NDArray, spacing: tuple[float, float] | None = None) -> SparseDepth:
    """Return the depth of those points (N, 3) of a camera's optical frame that the camera sees.

    Args:
        camera: with its distortion.
        points: metres; rows that are not finite are left out.
        spacing: distance of neighbouring points in columns and in rows, pixels; None: see `spacing_of`.
    """
    pixels, depth = project_points(camera, points)
    seen = ~hidden(pixels, depth, spacing_of(pixels) if spacing is None else spacing)
    return SparseDepth(pixels[seen].astype(np.float32), depth[seen].astype(np.float32))


def project_points(camera: Camera, points: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return pixels (M, 2) in the camera's own, distorted image, and depths (M,), of the points that fall into it.

    A distortion model holds for the angles that it was calibrated for. Beyond, its polynomial turns back, and points
    from outside the view would land in the image: what lies farther out than where it turns is left out.
    """
    points = np.asarray(points, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        rays = points[:, :2] / points[:, 2:]
    radius = np.hypot(rays[:, 0], rays[:, 1])
    usable = (points[:, 2] > NEAREST_M) & (radius < _WIDEST) & np.isfinite(points).all(axis=1)
    points, rays = points[usable], rays[usable]
    pixels = pixels_of(camera, rays)
    size = np.array([camera.width, camera.height])
    inside = ((pixels >= -0.5) & (pixels < size - 0.5)).all(axis=1)
    return pixels[inside], points[inside, 2]


def pixels_of(camera: Camera, rays: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where rays, given by x and y (N, 2) at z = 1, are in a camera's own image; NaN where its model ends."""
    if not len(rays):
        return np.zeros((0, 2))
    if camera.is_rectified:
        return np.asarray(rays @ camera.K[:2, :2].T + camera.K[:2, 2])
    if camera.distortion_model == "equidistant":
        pixels = cv2.fisheye.distortPoints(np.ascontiguousarray(rays[:, None]), camera.K, camera.distortion)[:, 0]
    else:
        points, zero = np.column_stack([rays, np.ones(len(rays))])[:, None], np.zeros(3)
        pixels = cv2.projectPoints(points, zero, zero, camera.K, camera.distortion)[0][:, 0]
    beyond = np.hypot(rays[:, 0], rays[:, 1]) >= _largest_radius(camera)
    return np.where(beyond[:, None], np.nan, pixels)


def rays_of(camera: Camera, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return x and y (N, 2), at z = 1, of the rays of pixels (N, 2) of a camera's own image."""
    if not len(pixels):
        return np.zeros((0, 2))
    points = np.ascontiguousarray(pixels[:, None])
    if camera.is_rectified:
        return np.asarray((pixels - camera.K[:2, 2]) @ np.linalg.inv(camera.K[:2, :2]).T)
    if camera.distortion_model == "equidistant":
        return np.asarray(cv2.fisheye.undistortPoints(points, camera.K, camera.distortion)[:, 0])
    return np.asarray(cv2.undistortPoints(points, camera.K, camera.distortion)[:, 0])


def hidden(pixels: NDArray[np.float64], depth: NDArray[np.float64], spacing: tuple[float, float]) -> NDArray[np.bool_]:
    """Return which points (N,) are behind a surface that other points are on: they shine through between those.

    A depth buffer whose cells are half as large as the points' spacing tells the nearest point of each neighbourhood.
    A point is hidden where points nearer by more than 5 % of its depth are on both sides of it (above and below within
    one spacing, or left and right), or in its own cell. Nearer points on one side only hide nothing: on a road seen at
    a grazing angle all points have some below, and beside a car's edge the street is visible.
    """
    if not len(depth):
        return np.zeros(0, dtype=bool)
    cell = np.maximum(np.asarray(spacing) * _CELL, 1.0)
    columns, rows = np.floor(pixels / cell).astype(np.int64).T
    columns, rows = columns - columns.min(), rows - rows.min()
    nearest = np.full((rows.max() + 1, columns.max() + 1), np.inf, dtype=np.float32)
    np.minimum.at(nearest, (rows, columns), depth.astype(np.float32))
    up, down = _side(nearest, (-1, 0)), _side(nearest, (1, 0))
    left, right = _side(nearest, (0, -1)), _side(nearest, (0, 1))
    front = np.minimum(nearest, np.minimum(np.maximum(up, down), np.maximum(left, right)))
    return np.asarray(depth * (1.0 - _HIDDEN_BEYOND) > front[rows, columns])


def spacing_of(pixels: NDArray[np.float64]) -> tuple[float, float]:
    """Return how far neighbouring points (N, 2) are from each other, in columns and in rows.

    A LiDAR's lines lie along the rows: the nearest neighbour is in the same line, and the density tells how far the
    next line is.
    """
    if len(pixels) <= _NEIGHBOURS:
        return 1.0, 1.0
    chosen = pixels[:: -(-len(pixels) // _SAMPLED)]
    distances, _ = cKDTree(pixels).query(chosen, k=[2, _NEIGHBOURS])
    along, reach = np.median(distances, axis=0)
    along = max(float(along), 1.0)
    return along, max(float(np.pi * reach**2 / _NEIGHBOURS / along), 1.0)


def _side(nearest: NDArray[np.float32], towards: tuple[int, int]) -> NDArray[np.float32]:
    """Return, per cell, the nearest of those within one spacing on one side of it, some to its left and right included.

    `towards` is the row's and the column's step.
    """
    reach = round(1.0 / _CELL)
    along_rows = towards[0] != 0
    kernel = np.ones((reach, 3) if along_rows else (1, reach), np.uint8)
    first = towards[0] + towards[1] > 0
    # The anchor is the kernel's place of the cell itself, which is just outside: so the image moves by one.
    moved = np.full_like(nearest, np.inf)
    row, column = towards
    moved[max(-row, 0) : len(nearest) - max(row, 0), max(-column, 0) : nearest.shape[1] - max(column, 0)] = nearest[
        max(row, 0) : len(nearest) - max(-row, 0), max(column, 0) : nearest.shape[1] - max(-column, 0)
    ]
    anchor_along = 0 if first else reach - 1
    anchor = (1, anchor_along) if along_rows else (anchor_along, 0)
    return np.asarray(cv2.erode(moved, kernel, anchor=anchor, borderType=cv2.BORDER_CONSTANT, borderValue=np.inf))


def _largest_radius(camera: Camera) -> float:
    """Return how far from the axis (tangent of the angle) the camera's distortion model is still one to one."""
    angles = np.linspace(0.0, np.radians(89.9), 4000)
    if camera.distortion_model == "equidistant":
        squared = angles**2
        k1, k2, k3, k4 = camera.distortion
        image = angles * (1 + squared * (k1 + squared * (k2 + squared * (k3 + squared * k4))))
        radii = np.tan(angles)
    else:
        radii = np.tan(angles)
        squared = radii**2
        k = np.zeros(8)
        k[: len(camera.distortion[:8])] = camera.distortion[:8]
        numerator = 1 + squared * (k[0] + squared * (k[1] + squared * k[4]))
        image = radii * numerator / (1 + squared * (k[5] + squared * (k[6] + squared * k[7])))
    turning = np.flatnonzero(np.diff(image) <= 0)
    return float(radii[turning[0]] if len(turning) else radii[-1])
