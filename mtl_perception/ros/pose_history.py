# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The newest poses of a frame, interpolated at a stamp, and what is wrong with them."""

from __future__ import annotations

import threading
from bisect import bisect_left

import numpy as np

from mtl_perception.core.transforms import Transform, interpolate
from mtl_perception.ros.notices import Notices

JUMP_BACK_NS = 1_000_000_000  # a pose so much older than the newest is one of a time that was set back,
OLD_IN_A_ROW = 3  # if so many come in a row

_OTHER_CLOCK_NS = 10_000_000_000  # so far apart, images and poses are hardly stamped by one clock
_JUMP_M, _JUMP_M_PER_S = 1.0, 100.0  # farther and faster than both, nothing that carries cameras drives
_ALIKE = 1e-6  # metres, and of a rotation matrix's entries


class NoPoseError(LookupError):
    """There is no pose or transform for a stamp; the text says why."""


class NotYetError(NoPoseError):
    """There is no pose or transform for a stamp yet, but it may still arrive."""


class PoseHistory:
    """The newest poses of one frame in another, sorted by stamp, interpolated between the two neighbours.

    Neighbours are not interpolated between when the robot cannot have gone from one to the other: a pose that jumps.
    """

    def __init__(
        self,
        *,
        size: int = 5000,
        max_gap_s: float = 1.0,
        max_extrapolation_s: float = 0.0,
        notices: Notices | None = None,
    ) -> None:
        """Make an empty history of at most `size` poses.

        Args:
            size: older poses are forgotten.
            max_gap_s: neighbours further apart than this are not interpolated between.
            max_extrapolation_s: how far beyond the newest pose its motion is taken to go on.
            notices: are told of poses that jump, come twice or come from another time.
        """
        self._size = size
        self._max_gap_ns = round(max_gap_s * 1e9)
        self._max_extrapolation_ns = round(max_extrapolation_s * 1e9)
        self._stamps: list[int] = []
        self._poses: list[Transform] = []
        self._behind = 0  # how many poses in a row were of another time
        self._notices = Notices() if notices is None else notices
        self._lock = threading.Lock()

    @property
    def newest_ns(self) -> int | None:
        """The newest stamp."""
        with self._lock:
            return self._stamps[-1] if self._stamps else None

    def insert(self, stamp_ns: int, pose: Transform) -> None:
        """Add a pose; one of the same stamp is replaced, and the oldest goes when the history is full.

        A few poses in a row that are far older than the newest mean that the time was set back: what is newer is then
        forgotten.
        """
        with self._lock:
            self._note_order(stamp_ns)
            at = bisect_left(self._stamps, stamp_ns)
            if at < len(self._stamps) and self._stamps[at] == stamp_ns:
                self._note_duplicate(self._poses[at], pose)
                self._poses[at] = pose
                return
            self._stamps.insert(at, stamp_ns)
            self._poses.insert(at, pose)
            if at and (jump := self._jump(at)):
                self._notices.note("jumps", jump)
            if len(self._stamps) > self._size:
                del self._stamps[0], self._poses[0]

    def clear(self) -> None:
        """Forget all poses."""
        with self._lock:
            self._stamps.clear()
            self._poses.clear()

    def forget_after(self, stamp_ns: int) -> None:
        """Forget all poses newer than a stamp."""
        with self._lock:
            self._forget_after(stamp_ns)

    def at(self, stamp_ns: int, *, wait: bool = False) -> Transform:
        """Return the pose at a stamp.

        Raises:
            NotYetError: the stamp is beyond the newest pose, and `wait` is set or there is no pose at all.
            NoPoseError: the stamp is before the oldest pose, in a gap, or too far beyond the newest.
        """
        with self._lock:
            if not self._stamps:
                raise NotYetError("no pose has arrived")
            at = bisect_left(self._stamps, stamp_ns)
            if at == len(self._stamps):
                return self._beyond(stamp_ns, wait)
            if self._stamps[at] == stamp_ns:
                return self._poses[at]
            if at == 0:
                behind_ns = self._stamps[0] - stamp_ns
                said = f"the stamp is {behind_ns * 1e-9:.3f} s before the oldest pose"
                raise NoPoseError(said + _clock_hint(behind_ns))
            start, end = self._stamps[at - 1], self._stamps[at]
            if end - start > self._max_gap_ns:
                # A pose between them may still come: the later one may be a stray, or have overtaken it.
                raise (NotYetError if wait else NoPoseError)(
                    f"the poses around the stamp are {(end - start) * 1e-9:.3f} s apart, more than pose_max_gap "
                    f"({self._max_gap_ns * 1e-9:g} s)"
                )
            if jump := self._jump(at):
                raise NoPoseError(f"around the stamp, {jump}")
            return interpolate(self._poses[at - 1], self._poses[at], (stamp_ns - start) / (end - start))

    def _forget_after(self, stamp_ns: int) -> None:
        at = bisect_left(self._stamps, stamp_ns + 1)
        del self._stamps[at:], self._poses[at:]
        self._behind = 0

    def _beyond(self, stamp_ns: int, wait: bool) -> Transform:
        ahead_ns = stamp_ns - self._stamps[-1]
        said = f"the stamp is {ahead_ns * 1e-9:.3f} s after the newest pose"
        if wait:
            raise NotYetError(said)
        if ahead_ns > self._max_extrapolation_ns:
            limit = f"more than pose_max_extrapolation ({self._max_extrapolation_ns * 1e-9:g} s)"
            raise NoPoseError(f"{said}, {limit}{_clock_hint(ahead_ns)}")
        last = len(self._stamps) - 1
        if not last or self._stamps[-1] - self._stamps[-2] > self._max_gap_ns or self._jump(last):
            raise NoPoseError(f"{said}, and the motion before is not known")
        start, end = self._stamps[-2], self._stamps[-1]
        return interpolate(self._poses[-2], self._poses[-1], (stamp_ns - start) / (end - start))

    def _note_order(self, stamp_ns: int) -> None:
        behind_ns = self._stamps[-1] - stamp_ns if self._stamps else 0
        if behind_ns <= JUMP_BACK_NS:
            self._behind = 0
            if behind_ns > 0:
                self._notices.note("out of order")
            return
        self._behind += 1
        self._notices.note("back in time", f"a pose's stamp is {behind_ns * 1e-9:.3f} s before that of an earlier one")
        if self._behind >= OLD_IN_A_ROW:
            self._forget_after(stamp_ns)

    def _note_duplicate(self, first: Transform, second: Transform) -> None:
        if np.allclose(first, second, rtol=0.0, atol=_ALIKE):
            self._notices.note("duplicates")
        else:
            self._notices.note("contradictions", "two poses of the same stamp differ: is there more than one robot?")

    def _jump(self, at: int) -> str:
        """Return how far the pose at an index jumps from the one before, or "" where it does not."""
        seconds = (self._stamps[at] - self._stamps[at - 1]) * 1e-9
        metres = float(np.linalg.norm(self._poses[at][:3, 3] - self._poses[at - 1][:3, 3]))
        return f"the pose jumps by {metres:.1f} m in {seconds:.3f} s" if is_jump(metres, seconds) else ""


def is_jump(metres: float, seconds: float) -> bool:
    """Return whether something is displaced farther than it can have moved in that time."""
    return metres > _JUMP_M and metres > _JUMP_M_PER_S * abs(seconds)


def _clock_hint(distance_ns: int) -> str:
    return "; do images and poses have one clock?" if distance_ns > _OTHER_CLOCK_NS else ""
