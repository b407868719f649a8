# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How far each pixel's point was elsewhere a frame ago, as the camera saw it."""

from __future__ import annotations

from mtl_perception.network.motion.pose_pyramid import PosePyramid


class SceneFlowDecoder(PosePyramid):
    """Two frames and the camera's motion -> the complete scene flow F_C (N, 3, h, w) (unified encoder, section III-B).

    In metres between the two frames, in optical axes: where the point was in the previous camera's frame, less where
    it is in the current camera's. It thus runs backward in time and contains the camera's own motion: of a static
    point it is `rigid_flow`.
    """

    def __init__(self, width: int, levels: int = 4, finest_stride: int = 2) -> None:
        """Build it; see `PosePyramid`."""
        super().__init__(width, 3, levels, finest_stride)
