# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Stamps of blocks, against a dictionary."""

import numpy as np

from mtl_perception.mapping.fusion.measured import NEVER_NS, MeasuredBlocks


def test_stamps_are_those_that_a_dictionary_keeps():
    rng = np.random.default_rng(7)
    measured, known = MeasuredBlocks(), {}
    every = np.stack(np.meshgrid(*[np.arange(-3, 4, dtype=np.int32)] * 3), axis=-1).reshape(-1, 3)
    for stamp in range(1, 40):
        keys = every[rng.integers(0, len(every), rng.integers(0, 40))]
        measured.note(keys, stamp)
        for key in map(tuple, keys.tolist()):
            known[key] = (known.get(key, (stamp,))[0], stamp)
        gone = every[rng.integers(0, len(every), rng.integers(0, 10))]
        measured.forget(gone)
        for key in map(tuple, gone.tolist()):
            known.pop(key, None)
        assert measured.of(every, -1).tolist() == [list(known.get(tuple(key), (-1, -1))) for key in every.tolist()]
    assert 0 < len(known) < len(every)


def test_what_is_added_is_known_and_what_was_never_measured_stays_so():
    measured = MeasuredBlocks()
    measured.note(np.array([[9, 9, 9]], np.int32), 1)
    keys = np.array([[2, 0, 0], [-1, 0, 5], [0, 0, 0]], np.int32)
    measured.add(keys, np.array([[3, 4], [5, 6], [NEVER_NS, NEVER_NS]]))
    measured.note(keys[:1], 8)
    asked = np.array([[9, 9, 9], [-1, 0, 5], [0, 0, 0], [2, 0, 0]], np.int32)
    assert measured.of(asked, 0).tolist() == [[1, 1], [5, 6], [0, 0], [3, 8]]


def test_what_is_not_known_here_may_be_known_elsewhere():
    def elsewhere(keys):
        return np.where(keys[:, :1] > 5, keys[:, :2].astype(np.int64), NEVER_NS)

    measured = MeasuredBlocks(elsewhere)
    measured.note(np.array([[9, 9, 9]], np.int32), 1)
    asked = np.array([[9, 9, 9], [7, 8, 0], [0, 0, 0]], np.int32)
    assert measured.of(asked, -3).tolist() == [[1, 1], [7, 8], [-3, -3]]
