# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From the camera's motion, refined level by level, to a map: the common body of scene flow and motion mask."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

POSE_SCALE = 100.0  # both of Dynamo-Depth: the map is refined in units of 1 cm
OUTPUT_SCALE = 0.01
IMAGE_CHANNELS = 16


class PosePyramid(nn.Module):
    """Pyramids and images of two frames and a motion vector -> (N, outputs, H/finest_stride, W/finest_stride).

    The motion vector, as a map of one pixel, is the first estimate F_5; each level, coarse to fine, adds to it (unified
    encoder, section III-B, on the motion decoder of Dynamo-Depth, Sun and Hariharan 2023):

        a_i = Conv([U(F_{i+1}), f_i]),  F_i = U(F_{i+1}) + ConvELU([a_i, Conv(a_i)])

    with f_i the features of both frames and, on the finest level, the two images. An ELU as the last step could take
    at most 1 cm a level away; so, our reading, ConvELU here ends in Dynamo-Depth's linear 1x1 reduction.

    The paper does not say whether the flow's losses reach the pose; as in Dynamo-Depth, they do not (`detach`): the
    flow must not be made easy by a wrong pose. Differences for a CPU's sake: convolutions of features have half of
    `width` channels, and the images are averaged to `finest_stride` (Dynamo-Depth's finest level is the full image).
    """

    def __init__(self, width: int, outputs: int, levels: int = 4, finest_stride: int = 2) -> None:
        """Build it for `levels` of `width` channels; `finest_stride` is that of the result, in pixels of the images."""
        super().__init__()
        self.finest_stride = finest_stride
        self.pose = nn.Conv2d(6, outputs, 1)
        self.refinements = nn.ModuleList(_Refinement(2 * width, width // 2, outputs) for _ in range(levels))
        self.image_refinement = _Refinement(2 * 3, IMAGE_CHANNELS, outputs)

    def forward(
        self,
        previous_levels: Sequence[Tensor],
        current_levels: Sequence[Tensor],
        previous_image: Tensor,
        current_image: Tensor,
        pose_vector: Tensor,
    ) -> Tensor:
        """Decode.

        Args:
            previous_levels, current_levels: (N, width, h, w) each, finest first.
            previous_image, current_image: (N, 3, H, W), 0..1.
            pose_vector: (N, 6), axis-angle (rad) and translation (m) of previous_from_current; carries no gradient.

        Raises:
            ValueError: the number of levels is not that of the decoder.
        """
        if not len(previous_levels) == len(current_levels) == len(self.refinements):
            message = f"{len(previous_levels)} and {len(current_levels)} levels, not {len(self.refinements)}"
            raise ValueError(message)
        pose = (POSE_SCALE * pose_vector.detach()).to(self.pose.weight.dtype)
        estimate = self.pose(pose[:, :, None, None])
        pairs = zip(self.refinements, previous_levels, current_levels, strict=True)
        for refinement, previous, current in reversed(list(pairs)):
            estimate = refinement(estimate, torch.cat([previous, current], dim=1))
        images = functional.avg_pool2d(
            torch.cat([previous_image, current_image], dim=1), self.finest_stride, ceil_mode=True
        )
        return OUTPUT_SCALE * self.image_refinement(estimate, images)


class _Refinement(nn.Module):
    """An estimate (N, outputs, any, any) and features (N, inputs, h, w) -> estimate (N, outputs, h, w)."""

    def __init__(self, inputs: int, channels: int, outputs: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(inputs + outputs, channels, 3, 1, 1)
        self.again = nn.Conv2d(channels, channels, 3, 1, 1)
        self.change = nn.Sequential(
            nn.Conv2d(2 * channels, channels, 3, 1, 1), nn.ELU(inplace=True), nn.Conv2d(channels, outputs, 1)
        )

    def forward(self, estimate: Tensor, features: Tensor) -> Tensor:
        upsampled = functional.interpolate(estimate, features.shape[-2:], mode="bilinear")
        mixed = self.mix(torch.cat([upsampled, features], dim=1))
        return upsampled + self.change(torch.cat([mixed, self.again(mixed)], dim=1))
