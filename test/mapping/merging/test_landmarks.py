# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Guesses from things of the same classes: random places, most things seen by one robot only."""

import numpy as np
import pytest

from mtl_perception.core.transforms import inverse, transform_points
from mtl_perception.mapping.merging.landmarks import Landmarks, are_same, guesses
from test.mapping.conftest import body_pose


def places(seed, count, classes=3):
    """Things scattered over 20 m x 20 m."""
    random = np.random.default_rng(seed)
    positions = random.uniform((0, 0, 0.2), (20, 20, 1.2), (count, 3))
    return Landmarks(random.integers(0, classes, count), positions, random.uniform(0.3, 2.0, (count, 2)))


def seen(landmarks, rows, random, noise=0.1):
    """Some of the things as a robot has them: a little off, and of sizes that are a little off."""
    return Landmarks(
        landmarks.labels[rows],
        landmarks.positions[rows] + random.normal(0, noise, (len(rows), 3)),
        landmarks.sizes[rows] * random.uniform(0.8, 1.2, (len(rows), 2)),
    )


def moved(landmarks, transform):
    return Landmarks(landmarks.labels, transform_points(transform, landmarks.positions), landmarks.sizes)


@pytest.mark.parametrize("seed", range(8))
def test_the_best_guess_is_right_where_a_third_is_shared(seed):
    random = np.random.default_rng(100 + seed)
    everything = places(seed, 50)
    other_from_self = body_pose(random.uniform(-30, 30, 3), yaw=random.uniform(-np.pi, np.pi))
    ours = seen(everything, np.arange(0, 32), random)
    theirs = moved(seen(everything, random.permutation(np.arange(18, 50)), random), other_from_self)
    best, *rest = guesses(ours, theirs, 5)
    middle = theirs.positions.mean(axis=0)
    assert are_same(best.transform, inverse(other_from_self), middle)
    away = transform_points(best.transform, middle) - transform_points(inverse(other_from_self), middle)
    assert np.linalg.norm(away) < 0.3
    assert best.support >= 8 and all(other.likeness < 0.7 * best.likeness for other in rest)
    np.testing.assert_array_equal(best.transform[2, :3], [0, 0, 1])


def test_of_one_class_alone_sizes_tell_things_apart():
    random = np.random.default_rng(5)
    everything = places(9, 60, classes=1)
    transform = body_pose((8.0, -3.0, 0.5), yaw=2.4)
    theirs = moved(seen(everything, np.arange(25, 60), random), transform)
    best = guesses(seen(everything, np.arange(0, 36), random), theirs, 1)[0]
    assert are_same(best.transform, inverse(transform), theirs.positions.mean(axis=0))


def test_the_order_of_things_does_not_matter():
    random = np.random.default_rng(3)
    everything = places(4, 30)
    ours, theirs = seen(everything, np.arange(20), random), seen(everything, np.arange(10, 30), random)
    order = random.permutation(20)
    again = Landmarks(theirs.labels[order], theirs.positions[order], theirs.sizes[order])
    one, other = guesses(ours, theirs, 1)[0], guesses(ours, again, 1)[0]
    np.testing.assert_allclose(one.transform, other.transform, atol=1e-9)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_things_give_few_guesses(count):
    few, many = places(1, count), places(1, 10)
    assert all(guess.support <= count for pair in ((few, many), (many, few)) for guess in guesses(*pair, 5))


def test_a_street_of_many_things_is_no_problem():
    random = np.random.default_rng(0)
    everything = places(2, 1500, classes=2)
    everything = Landmarks(everything.labels, everything.positions * (7, 7, 1), everything.sizes)
    transform = body_pose((50.0, 9.0, 0.0), yaw=-1.0)
    theirs = moved(seen(everything, np.arange(750, 1500), random), transform)
    best = guesses(seen(everything, np.arange(0, 900), random), theirs, 1)[0]
    assert are_same(best.transform, inverse(transform), theirs.positions.mean(axis=0)) and best.support > 100
