# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The loss of scene flow: of the velocities that come out, and of the flow and the mask they are composed of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mtl_perception.network.motion.flow_composition import SHORTEST, rigid_flow, to_base_velocity
from mtl_perception.training.losses.motion import motion_loss
from mtl_perception.training.losses.reduction import mean_of, nearest, stride_of

MOVING_SPEED = 0.5
"""m/s; slower points count as static, as in evaluation."""
ROUNDED = 0.05
"""m/s; smaller errors count quadratically (pseudo-Huber), larger ones linearly."""
REFERENCE_DEPTH = 10.0
"""Metres; farther points weigh less in the complete flow: an image shows flow over depth."""
VELOCITY, COMPLETE, MASK = 0.2, 0.1, 0.5
"""Of errors in m/s, and of the mask's loss."""


@dataclass(frozen=True)
class FlowTruth:
    """What is known of M images that have one before.

    Attributes:
        velocity: (M, 3, H, W) over ground, m/s, in the current base's axes; NaN unknown.
        depth: (M, H, W) metres; NaN unknown, +inf no surface.
        motion_mask: (M, H, W) uint8, 255 moving, 0 not, 128 unknown.
        K: (M, 3, 3) at that size.
        base_from_camera: (M, 4, 4).
        previous_from_current: (M, 4, 4), the camera's motion, metres.
        seconds: (M,) between the two images.
    """

    velocity: Tensor
    depth: Tensor
    motion_mask: Tensor
    K: Tensor
    base_from_camera: Tensor
    previous_from_current: Tensor
    seconds: Tensor


def scene_flow_loss(complete: Tensor, independent: Tensor, mask_logits: Tensor, truth: FlowTruth) -> Tensor:
    """L1 of the final velocities and of the complete flow, in m/s, plus `motion_loss` of the mask between them.

    Moving and static points count the same in total, however few move; without this the best flow is none at all.

    Args:
        complete, independent: F_C and F_I, (M, 3, h, w) metres, see `flow_composition`.
        mask_logits: (M, h, w), of the mask that F_I was composed with.
        truth: at the maps' size or larger by a whole stride.
    """
    stride = stride_of(truth.velocity, complete)
    true_velocity = nearest(truth.velocity, complete)
    velocity = to_base_velocity(independent, truth.previous_from_current, truth.base_from_camera, truth.seconds)
    timed = (truth.seconds > SHORTEST)[:, None, None]
    known = torch.isfinite(true_velocity).all(dim=1) & timed
    final = _balanced(_distance(velocity - true_velocity.nan_to_num()), true_velocity, known)

    depth = nearest(truth.depth, complete)
    placed = known & torch.isfinite(depth)
    metres = torch.where(placed, depth, torch.ones_like(depth))
    still = rigid_flow(metres, truth.K, truth.previous_from_current, stride)
    true_flow = still + independent_flow_of(
        true_velocity.nan_to_num(), truth.previous_from_current, truth.base_from_camera, truth.seconds
    )
    seconds = truth.seconds.clamp(min=SHORTEST)[:, None, None, None]
    error = _distance((complete.float() - true_flow) / seconds) * REFERENCE_DEPTH / (REFERENCE_DEPTH + metres)
    whole = _balanced(error, true_velocity, placed)
    return VELOCITY * final + COMPLETE * whole + MASK * motion_loss(mask_logits, truth.motion_mask)


def independent_flow_of(
    velocity: Tensor, previous_from_current: Tensor, base_from_camera: Tensor, seconds: Tensor
) -> Tensor:
    """Return F_I (M, 3, h, w), metres, of points with velocities (M, 3, h, w): the inverse of `to_base_velocity`."""
    rotation = previous_from_current[:, :3, :3] @ base_from_camera[:, :3, :3].transpose(1, 2)
    return -torch.einsum("nij,njhw->nihw", rotation, velocity) * seconds[:, None, None, None]


def _balanced(error: Tensor, true_velocity: Tensor, known: Tensor) -> Tensor:
    moving = true_velocity.nan_to_num().norm(dim=1) > MOVING_SPEED
    return mean_of(error[known & moving]) + mean_of(error[known & ~moving])


def _distance(difference: Tensor) -> Tensor:
    return (difference.square().sum(dim=1) + ROUNDED**2).sqrt() - ROUNDED
