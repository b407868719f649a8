# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a camera view can say something about, as planes around it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core.transforms import inverse, transform_points
from mtl_perception.mapping.fusion.blocks import unpack
from mtl_perception.mapping.fusion.views import DepthView
from mtl_perception.mapping.window.regions import REGION


class Reach:
    """The part of space whose voxels a view may change: its pyramid, as deep as depth is fused.

    Attributes:
        low, high: (3,) corners of the box around it in the world, metres, with a block to spare.
    """

    def __init__(self, view: DepthView, depth: float, block_edge: float) -> None:
        """Take over a view.

        Args:
            view: of a camera.
            depth: metres along the optical axis, how deep it reaches.
            block_edge: metres.
        """
        height, width = view.depth.shape
        self._block_edge = block_edge
        # u * z, v * z and z are linear in the world's coordinates, so each side is: normal * point + offset > 0. Voxels
        # take the nearest pixel, so half a pixel around the image is seen too; here it is a whole one.
        world = inverse(view.world_from_camera)
        of_u, of_v, of_z = view.K @ world[:3]
        far = np.array([0.0, 0.0, 0.0, depth])
        self._planes = np.stack([of_z, far - of_z, of_u + of_z, width * of_z - of_u, of_v + of_z, height * of_z - of_v])
        corners = np.array([[u, v, 1.0] for u in (-1.0, width) for v in (-1.0, height)]) @ np.linalg.inv(view.K).T
        corners = transform_points(view.world_from_camera, np.concatenate([np.zeros((1, 3)), corners * depth]))
        self.low, self.high = corners.min(axis=0) - block_edge, corners.max(axis=0) + block_edge

    def touches(self, regions: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return for regions (N,) whether they, or blocks beside them, may be in reach.

        Blocks beside a region count because a mesh depends on its neighbours. None that is in reach is missed.
        """
        centres = (unpack(regions) + 0.5) * (REGION * self._block_edge)
        half = (REGION / 2 + 1) * self._block_edge
        normals, offsets = self._planes[:, :3], self._planes[:, 3]
        most = centres @ normals.T + offsets + half * np.abs(normals).sum(axis=1)
        return np.asarray((most > 0).all(axis=1))
