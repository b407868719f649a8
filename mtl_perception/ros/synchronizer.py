# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Collects one image of every camera into sets: a message_filters filter made for rigs."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left, insort
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from message_filters import SimpleFilter

from mtl_perception.messages.stamps import stamp_ns_from

DUPLICATE = "duplicate stamp"
LATE = "older than a frame that is already out"
UNMATCHED = "no image of the reference camera within sync_slop"
QUEUE_FULL = "queue full"
CLOCK_JUMPED = "the clock jumped back"
TOO_FEW = "fewer cameras than min_cameras"

_ABSENT_AFTER = 3  # a camera that missed so many frames in a row is not waited for until it sends again
_JUMP_BACK_NS = 1_000_000_000  # a reference image older than the newest by more than this: the time was set back
_LATE_IN_A_ROW = 3  # so many late reference images in a row mean the same, e.g. a short bag that loops


@dataclass(frozen=True)
class RigSet:
    """One image of the reference camera with the nearest one of every other camera.

    Attributes:
        stamp_ns: of the reference camera's image.
        messages: per camera name, what its filter passed on.
        companions: likewise what else belongs to the frame, as far as it came in time.
        missing: the cameras that had no image in time, in the rig's order.
        arrived_steady_ns: `time.monotonic_ns()` when the last of the images arrived.
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


@dataclass(order=True)
class _Entry:
    stamp_ns: int
    message: Any = field(compare=False)
    steady_ns: int = field(compare=False)
    clock_ns: int = field(compare=False)


class _Queue:
    """The images of one camera that wait for their frame, sorted by stamp."""

    def __init__(self) -> None:
        self.entries: list[_Entry] = []
        self.newest_ns: int | None = None
        self.period_ns: int | None = None  # the smallest distance of two stamps so far
        self.missed = 0

    def clear(self) -> None:
        self.entries.clear()
        self.newest_ns = self.period_ns = None
        self.missed = 0

    def nearest(self, stamp_ns: int) -> _Entry | None:
        at = bisect_left(self.entries, stamp_ns, key=lambda entry: entry.stamp_ns)
        around = self.entries[max(at - 1, 0) : at + 1]
        return min(around, key=lambda entry: abs(entry.stamp_ns - stamp_ns), default=None)


class RigSynchronizer(SimpleFilter):
    """Passes on a `RigSet` for every image of the reference camera (the first) as soon as it is decided.

    Decided means: every other camera has its nearest image within `slop_s`, or cannot deliver one any more (a newer
    image came, its own rate says that its next image lies beyond, it has been absent for a while, or `timeout_s`
    passed). An image is used once. Each queue is bounded; a message costs O(log queue). What is dropped is counted
    with its reason.
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
        on_reference_dropped: Callable[[int, str], None] = lambda stamp_ns, reason: None,
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
            on_reference_dropped: called with stamp and reason when a reference image will never be in a set.
        """
        super().__init__()
        sources = {**filters, **(companions or {})}
        self._names = tuple(sources)
        self._cameras = tuple(filters)
        self._reference = self._names[0]
        self._queues = {name: _Queue() for name in self._names}
        self.slop_ns = round(slop_s * 1e9)
        self.timeout_ns = round(timeout_s * 1e9)
        self._queue_size = queue_size
        self._min_cameras = min_cameras
        self._wait_for_nearer = wait_for_nearer
        self._clock_ns = clock_ns
        self._on_reference_dropped = on_reference_dropped
        self._lock = threading.Lock()
        self._outbox: deque[Callable[[], None]] = deque()  # what is told to others, after the lock is released
        self._last_out_ns: int | None = None
        self._late_in_a_row = 0
        self.complete = 0
        self.partial = 0
        self.drops: Counter[tuple[str, str]] = Counter()  # (camera, reason) -> how many images
        for name, source in sources.items():
            source.registerCallback(self._add, name)

    @property
    def waiting(self) -> dict[str, int]:
        """Per camera, how many images wait for their frame."""
        return {name: len(queue.entries) for name, queue in self._queues.items()}

    def check(self) -> None:
        """Decide what time alone decides: call it regularly, so that a lost camera does not hold a frame for ever."""
        with self._lock:
            self._decide()
        self._tell()

    def jump_back(self, clock_ns: int) -> None:
        """Forget what is left of the time before the clock jumped back to `clock_ns`; what is of the new time stays."""
        with self._lock:
            self._forget_after(clock_ns + self.slop_ns)
        self._tell()

    def _add(self, message: Any, name: str) -> None:
        entry = _Entry(stamp_ns_from(message.header.stamp), message, time.monotonic_ns(), self._clock_ns())
        with self._lock:
            self._insert(name, entry)
            self._decide()
        self._tell()

    def _insert(self, name: str, entry: _Entry) -> None:
        queue = self._queues[name]
        if name == self._reference and self._has_jumped_back(entry.stamp_ns):
            self._forget_after(entry.stamp_ns + self.slop_ns)
        if name == self._reference and entry.stamp_ns == self._last_out_ns:
            self._drop(name, entry, DUPLICATE)
            return
        if self._is_late(name, entry.stamp_ns):
            self._drop(name, entry, LATE)
            return
        at = bisect_left(queue.entries, entry)
        if at < len(queue.entries) and queue.entries[at].stamp_ns == entry.stamp_ns:
            self._drop(name, entry, DUPLICATE)
            return
        if queue.newest_ns is not None and entry.stamp_ns > queue.newest_ns:
            step = entry.stamp_ns - queue.newest_ns
            queue.period_ns = step if queue.period_ns is None else min(queue.period_ns, step)
        queue.newest_ns = entry.stamp_ns if queue.newest_ns is None else max(queue.newest_ns, entry.stamp_ns)
        queue.missed = 0
        insort(queue.entries, entry)
        if len(queue.entries) > self._queue_size:
            self._drop(name, queue.entries.pop(0), QUEUE_FULL)

    def _has_jumped_back(self, stamp_ns: int) -> bool:
        """Whether a reference image of this stamp tells that the time was set back."""
        newest_ns = self._queues[self._reference].newest_ns
        if newest_ns is not None and newest_ns - stamp_ns > _JUMP_BACK_NS:
            return True
        if self._last_out_ns is None or stamp_ns >= self._last_out_ns:
            self._late_in_a_row = 0
            return False
        self._late_in_a_row += 1
        return self._late_in_a_row >= _LATE_IN_A_ROW

    def _is_late(self, name: str, stamp_ns: int) -> bool:
        slop_ns = 0 if name == self._reference else self.slop_ns
        return self._last_out_ns is not None and stamp_ns < self._last_out_ns - slop_ns

    def _forget_after(self, stamp_ns: int) -> None:
        for name, queue in self._queues.items():
            kept = [entry for entry in queue.entries if entry.stamp_ns <= stamp_ns]
            for entry in queue.entries[len(kept) :]:
                self._drop(name, entry, CLOCK_JUMPED)
            queue.clear()
            queue.entries = kept
            queue.newest_ns = kept[-1].stamp_ns if kept else None
        self._last_out_ns = None
        self._late_in_a_row = 0

    def _decide(self) -> None:
        references = self._queues[self._reference].entries
        while references and self._is_decided(references[0]):
            self._emit(references.pop(0))

    def _is_decided(self, reference: _Entry) -> bool:
        timed_out = time.monotonic_ns() - reference.steady_ns > self.timeout_ns
        return timed_out or all(self._has_settled(self._queues[name], reference.stamp_ns) for name in self._names[1:])

    def _has_settled(self, queue: _Queue, stamp_ns: int) -> bool:
        """Whether no image that may still come from this camera would be a better partner for the reference."""
        if queue.newest_ns is not None and queue.newest_ns >= stamp_ns:
            return True
        nearest = queue.nearest(stamp_ns)
        within = nearest is not None and abs(nearest.stamp_ns - stamp_ns) <= self.slop_ns
        if queue.newest_ns is None or queue.period_ns is None:
            return within or queue.missed >= _ABSENT_AFTER
        if within and nearest is not None:
            next_ns = queue.newest_ns + queue.period_ns
            return not self._wait_for_nearer or abs(nearest.stamp_ns - stamp_ns) <= abs(next_ns - stamp_ns)
        # Half a period is the earliest that a jittering camera sends its next image.
        next_ns = queue.newest_ns + queue.period_ns // 2
        return next_ns > stamp_ns + self.slop_ns or queue.missed >= _ABSENT_AFTER

    def _emit(self, reference: _Entry) -> None:
        chosen = {self._reference: reference}
        for name in self._names[1:]:
            queue = self._queues[name]
            nearest = queue.nearest(reference.stamp_ns)
            if nearest is not None and abs(nearest.stamp_ns - reference.stamp_ns) <= self.slop_ns:
                chosen[name] = nearest
            else:
                queue.missed += 1
            self._discard_until(name, nearest if name in chosen else None, reference.stamp_ns)
        self._last_out_ns = reference.stamp_ns
        missing = tuple(name for name in self._cameras if name not in chosen)
        if len(self._cameras) - len(missing) < self._min_cameras:
            for name, entry in chosen.items():
                self._drop(name, entry, TOO_FEW)
            return
        self.partial += bool(missing)
        self.complete += not missing
        last = max(chosen.values(), key=lambda entry: entry.steady_ns)
        rig_set = RigSet(
            stamp_ns=reference.stamp_ns,
            messages={name: chosen[name].message for name in self._cameras if name in chosen},
            companions={name: entry.message for name, entry in sorted(chosen.items()) if name not in self._cameras},
            missing=missing,
            arrived_steady_ns=last.steady_ns,
            arrived_clock_ns=last.clock_ns,
            worst_gap_ns=max(abs(entry.stamp_ns - reference.stamp_ns) for entry in chosen.values()),
        )
        self._outbox.append(lambda: self.signalMessage(rig_set))

    def _discard_until(self, name: str, used: _Entry | None, stamp_ns: int) -> None:
        """Drop a camera's images that no later reference image can use."""
        queue = self._queues[name]
        limit = stamp_ns - self.slop_ns if used is None else used.stamp_ns
        while queue.entries and queue.entries[0].stamp_ns <= limit:
            entry = queue.entries.pop(0)
            if entry is not used:
                self._drop(name, entry, UNMATCHED)

    def _drop(self, name: str, entry: _Entry, reason: str) -> None:
        self.drops[name, reason] += 1
        if name == self._reference and reason is not DUPLICATE:
            self._outbox.append(lambda: self._on_reference_dropped(entry.stamp_ns, reason))

    def _tell(self) -> None:
        # Outside the lock: what listeners do must not hold up, or dead-lock with, the next image.
        while self._outbox:
            try:
                call = self._outbox.popleft()
            except IndexError:
                return
            call()
