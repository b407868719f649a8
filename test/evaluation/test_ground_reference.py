# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Places and rooms of a map are judged by those of the world, as far as they were seen."""

import numpy as np
import pytest

from mtl_perception.core import LabelSpace
from mtl_perception.data.world.scene import Region as TrueRegion
from mtl_perception.data.world.truth.places import Places as TruePlaces
from mtl_perception.data.world.truth.world_truth import WorldMesh, WorldTruth
from mtl_perception.evaluation.ground_reference import ground_statistics
from mtl_perception.evaluation.score import ScoreOptions
from mtl_perception.evaluation.scores.scene_graph import SceneGraphScore
from mtl_perception.evaluation.statistics import FrameStatistics, TaskStatistics
from mtl_perception.mapping.graph.ground_graph import GroundView
from mtl_perception.mapping.graph.places import Places
from mtl_perception.mapping.graph.regions import Region
from mtl_perception.resources import config_file

LABELS = LabelSpace.load(config_file("labels", "default"))
GRID = 0.75


def squares(x, y):
    """Positions (N, 3), one in each square of 0.75 m from 0 up to x, y metres."""
    columns, rows = np.meshgrid(np.arange(0.375, x, GRID), np.arange(0.375, y, GRID))
    return np.stack([columns.ravel(), rows.ravel(), np.zeros(columns.size)], axis=1)


@pytest.fixture
def truth():
    """Two rooms of 3 m x 3 m beside each other; one can go everywhere."""
    positions = squares(6, 3)
    near = np.linalg.norm(positions[:, None] - positions, axis=2)
    edges = np.argwhere(np.triu((near > 0) & (near < 1.1))).astype(np.int32)
    outline = np.array([[0.0, 0], [3, 0], [3, 3], [0, 3]])
    rooms = (
        TrueRegion("room 1", "room", outline, 0.0, 2.5, ("room 2",)),
        TrueRegion("room 2", "room", outline + [3, 0], 0.0, 2.5, ("room 1",)),
    )
    places = TruePlaces(positions, np.full(len(positions), 0.3), (positions[:, 0] > 3).astype(np.int32), edges)
    none = np.zeros((0, 3))
    mesh = WorldMesh(none.astype(np.float32), none.astype(np.int32), np.zeros(0, np.uint8), none.astype(np.uint8))
    return WorldTruth(LABELS.names, mesh, (), rooms, places)


def ground(positions, regions):
    """A map's ground with these places, each in the region of that number or in none."""
    count, numbers = len(positions), np.asarray(regions, dtype=np.int64)
    stamps = np.zeros(count, dtype=np.int64)
    places = Places(
        np.arange(count),
        np.asarray(positions, dtype=np.float64).reshape(-1, 3),
        np.full(count, 0.3, dtype=np.float32),
        np.zeros(count, dtype=np.uint8),
        stamps,
        stamps,
        np.zeros((0, 2), dtype=np.int64),
        np.zeros(0),
    )
    at = np.zeros(3)
    found = [
        Region(number, "room", np.flatnonzero(numbers == number), at, 9.0, at, at, (), 0, 0)
        for number in np.unique(numbers[numbers >= 0]).tolist()
    ]
    return GroundView(places, numbers, tuple(found), ())


def metrics(truth, seen, view):
    sums = dict.fromkeys(("objects", "objects_right", "things", "things_found", "id_looks", "ids_kept"), 0)
    row = FrameStatistics(sums | ground_statistics(truth, seen, view))
    return SceneGraphScore(LABELS, ScoreOptions()).metrics(TaskStatistics.of([(0, row)]).total())


def test_the_worlds_own_places_and_rooms_are_perfect(truth):
    own = truth.places
    found = metrics(truth, own.positions, ground(own.positions, own.region + 4))
    assert [found[name] for name in ("place_precision", "place_recall", "room_purity", "room_coverage")] == [1.0] * 4


def test_one_room_for_two_is_half_pure_and_covers_half(truth):
    own = truth.places
    found = metrics(truth, own.positions, ground(own.positions, np.zeros(len(own.region))))
    assert (found["room_purity"], found["room_coverage"]) == (0.5, 0.5)


def test_two_rooms_for_one_are_pure(truth):
    own = truth.places.positions
    found = metrics(truth, own, ground(own, np.where(own[:, 0] > 3, 1, np.where(own[:, 1] > 1.5, 2, 0))))
    assert (found["room_purity"], found["room_coverage"]) == (1.0, 1.0)


def test_places_elsewhere_are_not_free_and_missing_ones_not_found(truth):
    own = truth.places.positions
    left = own[own[:, 0] < 3]
    shifted = np.concatenate([left, left + [20.0, 0, 0]])
    found = metrics(truth, own, ground(shifted, np.r_[np.zeros(len(left)), np.full(len(left), -1)]))
    assert found["place_precision"] == 0.5
    assert found["place_recall"] == pytest.approx(0.625)  # those in the next column are still near enough
    assert (found["room_purity"], found["room_coverage"]) == (1.0, 0.5)


def test_what_was_not_seen_is_not_asked_for(truth):
    own = truth.places.positions
    left = own[own[:, 0] < 3]
    found = metrics(truth, left, ground(left, np.zeros(len(left))))
    assert (found["place_recall"], found["room_coverage"]) == (1.0, 1.0)
    nothing = metrics(truth, np.zeros((0, 3)), ground(np.zeros((0, 3)), []))
    assert all(np.isnan(nothing[name]) for name in ("place_precision", "place_recall", "room_purity", "room_coverage"))
