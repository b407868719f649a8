# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Steering: tokens of frames, pooling over them, the head."""

import pytest
import torch
from torch import Tensor

from mtl_perception.network.driving.attentive_pooler import AttentivePooler, FrameTokens, MotionToken, SteeringHead


@pytest.fixture
def pooler() -> AttentivePooler:
    torch.manual_seed(0)
    return AttentivePooler(16)


def sequence(batch: int = 3, length: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    tokens = torch.randn(batch, length, 8, 16, generator=torch.Generator().manual_seed(1))
    age = 0.1 * torch.arange(length - 1, -1, -1.0).expand(batch, length)
    return tokens, age, torch.ones(batch, length, dtype=torch.bool)


@pytest.mark.parametrize("length", [1, 5, 16])
@pytest.mark.parametrize("batch", [1, 3])
def test_shapes(pooler: AttentivePooler, batch: int, length: int) -> None:
    pooled = pooler(*sequence(batch, length))
    assert pooled.shape == (batch, 16)
    angle, log_variance = SteeringHead(16)(pooled)
    assert angle.shape == log_variance.shape == (batch,)
    assert angle.abs().max() < 2.0
    assert ((log_variance > -10) & (log_variance < 2)).all()


def test_what_is_not_known_of_the_motion_is_one_token_whatever_else_is_known() -> None:
    torch.manual_seed(0)
    token = MotionToken(16)
    twist = torch.tensor([[0.0, 0.0, 0.2, 4.0, 0.0, 0.0], [0.0, 0.0, torch.nan, 4.0, 0.0, 0.0], [torch.nan] * 6])
    curve, unknown, nothing = token(twist)
    assert curve.shape == (1, 16) and torch.equal(unknown, nothing) and not torch.allclose(curve, unknown)
    # A vehicle that stands has no curvature, however its rotation trembles; one that is thrown about has bounds.
    standing = token(torch.tensor([[0.0, 0.0, 1e-4, 0.0, 0.0, 0.0], [0.0, 0.0, -1e-4, 0.0, 0.0, 0.0]]))
    torch.testing.assert_close(standing[0], standing[1], atol=1e-2, rtol=0.0)
    assert token(torch.full((1, 6), 1e30)).isfinite().all()


def test_masked_frames_do_not_matter_whatever_they_hold(pooler: AttentivePooler) -> None:
    tokens, age, valid = sequence()
    valid[:, :2] = False
    expected = pooler(tokens[:, 2:], age[:, 2:], valid[:, 2:])
    tokens[:, :2] = float("nan")
    age = age.clone()
    age[:, :2] = float("inf")
    tokens.requires_grad_()
    pooled = pooler(tokens, age, valid)
    torch.testing.assert_close(pooled, expected)
    pooled.sum().backward()
    assert tokens.grad is not None
    assert (tokens.grad[:, :2] == 0).all()
    assert (tokens.grad[:, 2:].abs().sum(dim=(2, 3)) > 0).all()


def test_without_any_frame_the_result_is_a_finite_constant(pooler: AttentivePooler) -> None:
    tokens, age, valid = sequence()
    pooled = pooler(tokens, age, ~valid)
    assert pooled.isfinite().all()
    torch.testing.assert_close(pooled, pooled[:1].expand_as(pooled))
    assert not torch.allclose(pooled, pooler(tokens, age, valid), atol=1e-2)


def test_the_time_of_a_frame_matters_but_not_its_place_in_the_sequence(pooler: AttentivePooler) -> None:
    tokens, age, valid = sequence()
    expected = pooler(tokens, age, valid)
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(pooler(tokens[:, order], age[:, order], valid), expected)
    assert not torch.allclose(pooler(tokens[:, order], age, valid), expected, atol=1e-3)
    assert not torch.allclose(pooler(tokens, 2.0 * age, valid), expected, atol=1e-3)


def test_the_place_of_a_token_in_the_frame_matters(pooler: AttentivePooler) -> None:
    tokens, age, valid = sequence()
    assert not torch.allclose(pooler(tokens.flip(2), age, valid), pooler(tokens, age, valid), atol=1e-4)


def test_sequences_do_not_see_each_other(pooler: AttentivePooler) -> None:
    tokens, age, valid = sequence()
    valid[1, 0] = False
    alone = pooler(tokens[1:2], age[1:2], valid[1:2])
    torch.testing.assert_close(pooler(tokens, age, valid)[1:2], alone)


def test_gradients_reach_every_weight(pooler: AttentivePooler) -> None:
    head = SteeringHead(16)
    angle, log_variance = head(pooler(*sequence()))
    (angle.square().sum() + log_variance.square().sum()).backward()
    for name, parameter in (*pooler.named_parameters(), *head.named_parameters()):
        if name != "key.bias":  # adds the same to all scores
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_bfloat16_stays_close(pooler: AttentivePooler) -> None:
    tokens, age, valid = sequence(length=16)
    head = SteeringHead(16)
    exact = pooler(tokens, age, valid)
    angle, _ = head(exact)
    rough = pooler.to(torch.bfloat16)(tokens.bfloat16(), age, valid)
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), exact, atol=0.05, rtol=0.05)
    rough_angle, _ = head.to(torch.bfloat16)(rough)
    assert rough_angle.dtype == torch.float32
    torch.testing.assert_close(rough_angle, angle, atol=0.05, rtol=0.05)


def test_it_can_learn_which_frame_counts(pooler: AttentivePooler) -> None:
    # The answer is in the tokens of the frame of 0.2 s ago only.
    generator = torch.Generator().manual_seed(2)
    head = SteeringHead(16)
    parameters = [*pooler.parameters(), *head.parameters()]
    _, age, valid = sequence(64, 4)
    losses = []
    for step in range(150):
        tokens = torch.randn(64, 4, 8, 16, generator=generator)
        tokens = tokens.mean(dim=2, keepdim=True).expand_as(tokens) * 8**0.5
        target = tokens[:, 1, 0, 0]
        loss = (head(pooler(tokens, age, valid))[0] - target).square().mean()
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():  # sign descent; importing torch.optim's Adam takes longer than all these steps
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= 3e-3 * (1.0 - step / 150) * gradient.sign()
        losses.append(loss.item())
    assert sum(losses[-10:]) / 10 < 0.4  # the variance of the target is 1


def test_frame_tokens_are_the_mean_over_the_cameras_of_a_frame() -> None:
    maps = torch.rand(3, 4, 15, 23, generator=torch.Generator().manual_seed(3))
    pool = FrameTokens()
    tokens = pool(maps, torch.tensor([1, 0, 1]), 3)
    assert tokens.shape == (3, 8, 4)
    single = [pool(maps[i : i + 1], torch.tensor([0]), 1)[0] for i in range(3)]
    torch.testing.assert_close(tokens[0], single[1])
    torch.testing.assert_close(tokens[1], (single[0] + single[2]) / 2)
    assert (tokens[2] == 0).all()


def test_frame_tokens_keep_where_things_are() -> None:
    maps = torch.zeros(1, 1, 8, 16)
    maps[:, :, 4:, 12:] = 1.0
    assert FrameTokens()(maps, torch.tensor([0]), 1)[0, :, 0].tolist() == [0, 0, 0, 0, 0, 0, 0, 1]
    rough = FrameTokens()(maps.bfloat16(), torch.tensor([0]), 1)
    assert rough.dtype == torch.bfloat16


def test_errors(pooler: AttentivePooler) -> None:
    with pytest.raises(ValueError, match="17 frames, at most 16"):
        pooler(*sequence(1, 17))
    tokens, age, valid = sequence()
    with pytest.raises(ValueError, match="1 tokens a frame, not 8"):
        pooler(tokens[:, :, :1], age, valid)
    with pytest.raises(ValueError, match="does not divide"):
        AttentivePooler(10)
