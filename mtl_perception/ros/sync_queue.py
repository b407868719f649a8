# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What waits of one source of a synchroniser."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from typing import Any

from mtl_perception.messages.stamps import NANOSECONDS

NEVER = -(2**63)
"""Before all stamps."""
JUMP_BACK_NS = NANOSECONDS
"""A message that is older than its source's newest by more than this: the time was set back."""

_STEPS = 8  # of the last messages that tell a source's period
_DISORDER_REMEMBERED_NS = 10 * NANOSECONDS  # for how long a source that sent out of order is trusted less


class SyncQueue:
    """The messages of one source that wait for their frame, sorted by stamp, and what its past tells of its next one.

    Removing from the front and inserting moves at most the queue's pointers, 8 bytes a message: no more than one
    comparison in Python costs. Only the search counts, and it is a bisection.

    Attributes:
        stamps, messages: what waits.
        newest_ns: the newest stamp so far.
        used_ns: the stamp of the last message that went into a set.
        steps_ns: the last distances of the newest stamps.
        disorder_ns: by how much a message was older than one before it, as long as `newest_ns` is at most
            `disorder_until_ns`; 0: all came in order.
        missed: sets in a row without a message of this source.
        drops: how many messages were dropped for which reason.
    """

    __slots__ = (
        "disorder_ns",
        "disorder_until_ns",
        "drops",
        "is_camera",
        "messages",
        "missed",
        "name",
        "newest_ns",
        "stamps",
        "steps_ns",
        "used_ns",
    )

    def __init__(self, name: str, *, is_camera: bool) -> None:
        """Begin empty; `is_camera` tells whether a frame without its message is partial."""
        self.name = name
        self.is_camera = is_camera
        self.stamps: list[int] = []
        self.messages: list[Any] = []
        self.drops: Counter[str] = Counter()
        self.steps_ns: deque[int] = deque(maxlen=_STEPS)
        self.forget_past()

    def forget_past(self) -> None:
        """Know nothing but what waits."""
        self.newest_ns = self.stamps[-1] if self.stamps else NEVER
        self.used_ns = self.disorder_until_ns = NEVER
        self.steps_ns.clear()
        self.disorder_ns = self.missed = 0

    def append(self, stamp_ns: int, message: Any) -> None:
        """Take a message that is newer than all before."""
        newest_ns = self.newest_ns
        if newest_ns != NEVER:
            self.steps_ns.append(stamp_ns - newest_ns)
        self.newest_ns = stamp_ns
        self.stamps.append(stamp_ns)
        self.messages.append(message)
        self.missed = 0

    def insert(self, stamp_ns: int, message: Any) -> bool:
        """Take a message that is not newer than all before; returns False where one of its stamp waits already."""
        at = bisect_left(self.stamps, stamp_ns)
        if at < len(self.stamps) and self.stamps[at] == stamp_ns:
            return False
        self.stamps.insert(at, stamp_ns)
        self.messages.insert(at, message)
        self.note_disorder(stamp_ns)
        self.newest_ns = max(self.newest_ns, stamp_ns)
        self.missed = 0
        return True

    def note_disorder(self, stamp_ns: int) -> None:
        """Remember how late a message came, so that others that are as late are waited for."""
        late_ns = self.newest_ns - stamp_ns
        if 0 < late_ns <= JUMP_BACK_NS:
            known_ns = self.disorder_ns if self.newest_ns <= self.disorder_until_ns else 0
            self.disorder_ns = max(known_ns, late_ns)
            self.disorder_until_ns = self.newest_ns + _DISORDER_REMEMBERED_NS

    def may_bring(self, stamp_ns: int, slop_ns: int) -> bool:
        """Whether this source may send a message around a stamp after newer ones, going by its past."""
        if self.newest_ns > self.disorder_until_ns:
            return False
        return self.newest_ns - stamp_ns <= self.disorder_ns + slop_ns

    def nearest(self, stamp_ns: int) -> int:
        """Return the place of the message that is nearest to a stamp, the older one of two; -1 where none waits."""
        stamps = self.stamps
        if len(stamps) < 2:
            return len(stamps) - 1
        at = bisect_left(stamps, stamp_ns)
        if at and (at == len(stamps) or stamp_ns - stamps[at - 1] <= stamps[at] - stamp_ns):
            return at - 1
        return at

    def remove_first(self, count: int) -> None:
        """Remove the oldest messages."""
        del self.stamps[:count], self.messages[:count]
