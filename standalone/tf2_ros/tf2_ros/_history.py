# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What is known of one frame over time: where it is in its parent."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import NamedTuple

from tf2_ros._exceptions import ExtrapolationException
from tf2_ros._rigid import Rigid, interpolate


class Link(NamedTuple):
    """A frame's parent, and the transform from the frame to the parent."""

    parent: str
    parent_from_frame: Rigid


class StaticHistory:
    """A frame that never moves: the last transform given holds at all times, and survives `clear`."""

    def __init__(self) -> None:
        self._link: Link | None = None

    def insert(self, stamp_ns: int, link: Link) -> bool:
        """Replace the transform."""
        self._link = link
        return True

    def clear(self) -> None:
        """Keep the transform: what does not depend on time is not outdated when time jumps."""

    def at(self, time_ns: int) -> Link:
        """Return the transform."""
        assert self._link is not None
        return self._link

    def latest(self) -> tuple[int, str | None]:
        """Return time 0, which says that it holds at all times, and the parent."""
        return 0, self._link.parent if self._link else None


class History:
    """A frame that moves: transforms of the last `cache_time_ns` before the newest one, sorted by stamp."""

    def __init__(self, cache_time_ns: int) -> None:
        self._cache_time_ns = cache_time_ns
        self._stamps: list[int] = []
        self._links: list[Link] = []

    def insert(self, stamp_ns: int, link: Link) -> bool:
        """Store a transform; False when it is older than what is kept."""
        if self._stamps:
            oldest_kept = self._stamps[-1] - self._cache_time_ns
            outdated = bisect_left(self._stamps, oldest_kept)
            del self._stamps[:outdated], self._links[:outdated]
            if stamp_ns < oldest_kept:
                return False
        position = bisect_right(self._stamps, stamp_ns)
        same_time = self._links[bisect_left(self._stamps, stamp_ns) : position]
        if link not in same_time:
            self._stamps.insert(position, stamp_ns)
            self._links.insert(position, link)
        return True

    def clear(self) -> None:
        """Forget everything."""
        self._stamps.clear()
        self._links.clear()

    def at(self, time_ns: int) -> Link:
        """Return the transform at that time, interpolated between its neighbours; at time 0 the newest.

        Raises:
            ExtrapolationException: the time is before the first or after the last.
        """
        stamps, links = self._stamps, self._links
        if stamps and time_ns in (0, stamps[-1]):
            return links[-1]
        if len(stamps) < 2:
            known = stamps[0] if stamps else 0
            raise ExtrapolationException(
                f"Lookup would require extrapolation at time {seconds(time_ns)}, "
                f"but only time {seconds(known)} is in the buffer"
            )
        if time_ns > stamps[-1]:
            raise ExtrapolationException(
                f"Lookup would require extrapolation into the future.  Requested time {seconds(time_ns)} "
                f"but the latest data is at time {seconds(stamps[-1])}"
            )
        if time_ns < stamps[0]:
            raise ExtrapolationException(
                f"Lookup would require extrapolation into the past.  Requested time {seconds(time_ns)} "
                f"but the earliest data is at time {seconds(stamps[0])}"
            )
        if time_ns == stamps[0]:
            return links[0]
        newer = bisect_right(stamps, time_ns)
        one, two = links[newer - 1], links[newer]
        if one.parent != two.parent:
            return one
        ratio = (time_ns - stamps[newer - 1]) / (stamps[newer] - stamps[newer - 1])
        return Link(one.parent, interpolate(one.parent_from_frame, two.parent_from_frame, ratio))

    def latest(self) -> tuple[int, str | None]:
        """Return the newest stamp and the parent at that time; 0 and None when nothing is known."""
        return (self._stamps[-1], self._links[-1].parent) if self._stamps else (0, None)


def seconds(time_ns: int) -> str:
    """Return a time as tf2 prints it, in seconds with six decimals."""
    return f"{time_ns // 1_000_000_000 + 1e-9 * (time_ns % 1_000_000_000):.6f}"
