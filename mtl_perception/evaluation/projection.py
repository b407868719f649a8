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

_WIDEST = np.tan(np.radians(85.0))  # rays farther from the axis than this are in no image of a pinhole camera
# With cv2.undistortPoints' own 5 iterations, corners of a strongly distorted image are off by pixels.
_EXACT = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 200, 1e-9)
_BANDS = 8  # of rows, each with its own spacing
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
    seen = ~hidden(in_spacings(pixels) if spacing is None else pixels / np.maximum(spacing, 1.0), depth)
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
    same = np.eye(3)
    return np.asarray(cv2.undistortPointsIter(points, camera.K, camera.distortion, same, same, _EXACT), np.float64)[
        :, 0
    ]


def hidden(places: NDArray[np.float64], depth: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which points (N,) are behind a surface that other points are on: they shine through between those.

    A depth buffer whose cells are half as large as the points' spacing tells the nearest point of each neighbourhood.
    A point is hidden where points are nearer

    * by more than 10 % of its depth, both above and below it, within two spacings: near surfaces have wider gaps;
    * by more than 20 %, within one spacing to the sides and half of one above or below;
    * by more than 40 %, within one spacing.

    What is slightly nearer and on one side only hides nothing: on a road seen at a grazing angle there are always such
    points below. In made streets (houses, cars, pedestrians, poles; the LiDAR on the roof, cameras half a metre below
    and 1 to 1.6 m in front of, beside or behind it) this removes 99.0 % of the points that are hidden by something that
    the LiDAR sees and that is nearer by more than 10 %, and 0.7 % of the visible points, with a LiDAR of 64 lines; with
    one of 32 lines, 97.4 % and 2.1 %.

    Args:
        places: (N, 2) column and row in units of the spacing of the points, see `in_spacings`.
        depth: (N,) metres.
    """
    if not len(depth):
        return np.zeros(0, dtype=bool)
    columns, rows = np.floor((places - places.min(axis=0)) * 2.0).astype(np.int64).T
    nearest = np.full((rows.max() + 1, columns.max() + 1), np.inf, dtype=np.float32)
    np.minimum.at(nearest, (rows, columns), depth.astype(np.float32))
    above, below = (_nearest_within(nearest, (5, 5), (2, anchor)) for anchor in (4, 0))
    beside, around = (_nearest_within(nearest, (5, height), (2, height // 2)) for height in (3, 5))
    front = np.minimum(np.maximum(above, below) / 0.9, np.minimum(beside / 0.8, around / 0.6))
    return np.asarray(front[rows, columns] < depth)


def in_spacings(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return columns and rows (N, 2) of pixels in units of the distance between neighbouring points.

    A LiDAR's lines lie along the rows: the nearest neighbour is in the same line, and the density tells how far the
    next line is. Many LiDARs have their lines closer to each other near the horizon, so that distance depends on the
    row.
    """
    if len(pixels) <= _NEIGHBOURS:
        return pixels
    chosen = pixels[:: -(-len(pixels) // _SAMPLED)]
    distances, _ = cKDTree(pixels).query(chosen, k=[2, _NEIGHBOURS])
    along = max(float(np.median(distances[:, 0])), 1.0)
    across = np.maximum(np.pi * distances[:, 1] ** 2 / _NEIGHBOURS / along, 1.0)
    bands = np.array_split(np.argsort(chosen[:, 1]), _BANDS)
    centres = np.array([np.median(chosen[band, 1]) for band in bands])
    widths = np.array([np.median(across[band]) for band in bands])
    rows = np.arange(np.floor(pixels[:, 1].min()), np.ceil(pixels[:, 1].max()) + 1)
    counted = np.cumsum(1.0 / np.interp(rows, centres, widths))
    return np.stack([pixels[:, 0] / along, np.interp(pixels[:, 1], rows, counted)], axis=-1)


def _nearest_within(
    nearest: NDArray[np.float32], size: tuple[int, int], anchor: tuple[int, int]
) -> NDArray[np.float32]:
    """Return each cell's smallest value within a window (columns, rows), of which the cell itself is at the anchor."""
    window = np.ones(size[::-1], np.uint8)
    return np.asarray(cv2.erode(nearest, window, anchor=anchor, borderType=cv2.BORDER_CONSTANT, borderValue=np.inf))


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
