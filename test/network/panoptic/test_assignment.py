# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The assignment is the best of all, found without trying all."""

import itertools

import numpy as np
import pytest

from mtl_perception.network.panoptic.assignment import assign


@pytest.mark.parametrize("whole", [False, True])
def test_it_is_as_cheap_as_the_best_of_all_assignments(whole: bool) -> None:
    random = np.random.default_rng(0)
    for _ in range(100):
        rows = int(random.integers(0, 5))
        cost = random.normal(size=(rows, int(random.integers(max(rows, 1), 7))))
        cost = np.round(cost) if whole else cost  # with ties
        columns = assign(cost)
        assert len(set(columns)) == rows
        best = min(
            sum(cost[row, column] for row, column in enumerate(every))
            for every in itertools.permutations(range(cost.shape[1]), rows)
        )
        assert cost[np.arange(rows), columns].sum() == pytest.approx(best)


def test_impossible_ones_are_refused() -> None:
    with pytest.raises(ValueError, match="3 rows"):
        assign(np.zeros((3, 2)))
    with pytest.raises(ValueError, match="finite"):
        assign(np.full((1, 2), np.nan))
