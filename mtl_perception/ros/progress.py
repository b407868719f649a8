# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`<node>/progress`: for every frame, whether it was used, and how old its stamp was when each stage ended."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from mtl_perception.messages.stamps import to_header
from mtl_perception.ros.diagnostics import Level, Status
from mtl_perception_msgs.msg import Progress

_REMEMBERED = 1000  # frames that the percentiles are taken over
_RATE_WINDOW_S = 5.0
_FAULT_SHOWS_S = 1.0  # diagnostics warn of a dropped frame for so long


class FrameClock:
    """Measures the age of one frame's stamp stage by stage.

    The age is the node's clock when the last image arrived minus the stamp, plus the steady time since: right also
    while a player holds `/clock` still and waits for this very frame.
    """

    def __init__(self, stamp_ns: int, arrived_clock_ns: int, arrived_steady_ns: int) -> None:
        """Begin with the arrival of the frame's last image."""
        self.stamp_ns = stamp_ns
        self._arrived_clock_ns = arrived_clock_ns
        self._arrived_steady_ns = arrived_steady_ns
        self._last_ns = time.monotonic_ns()
        self.ages_s: dict[str, float] = {"arrived": (arrived_clock_ns - stamp_ns) * 1e-9}
        self.seconds: dict[str, float] = {}

    def fork(self) -> FrameClock:
        """Return a clock that goes on from here by itself, for another node; it knows only of the arrival."""
        return FrameClock(self.stamp_ns, self._arrived_clock_ns, self._arrived_steady_ns)

    def end(self, stage: str) -> None:
        """Note that a stage has just ended."""
        now = time.monotonic_ns()
        self.ages_s[stage] = (now - self._arrived_steady_ns + self._arrived_clock_ns - self.stamp_ns) * 1e-9
        self.seconds[stage] = (now - self._last_ns) * 1e-9
        self._last_ns = now


class ProgressReporter:
    """Publishes and counts what became of each frame."""

    def __init__(self, publisher: Any, node_name: str) -> None:
        """Publish mtl_perception_msgs/Progress on `publisher` in the name of `node_name`."""
        self._publisher = publisher
        self._node_name = node_name
        self._lock = threading.Lock()
        self._frame = 0
        self._ages: dict[str, deque[float]] = {}
        self._seconds: dict[str, deque[float]] = {}
        self._used_at: deque[float] = deque(maxlen=_REMEMBERED)
        self._fault = ("", float("-inf"))  # what the newest frame that was lost by a fault counts under, and when
        self._summed_up = (0, Counter[str](), time.monotonic())  # used, dropped and when, at the last summary
        self.used = 0
        self.dropped: Counter[str] = Counter()

    @property
    def rate_hz(self) -> float:
        """Frames used per second over the last seconds."""
        with self._lock:
            recent = [at for at in self._used_at if at > time.monotonic() - _RATE_WINDOW_S]
        return len(recent) / _RATE_WINDOW_S

    @property
    def fault(self) -> str:
        """What a frame of the last second that was dropped by a fault counts under; "" when there is none."""
        reason, at = self._fault
        return reason if time.monotonic() - at < _FAULT_SHOWS_S else ""

    def report_used(self, clock: FrameClock, seconds: Mapping[str, float] | None = None) -> None:
        """Publish that a frame was used; `seconds` are stage times to remember in place of the clock's own."""
        with self._lock:
            self.used += 1
            self._used_at.append(time.monotonic())
            for stage, age in clock.ages_s.items():
                self._ages.setdefault(stage, deque(maxlen=_REMEMBERED)).append(age)
            for stage, duration in {**clock.seconds, **(seconds or {})}.items():
                self._seconds.setdefault(stage, deque(maxlen=_REMEMBERED)).append(duration)
        self._publish(clock.stamp_ns, clock.ages_s)

    def report_dropped(
        self, stamp_ns: int, reason: str, category: str | None = None, *, is_fault: bool = False
    ) -> None:
        """Publish that a frame was not used; it is counted under `category`, by default the reason itself.

        With `is_fault`, something is wrong, and diagnostics warn; without, the frame was not needed.
        """
        with self._lock:
            self.dropped[category or reason] += 1
            if is_fault:
                self._fault = (category or reason, time.monotonic())
        self._publish(stamp_ns, {}, reason, category or reason)

    def summary(self) -> str:
        """Return in a few words how many frames came since the last summary and how old they were; "" if none came."""
        with self._lock:
            used_before, dropped_before, since = self._summed_up
            self._summed_up = (self.used, self.dropped.copy(), time.monotonic())
            used, dropped, seconds = self.used - used_before, self.dropped - dropped_before, time.monotonic() - since
        if not used and not dropped:
            return ""
        parts = [f"{used} frames used in {seconds:.0f} s ({used / max(seconds, 1e-3):.1f} Hz)"]
        if dropped:
            reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.most_common())
            parts[0] += f", {dropped.total()} dropped ({reasons})"
        ages, times = self.age_percentiles_ms(), self.stage_percentiles_ms()
        if used and ages and times:
            p50, p99 = list(ages.values())[-1]
            slowest = max(times, key=lambda stage: times[stage][0])
            parts.append(f"stamp age p50 {p50:.0f} ms, p99 {p99:.0f} ms")
            parts.append(f"longest stage: {slowest}, {times[slowest][0]:.0f} ms")
        return "; ".join(parts)

    def age_percentiles_ms(self) -> dict[str, tuple[float, float]]:
        """Return per stage the 50th and the 99th percentile of the stamp's age, milliseconds."""
        return self._percentiles(self._ages)

    def stage_percentiles_ms(self) -> dict[str, tuple[float, float]]:
        """Return per stage the 50th and the 99th percentile of the time it took, milliseconds."""
        return self._percentiles(self._seconds)

    def _percentiles(self, values: dict[str, deque[float]]) -> dict[str, tuple[float, float]]:
        with self._lock:
            taken = {stage: list(entries) for stage, entries in values.items()}
        both = {stage: np.percentile(entries, [50, 99]) * 1e3 for stage, entries in taken.items()}
        return {stage: (float(p50), float(p99)) for stage, (p50, p99) in both.items()}

    def _publish(self, stamp_ns: int, ages_s: Mapping[str, float], reason: str = "", category: str = "") -> None:
        with self._lock:
            frame, self._frame = self._frame, self._frame + 1
        message = Progress(
            header=to_header(stamp_ns, ""),
            node=self._node_name,
            frame=frame,
            used=not reason,
            reason=reason,
            category=category,
        )
        message.stages = list(ages_s)
        message.stamp_age_s = list(ages_s.values())
        self._publisher.publish(message)


def frame_status(progress: ProgressReporter, waiting: int) -> Status:
    """Return what diagnostics say about the frames: used, dropped and why, stamp ages and stage times."""
    values: dict[str, object] = {"used": progress.used, "used Hz": progress.rate_hz, "waiting": waiting}
    values |= {f"dropped: {reason}": count for reason, count in progress.dropped.items()}
    for stage, (p50, p99) in progress.age_percentiles_ms().items():
        values[f"stamp age ms, {stage}"] = f"p50 {p50:.1f}, p99 {p99:.1f}"
    for stage, (p50, p99) in progress.stage_percentiles_ms().items():
        values[f"time ms, {stage}"] = f"p50 {p50:.1f}, p99 {p99:.1f}"
    fault = progress.fault
    if fault:
        return Status("frames", Level.WARN, f"frames are dropped: {fault}", values)
    dropped = sum(progress.dropped.values())
    worst = progress.dropped.most_common(1)
    message = f"{progress.used} frames used, {dropped} dropped" + (f", mostly: {worst[0][0]}" if worst else "")
    return Status("frames", Level.OK, message, values)
