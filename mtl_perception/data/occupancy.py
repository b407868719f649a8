# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Semantic occupancy from depth images: what is occupied, what is seen to be empty, what is not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.camera import Camera
from mtl_perception.core.labels import UNKNOWN
from mtl_perception.core.transforms import inverse, transform_points
from mtl_perception.core.voxels import FREE, UNLABELLED, UNOBSERVED, Occupancy, VoxelGrid

DEFAULT_GRID = VoxelGrid(origin=(-16.0, -16.0, -1.0), voxel_size=0.5, shape=(64, 64, 8))
"""32 x 32 m around the base frame, from 1 m below the ground to 3 m above it."""

BEHIND_M = 0.01
"""What a depth image shows lies behind the surface that it measures. Taken so far behind, a road that is exactly on the
border between two layers of voxels is all in the lower one, not in either by chance."""

View = tuple[Camera, NDArray, NDArray | None]
"""A camera, its depth (H, W) in metres along the optical axis, and its labels uint8 (H, W) or None."""

RaysOf = Callable[[Camera], NDArray]
ProjectTo = Callable[[Camera, NDArray], tuple[NDArray, NDArray]]


def occupancy_from_depth(
    grid: VoxelGrid, views: Iterable[View], rays_of: RaysOf | None = None, project_to: ProjectTo | None = None
) -> Occupancy:
    """Return the occupancy that depth images show, in the base frame of the cameras.

    A voxel is occupied when a measured surface point (`BEHIND_M` behind the surface) lies in it; its label is that of
    most of its points (the lowest id when equally many; `UNLABELLED` when the label of none of them is known). It is
    `FREE` when a camera sees its centre nearer than the measured depth by more than one voxel, else `UNOBSERVED`.
    Depth NaN says nothing; +inf says that nothing is in the way (sky). The probability is 1 where occupied, 0 where
    free, 0.5 where unobserved.

    Distorted cameras need a lens: `rays_of` gives a camera's rays (H, W, 3) with z = 1, `project_to` the pixels (N, 2)
    and depths (N,) of points (N, 3) of its optical frame, NaN where the lens does not see them (`pixel_rays_of` and
    `project_distorted` of world/cameras/lens.py). Rectified cameras are taken as the ideal pinholes that they are.

    Raises:
        ValueError: a depth or label image is not of its camera's size, or a camera is distorted and there is no lens.
    """
    seen_through = np.zeros(grid.shape, dtype=bool)
    voxel_parts: list[NDArray[np.int32]] = []
    label_parts: list[NDArray[np.uint8]] = []
    for camera, depth, semantic in views:
        _check(camera, depth, semantic)
        if camera.is_rectified:
            rays, pixels = _pinhole_rays(camera), _pinhole_pixels(grid, camera)
        elif rays_of is None or project_to is None:
            raise ValueError(f"camera '{camera.name}' is distorted ({camera.distortion_model}), a lens is needed")
        else:
            rays, pixels = rays_of(camera), _lens_pixels(grid, camera, project_to)
        voxels, labels = _surface_voxels(grid, camera, rays, depth, semantic)
        voxel_parts.append(voxels)
        label_parts.append(labels)
        seen_through |= _seen_through(grid, camera, depth, *pixels)
    result = np.where(seen_through, np.uint8(FREE), np.uint8(UNOBSERVED))
    if voxel_parts:
        occupied, winners = _majority(np.concatenate(voxel_parts), np.concatenate(label_parts), result.size)
        result.reshape(-1)[occupied] = winners
    return Occupancy(grid, result, _PROBABILITY[result])


def _check(camera: Camera, depth: NDArray, semantic: NDArray | None) -> None:
    for what, image in (("depth", depth), ("labels", semantic)):
        if image is not None and image.shape != (camera.height, camera.width):
            raise ValueError(
                f"camera '{camera.name}': {what} of shape {image.shape}, expected {(camera.height, camera.width)}"
            )


def _surface_voxels(
    grid: VoxelGrid, camera: Camera, rays: NDArray, depth: NDArray, semantic: NDArray | None
) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Return the flat voxel index and the label of every measured point inside the grid."""
    # Nothing farther than the grid's farthest corner can lie in it.
    corners = np.array([grid.origin, np.add(grid.origin, np.multiply(grid.shape, grid.voxel_size))])
    reach = float(np.linalg.norm(np.abs(corners - camera.base_from_camera[:3, 3]).max(axis=0)))
    flat_depth = np.ascontiguousarray(depth, np.float32).reshape(-1)
    measured = np.flatnonzero((flat_depth > 0) & (flat_depth <= reach))  # NaN compares false
    points = rays.reshape(-1, 3)[measured] * (flat_depth[measured, None] + np.float32(BEHIND_M))
    linear = (camera.base_from_camera[:3, :3] / grid.voxel_size).astype(np.float32)
    offset = ((camera.base_from_camera[:3, 3] - grid.origin) / grid.voxel_size).astype(np.float32)
    place = linear @ points.T.astype(np.float32) + offset[:, None]
    inside = np.ones(len(measured), dtype=bool)
    for axis, count in enumerate(grid.shape):
        inside &= (place[axis] >= 0) & (place[axis] < count)
    x, y, z = place[:, inside].astype(np.int32)  # not negative, so this rounds down
    voxels = (x * grid.shape[1] + y) * grid.shape[2] + z
    if semantic is None:
        return voxels, np.full(len(voxels), UNKNOWN, np.uint8)
    return voxels, semantic.reshape(-1)[measured[inside]].astype(np.uint8)


def _seen_through(
    grid: VoxelGrid, camera: Camera, depth: NDArray, column: NDArray, row: NDArray, centre_depth: NDArray
) -> NDArray[np.bool_]:
    """Return which voxel centres (X, Y, Z), at their pixels (N,), the camera sees in front of what it measured."""
    with np.errstate(invalid="ignore"):  # NaN and behind the camera compare false
        in_view = np.flatnonzero(
            (centre_depth > 0) & (np.abs(column - (camera.width - 1) / 2) < camera.width / 2)
            & (np.abs(row - (camera.height - 1) / 2) < camera.height / 2)
        )  # fmt: skip
    nearest = [np.floor(axis[in_view] + 0.5).astype(np.int32) for axis in (row, column)]
    measured = depth[nearest[0], nearest[1]]
    seen = np.zeros(int(np.prod(grid.shape)), dtype=bool)
    seen[in_view] = centre_depth[in_view] < measured - grid.voxel_size  # NaN compares false: not seen
    return seen.reshape(grid.shape)


def _lens_pixels(grid: VoxelGrid, camera: Camera, project_to: ProjectTo) -> tuple[NDArray, NDArray, NDArray]:
    """Return column, row and depth of all voxel centres (N,)."""
    centres = transform_points(inverse(camera.base_from_camera), grid.centres().reshape(-1, 3))
    pixels, centre_depth = project_to(camera, centres)
    return pixels[:, 0], pixels[:, 1], centre_depth


def _pinhole_pixels(grid: VoxelGrid, camera: Camera) -> tuple[NDArray, NDArray, NDArray]:
    """Return the same of an ideal pinhole: an affine function of a voxel's index, made by sums."""
    camera_from_base = inverse(camera.base_from_camera)
    homogeneous = camera.K @ camera_from_base[:3]
    start = homogeneous @ [*(np.array(grid.origin) + grid.voxel_size / 2), 1.0]
    i, j, k = np.ogrid[tuple(slice(count) for count in grid.shape)]
    planes = []
    for row in range(3):
        along = (homogeneous[row, :3] * grid.voxel_size).astype(np.float32)
        x, y, z = (step * index.astype(np.float32) for step, index in zip(along, (i, j, k), strict=True))
        planes.append((np.float32(start[row]) + x + y + z).reshape(-1))
    with np.errstate(divide="ignore", invalid="ignore"):
        return planes[0] / planes[2], planes[1] / planes[2], planes[2]


def _majority(
    voxels: NDArray[np.int32], labels: NDArray[np.uint8], count: int
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Return each of at most `count` voxels once, with the label that most of its points have."""
    there = np.zeros(count, dtype=bool)
    there[voxels] = True
    occupied = np.flatnonzero(there)
    place = np.zeros(count, dtype=np.int64)
    place[occupied] = np.arange(len(occupied))
    known = labels != UNKNOWN
    width = int(labels[known].max(initial=0)) + 1
    votes = np.bincount(place[voxels[known]] * width + labels[known], minlength=len(occupied) * width)
    votes = votes.reshape(len(occupied), width)
    winner = votes.argmax(axis=1).astype(np.uint8)  # the lowest of equals
    winner[votes.max(axis=1, initial=0) == 0] = UNLABELLED
    return occupied, winner


def _pinhole_rays(camera: Camera) -> NDArray[np.float32]:
    return _rays(camera.width, camera.height, np.ascontiguousarray(camera.K, np.float64).tobytes())


@lru_cache(maxsize=64)
def _rays(width: int, height: int, K_bytes: bytes) -> NDArray[np.float32]:
    K = np.frombuffer(K_bytes).reshape(3, 3)
    pixels = np.stack([*np.meshgrid(np.arange(width), np.arange(height)), np.ones((height, width))], axis=-1)
    rays = (pixels @ np.linalg.inv(K).T).astype(np.float32)
    rays.setflags(write=False)
    return rays


def _probabilities() -> NDArray[np.float32]:
    table = np.ones(256, np.float32)
    table[FREE], table[UNOBSERVED] = 0.0, 0.5
    return table


_PROBABILITY = _probabilities()
