# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How the places and rooms of a map compare with a rendered world's own, as far as a robot has seen them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from mtl_perception.data.world.truth.places import Places, regions_of
from mtl_perception.data.world.truth.world_truth import WorldTruth
from mtl_perception.mapping import GroundView

SEEN_M = 0.15
"""A true place was seen if something was that is so near to it."""
_FREE_M = 0.1  # beyond a true place's clearance: a cell of the grid
_LEAST_SEEN = 2  # true places: of a region of which fewer were seen a map need not know


def ground_statistics(truth: WorldTruth, seen: NDArray[np.float64], ground: GroundView) -> dict[str, int]:
    """Count, for `SceneGraphScore`, what of a map's ground is right, and what of a world's ground it has.

    Args:
        truth: of the world.
        seen: (N, 3) points of surfaces that were seen, in the world, metres.
        ground: of the map.
    """
    true, places = truth.places, ground.places
    was_seen = _near(true.positions, seen, SEEN_M)
    region = regions_of(places.positions, truth.regions)
    paired = (region >= 0) & (ground.place_region >= 0)
    votes = np.zeros((len(ground.regions), len(truth.regions)), dtype=np.int64)
    ids = np.array([item.id for item in ground.regions], dtype=np.int64)
    np.add.at(votes, (np.searchsorted(ids, ground.place_region[paired]), region[paired]), 1)
    main = votes.argmax(axis=1)[votes.any(axis=1)] if votes.size else np.zeros(0, dtype=np.int64)
    known = true.region[was_seen & (true.region >= 0)]
    asked = np.flatnonzero(np.bincount(known, minlength=len(truth.regions)) >= _LEAST_SEEN)
    return {
        "places": len(places),
        "places_free": int(np.count_nonzero(_is_free(places.positions, true))),
        "ground_seen": int(np.count_nonzero(was_seen)),
        "ground_found": int(np.count_nonzero(_near(true.positions[was_seen], places.positions, _spacing(true)))),
        "room_places": int(np.count_nonzero(paired)),
        "room_places_pure": int(votes.max(axis=1, initial=0).sum()),
        "rooms_seen": len(asked),
        "rooms_found": int(np.isin(asked, main).sum()),
    }


def _near(points: NDArray[np.float64], others: NDArray[np.float64], reach: float) -> NDArray[np.bool_]:
    """Return for points (N, 3) whether one of others (M, 3) is at most `reach` metres away."""
    if not len(points) or not len(others):
        return np.zeros(len(points), dtype=bool)
    return np.asarray(cKDTree(others).query(points)[0] <= reach + 1e-9)


def _is_free(points: NDArray[np.float64], true: Places) -> NDArray[np.bool_]:
    """Return for points (N, 3) whether they lie in the free circle around one of the true places nearest to them."""
    if not len(points) or not len(true.positions):
        return np.zeros(len(points), dtype=bool)
    count = min(9, len(true.positions))
    apart, place = cKDTree(true.positions[:, :2]).query(points[:, :2], k=np.arange(1, count + 1))
    return (apart <= true.clearance[place] + _FREE_M).any(axis=1)


def _spacing(true: Places) -> float:
    """Return how far it is from a true place to the next, metres."""
    lengths = np.linalg.norm(true.positions[true.edges[:, 0]] - true.positions[true.edges[:, 1]], axis=1)
    return float(np.median(lengths)) if len(lengths) else 0.0
