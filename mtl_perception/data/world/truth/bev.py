# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The layers of a world's ground as they are seen from above."""

from __future__ import annotations

import cv2
import numpy as np
import open3d as o3d
from numpy.typing import NDArray

from mtl_perception.core.prediction import BevMap
from mtl_perception.core.transforms import Transform
from mtl_perception.core.voxels import VoxelGrid
from mtl_perception.data.world.scene import Scene

STREET_LAYERS = ("road", "pavement", "crossing", "lane_marking")
INDOOR_LAYERS = ("floor",)
PAINTED = ("crossing", "lane_marking")
"""Layers that lie on others: where a crossing is, the road is, too."""

HIGHEST_M = 0.6
"""What is higher is not ground."""
STEEPEST = 0.5
"""Cosine of the steepest slope of ground: the sides of kerbs are not seen from above."""

BED_HEIGHT_M, BED_SLOPE = 0.3, 0.95
"""What has no layer but is about as low and level as this (lawn, a planted bed) hides the ground under it."""

PIXEL_M = 0.1
TILE = 256  # pixels
BETWEEN_BARS_M = 0.9
"""A crossing is the area that its bars cover, and what is between bars not farther apart than this."""


class BevTruth:
    """Knows the ground of a world; houses, trees, cars and people above it are looked through.

    The ground is kept as a raster of the world, cast from above tile by tile when the robot first comes near.
    """

    def __init__(self, scene: Scene) -> None:
        """Prepare the ground: all still things that belong to a layer."""
        present = {thing.layer for thing in scene.still} - {""}
        known = (STREET_LAYERS, INDOOR_LAYERS)
        self.layers = tuple(layer for group in known if present & set(group) for layer in group)
        unknown = sorted(present - set(self.layers))
        if unknown:
            raise ValueError(f"ground layer '{unknown[0]}' is not one of {', '.join(STREET_LAYERS + INDOOR_LAYERS)}")
        self._ground = tuple(layer for layer in self.layers if layer not in PAINTED)
        self._casters = [_Ground(scene, self._ground)]
        self._casters += [_Ground(scene, (layer,)) for layer in self.layers if layer in PAINTED]
        self._tiles: dict[tuple[int, int], NDArray[np.uint8]] = {}

    def map(self, world_from_base: Transform, grid: VoxelGrid) -> BevMap | None:
        """Return the layers in the cells of a voxel grid's x and y, in the base frame; None: the world has no layers.

        A cell of 0.5 m is sampled 5 x 5 times (others likewise, every 0.1 m or so). It belongs to the layers of more
        than half of its samples; a line, being narrow, is in every cell that has a sample of it.
        """
        if not self.layers:
            return None
        samples = max(1, round(grid.voxel_size / PIXEL_M))
        step = grid.voxel_size / samples
        cells = grid.shape[:2]
        ground = self._sampled(world_from_base, grid.origin[:2], step, (cells[0] * samples, cells[1] * samples))
        layers = {}
        for bit, layer in enumerate(self.layers):
            share = cv2.resize((ground >> bit & 1) * np.uint8(255), cells[::-1], interpolation=cv2.INTER_AREA)
            layers[layer] = (share > (0 if layer == "lane_marking" else 127)).astype(np.float32)
        return BevMap((grid.origin[0], grid.origin[1]), grid.voxel_size, layers)

    def _sampled(
        self, world_from_base: Transform, origin: tuple[float, float], step: float, shape: tuple[int, int]
    ) -> NDArray[np.uint8]:
        """Return the layers (one bit each) at points of the base's x, y plane: origin + (index + 0.5) * step."""
        linear = world_from_base[:2, :2] * step
        first = world_from_base[:2, :2] @ (np.array(origin) + step / 2) + world_from_base[:2, 3]
        corners = first + np.array([(i, j) for i in (0, shape[0]) for j in (0, shape[1])]) @ linear.T
        size = TILE * PIXEL_M
        low = np.floor((corners.min(axis=0) - PIXEL_M) / size).astype(int)
        high = np.floor((corners.max(axis=0) + PIXEL_M) / size).astype(int)
        mosaic = np.block([[self._tile(x, y) for y in range(low[1], high[1] + 1)] for x in range(low[0], high[0] + 1)])
        # OpenCV counts columns first: those are y, here and there.
        mosaic_from_sample = np.empty((2, 3))
        mosaic_from_sample[:, :2] = linear[::-1, ::-1] / PIXEL_M
        mosaic_from_sample[:, 2] = (first - low * size)[::-1] / PIXEL_M - 0.5
        flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
        return np.asarray(cv2.warpAffine(mosaic, mosaic_from_sample, shape[::-1], flags=flags), np.uint8)

    def _tile(self, x: int, y: int) -> NDArray[np.uint8]:
        """Return a tile (x, y) of the world's raster, one bit a layer."""
        if (x, y) not in self._tiles:
            self._tiles[x, y] = self._cast_tile(x, y)
        return self._tiles[x, y]

    def _cast_tile(self, x: int, y: int) -> NDArray[np.uint8]:
        margin = round(BETWEEN_BARS_M / PIXEL_M)
        u, v = (
            ((np.arange(-margin, TILE + margin) + 0.5) * PIXEL_M + index * TILE * PIXEL_M).astype(np.float32)
            for index in (x, y)
        )
        tile = np.zeros((len(u), len(v)), np.uint8)
        for caster in self._casters:
            for layer, there in caster.seen_from_above(u, v).items():
                image = there.astype(np.uint8)
                if layer == "crossing":
                    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (margin, margin))
                    image = np.asarray(cv2.morphologyEx(image, cv2.MORPH_CLOSE, disc), np.uint8)
                tile |= image << np.uint8(self.layers.index(layer))
        return np.ascontiguousarray(tile[margin:-margin, margin:-margin])


class _Ground:
    """The ground of some layers, to cast rays at from above; where they overlap, the topmost counts."""

    def __init__(self, scene: Scene, layers: tuple[str, ...]) -> None:
        self._layers = layers
        corners, layer_of = [np.zeros((0, 3, 3), np.float32)], [np.zeros(0, np.int64)]
        for thing in scene.still:
            if thing.layer in layers:
                corners.append(_level(thing.mesh.corners, HIGHEST_M, STEEPEST))
                layer_of.append(np.full(len(corners[-1]), layers.index(thing.layer)))
            elif not thing.layer and not thing.instance and not set(layers) & set(PAINTED):
                corners.append(_level(thing.mesh.corners, BED_HEIGHT_M, BED_SLOPE))
                layer_of.append(np.full(len(corners[-1]), -1))
        vertices = np.concatenate(corners).reshape(-1, 3)
        self._layer_of = np.append(np.concatenate(layer_of), -1)
        self._low, self._high = vertices.min(axis=0, initial=np.inf), vertices.max(axis=0, initial=-np.inf)
        self._scene = o3d.t.geometry.RaycastingScene(nthreads=1)
        if len(vertices):
            indices = np.arange(len(vertices), dtype=np.uint32).reshape(-1, 3)
            self._scene.add_triangles(o3d.core.Tensor.from_numpy(vertices), o3d.core.Tensor.from_numpy(indices))

    def seen_from_above(self, x: NDArray[np.float32], y: NDArray[np.float32]) -> dict[str, NDArray[np.bool_]]:
        """Return per layer which of the points (X, Y) show it."""
        apart = x[0] > self._high[0] or x[-1] < self._low[0] or y[0] > self._high[1] or y[-1] < self._low[1]
        if apart or not len(self._layer_of) > 1:
            return {}
        rays = np.zeros((len(x), len(y), 6), np.float32)
        rays[..., 0], rays[..., 1], rays[..., 2], rays[..., 5] = x[:, None], y, HIGHEST_M + 1.0, -1.0
        answer = self._scene.cast_rays(o3d.core.Tensor.from_numpy(rays), nthreads=1)
        triangle = np.minimum(answer["primitive_ids"].numpy(), np.uint32(len(self._layer_of) - 1))  # misses are last
        seen = self._layer_of[triangle]
        return {layer: seen == index for index, layer in enumerate(self._layers)}


def _level(corners: NDArray[np.float32], highest: float, slope: float) -> NDArray[np.float32]:
    """Return the triangles (T, 3, 3) that face upwards and are low."""
    low = corners[corners[..., 2].max(axis=1) <= highest]
    a, b, c = low.transpose(1, 0, 2)
    face = np.cross(b - a, c - a)
    return low[face[:, 2] > slope * np.linalg.norm(face, axis=1)]
