# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Publishes a made-up world as if a robot drove through it; processes render its frames."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from rosgraph_msgs.msg import Clock

from mtl_perception.data.bags import LATCHED
from mtl_perception.data.processes import Workers, available_cores
from mtl_perception.data.world.frames import FrameRenderer, FrameTask, RawMessage, RenderedFrame, WorldSettings
from mtl_perception.messages.stamps import NANOSECONDS, to_time
from mtl_perception.ros import qos
from mtl_perception.ros.diagnostics import Level, Status
from mtl_perception.ros.lifecycle import ManagedNode
from mtl_perception.ros.player_topics import installed_class, relative_name
from mtl_perception.ros.world_parameters import WorldParameters

_ABSOLUTE = ("/tf", "/tf_static")  # as in Nav2, whoever wants transforms in a namespace remaps these two
_MANY_A_FRAME = ("/tf", "/odom")
_TOO_LATE_NS = NANOSECONDS
_RECENT_S = 5.0


class WorldPlayer:
    """Sends the frames of a world from a thread of its own, which `start` starts and `stop` ends.

    By the wall clock, stamps are those of the node's clock and frames that cannot be rendered in time are left out.
    With simulated time, stamps are the world's own, `/clock` follows them, and no frame is left out.

    Attributes:
        dropped: how many frames were not sent, by reason.
        sent: how many were.
    """

    def __init__(self, node: ManagedNode, parameters: WorldParameters, *, simulated: bool) -> None:
        """Build the world, in as many processes as the parameters say, and make the publishers.

        Raises:
            ValueError, OSError, KeyError: see `WorldSettings.build`; or a process has died.
        """
        self.dropped: Counter[str] = Counter()
        self.sent = 0
        self._node, self._parameters, self._simulated = node, parameters, simulated
        self._settings: WorldSettings = parameters.settings()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._recent: deque[float] = deque(maxlen=1000)
        self._last_drop = -math.inf
        self._state, self._error = "ready", ""
        processes = parameters.workers or available_cores()
        self._workers: Workers[FrameTask | Path, RenderedFrame] = Workers(
            partial(FrameRenderer, self._settings), processes
        )
        try:
            # The first frame tells what there is to publish; the ego motion comes with the second.
            probes = [FrameTask(0, None), FrameTask(1, 0)][: self._settings.frames]
            known = {m.topic: m.type for frame in self._workers.in_order(probes) for m in frame.messages}
            self._publishers = {topic: self._publisher(topic, kind) for topic, kind in known.items()}
            self._clock = node.create_output(Clock, "/clock", qos.output(depth=10)) if simulated else None
        except BaseException:
            self._workers.close()
            raise

    def start(self) -> None:
        """Begin to publish, at the world's beginning."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="world", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Return when nothing is published any more."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def close(self) -> None:
        """Stop, and end the processes."""
        self.stop()
        self._workers.close()

    def status(self) -> Status:
        """Return how it goes, for diagnostics."""
        now = time.monotonic()
        rate = sum(sent > now - _RECENT_S for sent in tuple(self._recent)) / _RECENT_S
        values = {
            "sent": self.sent,
            "rate_hz": rate,
            **{f"dropped: {why}": n for why, n in tuple(self.dropped.items())},
        }
        if self._error:
            return Status("world", Level.ERROR, self._error, values)
        if now - self._last_drop < _RECENT_S:
            text = (
                f"frames are dropped: rendering does not keep up with {self._settings.rate_hz:g} Hz; lower frame_rate, "
                "ask for fewer or smaller images, or use simulated time"
            )
            return Status("world", Level.WARN, text, values)
        return Status("world", Level.OK, self._state, values)

    def _publisher(self, topic: str, message_type: str) -> Any:
        message_class = installed_class(message_type)
        assert message_class is not None  # this suite has just made such a message
        name = topic if topic in _ABSOLUTE else relative_name(topic)
        if topic in LATCHED:
            return self._node.create_output(message_class, name, qos.latched())
        return self._node.create_output(message_class, name, qos.output(depth=100 if topic in _MANY_A_FRAME else 5))

    def _run(self) -> None:
        self._state, self._error = f"the {self._settings.kind} is shown", ""
        try:
            send = self._send_simulated if self._simulated else self._send_live
            send()
        except Exception as error:  # nobody but diagnostics could tell why nothing comes any more
            self._error = f"{type(error).__name__}: {error}"
            self._node.get_logger().error(self._error)
            return
        if not self._stop.is_set():
            self._state = f"the world is over: {self.sent} frames sent, {sum(self.dropped.values())} dropped"
            self._node.get_logger().info(self._state)

    def _send_simulated(self) -> None:
        frames = self._settings.frames
        tasks = (FrameTask(number, number - 1 if number else None) for _ in self._rounds() for number in range(frames))
        period_s = 1 / self._settings.rate_hz / self._parameters.speed if self._parameters.speed else 0.0
        due = time.monotonic()
        for frame in self._workers.in_order(tasks):
            if self._stop.wait(max(0.0, due - time.monotonic())):
                return
            self._publish(frame.messages)
            due = max(due + period_s, time.monotonic())  # what rendering has lost is not made up for

    def _send_live(self) -> None:
        begin_ns = self._node.clock_ns
        stamps: deque[int] = deque()
        for frame in self._workers.in_order(self._live_tasks(begin_ns, stamps)):
            stamp_ns = stamps.popleft()
            ahead_ns = stamp_ns - self._node.clock_ns
            if self._stop.wait(max(0, ahead_ns) / NANOSECONDS):
                return
            if ahead_ns < -_TOO_LATE_NS:
                self._drop("rendered too late", 1)
            else:
                self._publish(frame.messages)

    def _live_tasks(self, begin_ns: int, stamps: deque[int]) -> Iterator[FrameTask]:
        """Yield, whenever a process is free, the next frame whose time has not gone by; note its stamp."""
        rate, frames = self._settings.rate_hz, self._settings.frames
        last = -1
        while True:
            due = math.ceil((self._node.clock_ns - begin_ns) / NANOSECONDS * rate)
            count = max(last + 1, due)
            if count >= frames and not self._parameters.loop:
                return
            self._drop("rendering is too slow", count - last - 1)
            previous = last % frames if last >= 0 and last // frames == count // frames else None
            last = count
            stamps.append(begin_ns + round(count / rate * NANOSECONDS))
            yield FrameTask(count % frames, previous, stamps[-1])

    def _rounds(self) -> Iterator[int]:
        yield 0
        while self._parameters.loop:
            yield 0

    def _publish(self, messages: list[RawMessage]) -> None:
        told_ns = 0
        for topic, _, data, stamp_ns in messages:
            if self._clock is not None and stamp_ns > told_ns:
                self._clock.publish(Clock(clock=to_time(stamp_ns)))
                told_ns = stamp_ns
            self._publishers[topic].publish(data)
        self.sent += 1
        self._recent.append(time.monotonic())

    def _drop(self, reason: str, count: int) -> None:
        if count > 0:
            self.dropped[reason] += count
            self._last_drop = time.monotonic()
