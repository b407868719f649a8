# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What tasks say about each other: normals about depth, edges about segmentation (M2H)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from mtl_perception.network.geometry import rays
from mtl_perception.training.losses.reduction import mean_of

LARGEST_STEP = 0.1
"""Share of the depth that neighbours may differ by; beyond, they are taken for two surfaces, which have no normal."""


def depth_normal_loss(normals: Tensor, depth: Tensor, K: Tensor, stride: int) -> Tensor:
    """One minus the cosine between the normals and those of the depth, which gets no gradient from here.

    M2H weighs it by 0.5 (methods of its follow-up's published code). Pixels whose depth has no normal do not count.

    Args:
        normals: (N, 3, h, w) unit length.
        depth: (N, h, w) metres; NaN where there is no surface.
        K: (N, 3, 3) at stride 1.
        stride: of both maps.
    """
    reference = normals_from_depth(depth.detach().float(), K, stride)
    known = torch.isfinite(reference).all(dim=1)
    cosine = (normals.float() * reference.nan_to_num()).sum(dim=1)
    return mean_of((1.0 - cosine)[known])


def edge_semantic_loss(edge_logits: Tensor, semantic_logits: Tensor) -> Tensor:
    """L1 between the edges' probability and the borders of the most likely classes, which get no gradient from here.

    M2H weighs it by 0.2. Borders are on both sides of where classes change, as in the truth of edges.

    Args:
        edge_logits: (N, h, w).
        semantic_logits: (N, labels, h, w).
    """
    borders = class_borders(semantic_logits.detach().argmax(dim=1))
    return (edge_logits.float().sigmoid() - borders.float()).abs().mean()


def normals_from_depth(depth: Tensor, K: Tensor, stride: int = 1) -> Tensor:
    """Return unit normals (N, 3, h, w), optical axes, towards the camera, of the surface that a depth map draws.

    The cross product of what points differ by along columns and rows, between both neighbours, or one at the rim: exact
    on a plane. NaN where a depth is not finite or neighbours are of two surfaces.

    Args:
        depth: (N, h, w) metres along the optical axis.
        K: (N, 3, 3) at stride 1.
        stride: of the map.
    """
    _, height, width = depth.shape
    points = rays(K.to(depth.dtype), height, width, stride) * depth[:, None]
    across, jump_across = _differences(points, 3)
    down, jump_down = _differences(points, 2)
    # x is to the right and y downward: this product looks back at the camera.
    normal = torch.linalg.cross(down, across, dim=1)
    length = normal.norm(dim=1)
    single = (torch.maximum(jump_across, jump_down) < LARGEST_STEP * depth) & (length > 0)
    unit = normal / torch.where(single, length, torch.ones_like(length))[:, None]
    return torch.where(single[:, None], unit, torch.nan)


def class_borders(labels: Tensor) -> Tensor:
    """Return (N, h, w) bool, both pixels of each pair of neighbours, beside or above each other, of two labels."""
    beside = functional.pad(labels[:, :, 1:] != labels[:, :, :-1], (1, 1))
    above = functional.pad(labels[:, 1:] != labels[:, :-1], (0, 0, 1, 1))
    return beside[:, :, 1:] | beside[:, :, :-1] | above[:, 1:] | above[:, :-1]


def _differences(points: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Return the difference (N, 3, h, w) of both neighbours, at the rim of one, and the largest step of depth."""
    steps = points.diff(dim=axis)
    pad = (1, 1, 0, 0) if axis == 3 else (0, 0, 1, 1)
    steps = functional.pad(steps, pad)  # no step beyond the rim
    count = steps.shape[axis] - 1
    before, after = steps.narrow(axis, 0, count), steps.narrow(axis, 1, count)
    return before + after, torch.maximum(before[:, 2].abs(), after[:, 2].abs())
