# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from mtl_perception.training.ablation.statistics import Interval, interval, paired_difference, verdict


def test_the_interval_is_that_of_scipy() -> None:
    values = list(np.random.default_rng(0).normal(3.0, 2.0, 7))
    found = interval(values)
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.mean == pytest.approx(np.mean(values))
    assert found.count == 7


def test_paired_differences_are_those_of_scipy_and_forget_what_a_seed_does_to_both() -> None:
    rng = np.random.default_rng(1)
    seeds = rng.normal(0.0, 10.0, 5)
    first, second = list(seeds + 1.0 + rng.normal(0.0, 0.1, 5)), list(seeds + rng.normal(0.0, 0.1, 5))
    found = paired_difference(first, second)
    expected = stats.ttest_rel(first, second).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.low > 0.5
    assert interval(first).low < interval(second).high  # apart from each other, the two tell nothing


def test_one_value_has_no_interval_and_none_has_no_mean() -> None:
    one = interval([2.0])
    assert (one.mean, one.low, one.high) == (2.0, -math.inf, math.inf)
    assert math.isnan(interval([]).mean)


def test_equal_values_have_an_interval_of_no_width() -> None:
    assert interval([5.0, 5.0, 5.0]) == Interval(5.0, 5.0, 5.0, 3)


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        interval([1.0, math.nan])
    with pytest.raises(ValueError, match="2 and 1"):
        paired_difference([1.0, 2.0], [1.0])


@pytest.mark.parametrize(
    ("low", "high", "relation", "margin", "expected"),
    [
        (0.1, 0.5, "better", 0.0, "holds"),
        (-0.1, 0.5, "better", 0.0, "undecided"),
        (-0.5, -0.1, "better", 0.0, "reversed"),
        (0.0, 0.5, "better", 0.0, "undecided"),
        (-0.5, 0.5, "equal", 1.0, "holds"),
        (-1.5, 0.5, "equal", 1.0, "undecided"),
        (1.1, 1.5, "equal", 1.0, "reversed"),
        (-1.5, -1.1, "equal", 1.0, "reversed"),
        (-0.9, 5.0, "not_worse", 1.0, "holds"),
        (-1.1, 5.0, "not_worse", 1.0, "undecided"),
        (-3.0, -1.1, "not_worse", 1.0, "reversed"),
    ],
)
def test_the_interval_alone_decides(low: float, high: float, relation: str, margin: float, expected: str) -> None:
    assert verdict(Interval((low + high) / 2, low, high, 3), relation, margin) == expected  # type: ignore[arg-type]


def test_a_single_seed_decides_nothing() -> None:
    assert verdict(interval([100.0]), "better") == "undecided"
    assert verdict(interval([]), "better") == "not run"


def test_equality_agrees_with_two_one_sided_tests() -> None:
    values = np.random.default_rng(3).normal(0.1, 0.2, 6)
    for margin in np.linspace(0.05, 0.8, 16):
        above = stats.ttest_1samp(values, -margin, alternative="greater").pvalue
        below = stats.ttest_1samp(values, margin, alternative="less").pvalue
        assert (verdict(interval(list(values)), "equal", margin) == "holds") == (max(above, below) < 0.025)
