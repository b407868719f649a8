# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which pixels move by themselves, from two frames and the camera's motion, without depth."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mtl_perception.network.motion.pose_pyramid import PosePyramid


class MotionMaskDecoder(PosePyramid):
    """Two frames and the camera's motion -> motion logits (N, h, w) (unified encoder, section III-B).

    The same structure as `SceneFlowDecoder`, with weights of its own; the mask M is the sigmoid of the logits.
    """

    def __init__(self, width: int, levels: int = 4, finest_stride: int = 2) -> None:
        """Build it; see `PosePyramid`."""
        super().__init__(width, 1, levels, finest_stride)

    def forward(
        self,
        previous_levels: Sequence[Tensor],
        current_levels: Sequence[Tensor],
        previous_image: Tensor,
        current_image: Tensor,
        pose_vector: Tensor,
    ) -> Tensor:
        """Decode; arguments and errors are those of `PosePyramid`. Returns (N, H/stride, W/stride), rounded up."""
        return super().forward(previous_levels, current_levels, previous_image, current_image, pose_vector)[:, 0]
