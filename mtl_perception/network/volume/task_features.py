# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Shared voxels made into the features of one task, guided by its prototypes (MAESTRO, section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mtl_perception.network.blocks import conv_norm_relu
from mtl_perception.network.volume.plane_backbone import PlaneBackbone
from mtl_perception.network.volume.volume_blocks import PointwiseConv, VolumeBackbone, separable_conv3d

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

    The scale starts near 1 and is not squashed: the paper names no sigmoid. The 3D convolutions are separable, which is
    ours: plain ones are too slow on a CPU.
    """

    def __init__(self, width: int, group: int, output: int, height: int | None = None) -> None:
        """Build it for `width` channels C, G = `group` prototypes and, of a plane task, `height` voxels along z."""
        super().__init__()
        self.prototypes = nn.Sequential(nn.Linear(width, width), nn.ReLU(inplace=True), nn.Linear(width, width))
        scale = nn.Linear(width, width)
        nn.init.ones_(scale.bias)
        self.scale = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(inplace=True), scale)
        self.transform: nn.Module
        if height is not None:
            self.transform = PlaneBackbone(width, height, width)
            self.enhance = conv_norm_relu(group + width, output)
            self.score = nn.Sequential(conv_norm_relu(width, SCORE_WIDTH), nn.Conv2d(SCORE_WIDTH, 1, 1))
        else:
            self.transform = VolumeBackbone(width)
            self.enhance = separable_conv3d(group + width, output)
            self.score = nn.Sequential(separable_conv3d(width, SCORE_WIDTH), PointwiseConv(SCORE_WIDTH, 1))

    def forward(self, voxels: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
        """Return the task's features and its suppression logits."""
        features = self.transform(voxels)
        prototypes = self.prototypes(group)
        wise = (features.flatten(2).transpose(1, 2) @ prototypes.transpose(1, 2)).transpose(1, 2)
        wise = wise.unflatten(2, features.shape[2:])
        scale = self.scale(torch.cat([prototypes.amax(dim=1), prototypes.mean(dim=1)], dim=1))
        aware = features * scale.view(*scale.shape, *[1] * (features.ndim - 2))
        suppression = self.score(aware)
        features = self.enhance(torch.cat([wise, aware], dim=1)) * suppression.sigmoid()
        return features, suppression[:, 0]
