# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Lets through at most so many of a stream of stamps a second."""

from __future__ import annotations

# A camera whose stamps jitter by less than this keeps its 10 Hz under a limit of 10 Hz.
_EARLY = 0.25  # of a period
_EARLY_NS = 30_000_000


class RateLimit:
    """A limit by the stamps themselves, so that a replayed recording gives the same choice every time.

    Each stamp that is taken fills a slot, a period after the one before; it may come a quarter of a period early, and
    at most 30 ms. In n periods there are n + 2 at most, however the stamps jitter.
    """

    def __init__(self) -> None:
        """Let the first one through."""
        self._slot_ns: int | None = None  # of the last that was taken
        self._taken_ns = 0

    def is_due(self, stamp_ns: int, rate_hz: float) -> bool:
        """Return whether a stamp may be taken; always with a rate of 0, and after the clock has jumped back."""
        if rate_hz <= 0 or self._slot_ns is None or stamp_ns < self._taken_ns:
            return True
        period_ns = 1e9 / rate_hz
        return stamp_ns >= self._slot_ns + period_ns - min(_EARLY * period_ns, _EARLY_NS)

    def take(self, stamp_ns: int, rate_hz: float) -> None:
        """Note that a stamp, which was due, has been taken."""
        period_ns = round(1e9 / rate_hz) if rate_hz > 0 else 0
        slot_ns = stamp_ns if self._slot_ns is None else self._slot_ns + period_ns
        # After a jump back, and when nothing came for a period or more, slots are counted from here.
        is_slot_of_it = stamp_ns >= self._taken_ns and stamp_ns < slot_ns + period_ns
        self._slot_ns = slot_ns if is_slot_of_it else stamp_ns
        self._taken_ns = stamp_ns
