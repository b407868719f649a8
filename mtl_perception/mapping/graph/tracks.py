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
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from mtl_perception.core import Detection, LabelSpace
from mtl_perception.core.transforms import Transform
from mtl_perception.mapping.config import MapperConfig
from mtl_perception.mapping.errors import MapFormatError, MappingError
from mtl_perception.mapping.graph.constant_velocity import begun, distances, predicted, updated

HISTORY = 256
"""Positions kept of a track, the latest."""
ENDED = 256
"""Tracks that have ended and are kept, the latest."""

_HITS, _FRAMES = 3, 5  # seen so often in so many frames, a thing is a track
_GATE = 9.21  # chi-squared with 2 degrees of freedom, 99 %
_FOLLOW = 0.3  # how far height and heading go towards those of a new box
_SIZE_BOXES = 20  # the size is the mean over so many boxes, roughly
_CONFIDENCE_SHARE = 0.2  # of a new frame in a track's confidence


@dataclass(frozen=True, eq=False)
class Track:
    """A thing that moves, in the world frame, as of the last frame.

    Attributes:
        id: stable, never used again.
        label: label id.
        confidence: 0..1, mean score of its boxes in the latest frames, 0 for each frame in which it was not found.
        world_from_box: 4x4, metres: the box's centre, and its axes (x forward, y left, z up); predicted, where the last
            frame did not show it.
        size: length, width, height, metres.
        velocity: (3,) over ground, m/s.
        position_std: standard deviation of its place in the ground plane, metres.
        first_seen_ns, last_seen_ns: stamps of the first and last frame that showed it.
        stamps_ns: (N,) of up to `HISTORY` latest frames that showed it.
        positions: (N, 3), where its centre was then.
    """

    id: int
    label: int
    confidence: float
    world_from_box: Transform
    size: tuple[float, float, float]
    velocity: NDArray[np.float64]
    position_std: float
    first_seen_ns: int
    last_seen_ns: int
    stamps_ns: NDArray[np.int64]
    positions: NDArray[np.float64]


class TrackRegistry:
    """Follows the boxes of movable classes over time.

    A thing gets its id when it has been found in 3 of 5 frames; it has ended when it has not been found for
    `track_max_unseen` seconds. Memory: 9 kB a track, mostly its latest positions. Those are kept that a box has
    continued in that time, and the latest `ENDED` that have ended.
    """

    def __init__(self, config: MapperConfig, labels: LabelSpace) -> None:
        """Start without tracks."""
        self._movable = labels.movable
        self._min_score = config.track_min_score
        self._max_unseen_ns = int(config.track_max_unseen * 1e9)
        self._agents: list[_Agent] = []
        self._ended: deque[_Agent] = deque(maxlen=ENDED)
        self._next_id = 0
        self._stamp_ns: int | None = None

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
        boxes = [_in_world(box, world_from_base) for box in detections if self._movable[box.label] and _is_finite(box)]
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
        self._agents += [_Agent.of(box, stamp_ns) for box in new]
        self._stamp_ns = stamp_ns
        return self.tracks

    def state(self) -> dict[str, NDArray]:
        """Return all that future tracks follow from."""
        agents = [*self._agents, *self._ended]
        records = np.zeros(len(agents), _RECORD)
        for at, agent in enumerate(agents):
            for name in _RECORD.names or ():
                if name != "seen":
                    records[at][name] = getattr(agent, name)
            records[at]["seen"] = [*agent.seen, *[_NOT_YET] * (_FRAMES - len(agent.seen))]
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
            values["seen"] = deque((bool(hit) for hit in values["seen"] if hit != _NOT_YET), _FRAMES)
            values["size"] = tuple(values["size"])
            agent = _Agent(**values)
            places = _places(agent.boxes)
            agent.past_ns[places] = state["past_stamps_ns"][start:end]
            agent.past[places] = state["past_positions"][start:end]
            agents.append(agent)
        live = len(agents) - int(state["ended"])
        self._agents, self._ended = agents[:live], deque(agents[live:], ENDED)
        self._next_id = int(state["next_id"])
        self._stamp_ns = None if state["stamp_ns"] == -1 else int(state["stamp_ns"])

    def _goes_on(self, agent: _Agent, stamp_ns: int) -> bool:
        if agent.id >= 0:
            return stamp_ns - agent.last_seen_ns <= self._max_unseen_ns
        return len(agent.seen) - sum(agent.seen) <= _FRAMES - _HITS


@dataclass(frozen=True, eq=False)
class _WorldBox:
    """A box in the world frame; `ray` (2,) is the way there from the base in the ground plane, metres."""

    label: int
    score: float
    centre: NDArray[np.float64]
    size: tuple[float, float, float]
    yaw: float
    velocity: NDArray[np.float64]
    ray: NDArray[np.float64]


@dataclass(eq=False)
class _Agent:
    """Something that boxes were seen of; it has an id once that has happened often enough.

    Attributes:
        mean, covariance: x, y, and their velocities; see `constant_velocity`.
        height: of its centre over the world's origin, metres.
        facing: -1..1, how well the boxes' headings agree with `yaw` rather than with its opposite.
        boxes: how many have shown it, at least 1.
        seen: of the latest frames, whether they showed it.
        past_ns, past: stamps (HISTORY,) and positions (HISTORY, 3) of the latest frames that did, as a ring: that of
            box number n at n modulo HISTORY.
        stamp_ns: what `mean` is of.
    """

    id: int
    label: int
    confidence: float
    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    height: float
    yaw: float
    facing: float
    size: tuple[float, float, float]
    boxes: int
    first_seen_ns: int
    last_seen_ns: int
    stamp_ns: int
    seen: deque[bool] = field(default_factory=lambda: deque(maxlen=_FRAMES))
    past_ns: NDArray[np.int64] = field(default_factory=lambda: np.zeros(HISTORY, np.int64))
    past: NDArray[np.float64] = field(default_factory=lambda: np.zeros((HISTORY, 3)))

    @classmethod
    def of(cls, box: _WorldBox, stamp_ns: int) -> _Agent:
        mean, covariance = begun(box.centre[:2], box.velocity, box.ray)
        agent = cls(
            id=-1,
            label=box.label,
            confidence=box.score,
            mean=mean,
            covariance=covariance,
            height=float(box.centre[2]),
            yaw=box.yaw,
            facing=1.0,
            size=box.size,
            boxes=1,
            first_seen_ns=stamp_ns,
            last_seen_ns=stamp_ns,
            stamp_ns=stamp_ns,
        )
        agent.seen.append(True)
        agent._remember()
        return agent

    def predict(self, stamp_ns: int) -> None:
        self.mean, self.covariance = predicted(self.mean, self.covariance, (stamp_ns - self.stamp_ns) * 1e-9)
        self.stamp_ns = stamp_ns

    def see(self, box: _WorldBox | None, stamp_ns: int) -> None:
        """Learn that a frame has shown this box of it, or none."""
        self.seen.append(box is not None)
        self.confidence += _CONFIDENCE_SHARE * ((0.0 if box is None else box.score) - self.confidence)
        if box is None:
            return
        self.mean, self.covariance = updated(self.mean, self.covariance, box.centre[:2], box.ray)
        self.height += _FOLLOW * (float(box.centre[2]) - self.height)
        self._turn(box.yaw)
        self.boxes += 1
        share = 1.0 / min(self.boxes, _SIZE_BOXES)
        length, width, height = (old + share * (new - old) for old, new in zip(self.size, box.size, strict=True))
        self.size = length, width, height
        self.last_seen_ns = stamp_ns
        self._remember()

    def latest(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the stamps (N,) of the latest frames that showed it, and its positions (N, 3) then."""
        places = _places(self.boxes)
        return self.past_ns[places], self.past[places]

    def track(self) -> Track:
        stamps_ns, positions = self.latest()
        world_from_box = np.eye(4)
        sine, cosine = np.sin(self.yaw), np.cos(self.yaw)
        world_from_box[:2, :2] = [[cosine, -sine], [sine, cosine]]
        world_from_box[:3, 3] = [*self.mean[:2], self.height]
        return Track(
            id=self.id,
            label=self.label,
            confidence=self.confidence,
            world_from_box=world_from_box,
            size=self.size,
            velocity=np.array([*self.mean[2:], 0.0]),
            position_std=float(np.sqrt(np.trace(self.covariance[:2, :2]) / 2)),
            first_seen_ns=self.first_seen_ns,
            last_seen_ns=self.last_seen_ns,
            stamps_ns=stamps_ns,
            positions=positions,
        )

    def _remember(self) -> None:
        place = (self.boxes - 1) % HISTORY
        self.past_ns[place], self.past[place] = self.last_seen_ns, [*self.mean[:2], self.height]

    def _turn(self, yaw: float) -> None:
        """Turn towards a box's heading, or its opposite: which end is the front is what most boxes say."""
        off = _wrapped(yaw - self.yaw)
        backwards = abs(off) > np.pi / 2
        self.facing += _FOLLOW * ((-1.0 if backwards else 1.0) - self.facing)
        self.yaw += _FOLLOW * (_wrapped(off + np.pi) if backwards else off)
        if self.facing < 0:
            self.yaw, self.facing = self.yaw + np.pi, -self.facing
        self.yaw = _wrapped(self.yaw)


_NOT_YET = -1
_RECORD = np.dtype(
    [
        *((name, np.int64) for name in ("id", "label", "boxes", "first_seen_ns", "last_seen_ns", "stamp_ns")),
        *((name, np.float64) for name in ("confidence", "height", "yaw", "facing")),
        ("mean", np.float64, 4),
        ("covariance", np.float64, (4, 4)),
        ("size", np.float64, 3),
        ("seen", np.int64, _FRAMES),
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


def _places(boxes: int) -> NDArray[np.int64]:
    """Return the places in a ring of the latest of so many boxes, in order."""
    return np.arange(max(0, boxes - HISTORY), boxes) % HISTORY


def _matched(agents: list[_Agent], free: list[int], boxes: list[_WorldBox], these: list[int]) -> dict[int, int]:
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


def _in_world(box: Detection, world_from_base: Transform) -> _WorldBox:
    rotation = world_from_base[:3, :3]
    ray = rotation @ np.array(box.centre)
    forward = rotation @ [np.cos(box.yaw), np.sin(box.yaw), 0.0]
    return _WorldBox(
        label=box.label,
        score=box.score,
        centre=ray + world_from_base[:3, 3],
        size=box.size,
        yaw=float(np.arctan2(forward[1], forward[0])),
        velocity=(rotation @ np.array([*box.velocity, 0.0]))[:2],
        ray=ray[:2],
    )


def _wrapped(angle: float) -> float:
    """Return an angle within -pi..pi."""
    return float((angle + np.pi) % (2 * np.pi) - np.pi)
