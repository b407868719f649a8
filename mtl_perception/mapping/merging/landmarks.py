# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Guesses where another map lies in this one, from where both have things of the same classes.

Gravity is known (REP-103: z is up), so yaw and a shift are sought. As in map matching by joint compatibility (Bailey,
"Mobile Robot Localisation and Mapping in Extensive Outdoor Environments", 2002, section 5.3) two pairings of things
agree if the things are as far apart, along the ground and in height, in both maps: that does not depend on where the
maps lie. A pairing that agrees with many others is a seed; the yaw that most of those agree on makes a guess of it,
which least squares then fit to all things that it brings together. Things of like sizes count for more: of one class
there may be dozens. There is no chance in it, unlike in RANSAC.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from mtl_perception.core.transforms import Transform, transform_points
from mtl_perception.mapping.graph.map_object import MapObject

_TOLERANCE = 0.4  # metres by which distances and heights may differ: robots see different sides of a thing
_SHORTEST, _LONGEST = 1.0, 30.0  # metres between two things: near ones tell little of the yaw
_NEIGHBOURS = 40  # of each thing, the nearest, that it is paired with
_MOST_MATCHES = 2_000_000  # pairs of pairings; classes of which there are few come first
_SEEDS = 100
_YAWS = 72  # bins of the yaw
_REACHES = (1.0, 0.7, 0.5, 0.5, 0.5)  # metres within which things are brought together, step by step
_SPREAD = 0.2  # metres, standard deviation between the centroids that two maps have of a thing
_SAME_PLACE, _SAME_YAW = 1.0, np.deg2rad(10.0)  # guesses that differ less are one


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Things by which a place is recognised.

    Attributes:
        labels: (N,) ids.
        positions: (N, 3), their centroids, metres.
        sizes: (N, 2), the diagonals of their boxes along the ground, and their heights, metres.
    """

    labels: NDArray[np.int64]
    positions: NDArray[np.float64]
    sizes: NDArray[np.float64]

    @classmethod
    def of(cls, objects: Sequence[MapObject]) -> Landmarks:
        """Return those that a map's objects are."""
        positions = np.array([item.centroid for item in objects]).reshape(-1, 3)
        extents = np.array([item.maximum - item.minimum for item in objects]).reshape(-1, 3)
        sizes = np.stack([np.hypot(extents[:, 0], extents[:, 1]), extents[:, 2]], axis=1)
        return cls(np.array([item.label for item in objects], np.int64), positions, sizes)


@dataclass(frozen=True, eq=False)
class Guess:
    """Where the other map may lie.

    Attributes:
        transform: self_from_other.
        support: how many things of both it brings together.
        likeness: the sum over these of how well they fit together in place and size, 0..1 each.
    """

    transform: Transform
    support: int
    likeness: float


def guesses(ours: Landmarks, theirs: Landmarks, most: int) -> list[Guess]:
    """Return up to `most` guesses that differ, those of most likeness first; at least two things support each."""
    matches = _matches(ours, theirs)
    if not len(matches.first):
        return []
    middle = theirs.positions.mean(axis=0)
    tree = cKDTree(_with_labels(ours.positions, ours.labels))
    found: list[Guess] = []
    seeds, starts = np.unique(matches.first, return_index=True)
    agree = np.add.reduceat(matches.weight, starts)
    for seed in seeds[np.argsort(-agree, kind="stable")[:_SEEDS]].tolist():
        first, last = np.searchsorted(matches.first, [seed, seed + 1])
        for yaw in _usual_yaws(matches.yaw[first:last], matches.weight[first:last]):
            start = _about(yaw, ours.positions[seed // len(theirs.labels)], theirs.positions[seed % len(theirs.labels)])
            found.append(_fitted(start, tree, ours, theirs))
    distinct: list[Guess] = []
    for guess in sorted(found, key=lambda guess: -guess.likeness):
        if len(distinct) == most:
            break
        if guess.support >= 2 and not any(are_same(guess.transform, other.transform, middle) for other in distinct):
            distinct.append(guess)
    return distinct


def are_same(one: Transform, other: Transform, middle: NDArray[np.float64]) -> bool:
    """Return whether two transforms lay what is around a point (3,) of the other map to about the same place."""
    away = np.linalg.norm(transform_points(one, middle) - transform_points(other, middle))
    turn = _yaw_of(one) - _yaw_of(other)
    return bool(away < _SAME_PLACE and abs((turn + np.pi) % (2 * np.pi) - np.pi) < _SAME_YAW)


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Pairs (P,) of things of a map: which they are, how far apart along the ground, how much higher the second is."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    length: NDArray[np.float64]
    rise: NDArray[np.float64]
    kind: NDArray[np.int64]  # both labels


@dataclass(frozen=True, eq=False)
class _Matches:
    """Pairings (M,) of a thing here with one there, in order; the yaw that another pairing says with each, and how
    alike the things of both are."""

    first: NDArray[np.int64]
    yaw: NDArray[np.float64]
    weight: NDArray[np.float64]


def _matches(ours: Landmarks, theirs: Landmarks) -> _Matches:
    here, there = _pairs(ours, both_ways=False), _pairs(theirs, both_ways=True)
    parts = []
    for kind in np.intersect1d(here.kind, there.kind).tolist():
        mine, other = np.flatnonzero(here.kind == kind), np.flatnonzero(there.kind == kind)
        other = other[np.argsort(there.length[other], kind="stable")]
        low = np.searchsorted(there.length[other], here.length[mine] - _TOLERANCE)
        counts = np.searchsorted(there.length[other], here.length[mine] + _TOLERANCE, side="right") - low
        parts.append((int(counts.sum()), mine, other, low, counts))
    first, yaws, weights, total = [np.zeros(0, np.int64)], [np.zeros(0)], [np.zeros(0)], 0
    for count, mine, other, low, counts in sorted(parts, key=lambda part: part[0]):
        total += count
        if total > _MOST_MATCHES and len(first) > 1:
            break
        a = np.repeat(mine, counts)
        b = other[np.repeat(low - np.cumsum(counts) + counts, counts) + np.arange(count)]
        level = np.abs(here.rise[a] - there.rise[b]) <= _TOLERANCE
        a, b = a[level], b[level]
        ways = [
            (at.positions[pairs.second[rows]] - at.positions[pairs.first[rows]])[:, :2]
            for at, pairs, rows in ((ours, here, a), (theirs, there, b))
        ]
        yaw = np.arctan2(ways[0][:, 1], ways[0][:, 0]) - np.arctan2(ways[1][:, 1], ways[1][:, 0])
        ends = ((here.first[a], there.first[b]), (here.second[a], there.second[b]))
        likeness = [_likeness(ours.sizes[one], theirs.sizes[other]) for one, other in ends]
        for one, other in ends:
            first.append(one * len(theirs.labels) + other)
            yaws.append(yaw)
            weights.append(likeness[0] * likeness[1])
    joined, yaw, weight = np.concatenate(first), np.concatenate(yaws), np.concatenate(weights)
    order = np.argsort(joined, kind="stable")
    return _Matches(joined[order], yaw[order], weight[order])


def _pairs(landmarks: Landmarks, both_ways: bool) -> _Pairs:
    """Return pairs of neighbours; of two of one class both ways round, if that is asked for."""
    positions, labels = landmarks.positions, landmarks.labels
    count = min(_NEIGHBOURS + 1, len(labels))
    if count < 2:
        none = np.zeros(0, np.int64)
        return _Pairs(none, none, np.zeros(0), np.zeros(0), none)
    away, near = cKDTree(positions[:, :2]).query(positions[:, :2], k=count)
    first, second = np.repeat(np.arange(len(labels)), count), near.reshape(-1)
    fits = (away.reshape(-1) >= _SHORTEST) & (away.reshape(-1) <= _LONGEST)
    pairs = np.unique(np.sort(np.stack([first, second], axis=1)[fits], axis=1), axis=0)
    turned = labels[pairs[:, 0]] > labels[pairs[:, 1]]
    pairs[turned] = pairs[turned, ::-1]
    if both_ways:
        pairs = np.concatenate([pairs, pairs[labels[pairs[:, 0]] == labels[pairs[:, 1]], ::-1]])
    one, other = pairs.T
    way = positions[other] - positions[one]
    return _Pairs(one, other, np.hypot(way[:, 0], way[:, 1]), way[:, 2], labels[one] * 256 + labels[other])


def _likeness(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how alike sizes (N, 2) are, 0..1."""
    return np.asarray(np.prod(np.minimum(ours, theirs) / np.maximum(np.maximum(ours, theirs), 1e-3), axis=1))


def _usual_yaws(yaws: NDArray[np.float64], weights: NDArray[np.float64]) -> list[float]:
    """Return the yaw that most agree on, and the one that most agree on of those far from it."""
    bins = np.floor(yaws / (2 * np.pi) * _YAWS).astype(np.int64) % _YAWS
    counts = np.bincount(bins, weights, minlength=_YAWS)
    counts = counts + np.roll(counts, 1) + np.roll(counts, -1)
    found = []
    for _ in range(2):
        best = int(counts.argmax())
        if counts[best] <= 0:
            break
        near = (bins - best + 1) % _YAWS <= 2
        sine, cosine = (weights * np.sin(yaws))[near].sum(), (weights * np.cos(yaws))[near].sum()
        found.append(float(np.arctan2(sine, cosine)))
        counts[(best + np.arange(-3, 4)) % _YAWS] = 0
    return found


def _fitted(start: Transform, tree: cKDTree, ours: Landmarks, theirs: Landmarks) -> Guess:
    """Fit a guess to the things that it brings together, each with one other at most."""
    transform, support, likeness = start, 0, 0.0
    for reach in _REACHES:
        moved = transform_points(transform, theirs.positions)
        away, nearest = tree.query(_with_labels(moved, theirs.labels), distance_upper_bound=reach)
        order = np.argsort(away, kind="stable")
        order = order[np.isfinite(away[order])]
        one, first = np.unique(nearest[order], return_index=True)
        other, support = order[first], len(one)
        if support < 2:
            break
        alike = _likeness(ours.sizes[one], theirs.sizes[other])
        likeness = float((alike * np.exp(-((away[other] / _SPREAD) ** 2) / 2)).sum())
        transform = _least_squares(ours.positions[one], theirs.positions[other])
    return Guess(transform, support, likeness)


def _least_squares(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> Transform:
    """Return yaw and shift that bring points (N, 3) nearest to others."""
    a, b = ours - ours.mean(axis=0), theirs - theirs.mean(axis=0)
    sine, cosine = (b[:, 0] * a[:, 1] - b[:, 1] * a[:, 0]).sum(), (a[:, :2] * b[:, :2]).sum()
    return _about(float(np.arctan2(sine, cosine)), ours.mean(axis=0), theirs.mean(axis=0))


def _about(yaw: float, ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> Transform:
    """Return the transform of a yaw that brings one point to another."""
    transform = np.eye(4)
    sine, cosine = np.sin(yaw), np.cos(yaw)
    transform[:2, :2] = [[cosine, -sine], [sine, cosine]]
    transform[:3, 3] = ours - transform[:3, :3] @ theirs
    return transform


def _yaw_of(transform: Transform) -> float:
    return float(np.arctan2(transform[1, 0], transform[0, 0]))


def _with_labels(positions: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return points (N, 4) of which only those of one label are near each other."""
    return np.concatenate([positions, 100.0 * labels[:, None]], axis=1)
