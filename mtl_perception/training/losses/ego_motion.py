# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The loss of ego motion by alignment: of its matches, of how precise it thinks they are, and of its own depth."""

from __future__ import annotations

import torch
from torch import Tensor

from mtl_perception.network.geometry import reproject
from mtl_perception.network.motion.alignment import FREEDOM
from mtl_perception.network.motion.matching import (
    COARSE_STRIDE,
    PRECISION_MIDDLE,
    PRECISION_REACH,
    STRIDE,
    Matches,
)

FAR = 4.0
"""Fine matches farther off than this (cells) have been lost by the coarse match, which has a loss of its own."""
SHORT, SMALL_TURN = 0.1, 0.02
"""Metres and radians of an error that count like a whole unit where the camera hardly moves."""
MOVING, MOVING_WEIGHT = 0.02, 5.0
"""Metres from which on a point counts as moving, and what its match counts: few do, and all that is known of their
motion is seen by their matches."""


def matching_loss(
    matches: Matches,
    depth: Tensor,
    truth: Tensor,
    moved: Tensor,
    K: Tensor,
    previous_K: Tensor,
    previous_from_current: Tensor,
) -> Tensor:
    """Return the cross-entropy of coarse matches, L1 of the fine ones, and the likelihood of what alignment sees.

    A match is right where the true depth, the camera's true motion and the point's own say, on pixels that the previous
    image contains. What alignment minimises is the distance of a match from the reprojection of the *predicted* depth;
    under the true motion that follows a t distribution of the predicted precision, on all pixels with a surface, moving
    ones and those that have left the image as well: these are to be told by a low precision. So does the distance from
    the reprojection of the true depth, which triangulation goes by, of the other precision.

    Args:
        matches: of N images.
        depth: (N, h, w) at stride 4, the alignment's own prediction, metres; gets no gradient from here.
        truth: (N, H, W), metres; NaN unknown, +inf no surface.
        moved: (N, 3, H, W) metres, from where each point would have been, had it stood still, to where it was, in the
            previous camera's axes; NaN unknown.
        K, previous_K: (N, 3, 3) at stride 1.
        previous_from_current: (N, 4, 4), the true motion.
    """
    coarse = _coarse(
        matches, _nearest(truth, COARSE_STRIDE), _nearest(moved, COARSE_STRIDE), K, previous_K, previous_from_current
    )
    true_depth, true_move = _nearest(truth, STRIDE), _nearest(moved, STRIDE)
    measured = torch.isfinite(true_depth)
    metres = torch.where(measured, true_depth, torch.ones_like(true_depth))
    where, in_view = _right(metres, measured, true_move, K, previous_K, previous_from_current, STRIDE)
    distance = (matches.fine - where).abs().sum(dim=-1)
    near = in_view & (distance.detach() < FAR)
    weight = torch.where(true_move.nan_to_num().norm(dim=1) > MOVING, MOVING_WEIGHT, 1.0) * near
    fine = (distance * weight).sum() / weight.sum().clamp(min=1)

    # Where no depth is known (and at the sky, which alignment sees at a large depth) nothing is asked of the precision.
    predicted, in_front = reproject(depth.detach(), K, previous_from_current, previous_K, STRIDE)
    standing, truly_in_front = reproject(metres, K, previous_from_current, previous_K, STRIDE)
    known = measured & in_front & truly_in_front
    found = matches.fine.detach()
    likelihood = _unlikely(found - predicted, matches.log_precision, known)
    likelihood = likelihood + _unlikely(found - standing, matches.still_log_precision, known)
    return 0.3 * coarse + fine + 0.1 * likelihood


def step_loss(step: Tensor, true_motion: Tensor) -> Tensor:
    """Return how large the step is that alignment takes away from the true motion, averaged over frames.

    Each match and each depth may be right on average and the motion still too short: a depth that is noisy makes it so
    (regression dilution), and so do matches that lean towards standing still. This is about the motion itself, as
    DROID-SLAM's pose loss (Teed and Deng 2021, section 3.3), relative to how far it goes, by the logarithm: a frame
    that cannot be told counts little.

    Args:
        step: (B, 6), rotation (radians) and translation (metres), of `AlignmentProblem` from the true motion.
        true_motion: (B, 4, 4).
    """
    length = true_motion[:, :3, 3].norm(dim=1)
    turned, moved = step[:, :3].norm(dim=1), step[:, 3:].norm(dim=1)
    return (torch.log1p(moved / (length + SHORT)) + torch.log1p(turned / SMALL_TURN)).mean().float()


def _right(
    metres: Tensor,
    measured: Tensor,
    moved: Tensor,
    K: Tensor,
    previous_K: Tensor,
    previous_from_current: Tensor,
    stride: int,
) -> tuple[Tensor, Tensor]:
    """Return where each pixel truly was (N, h, w, 2), and where that is known and inside the image (N, h, w)."""
    where, in_front = reproject(metres, K, previous_from_current, previous_K, stride, moved.nan_to_num())
    return where, measured & torch.isfinite(moved).all(dim=1) & in_front & _inside(where)


def _unlikely(residual: Tensor, log_precision: Tensor, known: Tensor) -> Tensor:
    """Return the mean negative log likelihood of residuals (N, h, w, 2)."""
    squared = residual.square().sum(dim=-1)
    nll = (FREEDOM + 2) / 2 * torch.log1p(log_precision.exp() * squared / FREEDOM) - log_precision
    nll = nll + PRECISION_MIDDLE + PRECISION_REACH  # not negative, so that balancing methods can take ratios
    return (nll * known).sum() / known.sum().clamp(min=1)


def _coarse(
    matches: Matches, truth: Tensor, moved: Tensor, K: Tensor, previous_K: Tensor, previous_from_current: Tensor
) -> Tensor:
    """Return the cross-entropy between the softmax and the right place, spread over its four cells."""
    height, width = truth.shape[1:]
    measured = torch.isfinite(truth)
    metres = torch.where(measured, truth, torch.ones_like(truth))
    where, right = _right(metres, measured, moved, K, previous_K, previous_from_current, COARSE_STRIDE)
    right = right.flatten(1)
    # Bilinear weights of the right place among the cells: sharper than a window, and exact to a part of a cell.
    x, y = where[..., 0].flatten(1), where[..., 1].flatten(1)
    log_probability = matches.similarity.float().log_softmax(dim=2)
    loss = torch.zeros_like(x)
    for dx in (0, 1):
        for dy in (0, 1):
            column, row = x.floor() + dx, y.floor() + dy
            share = (1 - (x - column).abs()).clamp(min=0) * (1 - (y - row).abs()).clamp(min=0)
            place = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).long()
            loss = loss - share * log_probability.gather(2, place[..., None])[..., 0]
    return (loss * right).sum() / right.sum().clamp(min=1)


def _inside(pixels: Tensor) -> Tensor:
    """Return which pixels (N, h, w, 2) lie between the middles of a map of that size's outermost ones."""
    height, width = pixels.shape[1:3]
    x, y = pixels.unbind(dim=-1)
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


def _nearest(truth: Tensor, stride: int) -> Tensor:
    """Sample a truth image (N, ..., H, W) at a stride: depths must not be averaged over an edge."""
    return truth[..., stride // 2 :: stride, stride // 2 :: stride]
