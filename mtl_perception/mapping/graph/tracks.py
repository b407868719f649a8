# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Tracks of things that move, apart from the static map.

Detections become tracks as in AB3DMOT (Weng et al., "3D Multi-Object Tracking: A Baseline and New Evaluation Metrics",
IROS 2020): a Kalman filter of constant velocity, the Hungarian method, and a count of hits and misses for birth and
death. Boxes and tracks are compared by their Mahalanobis distance instead of their overlap (Chiu et al.,
"Probabilistic 3D Multi-Object Tracking for Autonomous Driving", 2020), which also matches those that do not overlap.
Boxes of a low score may continue a track, and do not begin one (Zhang et al., "ByteTrack", ECCV 2022).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from mtl_perception.core import Detection, LabelSpace
from mtl_perception.core.transforms import Transform
from mtl_perception.mapping.config import MapperConfig
from mtl_perception.mapping.errors import MapFormatError, MappingError
from mtl_perception.mapping.graph.constant_velocity import distances
from mtl_perception.mapping.graph.track import FRAMES, HISTORY, Track, TrackedThing, WorldBox, places_of, world_box

ENDED = 256
"""Tracks that have ended and are kept, the latest."""

_HITS = 3  # seen so often in the latest `FRAMES`, a thing is a track
_GATE = 9.21  # chi-squared with 2 degrees of freedom, 99 %


class TrackRegistry:
    """Follows the boxes of movable classes over time.

    A thing gets its id when it has been found in 3 of 5 frames; it has ended when it has not been found for
    `track_max_unseen` seconds. Memory: 9 kB a track, mostly its latest positions. Those are kept that a box has
    continued in that time, and the latest `ENDED` that have ended.
    """

    def __init__(self, config: MapperConfig, labels: LabelSpace) -> None:
        """Start without tracks."""
        self._movable = labels.movable
        self.adjust(config)
        self._agents: list[TrackedThing] = []
        self._ended: deque[TrackedThing] = deque(maxlen=ENDED)
        self._next_id = 0
        self._stamp_ns: int | None = None

    def adjust(self, config: MapperConfig) -> None:
        """Go on with other settings."""
        self._min_score = config.track_min_score
        self._max_unseen_ns = int(config.track_max_unseen * 1e9)

    @property
    def tracks(self) -> tuple[Track, ...]:
        """The tracks that have not ended, by id."""
        return tuple(agent.track() for agent in sorted(self._agents, key=lambda agent: agent.id) if agent.id >= 0)

    @property
    def ended(self) -> tuple[Track, ...]:
        """The latest tracks that have ended, as of the frame that ended them, in the order in which they did."""
        return tuple(agent.track() for agent in self._ended)

    def update(self, detections: Sequence[Detection], world_from_base: Transform, stamp_ns: int) -> tuple[Track, ...]:
        """Follow the boxes of a frame, given in the base frame; return `tracks` as of then.

        Boxes of classes that cannot move, or whose numbers are not finite, are left out.

        Raises:
            MappingError: the frame is not later than the one before; nothing has changed then.
        """
        if self._stamp_ns is not None and stamp_ns <= self._stamp_ns:
            raise MappingError(f"frame of {stamp_ns} ns is not later than the one before, of {self._stamp_ns} ns")
        boxes = [world_box(box, world_from_base) for box in detections if self._movable[box.label] and _is_finite(box)]
        for agent in self._agents:
            agent.predict(stamp_ns)
        found: dict[int, int] = {}  # per number of an agent, that of its box
        for label in sorted({box.label for box in boxes}):
            for sure in (True, False):
                these = [
                    at for at, box in enumerate(boxes) if box.label == label and sure == (box.score >= self._min_score)
                ]
                free = [at for at, agent in enumerate(self._agents) if agent.label == label and at not in found]
                found |= _matched(self._agents, free, boxes, these)
        for at, agent in enumerate(self._agents):
            agent.see(boxes[found[at]] if at in found else None, stamp_ns)
            if agent.id < 0 and sum(agent.seen) >= _HITS:
                agent.id = self._next_id
                self._next_id += 1
        taken = set(found.values())
        new = [box for at, box in enumerate(boxes) if at not in taken and box.score >= self._min_score]
        self._ended.extend(agent for agent in self._agents if agent.id >= 0 and not self._goes_on(agent, stamp_ns))
        self._agents = [agent for agent in self._agents if self._goes_on(agent, stamp_ns)]
        self._agents += [TrackedThing.of(box, stamp_ns) for box in new]
        self._stamp_ns = stamp_ns
        return self.tracks

    def move(self, corrections: Callable[[NDArray[np.int64]], NDArray[np.float64]]) -> None:
        """Move with the world; `corrections` returns new_world_from_old_world (N, 4, 4) at stamps (N,)."""
        for thing in (*self._agents, *self._ended):
            thing.move(corrections(np.array([thing.last_seen_ns], np.int64))[0])

    def begin_again(self) -> None:
        """End all tracks, for stamps that begin at an earlier time; ids go on."""
        self._ended.extend(agent for agent in self._agents if agent.id >= 0)
        self._agents, self._stamp_ns = [], None

    def state(self) -> dict[str, NDArray]:
        """Return all that future tracks follow from."""
        agents = [*self._agents, *self._ended]
        records = np.zeros(len(agents), _RECORD)
        for at, agent in enumerate(agents):
            for name in _RECORD.names or ():
                if name != "seen":
                    records[at][name] = getattr(agent, name)
            records[at]["seen"] = [*agent.seen, *[_NOT_YET] * (FRAMES - len(agent.seen))]
        stamps = [agent.latest()[0] for agent in agents]
        positions = [agent.latest()[1] for agent in agents]
        return {
            "agents": records,
            "ended": np.array(len(self._ended)),
            "past_stamps_ns": np.concatenate([np.zeros(0, np.int64), *stamps]),
            "past_positions": np.concatenate([np.zeros((0, 3)), *positions]),
            "next_id": np.array(self._next_id),
            "stamp_ns": np.array(-1 if self._stamp_ns is None else self._stamp_ns),
        }

    def restore(self, state: dict[str, NDArray]) -> None:
        """Continue with what `state` gave, instead of what is known.

        Raises:
            MapFormatError: an array is missing, of another type, or does not fit the others; nothing has changed then.
        """
        _check(state)
        ends = np.cumsum(_past_counts(state["agents"])).tolist()
        agents = []
        for record, start, end in zip(state["agents"], [0, *ends], ends, strict=False):
            values: dict[str, Any] = {name: record[name].tolist() for name in _RECORD.names or ()}
            for name in ("mean", "covariance"):
                values[name] = record[name].copy()
            values["seen"] = deque((bool(hit) for hit in values["seen"] if hit != _NOT_YET), FRAMES)
            values["size"] = tuple(values["size"])
            agent = TrackedThing(**values)
            places = places_of(agent.boxes)
            agent.past_ns[places] = state["past_stamps_ns"][start:end]
            agent.past[places] = state["past_positions"][start:end]
            agents.append(agent)
        live = len(agents) - int(state["ended"])
        self._agents, self._ended = agents[:live], deque(agents[live:], ENDED)
        self._next_id = int(state["next_id"])
        self._stamp_ns = None if state["stamp_ns"] == -1 else int(state["stamp_ns"])

    def _goes_on(self, agent: TrackedThing, stamp_ns: int) -> bool:
        if agent.id >= 0:
            return stamp_ns - agent.last_seen_ns <= self._max_unseen_ns
        return len(agent.seen) - sum(agent.seen) <= FRAMES - _HITS


_NOT_YET = -1
_RECORD = np.dtype(
    [
        *((name, np.int64) for name in ("id", "label", "boxes", "first_seen_ns", "last_seen_ns", "stamp_ns")),
        *((name, np.float64) for name in ("confidence", "height", "yaw", "facing")),
        ("mean", np.float64, 4),
        ("covariance", np.float64, (4, 4)),
        ("size", np.float64, 3),
        ("seen", np.int64, FRAMES),
    ]
)
_TYPES = {
    "agents": (_RECORD, 1),
    "ended": (np.dtype(np.int64), 0),
    "past_stamps_ns": (np.dtype(np.int64), 1),
    "past_positions": (np.dtype(np.float64), 2),
    "next_id": (np.dtype(np.int64), 0),
    "stamp_ns": (np.dtype(np.int64), 0),
}


def _check(state: dict[str, NDArray]) -> None:
    for name, (dtype, dimensions) in _TYPES.items():
        if name not in state or state[name].dtype != dtype or state[name].ndim != dimensions:
            raise MapFormatError(f"tracks: {name} is missing or is not {dtype} of {dimensions} dimensions")
    agents, positions = state["agents"], state["past_positions"]
    ids = agents["id"][agents["id"] >= 0]
    fits = (
        bool((agents["boxes"] >= 1).all())
        and positions.shape == (_past_counts(agents).sum(), 3)
        and len(state["past_stamps_ns"]) == len(positions)
        and 0 <= state["ended"] <= min(len(agents), ENDED)
        and len(np.unique(ids)) == len(ids)
        and bool((ids < state["next_id"]).all())
        and all(np.isfinite(agents[name]).all() for name in ("mean", "covariance", "size", "height", "yaw"))
    )
    if not fits:
        raise MapFormatError("tracks: the arrays do not fit each other")


def _past_counts(agents: NDArray) -> NDArray[np.int64]:
    """Return how many positions are kept of each of the agents (N,)."""
    return np.minimum(agents["boxes"], HISTORY)


def _matched(agents: list[TrackedThing], free: list[int], boxes: list[WorldBox], these: list[int]) -> dict[int, int]:
    """Return, for agents `free`, those of the boxes `these` that they are, of least distances in sum."""
    if not free or not these:
        return {}
    squared = distances(
        np.array([agents[at].mean for at in free]),
        np.array([agents[at].covariance for at in free]),
        np.array([boxes[at].centre[:2] for at in these]),
        np.array([boxes[at].ray for at in these]),
    )
    # a pair beyond the gate costs as much as leaving both alone
    rows, columns = linear_sum_assignment(np.minimum(squared, _GATE))
    near = squared[rows, columns] < _GATE
    return {free[row]: these[column] for row, column in zip(rows[near].tolist(), columns[near].tolist(), strict=True)}


def _is_finite(box: Detection) -> bool:
    return bool(np.isfinite([box.score, *box.centre, *box.size, box.yaw]).all())
