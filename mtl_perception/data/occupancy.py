# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Semantic occupancy from depth images: what is occupied, what is seen to be empty, what is not seen."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.camera import Camera, pixel_rays, project
from mtl_perception.core.labels import UNKNOWN
from mtl_perception.core.transforms import inverse, transform_points
from mtl_perception.core.voxels import FREE, UNLABELLED, UNOBSERVED, Occupancy, VoxelGrid

DEFAULT_GRID = VoxelGrid(origin=(-16.0, -16.0, -1.0), voxel_size=0.5, shape=(64, 64, 8))
"""32 x 32 m around the base frame, from 1 m below the ground to 3 m above it."""

View = tuple[Camera, NDArray, NDArray | None]
"""A rectified camera, its depth (H, W) in metres along the optical axis, and its labels uint8 (H, W) or None."""


def occupancy_from_depth(grid: VoxelGrid, views: Iterable[View]) -> Occupancy:
    """Return the occupancy that depth images show, in the base frame of the cameras.

    A voxel is occupied when a measured surface point lies in it; its label is that of most of its points (the lowest id
    when equally many; `UNLABELLED` when the label of none of them is known). It is `FREE`
    when a camera sees its centre nearer than the measured depth by more than one voxel, else `UNOBSERVED`.
    Depth NaN says nothing; +inf says that nothing is in the way (sky). The probability is 1 where occupied, 0 where
    free, 0.5 where unobserved.

    Raises:
        ValueError: a depth or label image is not of its camera's size.
    """
    seen_through = np.zeros(int(np.prod(grid.shape)), dtype=bool)
    voxel_parts: list[NDArray[np.int64]] = []
    label_parts: list[NDArray[np.uint8]] = []
    centres = grid.centres().reshape(-1, 3)
    for camera, depth, semantic in views:
        voxels, labels = _surface_voxels(grid, camera, depth, semantic)
        voxel_parts.append(voxels)
        label_parts.append(labels)
        seen_through |= _seen_through(centres, grid.voxel_size, camera, depth)
    labels_flat = np.where(seen_through, FREE, UNOBSERVED).astype(np.uint8)
    if voxel_parts:
        voxels, labels = _majority(np.concatenate(voxel_parts), np.concatenate(label_parts))
        labels_flat[voxels] = labels
    probability = np.select([labels_flat < FREE, labels_flat == FREE], [1.0, 0.0], 0.5).astype(np.float32)
    return Occupancy(grid, labels_flat.reshape(grid.shape), probability.reshape(grid.shape))


def _surface_voxels(
    grid: VoxelGrid, camera: Camera, depth: NDArray, semantic: NDArray | None
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Return the flat voxel index and the label of every measured point inside the grid."""
    for what, image in (("depth", depth), ("labels", semantic)):
        if image is not None and image.shape != (camera.height, camera.width):
            raise ValueError(
                f"camera '{camera.name}': {what} of shape {image.shape}, expected {(camera.height, camera.width)}"
            )
    # Nothing farther than the grid's farthest corner can lie in it.
    corners = np.array([grid.origin, np.add(grid.origin, np.multiply(grid.shape, grid.voxel_size))])
    reach = float(np.linalg.norm(np.abs(corners - camera.base_from_camera[:3, 3]).max(axis=0)))
    measured = (depth > 0) & (depth <= reach)  # NaN compares false
    points = pixel_rays(camera)[measured] * depth[measured, None].astype(np.float64)
    indices, inside = grid.indices(transform_points(camera.base_from_camera, points))
    labels = np.full(len(points), UNKNOWN, np.uint8) if semantic is None else semantic[measured].astype(np.uint8)
    return np.ravel_multi_index(tuple(indices[inside].T), grid.shape), labels[inside]


def _seen_through(centres: NDArray[np.float64], voxel_size: float, camera: Camera, depth: NDArray) -> NDArray[np.bool_]:
    """Return which voxel centres the camera sees in front of what it measured."""
    pixels, centre_depth = project(camera, transform_points(inverse(camera.base_from_camera), centres))
    column, row = (np.floor(np.nan_to_num(axis, nan=-1.0).clip(-1.0, 1e6) + 0.5).astype(np.int64) for axis in pixels.T)
    in_view = (centre_depth > 0) & (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
    seen = np.zeros(len(centres), dtype=bool)
    measured = depth[row[in_view], column[in_view]]
    seen[in_view] = centre_depth[in_view] < measured - voxel_size  # NaN compares false: not seen
    return seen


def _majority(voxels: NDArray[np.int64], labels: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Return each voxel once, with the label that most of its points have."""
    pairs, counts = np.unique(voxels * 256 + labels, return_counts=True)
    pair_voxel, pair_label = pairs // 256, pairs % 256
    counts = np.where(pair_label == UNKNOWN, 0, counts)
    order = np.lexsort((pair_label, -counts, pair_voxel))
    first_of_voxel = order[np.unique(pair_voxel[order], return_index=True)[1]]
    chosen = pair_label[first_of_voxel]
    return pair_voxel[first_of_voxel], np.where(chosen == UNKNOWN, UNLABELLED, chosen).astype(np.uint8)
