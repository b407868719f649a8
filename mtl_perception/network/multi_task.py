# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The shared multi-task network: one encoder pass over all cameras, and only the decoders that are asked for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_perception.network.batch import CameraBatch, PreviousFrame
from mtl_perception.network.config import REQUIRES, NetworkConfig
from mtl_perception.network.dense.detail import DepthHead, DetailDecoder
from mtl_perception.network.encoding.feature_pyramid import FeaturePyramid
from mtl_perception.network.encoding.residual import ResidualEncoder
from mtl_perception.network.geometry import GEOMETRY_CHANNELS, depth_scale, geometry_channels
from mtl_perception.network.motion.reprojection import ReprojectionMotionDecoder
from mtl_perception.network.volume.lift_splat import LiftSplat
from mtl_perception.network.volume.plane_occupancy import PlaneOccupancyDecoder

LIFT_STRIDE = 8


@dataclass(frozen=True)
class NetworkOutput:
    """What a pass gave; a task that was not asked for is None.

    Attributes:
        depth_logits: (N, D + 1, H/2, W/2); the last bin is "no surface".
        depth, depth_std: (N, H/2, W/2) metres.
        surface: (N, H/2, W/2), probability that there is a surface at all.
        semantic_logits: (N, labels, H/2, W/2).
        motion_logits: (N, H/4, W/4).
        motion_embedding: (N, E, H/4, W/4), to be kept for the next frame.
        occupancy_logits: (B, 1 + labels, X, Y, Z): occupied or not, then the labels.
        reached: (B, X, Y, Z), mean probability that the surface lies in the voxel or beyond it; 0 where no ray passes.
    """

    depth_logits: Tensor | None = None
    depth: Tensor | None = None
    depth_std: Tensor | None = None
    surface: Tensor | None = None
    semantic_logits: Tensor | None = None
    motion_logits: Tensor | None = None
    motion_embedding: Tensor | None = None
    occupancy_logits: Tensor | None = None
    reached: Tensor | None = None


@dataclass(frozen=True)
class Features:
    """What the decoders share: `stem` (N, C, H/2, W/2) and `shared` (N, C, H/4, W/4)."""

    stem: Tensor
    shared: Tensor

    def select(self, rows: Tensor) -> Features:
        """Return the features of some of the images (M,) int64."""
        return Features(self.stem[rows], self.shared[rows])


class MultiTaskNetwork(nn.Module):
    """One shared encoder for every camera and task.

    Raises:
        ValueError: (in forward) a task was asked for that the configuration does not have.
    """

    def __init__(self, config: NetworkConfig) -> None:
        """Build the parts that `config.tasks` need."""
        super().__init__()
        self.config = config
        width = config.pyramid_width
        self.encoder = ResidualEncoder(3 + GEOMETRY_CHANNELS, config.encoder_widths, config.encoder_blocks)
        self.pyramid = FeaturePyramid(config.encoder_widths, width)
        stem = self.encoder.stem_width
        if "depth" in config.tasks:
            decoder = DetailDecoder(width, stem, config.detail_width, config.depth_bins.count + 1)
            self.depth = DepthHead(decoder, config.depth_bins)
        if "semantic" in config.tasks:
            self.semantic = DetailDecoder(width, stem, config.detail_width, config.num_labels)
        if "motion_mask" in config.tasks:
            self.motion = ReprojectionMotionDecoder(width, config.motion_embedding, config.motion_radius)
        if "occupancy" in config.tasks:
            grid = config.grid.to_grid()
            self.context = nn.Conv2d(width, config.lift_width, 1)
            self.lift = LiftSplat(grid, LIFT_STRIDE)
            self.occupancy = PlaneOccupancyDecoder(grid, config.lift_width + 2, width, config.num_labels)

    def forward(
        self, batch: CameraBatch, tasks: Collection[str], previous: PreviousFrame | None = None
    ) -> NetworkOutput:
        """Run what `tasks` need, nothing else. Without `previous` there is no motion mask, only its embedding."""
        absent = sorted(set(tasks) - set(self.config.tasks))
        if absent:
            raise ValueError(f"network '{self.config.preset}' has no decoder for {', '.join(absent)}")
        wanted = set(tasks).union(*(REQUIRES[task] for task in tasks))
        features = self.encode(batch)
        result: dict[str, Tensor] = {}
        if "depth" in wanted:
            logits, depth, std, surface = self.decode_depth(features, batch)
            result |= {"depth_logits": logits, "depth": depth, "depth_std": std, "surface": surface}
        if "semantic" in wanted:
            result["semantic_logits"] = self.semantic(features.shared, features.stem)
        if "motion_mask" in wanted:
            result["motion_embedding"] = self.motion.embedding(features.shared)
            if previous is not None:
                result["motion_logits"] = self.decode_motion(
                    features, result["motion_embedding"], result["depth"], batch, previous
                )
        if "occupancy" in wanted:
            result["occupancy_logits"], result["reached"] = self.decode_occupancy(
                features, result["depth_logits"], batch
            )
        return NetworkOutput(**result)

    def encode(self, batch: CameraBatch) -> Features:
        """Run the shared part on every image of the batch."""
        geometry = geometry_channels(batch, self.config.depth_bins.canonical_focal)
        inputs = torch.cat([(batch.images - 0.45) / 0.25, geometry], dim=1)
        stem, *maps = self.encoder(inputs.contiguous(memory_format=torch.channels_last))
        return Features(stem, self.pyramid(maps)[0])

    def decode_depth(self, features: Features, batch: CameraBatch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return depth logits, depth, its standard deviation and the probability of a surface (see `NetworkOutput`)."""
        logits = self.depth(features.shared, features.stem)
        return logits, *self.depth.statistics(logits, self._scale(batch))

    def decode_motion(
        self, features: Features, embedding: Tensor, depth: Tensor, batch: CameraBatch, previous: PreviousFrame
    ) -> Tensor:
        """Return motion logits; `depth` (N, H/2, W/2) gets no gradient from here."""
        coarse = functional.avg_pool2d(depth.detach()[:, None], 2)[:, 0]
        return self.motion(features.shared, embedding, coarse, batch, previous)

    def decode_occupancy(self, features: Features, depth_logits: Tensor, batch: CameraBatch) -> tuple[Tensor, Tensor]:
        """Return occupancy logits and how likely rays reach each voxel (see `NetworkOutput`)."""
        context = functional.avg_pool2d(self.context(features.shared), LIFT_STRIDE // 4)
        distribution = functional.avg_pool2d(depth_logits.softmax(dim=1), LIFT_STRIDE // 2)
        bins = self.depth.bins[None] * self._scale(batch)[:, None]
        voxels = self.lift(context, distribution, bins, batch)
        return self.occupancy(voxels), voxels[:, -2:].sum(dim=1)

    def _scale(self, batch: CameraBatch) -> Tensor:
        return depth_scale(batch.K, self.config.depth_bins.canonical_focal)
