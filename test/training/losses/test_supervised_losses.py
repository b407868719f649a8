# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The loss of each task: worked out by hand, zero where nothing is known."""

import numpy as np
import pytest
import torch

from mtl_perception.core import FREE, UNLABELLED, UNOBSERVED
from mtl_perception.training.losses.depth import RANKED, depth_loss
from mtl_perception.training.losses.motion import motion_loss
from mtl_perception.training.losses.semantic import overlap_loss, semantic_loss
from mtl_perception.training.losses.volume import occupancy_loss
from mtl_perception.training.samples import UNKNOWN_MOTION

BINS = torch.tensor([1.0, 2.0, 4.0, 8.0])


def depth_case(truth: float, scale: float = 1.0, peak: int | None = None, height: float = 50.0) -> float:
    logits = torch.zeros(1, 5, 1, 1)
    if peak is not None:
        logits[0, peak] = height
    return float(depth_loss(logits, torch.tensor([scale]), BINS, torch.full((1, 1, 1), truth)))


def test_depth_that_is_right_costs_nothing_also_through_another_lens() -> None:
    assert depth_case(2.0, peak=1) == pytest.approx(0.0, abs=1e-5)
    assert depth_case(6.0, scale=3.0, peak=1) == pytest.approx(0.0, abs=1e-5)


def test_depth_off_by_a_factor_costs_its_logarithm() -> None:
    twice, four_times = depth_case(2.0, peak=0), depth_case(4.0, peak=0)
    # The cross-entropy is the same, the rank is not.
    assert four_times - twice == pytest.approx(RANKED * np.log(2.0), abs=1e-4)


def test_not_to_know_costs_less_than_to_be_sure_and_wrong() -> None:
    unsure = depth_case(4.0)
    assert unsure < depth_case(4.0, peak=0) and unsure < depth_case(4.0, peak=1)
    assert depth_case(4.0, peak=2) < depth_case(4.0, peak=2, height=1.0) < unsure


def test_sky_wants_the_bin_of_no_surface_and_unknown_wants_nothing() -> None:
    assert depth_case(np.inf, peak=4) == pytest.approx(0.0, abs=1e-5)
    assert depth_case(np.inf, peak=0) > 10
    assert depth_case(np.nan, peak=0) == 0.0


def test_a_label_that_may_stand_for_two_classes_accepts_either() -> None:
    table = torch.tensor([[True, True, False], [False, False, True], [False, False, False]])
    weights = torch.ones(3)

    def loss(row: int, winner: int) -> float:
        logits = torch.zeros(1, 3, 1, 1)
        logits[0, winner] = 30.0
        return float(semantic_loss(logits, torch.tensor([[[row]]]), table, weights))

    assert loss(0, 0) == pytest.approx(0.0, abs=1e-4) and loss(0, 1) == pytest.approx(0.0, abs=1e-4)
    assert loss(0, 2) > 10 and loss(1, 2) == pytest.approx(0.0, abs=1e-4)
    assert loss(2, 0) == 0.0  # void


def test_overlap_of_certain_predictions_is_one_minus_the_mean_intersection_over_union():
    generator = torch.Generator().manual_seed(0)
    table = torch.cat([torch.eye(3, dtype=torch.bool), torch.tensor([[False] * 3, [True, True, False]])])
    rows = torch.randint(5, (2, 6, 7), generator=generator)
    predicted = torch.randint(3, rows.shape, generator=generator)
    logits = 50 * torch.nn.functional.one_hot(predicted, 3).permute(0, 3, 1, 2).float()
    known = rows < 3
    pairs = [(predicted[known] == label, rows[known] == label) for label in range(3)]
    iou = sum(float((found & true).sum() / (found | true).sum()) for found, true in pairs) / 3
    assert float(overlap_loss(logits, rows, table)) == pytest.approx(1 - iou, abs=1e-6)


def test_overlap_asks_for_a_small_class_as_much_as_for_a_large_one():
    table = torch.eye(2, dtype=torch.bool)
    rows = torch.zeros(1, 10, 10, dtype=torch.int64)
    rows[0, 0, :2] = 1
    logits = torch.zeros(1, 2, 10, 10)
    logits[:, 0] = 2.0
    logits.requires_grad_()
    overlap_loss(logits, rows, table).backward()
    assert logits.grad is not None
    small, large = logits.grad[0, 1, 0, :2], logits.grad[0, 1, 1:]
    assert (small < 0).all()
    assert float(small.sum().abs()) > float(large.sum().abs())


def test_overlap_without_annotation_is_nothing():
    logits = torch.randn(1, 2, 4, 4, requires_grad=True)
    loss = overlap_loss(logits, torch.zeros(1, 4, 4, dtype=torch.int64), torch.zeros(1, 2, dtype=torch.bool))
    loss.backward()
    assert float(loss.detach()) == 0.0


def test_motion_ignores_what_is_not_annotated() -> None:
    truth = torch.full((1, 8, 8), UNKNOWN_MOTION, dtype=torch.uint8)
    truth[0, :4, :4] = 255
    right = torch.full((1, 2, 2), 20.0)
    wrong_elsewhere = right.clone()
    wrong_elsewhere[0, 1, 1] = -20.0
    assert float(motion_loss(right, truth)) == pytest.approx(float(motion_loss(wrong_elsewhere, truth)), abs=1e-5)
    assert float(motion_loss(-right, truth)) > float(motion_loss(right, truth)) + 1


def test_occupancy_ignores_unobserved_voxels_and_unlabelled_classes() -> None:
    truth = torch.full((1, 2, 2, 1), UNOBSERVED, dtype=torch.uint8)
    truth[0, 0, 0, 0], truth[0, 1, 0, 0], truth[0, 0, 1, 0] = 1, FREE, UNLABELLED
    logits = torch.zeros(1, 4, 2, 2, 1)
    logits[0, 0, 0, 0], logits[0, 0, 1, 0], logits[0, 0, 0, 1] = 20.0, -20.0, 20.0
    logits[0, 2, 0, 0] = 20.0  # class 1
    best = float(occupancy_loss(logits, truth))
    logits[0, 0, 1, 1] = 20.0  # unobserved
    logits[0, 1, 0, 1] = 20.0  # class of the unlabelled one
    assert float(occupancy_loss(logits, truth)) == pytest.approx(best, abs=1e-5)
    logits[0, 0, 1, 0] = 20.0
    assert float(occupancy_loss(logits, truth)) > best + 1


def test_losses_without_any_truth_are_zero_with_a_gradient() -> None:
    logits = torch.zeros(1, 4, 2, 2, 1, requires_grad=True)
    truth = torch.full((1, 2, 2, 1), UNOBSERVED, dtype=torch.uint8)
    occupancy_loss(logits, truth).backward()
    assert logits.grad is not None and torch.isfinite(logits.grad).all()
