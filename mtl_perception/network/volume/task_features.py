# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Shared voxels made into the features of one task, guided by its prototypes (MAESTRO, section 3.3)."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn

from mtl_perception.network.blocks import conv_norm_relu
from mtl_perception.network.volume.plane_backbone import PlaneBackbone
from mtl_perception.network.volume.volume_blocks import PointwiseConv, SeparableConv3d, VolumeBackbone

SCORE_WIDTH = 8


class TaskSpecificFeatureGenerator(nn.Module):
    """Voxels (B, C, X, Y, Z), prototypes (B, G, C) -> features (B, output, X, Y[, Z]), suppression (B, X, Y[, Z]).

    With a `height` the task is one of the ground plane (boxes, map): height is folded into channels and convolutions
    are 2D. Without one it is of the volume (occupancy): convolutions are 3D. Three stages (MAESTRO, section 3.3):

    1. Transformation of the voxels into F.
    2. Enhancement: the prototypes go through an MLP; "prototype-wise" maps are their dot products with F;
       "prototype-aware" features are F scaled, channel by channel, by a second MLP of the prototypes' maximum and mean;
       both are concatenated and convolved (eq. 2).
    3. Suppression: the prototype-aware features give one score a place, supervised to be 1 in the task's region of
       interest, with which the enhanced features are multiplied (eq. 3).

    The scale starts near 1 and is not squashed: the paper names no sigmoid. The 3D convolutions are separable, and
    those of the transformation at half the resolution, which is ours: plain ones are too slow on a CPU. What stage 2
    does to a voxel before the convolution looks at its neighbours is linear, so there it is one matrix of each frame,
    and neither kind of its maps takes memory.
    """

    def __init__(
        self,
        width: int,
        group: int,
        output: int,
        height: int | None = None,
        stages: Collection[str] = ("wise", "aware", "suppression"),
    ) -> None:
        """Build it.

        Args:
            width: C, of the voxels.
            group: G, how many prototypes.
            output: channels of the result.
            height: of a plane task, voxels along z.
            stages: of enhancement and suppression; the source's ablation. Without any, convolutions alone are left.
        """
        super().__init__()
        self.wise, self.aware = "wise" in stages, "aware" in stages
        if self.wise or self.aware:
            self.prototypes = nn.Sequential(nn.Linear(width, width), nn.ReLU(inplace=True), nn.Linear(width, width))
        if self.aware:
            scale = nn.Linear(width, width)
            nn.init.ones_(scale.bias)
            self.scale = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(inplace=True), scale)
        inputs = group * self.wise + width
        self.transform: nn.Module
        self.enhance: nn.Module
        self.score: nn.Sequential | None = None
        if height is not None:
            self.transform = PlaneBackbone(width, height, width)
            self.enhance = conv_norm_relu(inputs, output)
            if "suppression" in stages:
                self.score = nn.Sequential(conv_norm_relu(width, SCORE_WIDTH), nn.Conv2d(SCORE_WIDTH, 1, 1))
        else:
            self.transform = VolumeBackbone(width)
            self.enhance = SeparableConv3d(inputs, output)
            if "suppression" in stages:
                self.score = nn.Sequential(SeparableConv3d(width, SCORE_WIDTH), PointwiseConv(SCORE_WIDTH, 1))

    def forward(self, voxels: Tensor, group: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the task's features and its suppression logits; None without that stage."""
        features = self.transform(voxels)
        prototypes = self.prototypes(group) if self.wise or self.aware else group
        if self.aware:
            scale = self.scale(torch.cat([prototypes.amax(dim=1), prototypes.mean(dim=1)], dim=1))
        else:
            scale = features.new_ones(features.shape[:2])
        finish = self._of_plane if features.ndim == 4 else self._of_volume
        enhanced, suppression = finish(features, prototypes, scale)
        return enhanced, None if suppression is None else suppression[:, 0]

    def _of_plane(self, features: Tensor, prototypes: Tensor, scale: Tensor) -> tuple[Tensor, Tensor | None]:
        aware = features * scale[:, :, None, None]
        maps = [aware]
        if self.wise:
            maps.insert(0, (prototypes @ features.flatten(2)).unflatten(2, features.shape[2:]))
        enhanced = self.enhance(torch.cat(maps, dim=1))
        if self.score is None:
            return enhanced, None
        suppression = self.score(aware)
        return enhanced * suppression.sigmoid(), suppression

    def _of_volume(self, features: Tensor, prototypes: Tensor, scale: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return what stages 2 and 3 give of a volume: the first weights of their convolutions go into the matrices."""
        enhance = self.enhance
        assert isinstance(enhance, SeparableConv3d)
        weight = enhance.across.weight
        of_wise, of_aware = weight[:, : -features.shape[1]], weight[:, -features.shape[1] :]
        matrix = of_aware * scale[:, None]
        if self.wise:
            matrix = of_wise @ prototypes + matrix
        enhanced = enhance.over_space(_mixed(features, matrix))
        if self.score is None:
            return enhanced.relu_(), None
        score = self.score[0]
        assert isinstance(score, SeparableConv3d)
        suppression = self.score[1:](score.over_space(_mixed(features, score.across.weight * scale[:, None])).relu_())
        # A positive factor may come before the ReLU, where it needs no other tensor.
        return enhanced.mul_(suppression.sigmoid()).relu_(), suppression


def _mixed(voxels: Tensor, matrix: Tensor) -> Tensor:
    """Return the products (B, outputs, X, Y, Z) of matrices (B, outputs, C) and voxels, channels-last in memory."""
    rows = voxels.movedim(1, -1)
    return (rows.flatten(1, 3) @ matrix.transpose(1, 2)).unflatten(1, rows.shape[1:4]).movedim(-1, 1)
