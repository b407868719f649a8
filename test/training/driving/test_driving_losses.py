# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The losses of steering and scene-level classes."""

import math

import pytest
import torch

from mtl_perception.training.driving.losses import (
    balanced_class_weights,
    nearly_straight_loss,
    scene_class_loss,
    steering_loss,
)


def test_curves_weigh_more_than_straight_driving():
    true, wrong = torch.tensor([0.0, 0.3]), torch.zeros(2)
    plain = steering_loss(true + 0.1, wrong, true, 0.0, 0.01)
    in_curve = steering_loss(true + torch.tensor([0.0, 0.1]), wrong, true, 6.0, 0.01)
    straight = steering_loss(true + torch.tensor([0.1, 0.0]), wrong, true, 6.0, 0.01)
    weight = math.exp(1.8)
    constant = float(plain) - 1.0 - 2.5  # of the likelihood of equal errors, shifted by that of the least variance
    assert float(in_curve - straight) == pytest.approx((weight - 1) / (weight + 1), abs=1e-5)
    assert abs(constant) < 1.0


def test_the_deviation_learns_the_error_and_leaves_the_angle_alone():
    angle, log_variance = torch.tensor([0.2], requires_grad=True), torch.tensor([-2.0], requires_grad=True)
    steering_loss(angle, log_variance, torch.tensor([0.0]), 0.0, 1.0).backward()
    assert angle.grad.item() == pytest.approx(0.4)  # of the squared error alone
    assert log_variance.grad.item() > 0  # the error is smaller than stated
    log_variance.grad = None
    steering_loss(angle, log_variance, torch.tensor([1.0]), 0.0, 1.0).backward()
    assert log_variance.grad.item() < 0


def test_a_small_angle_pulls_as_hard_as_a_large_one():
    angle = torch.tensor([0.02, 0.2, 0.001], requires_grad=True)
    nearly_straight_loss(angle, torch.zeros(3), 0.04).backward()
    small, large, smallest = angle.grad.tolist()
    assert small == pytest.approx(large) and small == pytest.approx(1 / 3 / 0.2)
    assert smallest == pytest.approx(small / 10)  # smooth about the truth
    assert nearly_straight_loss(angle, torch.zeros(3), 0.04).item() == pytest.approx(
        (0.015 + 0.195 + 0.00005) / 3 / 0.2
    )


def test_one_large_error_does_not_outweigh_the_rest_and_no_loss_is_negative():
    least = torch.full((2,), -10.0, requires_grad=True)
    loss = steering_loss(torch.tensor([0.0, 0.5]), least, torch.zeros(2), 0.0, 1.0)
    loss.backward()
    assert least.grad.abs().max() <= 0.5
    assert steering_loss(torch.zeros(2), torch.full((2,), -10.0), torch.zeros(2), 0.0, 1.0).item() == pytest.approx(0)


def test_what_is_not_known_counts_for_nothing():
    angle = torch.tensor([0.2, 5.0], requires_grad=True)
    loss = steering_loss(angle, torch.zeros(2), torch.tensor([0.0, torch.nan]), 6.0, 1.0)
    loss.backward()
    assert angle.grad[1] == 0 and angle.grad[0] > 0
    assert steering_loss(angle, torch.zeros(2), torch.full((2,), torch.nan), 6.0, 1.0).item() == 0
    angle.grad = None
    nearly_straight_loss(angle, torch.tensor([0.0, torch.nan]), 1.0).backward()
    assert angle.grad[1] == 0 and angle.grad[0] > 0
    assert nearly_straight_loss(angle, torch.full((2,), torch.nan), 1.0).item() == 0
    logits = torch.randn(3, 4, requires_grad=True)
    scene_class_loss(logits, torch.tensor([1, -1, 2]), torch.ones(4), 0.1).backward()
    assert not logits.grad[1].any() and logits.grad[0].any()
    assert scene_class_loss(logits, torch.full((3,), -1), torch.ones(4), 0.1).item() == 0


def test_classes_count_the_same_up_to_a_limit():
    weights = balanced_class_weights([90, 10, 0])
    torch.testing.assert_close(weights, torch.tensor([100 / 180, 5.0, 0.0]))
    assert float((weights * torch.tensor([90.0, 10.0, 0.0])).sum()) == pytest.approx(100)
    assert float(balanced_class_weights([10_000, 1])[1]) == 10
