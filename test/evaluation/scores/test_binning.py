# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Bins of errors and deviations, against NumPy's slow ways."""

import numpy as np
import pytest

from mtl_perception.evaluation.scores.binning import EqualBins, OctaveBins, Places


@pytest.mark.parametrize("size", [0, 1, 3, 4, 1001])
def test_counts_and_sums_are_those_of_every_single_value(size):
    rng = np.random.default_rng(size)
    index = rng.integers(0, 64, size).astype(np.uint8)
    values = rng.random(size).astype(np.float32)
    before = index.copy()
    places = Places(index, 64)
    expected = np.zeros(64)
    np.add.at(expected, index, values)
    np.testing.assert_allclose(places.sums(values), expected, rtol=1e-12)
    assert places.counts().tolist() == np.bincount(index, minlength=64).tolist()
    assert np.array_equal(index, before)


def test_equal_bins():
    bins = EqualBins(limit=2.0, count=40)
    values = np.random.default_rng(1).uniform(0, 2, 500).astype(np.float32)
    assert bins.counts(values).tolist() == np.histogram(values, bins.edges)[0].tolist()
    assert np.flatnonzero(bins.counts(np.array([0, 2, 1e30, np.inf], np.float32))).tolist() == [0, 39]
    assert bins.counts(np.array([0, 2, 1e30, np.inf], np.float32))[39] == 3


def test_octaves_begin_at_the_powers_of_two_and_are_cut_in_the_middle():
    bins = OctaveBins(first=-2, last=2)
    values = np.array([0.25, 0.374, 0.375, 0.499, 0.5, 0.99, 1.0, 1.5, 2.0, 3.99], np.float32)
    assert bins.count == 8 and bins.places(values).index.tolist() == [0, 0, 1, 1, 2, 3, 4, 5, 6, 7]
    assert bins.places(np.array([0.0, 0.01, 4.0, 1e30], np.float32)).index.tolist() == [0, 0, 7, 7]
