# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Statistics: exact sums, whatever the order of merging; samples of frames."""

import random
from fractions import Fraction

import numpy as np
import pytest

from mtl_perception.evaluation.statistics import FrameStatistics, TaskStatistics, Totals, ratio


def row(error: float, pixels: int, findings: list[float] | None = None) -> FrameStatistics:
    return FrameStatistics(
        {"error": error, "pixels": pixels, "by_class": np.array([pixels, 2 * pixels])},
        {"score": np.array(findings or [])},
    )


def statistics(seed: int = 0, rows: int = 50) -> TaskStatistics:
    draw = np.random.default_rng(seed)
    return TaskStatistics.of(
        [
            (int(frame), row(float(draw.lognormal(0, 5)), int(draw.integers(1, 9)), list(draw.random(frame % 4))))
            for frame in range(rows)
        ]
    )


def test_sums_are_exact_and_do_not_depend_on_the_order_of_merging():
    parts = [statistics(seed) for seed in range(6)]
    whole = TaskStatistics.joined(parts).total()
    expected = sum((Fraction(float(v)) for part in parts for v in part.sums["error"]), Fraction(0))
    assert whole["error"] == expected
    random.Random(3).shuffle(parts)
    again = TaskStatistics.joined(parts).total()
    assert again["error"] == whole["error"] and again["pixels"] == whole["pixels"]
    assert np.array_equal(again["by_class"], whole["by_class"])


def test_copies_of_a_bag_give_to_the_last_bit_what_one_gives():
    one = statistics()
    many = TaskStatistics.joined([one] * 12)
    assert ratio(many.total()["error"], many.total()["pixels"]) == ratio(one.total()["error"], one.total()["pixels"])


def test_arrays_of_floats_are_added_exactly_too():
    tiny = [(0, FrameStatistics({"a": np.array([1e30, 1.0])})), (1, FrameStatistics({"a": np.array([1.0, -1.0])}))]
    both = TaskStatistics.of([*tiny, (2, FrameStatistics({"a": np.array([-1e30, 0.5])}))]).total()
    assert both["a"].tolist() == [1, Fraction(1, 2)]


def test_one_row_has_its_own_findings():
    of_three = statistics().row(3)
    assert of_three.frames == 1 and len(of_three.ranked["score"]) == 3 and of_three.ranked_frame.tolist() == [0, 0, 0]
    assert of_three["pixels"] == statistics().sums["pixels"][3]


def test_a_sample_counts_rows_as_often_as_they_are_drawn():
    whole = statistics()
    drawn = whole.sample(np.array([3, 3, 2, 7]))
    columns = whole.sums
    assert drawn["pixels"] == 2 * columns["pixels"][3] + columns["pixels"][2] + columns["pixels"][7]
    by_class = columns["by_class"]
    assert np.allclose(drawn["by_class"], 2 * by_class[3] + by_class[2] + by_class[7])
    assert drawn.ranked_frame.tolist() == [0] * 3 + [1] * 3 + [2] * 2 + [3] * 3
    of_row = whole.ranked["score"][whole.ranked_row == 3]
    assert drawn.ranked["score"][:6].tolist() == [*of_row, *of_row]


def test_a_sample_of_all_rows_is_the_total():
    whole = statistics()
    drawn, total = whole.sample(np.arange(len(whole))), whole.total()
    assert drawn["error"] == pytest.approx(float(total["error"]))
    assert np.array_equal(drawn.ranked["score"], total.ranked["score"])


def test_what_cannot_be_added_up_is_refused_by_name():
    with pytest.raises(ValueError, match="'error' is not finite"):
        row(float("nan"), 1)
    with pytest.raises(ValueError, match="a, b differ in length"):
        FrameStatistics({}, {"a": np.zeros(2), "b": np.zeros(3)})
    with pytest.raises(ValueError, match="must be the same"):
        TaskStatistics.of([(0, row(1.0, 1)), (1, FrameStatistics({"error": 1.0}))])
    with pytest.raises(ValueError, match="no row"):
        TaskStatistics.of([])
    with pytest.raises(ValueError, match="shapes"):
        TaskStatistics.of([(0, FrameStatistics({"a": np.zeros(2)})), (1, FrameStatistics({"a": np.zeros(3)}))])
    other = TaskStatistics.of([(0, FrameStatistics({"error": 1.0}))])
    with pytest.raises(ValueError, match="different columns"):
        TaskStatistics.joined([statistics(), other])


def test_a_ratio_is_rounded_once_and_nothing_over_nothing_is_not_defined():
    assert ratio(Fraction(1, 3), 1) == 1 / 3
    assert ratio(2.0, 4) == 0.5 and ratio(np.int64(1), np.int64(4)) == 0.25
    assert ratio(Fraction(2**40 + 1, 2**70), np.int64(3)) == (2**40 + 1) / 3 / 2**70
    assert np.isnan(ratio(0, 0)) and np.isnan(ratio(1.0, 0.0))
    assert isinstance(Totals({}, {}, np.zeros(0, np.int64), 0).frames, int)
