# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What two images say without any truth: photometric and smoothness losses, and those of motion and of the ground.

After the unified encoder (section III-D), whose parts are those of monodepth2 (Godard et al. 2019) and Dynamo-Depth
(Sun and Hariharan 2023).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from mtl_perception.network.geometry import rays, sampling_grid
from mtl_perception.training.losses.reduction import mean_of, weighted_mean

STRUCTURE = 0.85
"""Weight of structural similarity; L1 has the rest (monodepth2)."""
PLANE_TRIALS = 64
PLANE_TOLERANCE = 0.05
"""Share of a point's distance from the camera within which it lies on the ground plane."""
STEEPEST_GROUND = 0.9
"""Cosine with the image's vertical that a plane needs at least to be the ground (26 degrees)."""


def photometric_loss(warped: Tensor, seen: Tensor, sources: Tensor, target: Tensor) -> Tensor:
    """Return how unlike the target its warped sources look: the best source of each pixel, static pixels left out.

    monodepth2 (section 3.2): the minimum over the sources, as a point may be hidden in one of them; and a pixel that
    looks more like the unwarped source does not count (it moves with the camera, or nothing moved).

    Args:
        warped: (S, N, 3, h, w), what the target should look like by depth and motion, 0 to 1.
        seen: (S, N, h, w) bool, where the source has that pixel.
        sources: (S, N, 3, h, w), as they are.
        target: (N, 3, h, w).
    """
    errors = torch.stack([photometric_error(each, target) for each in warped])
    best = torch.where(seen, errors, torch.inf).amin(dim=0)
    unwarped = torch.stack([photometric_error(each, target) for each in sources]).amin(dim=0)
    counts = torch.isfinite(best) & (best < unwarped)
    return mean_of(best[counts])


def photometric_error(image: Tensor, target: Tensor) -> Tensor:
    """Return 0.85 (1 - SSIM) / 2 + 0.15 L1 of images (N, 3, h, w), averaged over the colours: (N, h, w).

    SSIM in windows of 3x3 with uniform weights, the border mirrored (monodepth2).
    """
    image, target = image.float(), target.float()
    absolute = (image - target).abs().mean(dim=1)
    dissimilarity = ((1.0 - _similarity(image, target)) / 2.0).clamp(0.0, 1.0).mean(dim=1)
    return STRUCTURE * dissimilarity + (1.0 - STRUCTURE) * absolute


def warp(image: Tensor, pixels: Tensor, in_front: Tensor) -> tuple[Tensor, Tensor]:
    """Sample an image (N, C, h, w) at pixels (N, h, w, 2); also return which of them are in it and in front."""
    grid = sampling_grid(pixels)
    warped = functional.grid_sample(image.float(), grid, padding_mode="border", align_corners=False)
    return warped, in_front & (grid.abs() <= 1.0).all(dim=-1)


def smoothness_loss(values: Tensor, image: Tensor) -> Tensor:
    """Mean gradient of a map (N, C, h, w), less where the image (N, 3, h, w) has gradients: weight exp(-|dI|).

    Of a depth, pass the disparity divided by its mean over the image (monodepth2, eq. 3), see `normalised_disparity`.
    """
    values, image = values.float(), image.float()
    total = values.new_zeros(())
    for axis in (2, 3):
        weight = torch.exp(-image.diff(dim=axis).abs().mean(dim=1, keepdim=True))
        total = total + (values.diff(dim=axis).abs() * weight).mean()
    return total


def normalised_disparity(depth: Tensor) -> Tensor:
    """Return one over the depth (N, h, w), divided by its mean over each image: (N, 1, h, w)."""
    disparity = 1.0 / depth.float().clamp(min=0.01)
    return (disparity / disparity.mean(dim=(1, 2), keepdim=True))[:, None]


def motion_consistency_loss(complete: Tensor, rigid: Tensor, mask_logits: Tensor) -> Tensor:
    """L1 of F_C - F_R, metres, where the mask says static (Dynamo-Depth; the unified encoder weighs it by 5).

    The mask weighs but gets no gradient from here: it would learn that everything moves.

    Args:
        complete, rigid: F_C and F_R, (N, 3, h, w) metres.
        mask_logits: (N, h, w).
    """
    static = 1.0 - mask_logits.detach().float().sigmoid()
    return weighted_mean((complete.float() - rigid.float()).abs().sum(dim=1), static)


def motion_sparsity_loss(complete: Tensor, rigid: Tensor, mask_logits: Tensor) -> Tensor:
    """Cross-entropy of the mask with "static" where |F_C - F_R| is below its mean over the image (Dynamo-Depth).

    The unified encoder weighs it by 0.1. Arguments as of `motion_consistency_loss`; the flows get no gradient.
    """
    discrepancy = (complete - rigid).detach().float().norm(dim=1)
    small = discrepancy < discrepancy.mean(dim=(1, 2), keepdim=True)
    return mean_of(functional.softplus(mask_logits.float())[small])


def above_ground_loss(depth: Tensor, K: Tensor, base_from_camera: Tensor, ground_known: Tensor, stride: int) -> Tensor:
    """Mean depth of points below the ground, as a share of their distance from the camera (Dynamo-Depth's idea).

    The ground is the base frame's z = 0 where that is known; else a plane fitted by RANSAC to what the lower half of
    the image shows, if there is a level one. Points within the tolerance of the plane do not count, and the fitted
    plane gets no gradient. The share, which is ours, keeps far points from outweighing all others.

    Args:
        depth: (N, h, w) metres.
        K: (N, 3, 3) at stride 1.
        base_from_camera: (N, 4, 4), metres.
        ground_known: (N,) bool.
        stride: of the map.
    """
    depth = depth.float()
    points = rays(K.float(), depth.shape[1], depth.shape[2], stride) * depth[:, None]
    planes = torch.stack(
        [
            pose[2] if known else _ground_plane(image.detach())
            for pose, known, image in zip(base_from_camera.float(), ground_known.tolist(), points, strict=True)
        ]
    )
    height = (planes[:, :3, None, None] * points).sum(dim=1) + planes[:, 3, None, None]
    share = -height / points.norm(dim=1).clamp(min=0.01)
    return torch.relu(share - PLANE_TOLERANCE).mean()


def _ground_plane(points: Tensor) -> Tensor:
    """Fit (a, b, c, d), a x + b y + c z + d the height above it, to points (3, h, w); (0, 0, 0, 0) without a plane.

    RANSAC (Fischler and Bolles 1981) with fixed random numbers: the same points have the same plane.
    """
    lower = points[:, points.shape[1] // 2 :].flatten(1).T
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randint(len(lower), (PLANE_TRIALS, 3), generator=generator).to(points.device)
    first, second, third = lower[chosen].unbind(dim=1)
    normal = torch.linalg.cross(second - first, third - first, dim=1)
    length = normal.norm(dim=1, keepdim=True)
    normal = normal / length.clamp(min=1e-6)
    normal = torch.where(normal[:, 1:2] > 0, -normal, normal)  # y is down, height up
    offset = -(normal * first).sum(dim=1)
    distance = ((lower[None] * normal[:, None]).sum(dim=2) + offset[:, None]).abs()
    level = (-normal[:, 1] > STEEPEST_GROUND) & (offset > 0) & (length[:, 0] > 1e-6)
    inliers = (distance < PLANE_TOLERANCE * lower.norm(dim=1)).sum(dim=1) * level
    best = inliers.argmax()
    plane = torch.cat([normal[best], offset[best, None]])
    return plane * level[best]


def _similarity(image: Tensor, target: Tensor) -> Tensor:
    """Return the structural similarity (N, 3, h, w) of Wang et al. 2004."""
    padded, other = (functional.pad(each, (1, 1, 1, 1), mode="reflect") for each in (image, target))
    mean, other_mean = functional.avg_pool2d(padded, 3, 1), functional.avg_pool2d(other, 3, 1)
    variance = functional.avg_pool2d(padded.square(), 3, 1) - mean.square()
    other_variance = functional.avg_pool2d(other.square(), 3, 1) - other_mean.square()
    covariance = functional.avg_pool2d(padded * other, 3, 1) - mean * other_mean
    first, second = 0.01**2, 0.03**2
    upper = (2 * mean * other_mean + first) * (2 * covariance + second)
    return upper / ((mean.square() + other_mean.square() + first) * (variance + other_variance + second))
