# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Squares of the ground, found by a hash; their neighbours, and their numbers."""

import numpy as np

from mtl_perception.mapping.graph.square_ways import are_linked, ends_of_ways, neighbour
from mtl_perception.mapping.graph.squares import RING, STEPS, Squares, around, id_of, square_of

FIELDS = {"value": ("int32", (), 7), "pair": ("float32", (2,), np.nan)}


def filled():
    """Some hundred squares, far and near, on both sides of zero; each with its own value."""
    random = np.random.default_rng(1)
    places = np.unique(np.concatenate([random.integers(-40, 40, (300, 2)), [[-(10**6), 10**6]]]), axis=0)
    squares = Squares(FIELDS)
    for part in np.array_split(random.permutation(places), 7):
        nodes = squares.make(part)
        squares["value"][nodes] = part[:, 0] * 1000 + part[:, 1]
    return squares, places


def test_squares_are_found_where_they_were_made():
    squares, places = filled()
    nodes = squares.nodes(places)
    assert (nodes >= 0).all() and np.array_equal(squares.of(nodes), places)
    assert np.array_equal(squares["value"][nodes], places[:, 0] * 1000 + places[:, 1])
    assert np.isnan(squares["pair"]).all()
    assert squares.nodes(np.array([[10**5, 3]])).tolist() == [-1]
    size = len(squares)
    assert np.array_equal(squares.make(places), nodes) and len(squares) == size


def test_neighbours_are_beside_each_other():
    squares, places = filled()
    for step in RING.tolist():
        expected = squares.nodes(places + step)
        found = [neighbour(node, *step, squares.neighbours) for node in squares.nodes(places).tolist()]
        assert np.array_equal(found, expected)


def test_what_was_saved_goes_on():
    squares, places = filled()
    other = Squares(FIELDS)
    other.restore({name: array.copy() for name, array in squares.state().items()})
    assert np.array_equal(other.nodes(places), squares.nodes(places))
    more = np.array([[41, 3], [-60, 2]])
    assert np.array_equal(other.make(more), squares.make(more))
    assert np.array_equal(other.neighbours[: len(other) // 256], squares.neighbours[: len(squares) // 256])
    assert np.array_equal(other["value"], squares["value"])


def test_numbers_of_squares_are_their_own_and_small():
    x, y = np.meshgrid(np.arange(-50, 50), np.arange(-50, 50))
    squares = np.stack([x.ravel(), y.ravel()], axis=1)
    ids = id_of(squares)
    assert sorted(ids.tolist()) == list(range(10000))
    assert id_of(np.array([[-(2**20), 2**20]]))[0] < 2**56  # what a node symbol of spark-dsg holds
    far = np.random.default_rng(0).integers(-(2**26), 2**26, (1000, 2))
    far[:4] = [[-(2**26), 2**26], [2**26, 2**26], [2**26, -1], [0, 2**26]]
    for each in (squares, far):
        assert np.array_equal(square_of(id_of(each)), each)


def test_around_is_what_steps_lead_to():
    squares = np.array([[0, 0], [1, 0], [9, -7]])
    found = around(squares, RING)
    assert {tuple(at) for at in found.tolist()} == {(x + dx, y + dy) for x, y in squares for dx, dy in RING}
    assert len(around(squares[:0], RING)) == 0


def test_ways_link_both_their_ends():
    squares = Squares(FIELDS)
    nodes = squares.make(np.array([[15, 0], [16, 0], [15, 1], [30, 30]]))
    ways = np.zeros(len(squares), dtype=np.uint8)
    ways[nodes[0]] = 1 << 0  # to (16, 0), in another block
    ways[nodes[1]] = 1 << 3  # to (15, 1)
    assert are_linked(nodes, STEPS, squares.neighbours, ways).tolist() == [True, True, True, False]
    assert ends_of_ways(nodes, STEPS, squares.neighbours, ways).tolist() == [
        [nodes[0], nodes[1]],
        [nodes[1], nodes[2]],
    ]


def test_blocks_are_touched_once_made_and_when_somebody_says_so():
    squares = Squares(FIELDS)
    squares.make(np.array([[x, 0] for x in range(0, 640, 16)]))
    assert squares.take_touched().tolist() == list(range(40))
    assert squares.take_touched().tolist() == []
    squares.touch(squares.nodes(np.array([[17, 3], [18, 3], [600, 0]])))
    squares.make(np.array([[-1, -1], [0, 0]]))
    assert squares.take_touched().tolist() == [1, 37, 40]
    other = Squares(FIELDS)
    other.restore(squares.state())
    assert other.take_touched().tolist() == list(range(41))
