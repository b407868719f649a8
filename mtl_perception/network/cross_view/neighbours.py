# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which other images show the same scene as an image, and where they were taken from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from mtl_perception.network.batch import CameraBatch, PreviousFrame
from mtl_perception.network.geometry import in_full_precision

ADJACENT = 2
SAMPLES = (12, 6, 4)
"""Columns, rows and depths at which frusta are compared."""


@dataclass(frozen=True)
class Neighbours:
    """V other views of each of N images. Where a slot is not valid, it holds the image itself.

    Attributes:
        index: (N, V) int64, into the N current images followed by the N previous ones.
        valid: (N, V) bool.
        other_from_this: (N, V, 4, 4), metres, between optical frames.
        K: (N, V, 3, 3), the neighbour's intrinsics of the full input size.
    """

    index: Tensor
    valid: Tensor
    other_from_this: Tensor
    K: Tensor


@in_full_precision
def select_neighbours(
    batch: CameraBatch, previous: PreviousFrame | None, nearest: float, farthest: float, most: int = 1 + ADJACENT
) -> Neighbours:
    """Return V = 3 neighbours of each image: the frame before of its own camera, then two adjacent cameras.

    Adjacent are the two cameras of the same frame that see most of what the image sees between `nearest` and `farthest`
    metres; a camera that sees nothing of it never counts. The previous image counts where it is valid and its pose
    known (finite). An image without any neighbour is its own, at the identity pose (as CvM treats single images, Wang
    et al. 2025); that views are the previous frame and adjacent cameras is our reading for rigs that look around.
    Only geometry decides, and shapes do not depend on it. Of the valid ones only the first `most` count.
    """
    own = torch.arange(len(batch.K), device=batch.K.device)
    base_from_camera = batch.base_from_camera.float()
    identity = torch.eye(4, device=own.device).expand_as(base_from_camera)

    known = torch.zeros_like(own, dtype=torch.bool)
    previous_from_current, previous_K = identity, batch.K
    if previous is not None and previous.previous_from_current is not None:
        known = previous.valid & previous.previous_from_current.isfinite().flatten(1).all(dim=1)
        previous_from_current = torch.where(known[:, None, None], previous.previous_from_current.float(), identity)
        previous_K = torch.where(known[:, None, None], previous.K, batch.K)

    other_from_this = _rigid_inverse(base_from_camera)[None] @ base_from_camera[:, None]
    overlap = _overlap(batch, other_from_this, nearest, farthest)
    # Columns are added so that there are always enough to take.
    share, other = functional.pad(overlap, (0, ADJACENT)).topk(ADJACENT, dim=1)
    other = torch.where(share > 0, other, own[:, None])

    valid = torch.cat([known[:, None], share > 0], dim=1)
    valid = valid & (valid.cumsum(dim=1) <= most)
    alone = torch.zeros_like(valid)
    alone[:, 0] = ~valid.any(dim=1)
    return Neighbours(
        index=torch.cat([torch.where(known, own + len(own), own)[:, None], other], dim=1),
        valid=valid | alone,
        other_from_this=torch.cat([previous_from_current[:, None], other_from_this[own[:, None], other]], dim=1),
        K=torch.cat([previous_K[:, None], batch.K[other]], dim=1),
    )


def _overlap(batch: CameraBatch, other_from_this: Tensor, nearest: float, farthest: float) -> Tensor:
    """Return (N, N): the share of points in the frustum of the row's camera that the column's camera sees."""
    count, (height, width) = len(batch.K), batch.images.shape[-2:]
    device = batch.K.device
    columns, rows, slices = SAMPLES
    u = (torch.arange(columns, device=device) + 0.5) * width / columns - 0.5
    v = (torch.arange(rows, device=device) + 0.5) * height / rows - 0.5
    depth = 1.0 / torch.linspace(1.0 / nearest, 1.0 / farthest, slices, device=device)
    K = batch.K.float()
    x = (u - K[:, 0, 2, None]) / K[:, 0, 0, None]
    y = (v - K[:, 1, 2, None]) / K[:, 1, 1, None]
    shape = (count, rows, columns)
    ray = torch.stack([x[:, None, :].expand(shape), y[:, :, None].expand(shape), torch.ones(shape, device=device)], 1)
    points = (ray.flatten(2)[..., None] * depth).flatten(2)

    moved = other_from_this[..., :3, :3].float() @ points[:, None] + other_from_this[..., :3, 3:].float()
    z = moved[:, :, 2]
    across = K[None, :, 0, 0, None] * moved[:, :, 0] / z + K[None, :, 0, 2, None]
    down = K[None, :, 1, 1, None] * moved[:, :, 1] / z + K[None, :, 1, 2, None]
    inside = (across >= -0.5) & (across < width - 0.5) & (down >= -0.5) & (down < height - 0.5) & (z > 0)
    candidates = batch.frame_index[:, None] == batch.frame_index[None, :]
    candidates = candidates & ~torch.eye(count, dtype=torch.bool, device=device)
    return inside.float().mean(dim=2) * candidates


def _rigid_inverse(pose: Tensor) -> Tensor:
    """Invert (N, 4, 4) rotations with translations."""
    rotation = pose[:, :3, :3].transpose(1, 2)
    inverse = torch.cat([rotation, -rotation @ pose[:, :3, 3:]], dim=2)
    return torch.cat([inverse, pose[:, 3:]], dim=1)
