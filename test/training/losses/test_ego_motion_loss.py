# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mtl_perception.network.geometry import reproject
from mtl_perception.network.motion.matching import COARSE_STRIDE, STRIDE, Matches
from mtl_perception.network.motion.se3 import matrix_from_vector
from mtl_perception.training.losses.ego_motion import matching_loss, step_loss

HEIGHT, WIDTH = 48, 64
K = torch.tensor([[60.0, 0, 31.5], [0, 60.0, 23.5], [0, 0, 1]])[None]
MOTION = matrix_from_vector(torch.tensor([[0.0, 0.02, 0.0, 0.1, 0.0, 0.4]]))
STILL = torch.zeros(1, 3, HEIGHT, WIDTH)


def _depth() -> Tensor:
    """A slanted plane at full size."""
    return (4.0 + torch.arange(HEIGHT)[:, None] / 20 + torch.arange(WIDTH) / 30)[None]


def _at(truth: Tensor, stride: int) -> Tensor:
    return truth[..., stride // 2 :: stride, stride // 2 :: stride]


def _right(log_precision: float = 3.0) -> Matches:
    depth = _depth()
    coarse, _ = reproject(_at(depth, COARSE_STRIDE), K, MOTION, K, COARSE_STRIDE)
    fine, _ = reproject(_at(depth, STRIDE), K, MOTION, K, STRIDE)
    height, width = coarse.shape[1:3]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    places = torch.stack([columns, rows], dim=-1).flatten(0, 1).float()
    similarity = -8.0 * (coarse.flatten(1, 2)[:, :, None] - places).square().sum(dim=-1)
    precision = torch.full(fine.shape[:3], log_precision)
    return Matches(similarity, coarse, fine, precision, precision)


def _loss(matches: Matches, moved: Tensor = STILL, truth: Tensor | None = None, motion: Tensor = MOTION) -> float:
    truth = _depth() if truth is None else truth
    return matching_loss(matches, _at(_depth(), STRIDE), truth, moved, K, K, motion).item()


def test_wrong_matches_cost_more() -> None:
    right = _right()
    assert _loss(right) < _loss(replace(right, fine=right.fine + 0.3)) < _loss(replace(right, fine=right.fine + 1.0))
    assert _loss(right) < _loss(replace(right, similarity=right.similarity.flip(2)))


def test_matches_and_motion_are_of_the_same_direction() -> None:
    backward = torch.linalg.inv(MOTION)
    assert _loss(_right()) + 0.5 < _loss(_right(), motion=backward)


@pytest.mark.parametrize("name", ["log_precision", "still_log_precision"])
@pytest.mark.parametrize("error", [0.05, 0.3, 2.0])
def test_the_best_precision_is_that_of_the_residuals(error: float, name: str) -> None:
    torch.manual_seed(0)
    right = _right()
    noisy = right.fine + error * torch.randn_like(right.fine)
    shared = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.Adam([shared], lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        matches = replace(right, fine=noisy, **{name: shared.expand_as(right.log_precision)})
        matching_loss(matches, _at(_depth(), STRIDE), _depth(), STILL, K, K, MOTION).backward()
        optimizer.step()
    # The t distribution's scale is a little smaller than the deviation of Gaussian residuals.
    assert float((-0.5 * shared.detach()).exp()) == pytest.approx(error, rel=0.35)


def test_a_wrong_depth_makes_alignment_unsure_and_leaves_the_match_sure() -> None:
    log_precision, still = torch.zeros((), requires_grad=True), torch.zeros((), requires_grad=True)
    right = _right()
    size = right.log_precision.shape
    matches = replace(right, log_precision=log_precision.expand(size), still_log_precision=still.expand(size))
    matching_loss(matches, 1.5 * _at(_depth(), STRIDE), _depth(), STILL, K, K, MOTION).backward()
    assert log_precision.grad is not None and still.grad is not None
    assert still.grad < log_precision.grad  # it is to grow sooner


def test_what_moved_by_itself_is_right_where_it_was() -> None:
    moved = torch.zeros_like(STILL)
    moved[:, 0, :, 32:] = 0.3
    where, _ = reproject(_at(_depth(), STRIDE), K, MOTION, K, STRIDE, _at(moved, STRIDE))
    followed = replace(_right(), fine=where)
    assert (where - _right().fine).abs().amax() > 0.5  # pixels at stride 4
    assert _loss(followed, moved) < _loss(_right(), moved) - 0.1
    assert _loss(followed) > _loss(_right()) + 0.1


def test_what_is_unknown_teaches_no_match() -> None:
    wrong = replace(_right(), fine=_right().fine + 1.0, similarity=_right().similarity.flip(2))
    wrong.fine.requires_grad_()
    matching_loss(wrong, _at(_depth(), STRIDE), _depth(), torch.full_like(STILL, torch.nan), K, K, MOTION).backward()
    assert wrong.fine.grad is not None and wrong.fine.grad.abs().max() == 0
    unknown = torch.full((1, HEIGHT, WIDTH), torch.nan)
    assert _loss(wrong, truth=unknown) == 0.0


def test_a_step_costs_by_what_share_of_the_motion_it_is() -> None:
    motion = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    motion[0, 0, 3] = 0.9
    step = torch.zeros(2, 6, dtype=torch.float64)
    assert step_loss(step, motion).item() == 0.0
    step[0, 4] = 0.5  # half of 0.9 m and 0.1 m
    assert step_loss(step, motion).item() == pytest.approx(math.log(1.5) / 2)
    step[1, 0] = 0.02
    assert step_loss(step, motion).item() == pytest.approx((math.log(1.5) + math.log(2.0)) / 2)
