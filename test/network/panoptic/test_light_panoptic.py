# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The light head learns centres and offsets, cheaply, of any size."""

import pytest
import torch

from mtl_perception.network.panoptic.light import LightPanopticHead, centre_losses
from mtl_perception.network.panoptic.targets import centre_targets


@pytest.mark.parametrize("images", [1, 3])
def test_maps_have_the_stems_size(images: int) -> None:
    torch.manual_seed(0)
    logits, offsets = LightPanopticHead(8, 6, 4)(torch.randn(images, 8, 8, 12), torch.randn(images, 6, 15, 23))
    assert logits.shape == (images, 15, 23) and offsets.shape == (images, 2, 15, 23)


def test_images_do_not_mix_and_bfloat16_works() -> None:
    torch.manual_seed(0)
    head = LightPanopticHead(8, 6, 4).eval()
    shared, stem = torch.randn(3, 8, 8, 12), torch.randn(3, 6, 15, 23)
    both, alone = head(shared, stem), head(shared[1:2], stem[1:2])
    torch.testing.assert_close(both[1][1:2], alone[1])
    logits, offsets = head.to(torch.bfloat16)(shared.bfloat16(), stem.bfloat16())
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(logits.float(), both[0], atol=0.1, rtol=0.1)
    torch.testing.assert_close(offsets.float(), both[1], atol=0.5, rtol=0.1)


def test_it_learns_where_things_are() -> None:
    torch.manual_seed(0)
    panoptic = torch.zeros(1, 24, 32, dtype=torch.int32)
    panoptic[:, 4:16, 6:18] = 2001
    panoptic[:, :, 28:] = -1
    targets = centre_targets(panoptic, (2,), stride=2, sigma=2.0)
    head = LightPanopticHead(8, 6, 8)
    shared, stem = torch.randn(1, 8, 6, 8), torch.randn(1, 6, 12, 16)
    optimiser = torch.optim.Adam(head.parameters(), lr=0.03)
    history = []
    for _ in range(40):
        losses = centre_losses(*head(shared, stem), targets)
        optimiser.zero_grad()
        sum(losses.values()).backward()
        optimiser.step()
        history.append({name: float(loss.detach()) for name, loss in losses.items()})
    for name in ("centre", "offset"):
        assert history[-1][name] < 0.3 * history[0][name]


def test_what_is_unknown_costs_nothing() -> None:
    panoptic = torch.full((1, 8, 8), -1)
    panoptic[:, :4] = 0
    targets = centre_targets(panoptic, (2,), stride=1)
    logits = torch.zeros(1, 8, 8, requires_grad=True)
    offsets = torch.zeros(1, 2, 8, 8, requires_grad=True)
    losses = centre_losses(logits, offsets, targets)
    sum(losses.values()).backward()
    assert losses["centre"].item() == 50.0 and losses["offset"].item() == 0.0
    assert (logits.grad[:, 4:] == 0).all() and (logits.grad[:, :4] != 0).all()
