# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Depth from matches with the previous image: finer than a plane sweep of coarse features can tell."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mtl_perception.network.blocks import conv_norm_relu
from mtl_perception.network.geometry import in_full_precision, rays
from mtl_perception.network.motion.matching import STRIDE, Matches

IN_FRONT_M = 0.05
CHANNELS_BESIDE = 3
"""Beside the profile: how badly the best depth fits, how precise the match is, and whether there is one."""


class Triangulation(nn.Module):
    """Matches and the camera's motion -> what they say of each pixel's depth, added to the level at stride 4.

    A point at depth d that stands still lands on one place of its epipolar line in the previous image; how far that is
    from the match, in standard deviations of the match, tells how likely d is. The profile over the depth bins is to
    this match what a column of a plane sweep's cost volume is to the features (CvM, Wang et al. 2025), but at stride 4
    and to parts of a pixel: flat where the camera has not moved, sharp where it has. As a profile, not one depth with
    a variance, it also says what it can of points near the epipole and at infinity.
    """

    def __init__(self, width: int, bins: int) -> None:
        """Build it for levels of `width` channels and as many depth bins."""
        super().__init__()
        self.decode = conv_norm_relu(bins + CHANNELS_BESIDE, width)
        self.join = nn.Conv2d(width, width, 1)
        for parameter in self.join.parameters():  # a network without it starts as it is
            nn.init.zeros_(parameter)

    def forward(
        self,
        finest: Tensor,
        matches: Matches,
        depths: Tensor,
        K: Tensor,
        previous_K: Tensor,
        previous_from_current: Tensor,
        valid: Tensor,
    ) -> Tensor:
        """Add it to `finest`.

        Args:
            finest: (N, C, h, w), the level at stride 4.
            matches: of the same images.
            depths: (N, D) metres, of the bins.
            K, previous_K: (N, 3, 3) at stride 1.
            previous_from_current: (N, 4, 4), the camera's motion, metres.
            valid: (N,) bool, which images have a previous one.
        """
        evidence = profile(matches, depths, K, previous_K, previous_from_current, valid)
        return finest + self.join(self.decode(evidence.to(finest.dtype)))


@torch.no_grad()
@in_full_precision
def profile(
    matches: Matches, depths: Tensor, K: Tensor, previous_K: Tensor, previous_from_current: Tensor, valid: Tensor
) -> Tensor:
    """Return how likely each depth is, (N, D, h, w), of sum 1, and `CHANNELS_BESIDE`; float32, without a gradient.

    Arguments are those of `Triangulation.forward`.
    """
    match, precision = matches.fine, matches.still_log_precision.exp()
    height, width = match.shape[1:3]
    focal = torch.stack([previous_K[:, 0, 0], previous_K[:, 1, 1]], dim=1).float()[:, None, None]
    found = ((match + 0.5) * STRIDE - 0.5 - previous_K[:, None, None, :2, 2]) / focal
    rotation, offset = previous_from_current[:, :3, :3].float(), previous_from_current[:, None, None, :3, 3].float()
    directions = torch.einsum("nij,njhw->nhwi", rotation, rays(K, height, width, STRIDE))
    # The point at depth d is d * direction + offset; times its z, its distance from the match is linear in d.
    slope = (directions[..., :2] - found * directions[..., 2:]) * focal / STRIDE
    start = (offset[..., :2] - found * offset[..., 2:]) * focal / STRIDE
    squared, mixed, constant = (slope * slope).sum(-1), (slope * start).sum(-1), (start * start).sum(-1)
    d = depths[:, :, None, None]
    z = (d * directions[:, None, ..., 2] + offset[:, None, ..., 2]).clamp(min=IN_FRONT_M)
    distance = ((squared[:, None] * d + 2 * mixed[:, None]) * d + constant[:, None]).clamp(min=0) / z.square()
    deviations = precision[:, None] * distance
    best = deviations.amin(dim=1, keepdim=True)
    beside = [torch.log1p(best) / 4, matches.still_log_precision[:, None] / 4, torch.ones_like(best)]
    evidence = torch.cat([(-0.5 * deviations).softmax(dim=1), *beside], dim=1)
    return torch.where(valid[:, None, None, None], evidence, torch.zeros_like(evidence))
