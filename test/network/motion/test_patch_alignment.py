# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mtl_perception.network.geometry import sampling_grid
from mtl_perception.network.motion.patch_alignment import FARTHEST, align_patches

HEIGHT, WIDTH, STRIDE = 48, 64, 4
SHIFT = torch.tensor([1.3, -0.7])  # pixels


def textured(seed: int) -> Tensor:
    """Return two images (2, 1, H, W) with details of a few pixels."""
    noise = torch.rand(2, 1, HEIGHT // 4, WIDTH // 4, generator=torch.Generator().manual_seed(seed))
    return functional.interpolate(noise, (HEIGHT, WIDTH), mode="bicubic").clamp(0, 1)


def pixels(height: int, width: int) -> Tensor:
    rows, columns = torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")
    return torch.stack([columns, rows], dim=-1).repeat(2, 1, 1, 1)


def seen_from(previous: Tensor, shift: Tensor) -> Tensor:
    """Return the image in which each pixel shows what was `shift` pixels away in the previous one."""
    return functional.grid_sample(previous, sampling_grid(pixels(HEIGHT, WIDTH) + shift), align_corners=False)


def inner(values: Tensor) -> Tensor:
    return values[:, 2:-2, 2:-2]


@pytest.mark.parametrize(("gain", "offset"), [(1.0, 0.0), (0.7, 0.2)])
def test_matches_get_right_to_a_fraction_of_a_pixel(gain: float, offset: float) -> None:
    previous = textured(0)
    image = gain * seen_from(previous, SHIFT) + offset  # another exposure
    own = pixels(HEIGHT // STRIDE, WIDTH // STRIDE)
    right = own + SHIFT / STRIDE
    wrong = torch.randn(right.shape, generator=torch.Generator().manual_seed(1)) * 0.8 / STRIDE
    before, after = (
        STRIDE * inner(matches - right).norm(dim=-1)
        for matches in (right + wrong, align_patches(image, previous, right + wrong, STRIDE))
    )
    assert before.median() > 0.8
    assert after.median() < 0.08 and (after < 0.3).float().mean() > 0.9


def test_without_contrast_nothing_moves() -> None:
    flat = torch.full((2, 1, HEIGHT, WIDTH), 0.5)
    matches = pixels(HEIGHT // STRIDE, WIDTH // STRIDE) + 0.3
    torch.testing.assert_close(align_patches(flat, flat, matches, STRIDE), matches, atol=0, rtol=0)


def test_what_finds_nothing_stays_near() -> None:
    matches = pixels(HEIGHT // STRIDE, WIDTH // STRIDE)
    found = align_patches(textured(2), textured(3), matches, STRIDE)
    moved = STRIDE * (found - matches).norm(dim=-1)
    assert moved.max() < FARTHEST and (moved == 0).any()


def test_along_an_edge_a_match_stays_where_it_is() -> None:
    stripes = torch.sin(torch.arange(WIDTH).float() / 3)[None, None, None].expand(2, 1, HEIGHT, WIDTH) / 4 + 0.5
    own = pixels(HEIGHT // STRIDE, WIDTH // STRIDE)
    start = own + torch.tensor([0.2, 0.2])
    found = inner(align_patches(stripes.contiguous(), stripes.contiguous(), start, STRIDE) - own)
    assert found[..., 0].abs().max() < 0.05
    torch.testing.assert_close(found[..., 1], torch.full_like(found[..., 1], 0.2), atol=1e-3, rtol=0)


def test_the_gradient_is_that_of_the_matches() -> None:
    matches = pixels(HEIGHT // STRIDE, WIDTH // STRIDE).requires_grad_()
    align_patches(textured(0), textured(0), matches, STRIDE).sum().backward()
    assert matches.grad is not None and (matches.grad == 1).all()
