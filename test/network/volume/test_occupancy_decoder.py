# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Occupancy from class queries, in the format of the plane decoder."""

import pytest
import torch

from mtl_perception.core import VoxelGrid
from mtl_perception.network.volume.occupancy_decoder import OccupancyDecoder, OccupancyMasks
from mtl_perception.network.volume.plane_occupancy import PlaneOccupancyDecoder


@pytest.fixture
def decoder() -> OccupancyDecoder:
    torch.manual_seed(0)
    return OccupancyDecoder(16, 5).eval()


def test_a_voxel_like_the_mask_of_a_class_gets_its_label(decoder: OccupancyDecoder) -> None:
    queries = 3.0 * torch.randn(1, 5, 16)
    embeddings = torch.linalg.qr(torch.randn(16, 6)).Q.T
    with torch.no_grad():  # make the mask embeddings of the six queries orthogonal
        all_queries = decoder.norm(decoder.layers(torch.cat([queries, decoder.free], dim=1)))[0]
        hidden = decoder.mask[1](decoder.mask[0](all_queries))
        decoder.mask[2].bias.zero_()
        decoder.mask[2].weight.copy_((torch.linalg.pinv(hidden) @ embeddings).T)
        voxels = torch.zeros(1, 16, 6, 1, 1)
        for place in range(6):
            voxels[0, :, place, 0, 0] = 20.0 * (embeddings[place] - embeddings.sum(dim=0) / 2)
        logits = decoder(queries, voxels)[0, :, :, 0, 0]
    assert logits[1:, :5].argmax(dim=0).tolist() == [0, 1, 2, 3, 4]
    assert (logits[0, :5] > 1).all() and logits[0, 5] < -1  # the last is like the free query


def test_logits_are_the_shares_of_the_scores() -> None:
    torch.manual_seed(0)
    masks = OccupancyMasks(torch.randn(2, 6, 6), torch.randn(2, 6, 3, 5, 2))
    logits = OccupancyDecoder.logits(masks)
    scores = torch.einsum("bqc,bqxyz->bcxyz", masks.class_logits.softmax(dim=2), masks.mask_logits.sigmoid())
    shares = scores / scores.sum(dim=1, keepdim=True)
    torch.testing.assert_close(logits[:, 0].sigmoid(), 1 - shares[:, -1], atol=1e-4, rtol=1e-4)
    given_occupied = shares[:, :-1] / shares[:, :-1].sum(dim=1, keepdim=True)
    torch.testing.assert_close(logits[:, 1:].softmax(dim=1), given_occupied, atol=1e-4, rtol=1e-4)


def test_extreme_masks_stay_finite_and_keep_their_order() -> None:
    masks = torch.full((1, 3, 2, 1, 1), -200.0)
    masks[0, 1, 0] = -150.0
    masks[0, 2, 1] = 200.0
    masks.requires_grad_()
    logits = OccupancyDecoder.logits(OccupancyMasks(20.0 * torch.eye(3)[None], masks))
    assert logits.isfinite().all()
    assert logits[0, 2, 0, 0, 0] > logits[0, 1, 0, 0, 0] and logits[0, 0, 0, 0, 0] > 5 and logits[0, 0, 1, 0, 0] < -5
    logits.sum().backward()
    assert masks.grad is not None and masks.grad.isfinite().all()


@pytest.mark.parametrize("frames", [1, 3])
def test_the_format_is_that_of_the_plane_decoder(decoder: OccupancyDecoder, frames: int) -> None:
    queries, voxels = torch.randn(frames, 5, 16), torch.randn(frames, 16, 9, 7, 5)
    plane = PlaneOccupancyDecoder(VoxelGrid((0.0, 0.0, 0.0), 0.5, (9, 7, 5)), 16, 8, 5).eval()
    assert decoder(queries, voxels).shape == plane(voxels).shape == (frames, 6, 9, 7, 5)


def test_queries_are_of_their_class_before_training(decoder: OccupancyDecoder) -> None:
    masks = decoder.masks(torch.randn(1, 5, 16), torch.randn(1, 16, 4, 4, 2))
    assert masks.class_logits.shape == (1, 6, 6) and masks.mask_logits.shape == (1, 6, 4, 4, 2)
    assert masks.class_logits[0].argmax(dim=1).tolist() == [0, 1, 2, 3, 4, 5]


def test_gradients_reach_everything(decoder: OccupancyDecoder) -> None:
    queries = torch.randn(1, 5, 16, requires_grad=True)
    voxels = torch.randn(1, 16, 5, 3, 3, requires_grad=True)
    decoder.train()(queries, voxels).square().sum().backward()
    for value in (queries, voxels, *decoder.parameters()):
        assert value.grad is not None and value.grad.abs().sum() > 0


def test_queries_attend_to_each_other_but_frames_do_not(decoder: OccupancyDecoder) -> None:
    queries, voxels = torch.randn(3, 5, 16), torch.randn(3, 16, 5, 7, 3)
    torch.testing.assert_close(decoder(queries, voxels)[1:2], decoder(queries[1:2], voxels[1:2]))
    changed = queries.clone()
    changed[:, 0] += 5.0
    before, after = decoder.masks(queries, voxels), decoder.masks(changed, voxels)
    assert not torch.allclose(before.mask_logits[:, 3], after.mask_logits[:, 3])


def test_bfloat16(decoder: OccupancyDecoder) -> None:
    queries, voxels = torch.randn(1, 5, 16), torch.randn(1, 16, 5, 7, 3)
    expected = decoder(queries, voxels)
    logits = decoder.to(torch.bfloat16)(queries.bfloat16(), voxels.bfloat16())
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(logits.float(), expected, atol=0.2, rtol=0.1)


def test_a_width_that_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="not a multiple"):
        OccupancyDecoder(18, 5)
