# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Scene flow taken apart: what the camera's motion explains, and what moves by itself.

After the unified encoder, section III-B, and Dynamo-Depth (Sun and Hariharan 2023). Flows are (N, 3, h, w) in metres
between two frames: from a point P, in the current camera's optical frame, to where the same point was in the previous
camera's optical frame. Geometry is float32 or better.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mtl_perception.network.geometry import in_full_precision, rays

NEAREST = 0.05  # metres, as `reproject`
SHORTEST = 1e-3  # seconds between two frames


def rigid_flow(depth: Tensor, K: Tensor, previous_from_current: Tensor, stride: int) -> Tensor:
    """Return F_R = T P - P, the flow if the scene stands still.

    Args:
        depth: (N, h, w) metres at the stride.
        K: (N, 3, 3) at stride 1.
        previous_from_current: T, (N, 4, 4) metres.
        stride: of the depth map.
    """
    points = _points(depth, K, stride)
    motion = previous_from_current.to(points.dtype)
    moved = _rotate(motion, points) + motion[:, :3, 3, None, None]
    return moved - points


def independent_flow(mask: Tensor, complete: Tensor, rigid: Tensor) -> Tensor:
    """Return F_I = M (F_C - F_R) for the motion mask M, probabilities (N, h, w). The final flow is F_R + F_I."""
    return mask[:, None].to(rigid.dtype) * (complete.to(rigid.dtype) - rigid)


def correspondence(depth: Tensor, flow: Tensor, K: Tensor, previous_K: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Where each pixel of a depth map lands in the previous image when its point takes the flow: the pixel of P + F.

    Args:
        depth: (N, h, w) metres at the stride.
        flow: (N, 3, h, w); the final flow F_R + F_I. With F_R alone the result is that of `geometry.reproject`.
        K, previous_K: (N, 3, 3) at stride 1.
        stride: of the depth map and of the map to sample.

    Returns:
        Pixel coordinates (N, h, w, 2) at the stride, and which are in front of the previous camera (N, h, w).
    """
    points = _points(depth, K, stride)
    moved = points + flow.to(points.dtype)
    camera = previous_K.to(points.dtype)
    z = moved[:, 2].clamp(min=NEAREST)
    u = camera[:, 0, 0, None, None] * moved[:, 0] / z + camera[:, 0, 2, None, None]
    v = camera[:, 1, 1, None, None] * moved[:, 1] / z + camera[:, 1, 2, None, None]
    pixels = (torch.stack([u, v], dim=-1) + 0.5) / stride - 0.5
    return pixels, moved[:, 2] > NEAREST


def to_base_velocity(
    independent: Tensor, previous_from_current: Tensor, base_from_camera: Tensor, seconds: Tensor
) -> Tensor:
    """Turn independent flow into velocities (N, 3, h, w) in m/s, the ego motion removed, in the current base's axes.

    With T the camera's motion, a point that is at P now would have been at T P had it stood still; it was at
    T P + F_I, all in the previous camera's axes. It has thus moved by -F_I since, which is turned into the axes of the
    current camera by the inverse of T's rotation, and into those of the base.

    Args:
        independent: F_I, (N, 3, h, w) metres.
        previous_from_current: T, (N, 4, 4).
        base_from_camera: (N, 4, 4).
        seconds: (N,), the time between the two frames, positive.
    """
    flow = independent if independent.dtype == torch.float64 else independent.float()
    backward = previous_from_current.to(flow.dtype).transpose(1, 2)
    in_base = _rotate(base_from_camera.to(flow.dtype), _rotate(backward, flow))
    return -in_base / seconds.to(flow.dtype).clamp(min=SHORTEST)[:, None, None, None]


def _points(depth: Tensor, K: Tensor, stride: int) -> Tensor:
    depth = depth if depth.dtype == torch.float64 else depth.float()
    return rays(K.to(depth.dtype), depth.shape[1], depth.shape[2], stride) * depth[:, None]


@in_full_precision
def _rotate(matrix: Tensor, points: Tensor) -> Tensor:
    return torch.einsum("nij,njhw->nihw", matrix[:, :3, :3], points)
