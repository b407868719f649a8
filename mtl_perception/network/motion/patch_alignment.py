# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Matches to a fraction of a pixel: small patches of the image itself are aligned with the previous image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from mtl_perception.network.geometry import in_full_precision

PATCH = 8
"""Pixels along a side."""
ITERATIONS = 4
NOISE = 0.02
"""Standard deviation of a pixel's brightness (0 to 1) that says nothing."""
PRIOR = 1.0
"""Pixels of standard deviation that a match is off by: a patch without contrast stays where it is."""
FARTHEST = 2.5
"""Pixels: what moves farther has found something else."""


@in_full_precision
def align_patches(image: Tensor, previous: Tensor, matches: Tensor, stride: int) -> Tensor:
    """Return the matches moved to where the previous image looks most like the current one around each pixel.

    Lucas and Kanade 1981 in its inverse compositional form (Baker and Matthews 2004, "Lucas-Kanade 20 years on",
    section 3.2), of translations: the gradients are those of the current patch. Patches are compared without their
    mean, and with equal contrast. Features of a network at a stride tell where a pixel is to a fraction of that stride;
    ego motion and triangulation between two frames need a tenth of a pixel. A match stays as it is where this would
    not make the patches more alike, or where it would take it farther than `FARTHEST`.

    Args:
        image, previous: (N, 1, H, W), brightness from 0 to 1.
        matches: (N, h, w, 2), where each pixel of a map at `stride` was in the previous image, in its pixels, x first.
        stride: of the map; `PATCH` is a multiple of it.

    Returns:
        (N, h, w, 2); it has the gradient of `matches`, as if it had been moved by a constant.
    """
    start = (matches.detach() + 0.5) * stride - 0.5
    patch = _patches(image, stride, matches.shape[1:3])
    patch = patch - patch.mean(dim=-1, keepdim=True)
    contrast = patch.square().mean(dim=-1, keepdim=True).sqrt()
    dx, dy = (_patches(slope, stride, matches.shape[1:3]) for slope in _slopes(image))
    dx, dy = dx - dx.mean(dim=-1, keepdim=True), dy - dy.mean(dim=-1, keepdim=True)
    stay = (NOISE / PRIOR) ** 2
    xx, xy, yy = dx.square().sum(-1) + stay, (dx * dy).sum(-1), dy.square().sum(-1) + stay
    determinant = xx * yy - xy.square()
    place, first, difference = start, None, None
    for iteration in range(ITERATIONS + 1):
        seen = _around(previous, place)
        seen = seen - seen.mean(dim=-1, keepdim=True)
        gain = contrast / seen.square().mean(dim=-1, keepdim=True).sqrt().clamp(min=NOISE / 2)
        residual = patch - gain.clamp(0.5, 2.0) * seen
        difference = residual.square().mean(dim=-1)
        first = difference if first is None else first
        if iteration < ITERATIONS:
            pull_x = (dx * residual).sum(-1) - stay * (place - start)[..., 0]
            pull_y = (dy * residual).sum(-1) - stay * (place - start)[..., 1]
            step = torch.stack([yy * pull_x - xy * pull_y, xx * pull_y - xy * pull_x], dim=-1) / determinant[..., None]
            place = place + step.clamp(-1.0, 1.0)
    assert first is not None and difference is not None
    better = (difference < first) & ((place - start).norm(dim=-1) < FARTHEST)
    moved = torch.where(better[..., None], place - start, 0.0) / stride
    return matches + moved


def _slopes(image: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients (N, 1, H, W) of an image along x and y."""
    wide = functional.pad(image, (1, 1, 1, 1), mode="replicate")
    return (wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2]) / 2, (wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]) / 2


def _patches(image: Tensor, stride: int, size: torch.Size) -> Tensor:
    """Return the pixels (N, h, w, P) around the middle of each cell."""
    margin = (PATCH - stride) // 2
    wide = functional.pad(image, (margin, margin, margin, margin), mode="replicate")
    return functional.unfold(wide, PATCH, stride=stride).transpose(1, 2).unflatten(1, size)


def _around(image: Tensor, places: Tensor) -> Tensor:
    """Return the brightness (N, h, w, P) of patches around places (N, h, w, 2), in pixels."""
    count, height, width, _ = places.shape
    side = torch.arange(PATCH, device=places.device, dtype=places.dtype) - (PATCH - 1) / 2
    steps = torch.stack([side.repeat(PATCH), side.repeat_interleave(PATCH)], dim=1)
    span = places.new_tensor([image.shape[-1], image.shape[-2]])
    grid = 2 * (places[:, :, :, None] + steps + 0.5) / span - 1
    sampled = functional.grid_sample(image, grid.flatten(1, 2), align_corners=False, padding_mode="border")
    return sampled.view(count, height, width, len(steps))
