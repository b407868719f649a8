# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Motion masks by reprojection: logits at stride 4, refined by what the image shows at stride 2."""

from __future__ import annotations

import torch
from torch.nn import functional

from mtl_perception.network import CameraBatch, PreviousFrame
from mtl_perception.network.config import ReprojectionMotionConfig
from mtl_perception.network.motion.reprojection import ReprojectionMotionDecoder, thumbnail

WIDTH, STEM = 16, 8


def decoder(detail: int) -> ReprojectionMotionDecoder:
    torch.manual_seed(0)
    config = ReprojectionMotionConfig(embedding=4, radius=1, detail=detail)
    return ReprojectionMotionDecoder(WIDTH, STEM, config).eval()


def decoded(module: ReprojectionMotionDecoder, stem: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    images = torch.rand(2, 3, 32, 48, generator=random)
    K = torch.tensor([[40.0, 0, 23.5], [0, 40.0, 15.5], [0, 0, 1]]).expand(2, 3, 3)
    batch = CameraBatch(images, K, torch.eye(4).expand(2, 4, 4), torch.ones(2).bool(), torch.zeros(2).long(), 1)
    shared = torch.randn(2, WIDTH, 8, 12, generator=random)
    embedding = module.embedding(shared)
    kept = {"embedding": embedding.roll(1, dims=3), "thumbnail": thumbnail(images)}
    previous = PreviousFrame(kept, K, torch.eye(4).expand(2, 4, 4), torch.ones(2).bool())
    with torch.no_grad():
        return module(shared, stem, embedding, torch.full((2, 8, 12), 5.0), batch, previous)


def test_without_detail_masks_stay_at_stride_4() -> None:
    fine, coarse = decoded(decoder(0), torch.zeros(2, STEM, 16, 24))
    assert coarse.shape == (2, 8, 12) and torch.equal(fine, coarse)


def test_detail_starts_from_the_coarse_mask_and_follows_the_stem() -> None:
    module, edge = decoder(8), torch.zeros(2, STEM, 16, 24)
    edge[..., 11:] = 1.0  # within a cell of stride 4
    fine, coarse = decoded(module, edge)
    torch.testing.assert_close(fine, functional.interpolate(coarse[:, None], (16, 24), mode="bilinear")[:, 0])
    torch.nn.init.normal_(module.detail.logits.weight)
    moved, same = decoded(module, edge)
    assert torch.equal(same, coarse)
    refined = moved - fine
    assert (refined[..., 11] - refined[..., 10]).abs().mean() > (refined[..., 3] - refined[..., 2]).abs().mean()
