# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The losses of a batch: one encoder pass over all images, then each decoder on the rows that carry its truth."""

from __future__ import annotations

import torch
from torch import Tensor

from mtl_perception.core import UNOBSERVED
from mtl_perception.network import CameraBatch, MultiTaskNetwork, PreviousFrame
from mtl_perception.network.geometry import depth_scale
from mtl_perception.network.motion.reprojection import thumbnail
from mtl_perception.training.losses.depth import depth_loss
from mtl_perception.training.losses.motion import motion_loss
from mtl_perception.training.losses.semantic import semantic_loss
from mtl_perception.training.losses.volume import occupancy_loss
from mtl_perception.training.samples import TrainingBatch


def compute_losses(network: MultiTaskNetwork, batch: TrainingBatch, class_weights: Tensor) -> dict[str, Tensor]:
    """Return the loss of every task that the batch has truth for."""
    count = len(batch.cameras.images)
    # Current and previous images share one pass: batch norm then sees both alike, as it does when deployed.
    features, _ = network.encode(_joined(batch.cameras, batch.previous))
    current = features.select(torch.arange(count))
    losses: dict[str, Tensor] = {}

    decoded = network.decode_dense(current, batch.cameras, ("depth",))
    logits, depth = decoded["depth_logits"], decoded["depth"]
    scale = depth_scale(batch.cameras.K, network.config.depth_bins.canonical_focal)
    losses["depth"] = depth_loss(logits, depth, scale, network.dense.depth.bins, _nearest(batch.depth, 2))

    labelled = batch.label_table.any(dim=1)[batch.semantic].flatten(1).any(dim=1).nonzero()[:, 0]
    if len(labelled):
        some = current.select(labelled)
        semantic = network.decode_dense(some, batch.cameras.select(labelled), ("semantic",))["semantic_logits"]
        losses["semantic"] = semantic_loss(
            semantic, _nearest(batch.semantic[labelled], 2), batch.label_table, class_weights
        )

    rows = batch.previous_rows
    if batch.previous is not None:
        finest = features.own[0]
        both = torch.cat([rows, torch.arange(count, len(finest))])
        embedding = network.motion.reprojection.embedding(finest[both])
        previous = PreviousFrame(
            features={"embedding": embedding[len(rows) :], "thumbnail": thumbnail(batch.previous.images)},
            K=batch.previous.K,
            previous_from_current=batch.previous_from_current,
            valid=torch.ones(len(rows), dtype=torch.bool),
        )
        motion = network.motion.compare(
            finest[rows], embedding[: len(rows)], depth[rows], batch.cameras.select(rows), previous
        )
        losses["motion_mask"] = motion_loss(motion, batch.motion_mask[rows])

    frames = (batch.occupancy != UNOBSERVED).flatten(1).any(dim=1).nonzero()[:, 0]
    if len(frames):
        rows = torch.isin(batch.cameras.frame_index, frames).nonzero()[:, 0]
        decoded = network.decode_volume(
            current.select(rows), logits[rows].detach(), batch.cameras.select(rows), ("occupancy",)
        )
        losses["occupancy"] = occupancy_loss(decoded["occupancy_logits"], batch.occupancy[frames])
    return losses


def _joined(current: CameraBatch, previous: CameraBatch | None) -> CameraBatch:
    if previous is None:
        return current
    return CameraBatch(
        images=torch.cat([current.images, previous.images]),
        K=torch.cat([current.K, previous.K]),
        base_from_camera=torch.cat([current.base_from_camera, previous.base_from_camera]),
        ground_known=torch.cat([current.ground_known, previous.ground_known]),
        frame_index=torch.cat([current.frame_index, previous.frame_index + current.num_frames]),
        num_frames=current.num_frames + previous.num_frames,
    )


def _nearest(truth: Tensor, stride: int) -> Tensor:
    """Sample a truth image (N, H, W) at a stride; classes and depths must not be averaged."""
    return truth[:, stride // 2 :: stride, stride // 2 :: stride]
