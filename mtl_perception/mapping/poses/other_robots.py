# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The ways of other robots whose maps were merged into this one, and how their parts of the map move with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mtl_perception.mapping.errors import MapFormatError, MappingError
from mtl_perception.mapping.fusion.measured import MOST_OTHERS, others_of

Corrections = Callable[[NDArray[np.int64]], NDArray[np.float64]]
"""Returns new_world_from_old_world (N, 4, 4) at stamps (N,) of this robot."""

_TYPES = {"stamps_ns": "int64", "poses": "float64", "counts": "int64", "anchors_ns": "int64"}


@dataclass(frozen=True, eq=False)
class OtherWay:
    """Where another robot was.

    Attributes:
        stamps_ns: (K,), rising, by that robot's clock.
        poses: (K, 4, 4), world_from_base in the world of this map.
        anchor_ns: the stamp of the pose of this robot on which all of the other one's part of the map hangs.
    """

    stamps_ns: NDArray[np.int64]
    poses: NDArray[np.float64]
    anchor_ns: int


class OtherRobots:
    """The robots 1, 2, ... beside this one, which is number 0.

    What another robot has mapped was measured from its own poses, of which corrections of this robot's trajectory say
    nothing: it keeps its shape, and moves as one with a single pose of this robot, its anchor. That is one from which
    this robot has measured what both maps show, since there the two maps were laid over each other. Blocks that both
    have measured stay with this robot's poses; where its trajectory bends, they part from the rest by as much as the
    correction there differs from that at the anchor.

    Memory: 136 bytes a keyframe.

    Attributes:
        ways: of the robots, in order.
    """

    def __init__(self) -> None:
        """Know no other robot."""
        self.ways: tuple[OtherWay, ...] = ()

    def check_room(self, count: int) -> None:
        """Look whether so many more robots can be known.

        Raises:
            MappingError: they cannot.
        """
        if len(self.ways) + count > MOST_OTHERS:
            raise MappingError(
                f"the maps have the ways of {len(self.ways) + count + 1} robots, {MOST_OTHERS + 1} are possible"
            )

    def add(self, ways: Sequence[OtherWay]) -> None:
        """Know more robots, which get the next numbers; `check_room` must have been called."""
        self.ways = (*self.ways, *ways)

    def move(self, corrections: Corrections) -> None:
        """Move with the world, each way as one."""
        moves = corrections(np.array([way.anchor_ns for way in self.ways], np.int64)) if self.ways else ()
        self.ways = tuple(
            replace(way, poses=move @ way.poses) for way, move in zip(self.ways, moves, strict=True)
        )

    def as_times(self, stamps_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return stamps (...) of blocks; for those of other robots that of the pose on which they hang."""
        anchors = np.zeros(MOST_OTHERS + 1, np.int64)
        anchors[1 : len(self.ways) + 1] = [way.anchor_ns for way in self.ways]
        robots = others_of(stamps_ns)
        return np.where(robots > 0, anchors[robots], stamps_ns)

    def state(self) -> dict[str, NDArray]:
        """Return all that is known."""
        return {
            "stamps_ns": np.concatenate([np.zeros(0, np.int64), *(way.stamps_ns for way in self.ways)]),
            "poses": np.concatenate([np.zeros((0, 4, 4)), *(way.poses for way in self.ways)]),
            "counts": np.array([len(way.stamps_ns) for way in self.ways], np.int64),
            "anchors_ns": np.array([way.anchor_ns for way in self.ways], np.int64),
        }

    def restore(self, state: dict[str, NDArray]) -> None:
        """Know what `state` gave.

        Raises:
            MapFormatError: an array is missing, of another type, or does not fit the others; nothing has changed then.
        """
        for name, dtype in _TYPES.items():
            if name not in state or state[name].dtype != np.dtype(dtype):
                raise MapFormatError(f"other robots: {name} is missing or is not {dtype}")
        counts, stamps_ns, poses = state["counts"], state["stamps_ns"], state["poses"]
        fits = (
            counts.shape == state["anchors_ns"].shape == (counts.size,)
            and counts.size <= MOST_OTHERS
            and bool((counts >= 0).all())
            and stamps_ns.shape == (counts.sum(),)
            and poses.shape == (counts.sum(), 4, 4)
            and bool(np.isfinite(poses).all())
        )
        if not fits:
            raise MapFormatError("other robots: the arrays do not fit each other")
        ends = np.cumsum(counts)[:-1]
        self.ways = tuple(
            OtherWay(own_stamps_ns.copy(), own_poses.copy(), anchor_ns)
            for own_stamps_ns, own_poses, anchor_ns in zip(
                np.split(stamps_ns, ends), np.split(poses, ends), state["anchors_ns"].tolist(), strict=False
            )
        )
