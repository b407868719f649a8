# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Ego motion from two pyramids."""

import pytest
import torch
from torch import Tensor

from mtl_perception.network.motion.ego_motion import EgoMotionDecoder

SIZES = ((15, 23), (8, 12), (4, 6), (2, 3))


def pyramid(count: int, seed: int, sizes: tuple[tuple[int, int], ...] = SIZES) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(count, 8, height, width, generator=generator) for height, width in sizes]


@pytest.fixture
def decoder() -> EgoMotionDecoder:
    torch.manual_seed(0)
    return EgoMotionDecoder(8, hidden=16)


@pytest.mark.parametrize("count", [1, 3])
def test_shapes_and_a_start_near_the_identity(decoder: EgoMotionDecoder, count: int) -> None:
    motion = decoder(pyramid(count, 1), pyramid(count, 2))
    assert motion.vector.shape == motion.log_variance.shape == (count, 6)
    assert motion.previous_from_current.shape == (count, 4, 4)
    assert (motion.previous_from_current - torch.eye(4)).abs().max() < 0.05
    assert ((motion.log_variance > -14) & (motion.log_variance < -2)).all()


def test_a_head_of_zeros_means_rest(decoder: EgoMotionDecoder) -> None:
    for parameter in decoder.vector.parameters():
        torch.nn.init.zeros_(parameter)
    motion = decoder(pyramid(2, 1), pyramid(2, 2))
    assert torch.equal(motion.previous_from_current, torch.eye(4).expand(2, 4, 4))
    motion.previous_from_current.sum().backward()
    gradient = decoder.vector.weight.grad
    assert gradient is not None and gradient.isfinite().all() and gradient.abs().sum() > 0


def test_gradients_reach_every_level_of_both_frames_and_every_weight(decoder: EgoMotionDecoder) -> None:
    previous = [level.requires_grad_() for level in pyramid(2, 1)]
    current = [level.requires_grad_() for level in pyramid(2, 2)]
    motion = decoder(previous, current)
    (motion.vector.square().sum() + motion.log_variance.square().sum()).backward()
    for tensor in (*previous, *current, *decoder.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.abs().sum() > 0


def test_the_order_of_the_frames_matters(decoder: EgoMotionDecoder) -> None:
    decoder.eval()
    first, second = pyramid(2, 1), pyramid(2, 2)
    assert not torch.allclose(decoder(first, second).vector, decoder(second, first).vector, rtol=1e-3)


def test_cameras_do_not_see_each_other(decoder: EgoMotionDecoder) -> None:
    decoder.eval()
    previous, current = pyramid(3, 1), pyramid(3, 2)
    together = decoder(previous, current)
    alone = decoder([level[1:2] for level in previous], [level[1:2] for level in current])
    torch.testing.assert_close(together.vector[1:2], alone.vector, atol=1e-7, rtol=1e-4)
    torch.testing.assert_close(together.log_variance[1:2], alone.log_variance)


def test_a_single_pixel_can_be_trained_on(decoder: EgoMotionDecoder) -> None:
    sizes = ((8, 8), (4, 4), (2, 2), (1, 1))
    motion = decoder.train()(pyramid(1, 1, sizes), pyramid(1, 2, sizes))
    motion.vector.sum().backward()
    assert motion.vector.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in decoder.parameters())


def test_bfloat16_stays_close_and_gives_single_precision(decoder: EgoMotionDecoder) -> None:
    decoder.eval()
    previous, current = pyramid(2, 1), pyramid(2, 2)
    exact = decoder(previous, current)
    rough = decoder.to(torch.bfloat16)([x.bfloat16() for x in previous], [x.bfloat16() for x in current])
    assert rough.vector.dtype == rough.log_variance.dtype == torch.float32
    torch.testing.assert_close(rough.vector, exact.vector, atol=3e-4, rtol=0.1)
    torch.testing.assert_close(rough.log_variance, exact.log_variance, atol=0.05, rtol=0)


def test_missing_levels_are_an_error(decoder: EgoMotionDecoder) -> None:
    with pytest.raises(ValueError, match="3 and 4 levels, not 4"):
        decoder(pyramid(1, 1)[:3], pyramid(1, 2))
