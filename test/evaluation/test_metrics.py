# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics against cases worked out by hand."""

import numpy as np
import pytest

from mtl_perception.evaluation.metrics import BinaryOverlap, Confusion, DepthErrors


def test_depth_errors_by_hand_and_over_two_images() -> None:
    errors = DepthErrors(farthest=10.0)
    errors.add(np.array([[1.1, 4.0]]), np.array([[1.0, 2.0]]))
    errors.add(np.array([[3.0, 5.0]]), np.array([[3.0, np.nan]]))
    result = errors.result()
    assert result["abs_rel"] == pytest.approx((0.1 + 1.0 + 0.0) / 3)
    assert result["rmse"] == pytest.approx(np.sqrt((0.01 + 4.0) / 3))
    assert result["delta1"] == pytest.approx(2 / 3)


def test_a_pixel_without_prediction_counts_as_far_and_truth_beyond_the_cap_does_not_count() -> None:
    errors = DepthErrors(farthest=10.0)
    errors.add(np.array([[np.nan, 1.0]]), np.array([[5.0, 11.0]]))
    assert errors.pixels == 1 and errors.result()["abs_rel"] == pytest.approx(1.0)


def test_confusion_by_hand_with_void_and_a_foreign_class() -> None:
    confusion = Confusion(3)
    truth = np.array([0, 0, 1, 1, 255])
    predicted = np.array([0, 1, 1, 7, 0])
    confusion.add(predicted, truth)
    np.testing.assert_allclose(confusion.per_class()[:2], [1 / 2, 1 / 3])
    assert np.isnan(confusion.per_class()[2])
    assert confusion.result()["miou"] == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert confusion.result()["pixel_accuracy"] == pytest.approx(2 / 4)


def test_overlap_counts_only_what_is_observed() -> None:
    overlap = BinaryOverlap()
    overlap.add(np.array([True, True, False]), np.array([True, False, True]), np.array([True, True, False]))
    assert overlap.result()["iou"] == pytest.approx(1 / 2)
    assert np.isnan(BinaryOverlap().result()["iou"])


def test_sizes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="the truth is"):
        DepthErrors(1.0).add(np.ones((2, 2)), np.ones((3, 2)))
    with pytest.raises(ValueError, match="the truth is"):
        Confusion(2).add(np.ones((2, 2), int), np.ones((3, 2), int))
