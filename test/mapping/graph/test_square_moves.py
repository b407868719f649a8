# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What squares have from the squares that they come from."""

import numpy as np

from mtl_perception.mapping.graph.square_moves import SquareMoves
from mtl_perception.mapping.graph.squares import Squares

A, B, C = (0, 0), (1, 0), (-20, 3)


def moves_of(*cells):
    """Old squares A, B and C, of which so many cells have come to new squares: (old, new, how many)."""
    old, new = Squares({}), Squares({})
    old.make(np.array([A, B, C]))
    new.make(np.array([(5, 5), (-40, 5)]))
    pairs = [(one, other) for one, other, count in cells for _ in range(count)]
    came_from, now = (np.array([pair[side] for pair in pairs], np.int64).reshape(-1, 2) for side in (0, 1))
    return SquareMoves(old, new, now, came_from), lambda *at: old.nodes(np.array(at)), new


def test_most_of_a_name_wins_over_more_of_one_square():
    moves, old, new = moves_of((A, (5, 5), 3), (B, (5, 5), 3), (C, (5, 5), 4), (C, (6, 5), 1))
    names = np.full(len(moves.old), -1)
    names[old(A, B, C)] = 7, 7, 3
    nodes, found = moves.most(names)
    assert new.of(nodes).tolist() == [[5, 5], [6, 5]] and found.tolist() == [7, 3]
    names[old(C)] = -1
    nodes, found = moves.most(names)
    assert new.of(nodes).tolist() == [[5, 5]] and found.tolist() == [7]


def test_where_most_of_a_square_has_come_to():
    moves, old, new = moves_of((A, (5, 5), 2), (A, (6, 5), 3), (C, (-40, 5), 1), (B, (90, 90), 4))
    sources, nodes = moves.targets(np.sort(old(A, B, C)))
    assert sources.tolist() == sorted(old(A, C).tolist())  # where B has come to, there is no square
    to = {A: [6, 5], C: [-40, 5]}
    assert new.of(nodes).tolist() == [to[tuple(square)] for square in moves.old.of(sources).tolist()]


def test_the_first_and_the_last_stamp():
    moves, old, new = moves_of((A, (5, 5), 1), (B, (5, 5), 9), (C, (6, 5), 1))
    stamps = np.full(len(moves.old), -1)
    stamps[old(A, B)] = 30, 20
    for which, expected in ((np.minimum, 20), (np.maximum, 30)):
        nodes, found = moves.extremes(stamps, which)
        assert new.of(nodes).tolist() == [[5, 5]] and found.tolist() == [expected]


def test_nothing_has_come_from_nowhere():
    moves, _, _ = moves_of()
    nothing = np.full(len(moves.old), -1)
    for found in (moves.most(nothing), moves.targets(np.arange(4)), moves.extremes(nothing, np.minimum)):
        assert [len(part) for part in found] == [0, 0]
