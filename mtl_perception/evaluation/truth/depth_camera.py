# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Depth images as truth for a camera: registered to it, of its optical frame in another size, or from elsewhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.camera import Camera
from mtl_perception.core.transforms import Transform, transform_points
from mtl_perception.evaluation.judged import SparseDepth
from mtl_perception.evaluation.projection import NEAREST_M, pixels_of, rays_of, visible_depth

_SAME_PLACE = 1e-6  # metres and radians


def depth_for(
    camera: Camera, depth: NDArray[np.float32], depth_camera: Camera, camera_from_depth_camera: Transform
) -> NDArray[np.float32] | SparseDepth:
    """Return what a depth image says about a camera's image.

    * Registered (same place, size, K and distortion): the image as it is, float32 (H, W).
    * Same place, but another size, K or distortion: each pixel of the camera takes the nearest pixel of the depth image
      along its ray, NaN where there is none. Depths are not mixed: between two surfaces there is nothing.
    * Elsewhere: each pixel becomes a point, and those that the camera sees (see `visible_depth`) become sparse depth.

    Args:
        camera: whose truth is wanted.
        depth: float32 (H, W), metres along the depth camera's optical axis, NaN where unknown.
        depth_camera: how the depth image was taken.
        camera_from_depth_camera: between the optical frames, at the stamps of their images.

    Raises:
        ValueError: the depth image is not of its camera's size; names both.
    """
    if depth.shape != (depth_camera.height, depth_camera.width):
        raise ValueError(
            f"camera '{depth_camera.name}': depth is {depth.shape}, "
            f"its CameraInfo says {depth_camera.height}x{depth_camera.width}"
        )
    if not np.allclose(camera_from_depth_camera, np.eye(4), rtol=0.0, atol=_SAME_PLACE):
        return _from_elsewhere(camera, depth, depth_camera, camera_from_depth_camera)
    return depth if _same_image(camera, depth_camera) else _resampled(camera, depth, depth_camera)


def _same_image(camera: Camera, depth_camera: Camera) -> bool:
    same_size = (camera.width, camera.height) == (depth_camera.width, depth_camera.height)
    same_model = camera.is_rectified and depth_camera.is_rectified
    if camera.distortion_model == depth_camera.distortion_model and len(camera.distortion) == len(
        depth_camera.distortion
    ):
        same_model = same_model or np.allclose(camera.distortion, depth_camera.distortion, rtol=1e-6)
    return same_size and same_model and np.allclose(camera.K, depth_camera.K, rtol=1e-6)


def _resampled(camera: Camera, depth: NDArray[np.float32], depth_camera: Camera) -> NDArray[np.float32]:
    grid = np.meshgrid(np.arange(camera.width, dtype=np.float64), np.arange(camera.height, dtype=np.float64))
    rays = rays_of(camera, np.stack(grid, axis=-1).reshape(-1, 2))
    places = pixels_of(depth_camera, rays)
    with np.errstate(invalid="ignore"):
        columns, rows = np.floor(places + 0.5).T
        inside = (columns >= 0) & (columns < depth_camera.width) & (rows >= 0) & (rows < depth_camera.height)
    result = np.full(camera.height * camera.width, np.nan, dtype=np.float32)
    result[inside] = depth[rows[inside].astype(np.int64), columns[inside].astype(np.int64)]
    return result.reshape(camera.height, camera.width)


def _from_elsewhere(
    camera: Camera, depth: NDArray[np.float32], depth_camera: Camera, camera_from_depth_camera: Transform
) -> SparseDepth:
    rows, columns = np.nonzero(np.isfinite(depth) & (depth > NEAREST_M))
    rays = rays_of(depth_camera, np.stack([columns, rows], axis=-1).astype(np.float64))
    points = np.column_stack([rays, np.ones(len(rays))]) * depth[rows, columns, None]
    # Pixels lie in a grid, so the points' spacing in the camera's image follows from the focal lengths.
    spacing = (camera.K[0, 0] / depth_camera.K[0, 0], camera.K[1, 1] / depth_camera.K[1, 1])
    return visible_depth(camera, transform_points(camera_from_depth_camera, points), spacing)
