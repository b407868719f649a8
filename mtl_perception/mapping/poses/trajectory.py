# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where the robot has been: few poses, from which that at any stamp follows, and their correction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from mtl_perception.core.transforms import Transform, inverse
from mtl_perception.mapping.errors import MapFormatError, MappingError
from mtl_perception.mapping.poses.other_robots import OtherWay

_TOLERANCE_M = 0.05
_TOLERANCE_RAD = np.deg2rad(2.0)
_WITNESSES = 16  # poses since the last keyframe that a new one is held against
_ROOM = 64  # keyframes that there is memory for at first


@dataclass(frozen=True, eq=False)
class Correction:
    """How the world moves with a corrected trajectory.

    Between corrected poses the correction is interpolated, not the pose: its rotation turns evenly, and a pose goes to
    where both corrections take it, in proportion. So parts that are corrected alike keep their shape, and the world's
    origin does not matter. Before the first corrected pose and after the last, their corrections hold.

    Attributes:
        stamps_ns: (M,), rising.
        transforms: (M, 4, 4), new_world_from_old_world at these.
        old: the trajectory as it was.
        others: the ways of other robots, as they were.
    """

    stamps_ns: NDArray[np.int64]
    transforms: NDArray[np.float64]
    old: Trajectory
    others: tuple[OtherWay, ...] = ()

    def at(self, stamps_ns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return new_world_from_old_world (N, 4, 4) at stamps (N,)."""
        old = self.old.nearest(stamps_ns)
        return self.moved(stamps_ns, old) @ _inverse(old)

    def around(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return new_world_from_old_world (N, 4, 4) around places (N, 3) in the old world.

        For what does not know when it was seen: as at the keyframe that was nearest to it, of whatever robot.
        """
        stamps = [self.old.stamps_ns, *(np.full(len(way.poses), way.anchor_ns) for way in self.others)]
        poses = np.concatenate([self.old.poses, *(way.poses for way in self.others)])
        _, nearest = cKDTree(poses[:, :3, 3]).query(points)
        return self.at(np.concatenate(stamps))[nearest]

    def moved(self, stamps_ns: NDArray[np.int64], poses: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where poses (N, 4, 4) of stamps (N,) come to."""
        known, last = self.stamps_ns, len(self.stamps_ns) - 1
        after = np.clip(np.searchsorted(known, stamps_ns), 0, last)
        before = np.where(stamps_ns < known[after], np.maximum(after - 1, 0), after)
        fractions = np.clip((stamps_ns - known[before]) / np.maximum(known[after] - known[before], 1), 0.0, 1.0)
        # about the pose itself: about the world's origin, a far pose would swing by the length of that lever
        return _interpolate(self.transforms[before] @ poses, self.transforms[after] @ poses, fractions)


class Trajectory:
    """The robot's poses, thinned to keyframes.

    A pose becomes a keyframe when it is `distance` metres or `angle` radians away from the last one; and before that,
    when without it a pose in between would be off by more than 5 cm or 2 degrees (the opening window of Meratnia and
    de By, "Spatiotemporal Compression Techniques for Moving Point Objects", EDBT 2004, by time), so that stops and
    changes of speed do not smear. Between keyframes the position is linear in time, and the rotation turns evenly.

    Memory: 144 bytes a keyframe, twice that at most as room to grow, and 16 poses more.
    """

    def __init__(self, distance: float = 0.5, angle: float = np.deg2rad(15.0)) -> None:
        """Start without a pose."""
        self._distance, self._angle = distance, angle
        self._stamps_ns = np.zeros(_ROOM, np.int64)
        self._poses = np.zeros((_ROOM, 4, 4))
        self._way = np.zeros(_ROOM)  # metres driven up to each keyframe
        self._count = 0
        self._settled_ns = np.iinfo(np.int64).min
        self._recent_ns: list[int] = []  # since the last keyframe; the last of them is the newest pose
        self._recent: list[Transform] = []
        self._stride = 1  # of the poses since the last keyframe, one in so many is held as a witness
        self._passed = 0  # how many poses there have been since

    def __len__(self) -> int:
        """Return the number of keyframes."""
        return self._count

    @property
    def stamps_ns(self) -> NDArray[np.int64]:
        """The keyframes' stamps (N,), in order."""
        return self._stamps_ns[: self._count].copy()

    @property
    def poses(self) -> NDArray[np.float64]:
        """The keyframes' poses world_from_base (N, 4, 4)."""
        return self._poses[: self._count].copy()

    def keyframes(self, first: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the stamps (N,) of keyframe number `first` and those that follow, and their poses (N, 4, 4)."""
        return self._stamps_ns[first : self._count].copy(), self._poses[first : self._count].copy()

    def add(self, stamp_ns: int, world_from_base: Transform) -> None:
        """Learn the pose at a stamp later than all before.

        Raises:
            MappingError: the stamp is not later, or the pose is not finite.
        """
        if self._count and stamp_ns <= self.last_ns:
            raise MappingError(f"pose of {stamp_ns} ns is not later than the one before, of {self.last_ns} ns")
        if not np.isfinite(world_from_base).all():
            raise MappingError(f"pose of {stamp_ns} ns is not finite")
        pose = np.array(world_from_base, dtype=np.float64)
        if not self._count:
            self._keep(stamp_ns, pose)
            return
        if self._recent and not self._follow_from(stamp_ns, pose):
            self._keep(self._recent_ns[-1], self._recent[-1])
        away, turned = _between(self._poses[self._count - 1], pose)
        if away >= self._distance or turned >= self._angle:
            self._keep(stamp_ns, pose)
        else:
            self._wait(stamp_ns, pose)

    def at(self, stamp_ns: int) -> Transform:
        """Return world_from_base at a stamp within those of the first and the newest pose.

        Raises:
            ValueError: it is outside of them.
        """
        return self._interpolated(np.array([stamp_ns], np.int64))[0]

    def correction(self, poses: Sequence[tuple[int, Transform]]) -> Correction:
        """Return how the world moves if these poses are right; nothing has moved then.

        Args:
            poses: stamps in increasing order, and world_from_base at them; those outside of the trajectory do nothing.

        Raises:
            ValueError: the stamps do not increase, a pose is not finite, or none is within the trajectory.
        """
        stamps = np.array([stamp_ns for stamp_ns, _ in poses], np.int64)
        new = np.array([pose for _, pose in poses], np.float64).reshape(-1, 4, 4)
        if (np.diff(stamps) <= 0).any() or not np.isfinite(new).all():
            raise ValueError("the corrected poses are not finite, or their stamps do not increase")
        if not self._count:
            raise ValueError(f"none of {len(stamps)} corrected poses is within the trajectory, which has no pose yet")
        within = (stamps >= self._first_ns) & (stamps <= self.last_ns)
        if not within.any():
            raise ValueError(
                f"none of {len(stamps)} corrected poses is within the trajectory, from {self._first_ns} to "
                f"{self.last_ns} ns"
            )
        stamps, new = stamps[within], new[within]
        old = Trajectory()
        old.restore(self.state())
        return Correction(stamps, new @ _inverse(self._interpolated(stamps)), old)

    def correct(self, correction: Correction) -> None:
        """Move with the world; from now on, all until the newest pose counts as corrected."""
        self._poses[: self._count] = correction.moved(self._stamps_ns[: self._count], self._poses[: self._count])
        if self._recent:
            self._recent = list(correction.moved(np.array(self._recent_ns, np.int64), np.array(self._recent)))
        self._measure()
        self._settled_ns = self.last_ns

    def nearest(self, stamps_ns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return world_from_base (N, 4, 4) at stamps (N,), of the first or the newest pose outside of these."""
        return self._interpolated(np.clip(stamps_ns, self._first_ns, self.last_ns))

    def stamp_before(self, distance: float) -> int | None:
        """Return the stamp of the last keyframe after which the robot has driven farther; None if it has not."""
        if not self._count:
            return None
        newest = self._recent[-1] if self._recent else self._poses[self._count - 1]
        way = self._way[self._count - 1] + np.linalg.norm(newest[:3, 3] - self._poses[self._count - 1, :3, 3])
        place = int(np.searchsorted(self._way[: self._count], way - distance))
        return int(self._stamps_ns[place - 1]) if place else None

    def state(self) -> dict[str, NDArray]:
        """Return all that it has collected."""
        return {
            "stamps_ns": self.stamps_ns,
            "poses": self.poses,
            "recent_ns": np.array(self._recent_ns, np.int64),
            "recent": np.array(self._recent, np.float64).reshape(-1, 4, 4),
            "thinning": np.array([self._stride, self._passed], np.int64),
            "settled_ns": np.array(self._settled_ns, np.int64),
        }

    def restore(self, state: dict[str, NDArray]) -> None:
        """Continue with what `state` gave, instead of what is known.

        Raises:
            MapFormatError: an array is missing, of another type, or does not fit the others; nothing has changed then.
        """
        _check(state)
        self._count = len(state["stamps_ns"])
        self._stamps_ns = np.concatenate([state["stamps_ns"], np.zeros(_ROOM, np.int64)])
        self._poses = np.concatenate([state["poses"], np.zeros((_ROOM, 4, 4))])
        self._recent_ns, self._recent = state["recent_ns"].tolist(), list(state["recent"].copy())
        self._stride, self._passed = state["thinning"].tolist()
        self._settled_ns = int(state["settled_ns"])
        self._measure()

    @property
    def settled_ns(self) -> int:
        """Up to where it has been corrected last; less than every stamp if it never was."""
        return self._settled_ns

    def _measure(self) -> None:
        """Measure the way anew."""
        self._way = np.zeros(len(self._stamps_ns))
        steps = np.diff(self._poses[: self._count, :3, 3], axis=0)
        self._way[1 : self._count] = np.cumsum(np.linalg.norm(steps, axis=1))

    @property
    def _first_ns(self) -> int:
        return int(self._stamps_ns[0])

    @property
    def last_ns(self) -> int:
        """The stamp of the newest pose; there must be one."""
        return self._recent_ns[-1] if self._recent_ns else int(self._stamps_ns[self._count - 1])

    def _keep(self, stamp_ns: int, pose: Transform) -> None:
        if self._count == len(self._stamps_ns):
            self._stamps_ns = np.concatenate([self._stamps_ns, np.zeros_like(self._stamps_ns)])
            self._poses = np.concatenate([self._poses, np.zeros_like(self._poses)])
            self._way = np.concatenate([self._way, np.zeros_like(self._way)])
        self._stamps_ns[self._count], self._poses[self._count] = stamp_ns, pose
        if self._count:
            last = self._count - 1
            self._way[self._count] = self._way[last] + np.linalg.norm(pose[:3, 3] - self._poses[last, :3, 3])
        self._count += 1
        self._recent_ns, self._recent, self._stride, self._passed = [], [], 1, 0

    def _wait(self, stamp_ns: int, pose: Transform) -> None:
        """Take a pose as the newest one, and the newest of before as a witness if it is its turn."""
        if self._recent and self._passed % self._stride:
            self._recent_ns.pop()
            self._recent.pop()
        self._recent_ns.append(stamp_ns)
        self._recent.append(pose)
        self._passed += 1
        if len(self._recent) > _WITNESSES:
            self._stride *= 2
            kept = [*range(1, len(self._recent) - 1, 2), len(self._recent) - 1]
            self._recent_ns = [self._recent_ns[at] for at in kept]
            self._recent = [self._recent[at] for at in kept]

    def _follow_from(self, stamp_ns: int, pose: Transform) -> bool:
        """Return whether the poses since the last keyframe are as interpolated between it and a new pose."""
        last_ns = self._stamps_ns[self._count - 1]
        fractions = (np.array(self._recent_ns, np.int64) - last_ns) / (stamp_ns - last_ns)
        first = np.broadcast_to(self._poses[self._count - 1], (len(fractions), 4, 4))
        made = _interpolate(first, np.broadcast_to(pose, first.shape), fractions)
        away, turned = _between(np.array(self._recent), made)
        return bool((away <= _TOLERANCE_M).all() and (turned <= _TOLERANCE_RAD).all())

    def _interpolated(self, stamps_ns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the poses (M, 4, 4) at stamps (M,)."""
        if not self._count or stamps_ns.min() < self._first_ns or stamps_ns.max() > self.last_ns:
            known = f"from {self._first_ns} to {self.last_ns} ns" if self._count else "at no stamp"
            raise ValueError(f"poses are known {known}, not from {stamps_ns.min()} to {stamps_ns.max()} ns")
        newest = self._count if self._recent else self._count - 1
        after = np.minimum(np.searchsorted(self._stamps_ns[: self._count], stamps_ns, side="right"), newest)
        (first_ns, first), (second_ns, second) = self._known(np.maximum(after - 1, 0)), self._known(after)
        return _interpolate(first, second, (stamps_ns - first_ns) / np.maximum(second_ns - first_ns, 1))

    def _known(self, numbers: NDArray[np.intp]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the stamps (M,) and the poses (M, 4, 4) of keyframes, and for their count those of the newest pose."""
        kept = np.minimum(numbers, self._count - 1)
        stamps_ns, poses = self._stamps_ns[kept], self._poses[kept]
        if self._recent:
            stamps_ns[numbers == self._count] = self._recent_ns[-1]
            poses[numbers == self._count] = self._recent[-1]
        return stamps_ns, poses


def _inverse(poses: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([inverse(pose) for pose in poses])


def _interpolate(
    first: NDArray[np.float64], second: NDArray[np.float64], fractions: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return poses (N, 4, 4) between others, linear in position, and turning evenly."""
    start = Rotation.from_matrix(first[:, :3, :3])
    turn = (start.inv() * Rotation.from_matrix(second[:, :3, :3])).as_rotvec()
    result = np.tile(np.eye(4), (len(first), 1, 1))
    result[:, :3, :3] = (start * Rotation.from_rotvec(fractions[:, None] * turn)).as_matrix()
    result[:, :3, 3] = first[:, :3, 3] + fractions[:, None] * (second[:, :3, 3] - first[:, :3, 3])
    return result


def _between(
    first: NDArray[np.float64], second: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how far poses (..., 4, 4) are apart, metres and radians."""
    cosine = ((first[..., :3, :3] * second[..., :3, :3]).sum(axis=(-2, -1)) - 1.0) / 2.0
    away = np.linalg.norm(first[..., :3, 3] - second[..., :3, 3], axis=-1)
    return away, np.arccos(np.clip(cosine, -1.0, 1.0))


def _check(state: dict[str, NDArray]) -> None:
    expected = {
        "stamps_ns": "int64",
        "poses": "float64",
        "recent_ns": "int64",
        "recent": "float64",
        "thinning": "int64",
        "settled_ns": "int64",
    }
    for name, dtype in expected.items():
        if name not in state or state[name].dtype != np.dtype(dtype):
            raise MapFormatError(f"trajectory: {name} is missing or is not {dtype}")
    stamps = np.concatenate([state["stamps_ns"].ravel(), state["recent_ns"].ravel()])
    fits = (
        state["poses"].shape == (state["stamps_ns"].size, 4, 4)
        and state["recent"].shape == (state["recent_ns"].size, 4, 4)
        and state["recent_ns"].size <= _WITNESSES
        and (state["stamps_ns"].size > 0 or state["recent_ns"].size == 0)
        and state["thinning"].shape == (2,)
        and state["settled_ns"].shape == ()
        and bool((state["thinning"] >= (1, 0)).all())
        and bool((np.diff(stamps) > 0).all())
        and bool(np.isfinite(state["poses"]).all() and np.isfinite(state["recent"]).all())
    )
    if not fits:
        raise MapFormatError("trajectory: the arrays do not fit each other")
