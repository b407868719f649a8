# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Collects one image of every camera into sets: a message_filters filter made for rigs."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from message_filters import SimpleFilter

from mtl_perception.messages.stamps import NANOSECONDS
from mtl_perception.ros.sync_queue import JUMP_BACK_NS, NEVER, SyncQueue

DUPLICATE = "duplicate stamp"
LATE = "older than a frame that is already out"
UNMATCHED = "no image of the reference camera within sync_slop"
QUEUE_FULL = "queue full"
CLOCK_JUMPED = "the clock jumped back"
TOO_FEW = "fewer cameras than min_cameras"
UNSTAMPED = "a stamp before 1970 or after 2038"

_ABSENT_AFTER = 3  # a camera that missed so many frames in a row is not waited for until it sends again
_LATE_IN_A_ROW = 3  # so many late reference images in a row mean the same, e.g. a short bag that loops
_LATEST_NS = 2**31 * NANOSECONDS - 1  # that a builtin_interfaces/Time holds


class RigSet(NamedTuple):
    """One image of the reference camera with the nearest one of every other camera.

    Attributes:
        stamp_ns: of the reference camera's image.
        messages: per camera name, what its filter passed on.
        companions: likewise what else belongs to the frame, as far as it came in time.
        missing: the cameras that had no image in time, in the rig's order.
        arrived_steady_ns: the steady clock when the set was decided: when the last of its images arrived, or when
            those that are missing were no longer waited for.
        arrived_clock_ns: the node's clock at that moment.
        worst_gap_ns: the largest distance of a stamp in the set to `stamp_ns`.
    """

    stamp_ns: int
    messages: Mapping[str, Any]
    companions: Mapping[str, Any]
    missing: tuple[str, ...]
    arrived_steady_ns: int
    arrived_clock_ns: int
    worst_gap_ns: int


class RigSynchronizer(SimpleFilter):
    """Passes on a `RigSet` for every image of the reference camera (the first) as soon as it is decided.

    Decided means: every other camera has its nearest image within `slop_s`, or cannot deliver one any more (a newer
    image came, its own rate says that its next image lies beyond, it has been absent for a while, or `timeout_s`
    passed). A camera that lately sent out of order is waited for as long as it was late then. Sets go out in the order
    of their stamps. An image is used once. Each queue is bounded; a message costs O(log queue), whatever the number of
    cameras, and a set O(cameras * log queue). What is dropped is counted with its reason.
    """

    def __init__(
        self,
        filters: Mapping[str, SimpleFilter],
        *,
        companions: Mapping[str, SimpleFilter] | None = None,
        slop_s: float,
        timeout_s: float,
        queue_size: int = 10,
        min_cameras: int = 1,
        wait_for_nearer: bool = True,
        clock_ns: Callable[[], int] = time.time_ns,
        steady_ns: Callable[[], int] = time.monotonic_ns,
        on_reference_dropped: Callable[[int, str], None] = lambda stamp_ns, reason: None,
        on_time_set_back: Callable[[int], None] = lambda stamp_ns: None,
    ) -> None:
        """Connect to one filter a camera.

        Args:
            filters: per camera name, in the rig's order, what delivers its images (anything with `header.stamp`).
            companions: likewise what else belongs to a frame. It is waited for like a camera, but a frame without it is
                complete.
            slop_s: largest distance of an image to the reference image, seconds; best below half a camera period.
            timeout_s: how long (by the steady clock) a missing camera is waited for.
            queue_size: images that wait at most, per camera.
            min_cameras: sets with fewer cameras are dropped.
            wait_for_nearer: wait for an image that may come nearer to the reference than one that is within the slop;
                False takes the nearest of those that are there, for a sender that waits until the set is done.
            clock_ns: the node's clock.
            steady_ns: the steady clock; another one where time is made up.
            on_reference_dropped: called with stamp and reason when a reference image will never be in a set.
            on_time_set_back: called with the stamp of a reference image that tells that the time was set back.
        """
        super().__init__()
        self._queues = [SyncQueue(name, is_camera=True) for name in filters]
        self._queues += [SyncQueue(name, is_camera=False) for name in companions or {}]
        self._reference, *self._others = self._queues
        self._cameras = len(filters)
        self.slop_ns = round(slop_s * 1e9)
        self.timeout_ns = round(timeout_s * 1e9)
        self._queue_size = queue_size
        self._min_cameras = min_cameras
        self._wait_for_nearer = wait_for_nearer
        self._clock_ns = clock_ns
        self._steady_ns = steady_ns
        self._on_reference_dropped = on_reference_dropped
        self._on_time_set_back = on_time_set_back
        self._lock = threading.Lock()
        self._outbox: deque[Callable[[], None]] = deque()  # what is told to others, after the lock is released
        self._arrived_ns: dict[int, int] = {}  # per reference image that waits, when by the steady clock it came
        self._last_out_ns = NEVER
        self._oldest_ns = NEVER  # what is older is of no use any more
        self._head_ns = NEVER  # the oldest reference image that waits,
        self._deadline_ns = 0  # until when by the steady clock, and
        self._pending: set[SyncQueue] = set()  # whom for
        self._late_in_a_row = 0
        self.complete = 0
        self.partial = 0
        sources = [*filters.values(), *(companions or {}).values()]
        for source, queue in zip(sources, self._queues, strict=True):
            source.registerCallback(self._add, queue)

    @property
    def waiting(self) -> dict[str, int]:
        """Per camera, how many images wait for their frame."""
        return {queue.name: len(queue.stamps) for queue in self._queues}

    @property
    def drops(self) -> Counter[tuple[str, str]]:
        """Per camera and reason, how many images were dropped."""
        counts = {(queue.name, reason): n for queue in self._queues for reason, n in queue.drops.copy().items() if n}
        return Counter(counts)

    def check(self) -> None:
        """Decide what time alone decides: call it regularly, so that a lost camera does not hold a frame for ever."""
        with self._lock:
            self._decide()
        self._tell()

    def close(self, reason: str) -> None:
        """Drop what still waits, with a reason."""
        with self._lock:
            for queue in self._queues:
                self._drop_first(queue, len(queue.stamps), reason)
        self._tell()

    def jump_back(self, clock_ns: int) -> None:
        """Forget what is left of the time before the clock jumped back to `clock_ns`; what is of the new time stays."""
        with self._lock:
            self._forget_after(clock_ns + self.slop_ns)
        self._tell()

    def _add(self, message: Any, queue: SyncQueue) -> None:
        stamp = message.header.stamp
        stamp_ns = stamp.sec * NANOSECONDS + stamp.nanosec
        with self._lock:
            if not 0 <= stamp_ns <= _LATEST_NS:
                self._count_drops(queue, [stamp_ns], UNSTAMPED)
            elif queue is self._reference:
                self._take_reference(stamp_ns, message)
            elif stamp_ns > queue.newest_ns and stamp_ns >= self._oldest_ns:
                queue.append(stamp_ns, message)
                self._taken(queue, stamp_ns)
            elif reason := self._not_taken(queue, stamp_ns, message):
                queue.drops[reason] += 1
            else:
                self._taken(queue, stamp_ns)
        if self._outbox:
            self._tell()

    def _taken(self, queue: SyncQueue, stamp_ns: int) -> None:
        """Send out what has waited for a message of another source than the reference camera."""
        if len(queue.stamps) > self._queue_size:
            self._drop_first(queue, 1, QUEUE_FULL)
        pending = self._pending
        if queue not in pending:
            return
        # What comes first is the usual case of what `_has_settled` says.
        if self._head_ns <= stamp_ns <= self._head_ns + self.slop_ns or self._has_settled(queue, self._head_ns):
            pending.remove(queue)
            if not pending:
                self._decide()

    def _not_taken(self, queue: SyncQueue, stamp_ns: int, message: Any) -> str:
        """Queue a message that is not newer than all before; "", or why it is dropped."""
        if stamp_ns < self._oldest_ns:
            queue.note_disorder(stamp_ns)
            return LATE
        if stamp_ns == queue.used_ns:
            return DUPLICATE
        if queue.newest_ns - stamp_ns > JUMP_BACK_NS:
            # This source alone was ahead of its time: what it sent then belongs to no frame.
            self._forget(queue, stamp_ns + JUMP_BACK_NS)
        if stamp_ns < queue.used_ns:
            queue.note_disorder(stamp_ns)
            return LATE
        return "" if queue.insert(stamp_ns, message) else DUPLICATE

    def _take_reference(self, stamp_ns: int, message: Any) -> None:
        """Queue an image of the reference camera, and send out what is decided."""
        queue = self._reference
        if stamp_ns > queue.newest_ns:
            self._late_in_a_row = 0
            queue.append(stamp_ns, message)
        else:
            if self._has_jumped_back(stamp_ns):
                self._forget_after(stamp_ns + self.slop_ns)
                self._outbox.append(lambda: self._on_time_set_back(stamp_ns))
            if stamp_ns < self._last_out_ns:
                queue.note_disorder(stamp_ns)
                self._drop_reference(stamp_ns, LATE)
                return
            if stamp_ns == self._last_out_ns or not queue.insert(stamp_ns, message):
                queue.drops[DUPLICATE] += 1  # nobody is told: the frame itself is not lost
                return
        self._arrived_ns[stamp_ns] = self._steady_ns()
        if len(queue.stamps) > self._queue_size:
            self._drop_first(queue, 1, QUEUE_FULL)
        self._decide()

    def _has_jumped_back(self, stamp_ns: int) -> bool:
        """Whether a reference image of this stamp tells that the time was set back."""
        if self._reference.newest_ns - stamp_ns > JUMP_BACK_NS:
            return True
        if stamp_ns >= self._last_out_ns:
            self._late_in_a_row = 0
            return False
        self._late_in_a_row += 1
        return self._late_in_a_row >= _LATE_IN_A_ROW

    def _forget_after(self, stamp_ns: int) -> None:
        for queue in self._queues:
            self._forget(queue, stamp_ns)
        self._last_out_ns = self._oldest_ns = self._head_ns = NEVER
        self._pending.clear()
        self._late_in_a_row = 0

    def _forget(self, queue: SyncQueue, stamp_ns: int) -> None:
        """Drop what waits of a source with a later stamp, and what its past tells."""
        kept = bisect_left(queue.stamps, stamp_ns + 1)
        self._count_drops(queue, queue.stamps[kept:], CLOCK_JUMPED)
        del queue.stamps[kept:], queue.messages[kept:]
        queue.forget_past()

    def _decide(self) -> None:
        """Send out, from the oldest on, what waits for nothing any more."""
        references = self._reference
        while references.stamps:
            head_ns = references.stamps[0]
            if head_ns != self._head_ns:
                self._head_ns = head_ns
                self._deadline_ns = self._arrived_ns[head_ns] + self.timeout_ns
                self._pending = {queue for queue in self._others if not self._has_settled(queue, head_ns)}
            waits = self._pending or self._may_be_preceded(head_ns)
            if waits and self._steady_ns() <= self._deadline_ns:
                return
            self._emit()
        self._head_ns = NEVER
        self._pending.clear()

    def _has_settled(self, queue: SyncQueue, stamp_ns: int) -> bool:
        """Whether no image that may still come from this camera would be a better partner for the reference."""
        newest_ns = queue.newest_ns
        at = queue.nearest(stamp_ns)
        gap_ns = abs(queue.stamps[at] - stamp_ns) if at >= 0 else self.slop_ns + 1
        if gap_ns <= self.slop_ns:
            if newest_ns >= stamp_ns or not queue.steps_ns:
                return True
            return not self._wait_for_nearer or gap_ns <= abs(newest_ns + min(queue.steps_ns) - stamp_ns)
        if queue.missed >= _ABSENT_AFTER:
            return True
        if newest_ns >= stamp_ns:
            # One that comes out of order may still be of this frame; so may the next after a stamp far in the future.
            is_far = queue.stamps and gap_ns > JUMP_BACK_NS
            return not (is_far or queue.may_bring(stamp_ns, self.slop_ns))
        # Half a period is the earliest that a jittering camera sends its next image.
        return bool(queue.steps_ns) and newest_ns + min(queue.steps_ns) // 2 > stamp_ns + self.slop_ns

    def _may_be_preceded(self, stamp_ns: int) -> bool:
        """Whether a reference image is missing before this one that may still come, out of order."""
        queue = self._reference
        if queue.newest_ns > queue.disorder_until_ns or not queue.steps_ns or self._last_out_ns == NEVER:
            return False
        period_ns = min(queue.steps_ns)
        is_missing = stamp_ns - self._last_out_ns > period_ns + period_ns // 2
        return is_missing and queue.may_bring(stamp_ns - period_ns, self.slop_ns)

    def _emit(self) -> None:
        """Make a set of the oldest reference image that waits, or drop it."""
        reference, slop_ns = self._reference, self.slop_ns
        stamp_ns = self._last_out_ns = reference.stamps[0]
        self._oldest_ns = stamp_ns - slop_ns
        messages: dict[str, Any] = {reference.name: reference.messages[0]}
        companions: dict[str, Any] = {}
        reference.remove_first(1)
        del self._arrived_ns[stamp_ns]
        missing: list[str] = []
        worst_gap_ns = 0
        for queue in self._others:
            at = queue.nearest(stamp_ns)
            gap_ns = abs(queue.stamps[at] - stamp_ns) if at >= 0 else slop_ns + 1
            if gap_ns > slop_ns:
                queue.missed += 1
                self._drop_first(queue, bisect_left(queue.stamps, stamp_ns), UNMATCHED)
                if queue.is_camera:
                    missing.append(queue.name)
                continue
            (messages if queue.is_camera else companions)[queue.name] = queue.messages[at]
            queue.used_ns = queue.stamps[at]
            if gap_ns > worst_gap_ns:
                worst_gap_ns = gap_ns
            if at:
                queue.drops[UNMATCHED] += at  # no later reference image can use what is older
            queue.remove_first(at + 1)
        if len(messages) < self._min_cameras:
            for queue in self._others:
                queue.drops[TOO_FEW] += queue.name in messages or queue.name in companions
            self._drop_reference(stamp_ns, TOO_FEW)
            return
        if missing:
            self.partial += 1
        else:
            self.complete += 1
        now_ns, clock_ns = self._steady_ns(), self._clock_ns()
        rig_set = RigSet(stamp_ns, messages, companions, tuple(missing), now_ns, clock_ns, worst_gap_ns)
        self._outbox.append(lambda: self.signalMessage(rig_set))

    def _drop_first(self, queue: SyncQueue, count: int, reason: str) -> None:
        self._count_drops(queue, queue.stamps[:count], reason)
        queue.remove_first(count)

    def _count_drops(self, queue: SyncQueue, stamps: list[int], reason: str) -> None:
        if queue is not self._reference:
            queue.drops[reason] += len(stamps)
            return
        for stamp_ns in stamps:
            self._arrived_ns.pop(stamp_ns, None)
            self._drop_reference(stamp_ns, reason)

    def _drop_reference(self, stamp_ns: int, reason: str) -> None:
        self._reference.drops[reason] += 1
        self._outbox.append(lambda: self._on_reference_dropped(stamp_ns, reason))

    def _tell(self) -> None:
        # Outside the lock: what listeners do must not hold up, or dead-lock with, the next image.
        while self._outbox:
            try:
                call = self._outbox.popleft()
            except IndexError:
                return
            call()
