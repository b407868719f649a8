# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How far things have moved by themselves, measured: where a point was found before, less where it would have been."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from mtl_perception.network.geometry import in_full_precision, rays, reproject, sampling_grid
from mtl_perception.network.motion.matching import STRIDE, Matches

EVIDENCE = 6
"""Channels of `Displacement.evidence`."""
NEAREST = 0.05  # metres
LARGEST_CELLS, LARGEST_METRES = 8.0, 5.0


@dataclass(frozen=True)
class Displacement:
    """Of each pixel of N images at stride 4; no gradient passes it, float32.

    Attributes:
        cells: (N, 2, h, w), the match less the pixel's reprojection as if it stood still, pixels at stride 4.
        metres: (N, 3, h, w), the point that was found less the one that would be there, in the previous camera's
            optical axes: a measurement of the independent flow F_I.
        log_precision: (N, h, w), of the match, see `Matches`.
        still: (N, 3, h, w), metres in those axes, where the point would be.
        across: (N, 2, h, w), where the match is, in units of the focal length from the previous image's centre.
        focal: (N, 2), of the previous image, pixels at stride 4.
    """

    cells: Tensor
    metres: Tensor
    log_precision: Tensor
    still: Tensor
    across: Tensor
    focal: Tensor

    def evidence(self) -> Tensor:
        """Return all of it as channels of about unit size, (N, EVIDENCE, h, w)."""
        return torch.cat([self.cells / 2, self.metres, self.log_precision[:, None] / 4], dim=1)

    def along(self, direction: Tensor, expected: Tensor, precision: Tensor) -> Tensor:
        """Return how far the points have moved in known directions: what the match and an expectation say together.

        A match is a line of sight, so that it tells of two of the three axes, and a direction is what lacks. Weighted
        least squares over the distance of the point's image from the match and that from what is expected; the first
        is linear in what is looked for.

        Args:
            direction: (N, 3, h, w), of unit length, the previous camera's optical axes.
            expected: (N, h, w) metres.
            precision: (N, h, w), of what is expected, one over square metres.
        Returns:
            (N, h, w) metres.
        """
        depth = self.still[:, 2:].clamp(min=NEAREST)
        scale = self.focal[:, :, None, None] / depth
        pull = scale * (direction[:, :2] - self.across * direction[:, 2:])
        pixels = scale * (self.across * depth - self.still[:, :2])
        weight = self.log_precision.exp()
        told = weight * (pull * pixels).sum(dim=1) + precision * expected
        distance: Tensor = told / (weight * pull.square().sum(dim=1) + precision)
        return distance.clamp(-LARGEST_METRES, LARGEST_METRES)


@torch.no_grad()
@in_full_precision
def measured_displacement(
    matches: Matches,
    depth: Tensor,
    K: Tensor,
    previous_K: Tensor,
    previous_from_current: Tensor,
    previous_depth: Tensor,
) -> Displacement:
    """Compare matches with the reprojection of the points at `depth`.

    Args:
        matches: of N images.
        depth: (N, h, w) at stride 4, metres.
        K, previous_K: (N, 3, 3) at stride 1.
        previous_from_current: (N, 4, 4), the camera's motion.
        previous_depth: (N, h, w) of the previous images at stride 4, metres.
    """
    depth, previous_depth = depth.float(), previous_depth.float()
    _, height, width = depth.shape
    where, _ = reproject(depth, K, previous_from_current, previous_K, STRIDE)
    logarithm = previous_depth.clamp(min=NEAREST).log()[:, None]
    grid = sampling_grid(matches.fine)
    found = functional.grid_sample(logarithm, grid, padding_mode="border", align_corners=False)[:, 0].exp()
    at = (matches.fine + 0.5) * STRIDE - 0.5
    focal = torch.stack([previous_K[:, 0, 0], previous_K[:, 1, 1]], dim=1)[:, None, None]
    across = (at - previous_K[:, None, None, :2, 2]) / focal
    measured = torch.cat([across, torch.ones_like(across[..., :1])], dim=-1).permute(0, 3, 1, 2) * found[:, None]
    points = rays(K, height, width, STRIDE) * depth[:, None]
    rotation, translation = previous_from_current[:, :3, :3], previous_from_current[:, :3, 3]
    still = torch.einsum("nij,njhw->nihw", rotation, points) + translation[:, :, None, None]
    cells = (matches.fine - where).permute(0, 3, 1, 2)
    return Displacement(
        cells.clamp(-LARGEST_CELLS, LARGEST_CELLS),
        (measured - still).clamp(-LARGEST_METRES, LARGEST_METRES),
        matches.log_precision,
        still,
        across.permute(0, 3, 1, 2),
        focal[:, 0, 0] / STRIDE,
    )
