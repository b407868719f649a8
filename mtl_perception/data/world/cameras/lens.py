# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Lenses: from points to pixels of a distorted image, and exactly back to rays.

The models are those of sensor_msgs/CameraInfo as OpenCV defines them (documentation of the modules calib3d and
fisheye): "plumb_bob" (Brown 1966), "rational_polynomial" with thin prism and a tilted sensor, "equidistant" (Kannala
and Brandt 2006). A polynomial is only a lens as far out as its image grows with the angle from the axis; beyond that
several directions would share a pixel, and what OpenCV computes there is not seen by any real camera.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.camera import Camera

WIDEST_RAD = np.deg2rad(88.0)
"""Rays with z = 1 cannot go further from the axis than this, whatever the lens sees."""

TOLERANCE_PX = 1e-5
_NEWTON_STEPS = 12
_RADII = 8192

Array = NDArray[np.float64]


def pixel_rays_of(camera: Camera) -> NDArray[np.float32]:
    """Return the rays (height, width, 3) of a camera's pixels in its optical frame, with z = 1; read-only.

    NaN where the lens model has no direction for the pixel, or one further than `WIDEST_RAD` from the axis. Depth
    along the optical axis times the ray is the point in the optical frame. The answer is kept for the next call.
    """
    K = np.ascontiguousarray(camera.K, np.float64)
    distortion = np.ascontiguousarray(camera.distortion, np.float64)
    return _rays(camera.width, camera.height, K.tobytes(), camera.distortion_model, distortion.tobytes())


def project_distorted(camera: Camera, points: NDArray) -> tuple[Array, Array]:
    """Project points (N, 3) of the optical frame through the lens: pixel coordinates (N, 2) and depths (N,).

    Coordinates are NaN for points at or behind the camera (depth <= 0) and for those that the lens cannot see.
    """
    points = np.asarray(points, dtype=np.float64)
    depth = points[:, 2]
    in_front = np.flatnonzero(depth > 0)
    lens = _Lens(camera.distortion_model, np.asarray(camera.distortion, np.float64))
    seen = lens.distorted(points[in_front, :2] / depth[in_front, None])
    pixels = np.full((len(points), 2), np.nan)
    pixels[in_front] = seen @ camera.K[:2, :2].T + camera.K[:2, 2]
    return pixels, depth


@lru_cache(maxsize=64)
def _rays(width: int, height: int, K_bytes: bytes, model: str, distortion: bytes) -> NDArray[np.float32]:
    K = np.frombuffer(K_bytes).reshape(3, 3)
    u, v = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
    y = (v - K[1, 2]) / K[1, 1]
    x = (u - K[0, 2] - K[0, 1] * y) / K[0, 0]
    lens = _Lens(model, np.frombuffer(distortion))
    rays = np.ones((height * width, 3), np.float32)
    rays[:, :2] = lens.undistorted(np.stack([x.ravel(), y.ravel()], axis=1), TOLERANCE_PX / max(K[0, 0], K[1, 1]))
    rays[np.isnan(rays[:, 0])] = np.nan
    rays.setflags(write=False)
    return rays.reshape(height, width, 3)


class _Lens:
    """The distortion of points (N, 2) of the plane z = 1, and its inverse."""

    def __init__(self, model: str, coefficients: Array) -> None:
        self._equidistant = model == "equidistant" and len(coefficients) > 0
        k = np.zeros(14)
        k[: len(coefficients)] = coefficients
        self._k, self._ideal = k, not model or len(coefficients) == 0
        tilt = _tilt(k[12], k[13])
        self._tilt, self._untilt = tilt, np.linalg.inv(tilt)
        # The widest radius up to which the image grows with the radius, and the radial part tabulated up to there.
        self._radius = np.tan(np.linspace(0.0, WIDEST_RAD, _RADII))
        with np.errstate(all="ignore"):
            image = self._radius if self._ideal else self._radius * self._radial(self._radius**2)[0]
        grows = np.flatnonzero(~(np.diff(image) > 0))
        count = len(image) if not len(grows) else int(grows[0]) + 1
        self._radius, self._image = self._radius[:count], image[:count]

    def distorted(self, points: Array) -> Array:
        """Return where points (N, 2) land, NaN beyond the lens."""
        result = points.copy()
        if not self._ideal:
            result = _through(self._tilt, self._bent(points)[0])
        result[~(np.einsum("ij,ij->i", points, points) <= self._radius[-1] ** 2)] = np.nan
        return result

    def undistorted(self, points: Array, tolerance: float) -> Array:
        """Return what lands on points (N, 2), NaN where nothing does; wrong by at most `tolerance` where it lands.

        The radial part is inverted by a table, from there Newton's method takes in the rest.
        """
        target: Array = _through(self._untilt, points)
        radius = np.sqrt(np.einsum("ij,ij->i", target, target))
        start = np.interp(radius, self._image, self._radius)
        found = target * (start / np.maximum(radius, 1e-12))[:, None]
        if not self._ideal:
            for _ in range(_NEWTON_STEPS):
                bent, (xx, xy, yx, yy) = self._bent(found)
                off = bent - target
                determinant = xx * yy - xy * yx
                with np.errstate(all="ignore"):
                    step = np.stack([yy * off[:, 0] - xy * off[:, 1], xx * off[:, 1] - yx * off[:, 0]], 1)
                    step /= determinant[:, None]
                    step[~np.isfinite(step)] = 0.0
                found = found - step
                if not (np.abs(step) > 1e-12).any():
                    break
            bent, (xx, xy, yx, yy) = self._bent(found)
            wrong = np.abs(_through(self._tilt, bent) - points).max(axis=1)
            found[~((wrong < tolerance) & (xx * yy - xy * yx > 0))] = np.nan
        found[~(np.einsum("ij,ij->i", found, found) <= self._radius[-1] ** 2)] = np.nan
        return found

    def _bent(self, points: Array) -> tuple[Array, tuple[Array, Array, Array, Array]]:
        """Return the points distorted, without the tilt, and the derivatives dx/dx, dx/dy, dy/dx, dy/dy."""
        x, y = points.T
        square = x * x + y * y
        with np.errstate(all="ignore"):
            radial, slope = self._radial(square)
        bent_x, bent_y = x * radial, y * radial
        xx, yy = radial + 2 * x * x * slope, radial + 2 * y * y * slope
        xy = yx = 2 * x * y * slope
        if not self._equidistant:
            _, _, p1, p2, _, _, _, _, s1, s2, s3, s4, _, _ = self._k
            prism_x, prism_y = 2 * (s1 + 2 * s2 * square), 2 * (s3 + 2 * s4 * square)
            bent_x = bent_x + 2 * p1 * x * y + p2 * (square + 2 * x * x) + s1 * square + s2 * square**2
            bent_y = bent_y + 2 * p2 * x * y + p1 * (square + 2 * y * y) + s3 * square + s4 * square**2
            xx = xx + 2 * p1 * y + 6 * p2 * x + prism_x * x
            yy = yy + 2 * p2 * x + 6 * p1 * y + prism_y * y
            xy, yx = xy + 2 * (p1 * x + p2 * y) + prism_x * y, yx + 2 * (p1 * x + p2 * y) + prism_y * x
        return np.stack([bent_x, bent_y], axis=1), (xx, xy, yx, yy)

    def _radial(self, square: Array) -> tuple[Array, Array]:
        """Return the factor on a point at squared radius (N,), and the factor's derivative by the squared radius."""
        if not self._equidistant:
            k1, k2, _, _, k3, k4, k5, k6 = self._k[:8]
            above = 1 + square * (k1 + square * (k2 + square * k3))
            below = 1 + square * (k4 + square * (k5 + square * k6))
            above_slope = k1 + square * (2 * k2 + 3 * square * k3)
            below_slope = k4 + square * (2 * k5 + 3 * square * k6)
            factor = above / below
            return factor, (above_slope - factor * below_slope) / below
        k1, k2, k3, k4 = self._k[:4]
        radius = np.sqrt(np.maximum(square, 1e-12))
        angle = np.arctan(radius)
        t = angle * angle
        image = angle * (1 + t * (k1 + t * (k2 + t * (k3 + t * k4))))
        image_slope = (1 + t * (3 * k1 + t * (5 * k2 + t * (7 * k3 + t * 9 * k4)))) / (1 + radius * radius)
        return image / radius, (image_slope - image / radius) / (2 * radius * radius)


def _tilt(around_x: float, around_y: float) -> Array:
    """Return the homography 3x3 onto a sensor that is tilted by two angles, as OpenCV's `tilted sensor model`."""
    (cx, cy), (sx, sy) = np.cos([around_x, around_y]), np.sin([around_x, around_y])
    rotation = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]]) @ np.array([[1, 0, 0], [0, cx, sx], [0, -sx, cx]])
    onto = np.array(
        [[rotation[2, 2], 0, -rotation[0, 2]], [0, rotation[2, 2], -rotation[1, 2]], [0, 0, 1.0]],
    )
    return onto @ rotation


def _through(homography: NDArray, points: NDArray) -> Array:
    """Return points (N, 2) after a homography."""
    moved = points @ homography[:, :2].T + homography[:, 2]
    return moved[:, :2] / moved[:, 2:]
