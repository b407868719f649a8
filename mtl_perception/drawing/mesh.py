# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A mesh seen from above and from the side, ray-cast on the CPU: no display, no graphics driver."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import open3d as o3d
from numpy.typing import NDArray

from mtl_perception.drawing.images import FAINT, PAPER, Image, resized, round_step, write

_SAMPLES = 2  # rays a pixel and axis: smooth edges
_BRIGHT = 205.0  # what the brighter parts of a picture should have, 0..255
_LIGHT = np.array([0.35, -0.25, 0.9]) / np.linalg.norm([0.35, -0.25, 0.9])


@dataclass(frozen=True, eq=False)
class Surface:
    """Triangles to look at: vertices (V, 3) metres in a frame with z up, triangles (T, 3), colours RGB uint8 (V, 3)."""

    vertices: NDArray[np.float32]
    triangles: NDArray[np.int32]
    colours: NDArray[np.uint8]


def from_above(surface: Surface, width: int = 900, height: int = 675) -> Image:
    """Return the mesh from above, in parallel projection: x to the right, y up, with a scale.

    Faces that look away from the eye are left out, so that a room is seen through its ceiling.

    Raises:
        ValueError: the mesh has no triangle.
    """
    low, high = _bounds(surface)
    centre = (low + high) / 2
    metres = 1.06 * max((high - low)[0], (high - low)[1] * width / height)  # shown from left to right
    x, y = _pixels(width, height)
    origins = np.empty((*x.shape, 3), dtype=np.float32)
    origins[..., 0] = centre[0] + x * metres / 2
    origins[..., 1] = centre[1] + y * metres / 2
    origins[..., 2] = surface.vertices[:, 2].max() + 1.0
    directions = np.broadcast_to(np.array([0, 0, -1], dtype=np.float32), origins.shape)
    image = _cast(surface, _facing(surface, eye=None), origins, directions, width)
    _draw_scale(image, metres)
    return image


def from_the_side(
    surface: Surface, azimuth_deg: float = -125.0, elevation_deg: float = 38.0, width: int = 900, height: int = 675
) -> Image:
    """Return the mesh in perspective from outside and above; near walls that look away are left out.

    Args:
        surface: what to look at.
        azimuth_deg: where the eye stands around the z axis, from the x axis.
        elevation_deg: how high the eye stands over the horizon.
        width: of the picture, pixels.
        height: of the picture, pixels.

    Raises:
        ValueError: the mesh has no triangle.
    """
    low, high = _bounds(surface)
    centre = (low + high) / 2
    azimuth, elevation = np.deg2rad([azimuth_deg, elevation_deg])
    towards_eye = np.array(
        [np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)]
    )
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    up = np.cross(towards_eye, right)
    half_angle = np.tan(np.deg2rad(20.0))
    shown = _sample(surface, low, high) - centre
    for axis in (right, up):
        middle = (np.min(shown @ axis) + np.max(shown @ axis)) / 2
        centre, shown = centre + middle * axis, shown - middle * axis
    # The nearest eye from which all of it is inside the picture.
    across, upright, depth = shown @ right, shown @ up, shown @ towards_eye
    distance = np.max(np.maximum(np.abs(across), np.abs(upright) * width / height) / half_angle + depth) * 1.04
    eye = centre + distance * towards_eye
    x, y = _pixels(width, height)
    directions = -towards_eye + half_angle * (x[..., None] * right + y[..., None] * up)
    origins = np.broadcast_to(eye, directions.shape)
    return _cast(surface, _facing(surface, eye), origins, directions, width)


def _bounds(surface: Surface) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if len(surface.triangles) == 0:
        raise ValueError("the mesh has no triangle to show")
    # A few stray specks far away must not shrink the rest to nothing.
    low, high = np.percentile(surface.vertices, [0.5, 99.5], axis=0)
    return low, np.maximum(high, low + 0.1)


def _sample(surface: Surface, low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vertices (N, 3) within the bounds; enough of them to know the outline."""
    inside = np.all((surface.vertices >= low) & (surface.vertices <= high), axis=1)
    vertices = surface.vertices[inside] if inside.any() else surface.vertices
    return vertices[:: max(1, len(vertices) // 20000)].astype(np.float64)


def _pixels(width: int, height: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ray positions in the picture: x -1..1 to the right, y up in the same unit."""
    columns, rows = width * _SAMPLES, height * _SAMPLES
    x = (np.arange(columns) + 0.5) / columns * 2 - 1
    y = -((np.arange(rows) + 0.5) / rows * 2 - 1) * rows / columns
    across, upright = np.meshgrid(x, y)
    return across, upright


def _facing(surface: Surface, eye: NDArray[np.float64] | None) -> NDArray[np.bool_]:
    """Which triangles turn their front to the eye (None: infinitely far above)."""
    a, b, c = (surface.vertices[surface.triangles[:, i]].astype(np.float64) for i in range(3))
    normals = np.cross(b - a, c - a)
    return normals[:, 2] > 0 if eye is None else np.sum(normals * (eye - a), axis=1) > 0


def _cast(surface: Surface, shown: NDArray[np.bool_], origins: NDArray, directions: NDArray, width: int) -> Image:
    triangles = surface.triangles[shown]
    picture = np.empty((*origins.shape[:2], 3), dtype=np.float32)
    picture[:] = PAPER
    if len(triangles):
        scene = o3d.t.geometry.RaycastingScene()
        scene.add_triangles(
            o3d.core.Tensor.from_numpy(np.ascontiguousarray(surface.vertices, dtype=np.float32)),
            o3d.core.Tensor.from_numpy(np.ascontiguousarray(triangles, dtype=np.uint32)),
        )
        rays = np.concatenate([origins, directions], axis=-1).astype(np.float32)
        answer = {key: value.numpy() for key, value in scene.cast_rays(o3d.core.Tensor.from_numpy(rays)).items()}
        hit = np.isfinite(answer["t_hit"])
        corners = triangles[answer["primitive_ids"][hit]]
        uv = answer["primitive_uvs"][hit]
        weights = np.stack([1 - uv[:, 0] - uv[:, 1], uv[:, 0], uv[:, 1]], axis=1)
        colours = np.einsum("nk,nkc->nc", weights, surface.colours[corners].astype(np.float32))
        normals = answer["primitive_normals"][hit]
        normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
        shade = 0.72 + 0.36 * np.abs(normals @ _LIGHT)
        picture[hit] = np.clip(colours * shade[:, None] * _exposure(surface), 0, 255)
    return resized(picture.astype(np.uint8), width)


def _exposure(surface: Surface) -> float:
    """A factor that makes a mesh of dark images light enough to look at."""
    bright = np.percentile(surface.colours.max(axis=1), 90)
    return float(np.clip(_BRIGHT / max(bright, 1.0), 1.0, 2.2))


def _draw_scale(image: Image, metres_across: float) -> None:
    length = round_step(metres_across / 12)
    pixels = round(length / metres_across * image.shape[1])
    bottom = image.shape[0] - 12
    image[bottom - 2 : bottom, 12 : 12 + pixels] = FAINT
    write(image, f"{length:g} m", (12, bottom - 8), FAINT)
