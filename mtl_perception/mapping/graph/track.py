# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One track of a thing that moves, and what it is made from."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import Detection
from mtl_perception.core.transforms import Transform
from mtl_perception.mapping.graph.constant_velocity import begun, predicted, updated

HISTORY = 256
"""Positions kept of a track, the latest."""
FRAMES = 5
"""Of so many frames, the latest, a thing knows whether they showed it."""

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


@dataclass(frozen=True, eq=False)
class WorldBox:
    """A box in the world frame; `ray` (2,) is the way there from the base in the ground plane, metres."""

    label: int
    score: float
    centre: NDArray[np.float64]
    size: tuple[float, float, float]
    yaw: float
    velocity: NDArray[np.float64]
    ray: NDArray[np.float64]


@dataclass(eq=False)
class TrackedThing:
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
    seen: deque[bool] = field(default_factory=lambda: deque(maxlen=FRAMES))
    past_ns: NDArray[np.int64] = field(default_factory=lambda: np.zeros(HISTORY, np.int64))
    past: NDArray[np.float64] = field(default_factory=lambda: np.zeros((HISTORY, 3)))

    @classmethod
    def of(cls, box: WorldBox, stamp_ns: int) -> TrackedThing:
        """Return what one box shows."""
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
        """Move on to a later stamp."""
        self.mean, self.covariance = predicted(self.mean, self.covariance, (stamp_ns - self.stamp_ns) * 1e-9)
        self.stamp_ns = stamp_ns

    def see(self, box: WorldBox | None, stamp_ns: int) -> None:
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

    def move(self, new_world_from_old_world: Transform) -> None:
        """Move with the world."""
        rotation, shift = new_world_from_old_world[:3, :3], new_world_from_old_world[:3, 3]
        centre = rotation @ [*self.mean[:2], self.height] + shift
        turn = np.zeros((4, 4))
        turn[:2, :2] = turn[2:, 2:] = rotation[:2, :2]
        self.mean = np.array([*centre[:2], *(rotation[:2, :2] @ self.mean[2:])])
        self.covariance = turn @ self.covariance @ turn.T
        self.height = float(centre[2])
        forward = rotation @ [np.cos(self.yaw), np.sin(self.yaw), 0.0]
        self.yaw = float(np.arctan2(forward[1], forward[0]))
        self.past = self.past @ rotation.T + shift

    def latest(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the stamps (N,) of the latest frames that showed it, and its positions (N, 3) then."""
        places = places_of(self.boxes)
        return self.past_ns[places], self.past[places]

    def track(self) -> Track:
        """Return it as others see it."""
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


def world_box(box: Detection, world_from_base: Transform) -> WorldBox:
    """Return a box of the base frame as one of the world."""
    rotation = world_from_base[:3, :3]
    ray = rotation @ np.array(box.centre)
    forward = rotation @ [np.cos(box.yaw), np.sin(box.yaw), 0.0]
    return WorldBox(
        label=box.label,
        score=box.score,
        centre=ray + world_from_base[:3, 3],
        size=box.size,
        yaw=float(np.arctan2(forward[1], forward[0])),
        velocity=(rotation @ np.array([*box.velocity, 0.0]))[:2],
        ray=ray[:2],
    )


def places_of(boxes: int) -> NDArray[np.int64]:
    """Return the places in a ring of the latest of so many boxes, in order."""
    return np.arange(max(0, boxes - HISTORY), boxes) % HISTORY


def _wrapped(angle: float) -> float:
    """Return an angle within -pi..pi."""
    return float((angle + np.pi) % (2 * np.pi) - np.pi)
