# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Camera geometry as tensors: rays, the ground plane, canonical depth, and reprojection between frames."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

from mtl_perception.network.batch import CameraBatch

GEOMETRY_CHANNELS = 5

P = ParamSpec("P")
R = TypeVar("R")


def in_full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function of coordinates: autocast would take its products in half precision, which is pixels off."""

    @wraps(function)
    def outside_autocast(*arguments: P.args, **named: P.kwargs) -> R:
        active = [kind for kind in ("cpu", "cuda") if torch.is_autocast_enabled(kind)]
        with ExitStack() as stack:
            for kind in active:
                stack.enter_context(torch.autocast(kind, enabled=False))
            return function(*arguments, **named)

    return outside_autocast


def rays(K: Tensor, height: int, width: int, stride: int = 1) -> Tensor:
    """Return optical-frame rays with z = 1, (N, 3, height, width), of the pixels of a map at a stride.

    `K` (N, 3, 3) is that of stride 1; pixel u of a map at stride s is centred on (u + 0.5) * s - 0.5 of the input.
    """
    u = (torch.arange(width, device=K.device, dtype=K.dtype) + 0.5) * stride - 0.5
    v = (torch.arange(height, device=K.device, dtype=K.dtype) + 0.5) * stride - 0.5
    x = (u[None, :] - K[:, 0, 2, None]) / K[:, 0, 0, None]
    y = (v[None, :] - K[:, 1, 2, None]) / K[:, 1, 1, None]
    shape = (len(K), height, width)
    return torch.stack([x[:, None, :].expand(shape), y[:, :, None].expand(shape), torch.ones(shape).to(K)], dim=1)


@in_full_precision
def geometry_channels(batch: CameraBatch, canonical_focal: float) -> Tensor:
    """Encode what calibration says about each pixel, (N, 5, H, W), as further input channels.

    Channels: the ray's x and y (so the focal length), and, where the ground is known, the sine of the ray's elevation,
    the ground plane's canonical inverse depth, and 1. A camera thus carries its own height and pitch into the network
    (the idea of CAM-Convs, Facil et al. 2019, and of Metric3D's canonical camera, Yin et al. 2023, section 3.2).
    """
    _, _, height, width = batch.images.shape
    ray = rays(batch.K, height, width)
    upward = torch.einsum("nc,nchw->nhw", batch.base_from_camera[:, 2, :3], ray)
    known = batch.ground_known.to(ray.dtype)[:, None, None]
    elevation = upward / ray.square().sum(dim=1).sqrt()  # `norm` over a strided dimension is many times slower
    camera_height = batch.base_from_camera[:, 2, 3, None, None].clamp(min=0.05)
    inverse_depth = (-upward / camera_height).clamp(min=0.0) / depth_scale(batch.K, canonical_focal)[:, None, None]
    return torch.stack(
        [
            ray[:, 0],
            ray[:, 1],
            elevation * known,
            (2.0 * inverse_depth).clamp(max=1.0) * known,
            known.expand_as(upward),
        ],
        dim=1,
    )


def no_geometry_channels(images: Tensor) -> Tensor:
    """Return the channels (N, 5, H, W) of a cabin's images (N, 3, H, W), whose calibration is not known.

    They are zeros, which is what a camera without a known ground has in three of them, too.
    """
    return images.new_zeros(len(images), GEOMETRY_CHANNELS, *images.shape[-2:])


def depth_scale(K: Tensor, canonical_focal: float) -> Tensor:
    """Return (N,), metric over canonical depth: through a longer lens things look nearer (Metric3D)."""
    return torch.sqrt(K[:, 0, 0] * K[:, 1, 1]) / canonical_focal


@in_full_precision
def reproject(
    depth: Tensor,
    K: Tensor,
    previous_from_current: Tensor,
    previous_K: Tensor,
    stride: int,
    moved: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Where each pixel of a depth map lands in the previous image.

    Args:
        depth: (N, h, w) metres at the stride.
        K, previous_K: (N, 3, 3) at stride 1.
        previous_from_current: (N, 4, 4) metres.
        stride: of the depth map and of the map to sample.
        moved: (N, 3, h, w) metres, from where each point would have been then, had it stood still, to where it was, in
            the previous camera's axes; None: everything stands still.

    Returns:
        Pixel coordinates (N, h, w, 2) at the stride, and which are in front of the previous camera (N, h, w).
    """
    _, height, width = depth.shape
    points = rays(K, height, width, stride) * depth[:, None]
    rotation, translation = previous_from_current[:, :3, :3], previous_from_current[:, :3, 3]
    then = torch.einsum("nij,njhw->nihw", rotation, points) + translation[:, :, None, None]
    if moved is not None:
        then = then + moved
    z = then[:, 2].clamp(min=0.05)
    u = previous_K[:, 0, 0, None, None] * then[:, 0] / z + previous_K[:, 0, 2, None, None]
    v = previous_K[:, 1, 1, None, None] * then[:, 1] / z + previous_K[:, 1, 2, None, None]
    pixels = (torch.stack([u, v], dim=-1) + 0.5) / stride - 0.5
    return pixels, then[:, 2] > 0.05


def sampling_grid(pixels: Tensor) -> Tensor:
    """Turn pixels (N, h, w, 2) of a map of that size into `grid_sample` coordinates (align_corners=False)."""
    _, height, width, _ = pixels.shape
    size = torch.tensor([width, height], dtype=pixels.dtype, device=pixels.device)
    return (2.0 * pixels + 1.0) / size - 1.0
