# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The filter behind tracks."""

import numpy as np
import pytest

from mtl_perception.mapping.graph.constant_velocity import begun, distances, predicted, updated

RAY = np.array([20.0, 0.0])


def test_the_filter_is_as_sure_as_it_is_right():
    """Squared errors over their predicted variance are 4 on average (NEES of a state of 4 numbers)."""
    rng = np.random.default_rng(0)
    errors, noise = [], np.array([np.hypot(0.3, 1.0), np.hypot(0.3, 0.2)])
    for _ in range(100):
        place, velocity = rng.normal(0, 5, 2), rng.normal(0, 3, 2)
        state = begun(place + rng.normal(0, noise), velocity + rng.normal(0, 3, 2), RAY)
        for _ in range(20):
            push = rng.normal(0, 2, 2)
            place, velocity = place + 0.1 * velocity + 0.005 * push, velocity + 0.1 * push
            state = updated(*predicted(*state, 0.1), place + rng.normal(0, noise), RAY)
        off = state[0] - np.concatenate([place, velocity])
        errors.append(off @ np.linalg.solve(state[1], off))
    assert np.mean(errors) == pytest.approx(4, abs=0.8)


def test_distances_are_those_of_mahalanobis():
    mean, covariance = begun(np.array([20.0, 0.0]), np.array([np.nan, np.nan]), RAY)
    assert mean.tolist() == [20, 0, 0, 0]
    positions = np.array([[22.0, 0.0], [20.0, 2.0]])
    squared = distances(mean[None], covariance[None], positions, np.array([RAY, RAY]))
    assert squared == pytest.approx(np.array([[4 / (2 * 1.09), 4 / (2 * 0.13)]]))


def test_what_is_not_measured_grows_uncertain():
    mean, covariance = begun(np.zeros(2), np.array([1.0, 2.0]), RAY)
    later, wider = predicted(mean, covariance, 2.0)
    assert later.tolist() == [2, 4, 1, 2]
    assert (np.diag(wider) > np.diag(covariance)).all()
    twice = predicted(*predicted(mean, covariance, 1.0), 1.0)
    assert twice[0] == pytest.approx(later)
