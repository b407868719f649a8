# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The surface that Open3D's own reconstruction pipeline makes of depth images, to compare the mapper's with."""

from __future__ import annotations

import numpy as np
import open3d as o3d

from mtl_perception.core import CameraPrediction
from mtl_perception.core.transforms import inverse
from mtl_perception.evaluation.judged import JudgedFrame
from mtl_perception.evaluation.map_reference import surface_statistics
from mtl_perception.evaluation.statistics import FrameStatistics
from mtl_perception.mapping import MapperConfig, MeshArrays
from mtl_perception.mapping.fusion.blocks import BLOCK

_LEAST_WEIGHT = 3.0
"""Of a voxel that makes a surface, in views; Open3D's default."""


class Open3dReference:
    """Fuses what is predicted with Open3D's `VoxelBlockGrid.integrate` (the "integrate" step of its tutorial).

    Voxels, truncation and reach are the mapper's; all depth is fused, with equal weight and nothing left out.
    """

    def __init__(self, config: MapperConfig) -> None:
        """Start with an empty grid."""
        self._config = config
        self._grid = o3d.t.geometry.VoxelBlockGrid(
            ("tsdf", "weight"),
            (o3d.core.float32,) * 2,
            (o3d.core.SizeVector([1]),) * 2,
            config.voxel_size,
            BLOCK,
            50_000,
        )

    def add(self, judged: JudgedFrame) -> None:
        """Fuse the depth images of a frame; cameras without a pose add nothing."""
        for camera in judged.prediction.cameras.values():
            if camera.depth is not None and camera.world_from_camera is not None:
                self._integrate(camera)

    def map_statistics(self, mesh: MeshArrays) -> FrameStatistics | None:
        """Return how a map's mesh compares, for `MapScore`; None when there is nothing to compare with."""
        if not self._grid.hashmap().size():
            return None
        found = self._grid.extract_triangle_mesh(_LEAST_WEIGHT)
        if found.is_empty():
            return None
        vertices, triangles = found.vertex.positions.numpy(), found.triangle.indices.numpy()
        return surface_statistics(mesh, vertices, triangles, max(0.05, self._config.voxel_size))

    @property
    def why_not(self) -> str:
        """Why there is nothing to compare with."""
        return "no depth image shows a surface within the map's reach"

    def _integrate(self, camera: CameraPrediction) -> None:
        assert camera.depth is not None and camera.world_from_camera is not None
        depth = np.nan_to_num(camera.depth, nan=0.0)
        depth[depth < self._config.min_depth] = 0.0
        image = o3d.t.geometry.Image(o3d.core.Tensor.from_numpy(np.ascontiguousarray(depth, np.float32)))
        K = o3d.core.Tensor.from_numpy(np.ascontiguousarray(camera.camera.K))
        camera_from_world = o3d.core.Tensor.from_numpy(inverse(camera.world_from_camera))
        scale, reach, truncation = 1.0, self._config.max_depth, self._config.truncation_voxels
        blocks = self._grid.compute_unique_block_coordinates(image, K, camera_from_world, scale, reach, truncation)
        self._grid.integrate(blocks, image, K, camera_from_world, scale, reach, truncation)
