# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Transforms from /tf and /tf_static into a tf2 buffer, and what is wrong with them, which tf2 only logs."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from tf2_msgs.msg import TFMessage
from tf2_ros import Buffer, TransformListener

from mtl_perception.messages.stamps import stamp_ns_from
from mtl_perception.ros.diagnostics import Level, Status, TopicMonitor
from mtl_perception.ros.notices import Notices
from mtl_perception.ros.pose_history import is_jump

_NORM_TOLERANCE = 0.01  # of a quaternion's length
_HEARD_S = 1.0  # a moving frame that has not been heard of for so long is in no loop any more
_GAPS = 20  # per frame, so many gaps are remembered


@dataclass(frozen=True)
class _Last:
    """What was heard last of a frame."""

    parent: str
    is_static: bool
    stamp_ns: int
    position: tuple[float, float, float]
    heard_s: float


class TransformInput(TransformListener):
    """Feeds a buffer as tf2's listener does, and looks at what it feeds.

    tf2 ignores transforms that make no sense, takes a frame with two parents for one that moves to and fro between
    them, finds a loop when something is looked up across it, and interpolates between any two transforms however far
    apart. All that is told here by the frames' names. Memory: one small record for every frame, and its last gaps.
    """

    def __init__(self, buffer: Buffer, node: Node, max_gap_s: float) -> None:
        """Begin to listen; `max_gap_s` is between two transforms of a frame that are not interpolated between."""
        self._max_gap_ns = round(max_gap_s * 1e9)
        self._gaps: dict[str, deque[tuple[int, int]]] = {}  # per frame, from when to when
        self.notices = Notices()
        self._messages = [0, 0]  # of both topics
        self._last: dict[str, _Last] = {}
        self._unusable: dict[str, str] = {}  # static frames, which are sent once, and what is wrong with them
        self._topics = node.resolve_topic_name("/tf"), node.resolve_topic_name("/tf_static")
        super().__init__(buffer, node)
        self._monitors = [TopicMonitor(node, subscription) for subscription in (self.tf_sub, self.tf_static_sub)]

    def callback(self, data: TFMessage) -> None:
        """Take transforms that change."""
        self._look(data, is_static=False)
        super().callback(data)

    def static_callback(self, data: TFMessage) -> None:
        """Take transforms that hold at all times."""
        self._look(data, is_static=True)
        super().static_callback(data)

    def status(self) -> Status:
        """Return what diagnostics say about the transforms."""
        problems = [*(text for monitor in self._monitors for text in monitor.mismatches()), *self._loops()]
        doubts = list(dict.fromkeys([*self._unusable.values(), *self.notices.take()]))
        level = Level.ERROR if problems else Level.WARN if doubts else Level.OK
        counts = {topic: f"{count} messages" for topic, count in zip(self._topics, self._messages, strict=True)}
        message = "; ".join([*problems, *doubts]) or f"{len(self._last)} frames"
        return Status("transforms", level, message, {**counts, **self.notices.counts})

    def clear(self) -> None:
        """Forget all that depends on the time, which has been set back."""
        self.buffer.clear()
        self._gaps.clear()

    def gap(self, target: str, source: str, stamp_ns: int) -> str:
        """Return in which gap of the transforms between two frames a stamp lies, or ""; the target is the ancestor."""
        frame, left = source, len(self._last)
        while frame != target and frame in self._last and left:
            for start, end in tuple(self._gaps.get(frame, ())):
                if start < stamp_ns < end:
                    return (
                        f"the transforms '{self._last[frame].parent}' <- '{frame}' around the stamp are "
                        f"{(end - start) * 1e-9:.3f} s apart, more than pose_max_gap ({self._max_gap_ns * 1e-9:g} s)"
                    )
            frame, left = self._last[frame].parent, left - 1
        return ""

    def _look(self, data: TFMessage, is_static: bool) -> None:
        self._messages[is_static] += 1
        for transform in data.transforms:
            parent = transform.header.frame_id.removeprefix("/")
            child = transform.child_frame_id.removeprefix("/")
            self._unusable.pop(child, None)
            if problem := _problem(parent, child, transform.transform):
                text = f"topic '{self._topics[is_static]}', '{parent}' <- '{child}': {problem}"
                self.notices.note("unusable", text)
                if is_static:
                    self._unusable[child] = text
                continue
            position = transform.transform.translation
            at = position.x, position.y, position.z
            now = _Last(parent, is_static, stamp_ns_from(transform.header.stamp), at, time.monotonic())
            self._compare(child, self._last.get(child), now)
            self._last[child] = now

    def _compare(self, child: str, last: _Last | None, now: _Last) -> None:
        if last is None:
            return
        if now.stamp_ns < last.stamp_ns - self._max_gap_ns:  # of a time that was set back, where gaps may be filled
            self._gaps.pop(child, None)
        if not now.is_static and now.stamp_ns - last.stamp_ns > self._max_gap_ns:
            self._gaps.setdefault(child, deque(maxlen=_GAPS)).append((last.stamp_ns, now.stamp_ns))
        if last.parent != now.parent:
            self.notices.note(
                "two parents", f"frame '{child}' has two parents, '{last.parent}' and '{now.parent}': who sends both?"
            )
        elif last.is_static != now.is_static:
            self.notices.note("static and not", f"frame '{child}' is sent both on /tf and on /tf_static")
        elif not now.is_static or last.position != now.position:
            seconds = 0.0 if now.is_static else (now.stamp_ns - last.stamp_ns) * 1e-9
            metres = math.dist(last.position, now.position)
            if is_jump(metres, seconds):
                within = "" if now.is_static else f" in {seconds:.3f} s"
                self.notices.note("jumps", f"'{now.parent}' <- '{child}' jumps by {metres:.1f} m{within}")

    def _loops(self) -> Iterable[str]:
        """Tell of each ring of frames that are each other's parents."""
        now = time.monotonic()
        parents = {
            frame: last.parent for frame, last in self._last.items() if last.is_static or now - last.heard_s < _HEARD_S
        }
        seen: set[str] = set()
        for start in parents:
            way: list[str] = []
            frame = start
            while frame in parents and frame not in seen:
                seen.add(frame)
                way.append(frame)
                frame = parents[frame]
            if frame in way:
                ring = [*way[way.index(frame) :], frame]
                yield f"the transforms form a loop: {' <- '.join(repr(name) for name in reversed(ring))}"


def _problem(parent: str, child: str, transform: Any) -> str:
    """Return what makes a transform unusable, or ""."""
    if not parent or not child:
        return "a frame without a name"
    if parent == child:
        return "a frame that is its own parent"
    t, q = transform.translation, transform.rotation
    length = math.sqrt(q.x * q.x + q.y * q.y + q.z * q.z + q.w * q.w)
    if not all(map(math.isfinite, (t.x, t.y, t.z, length))):
        return f"a value is not finite, ({t.x:g}, {t.y:g}, {t.z:g}) ({q.x:g}, {q.y:g}, {q.z:g}, {q.w:g})"
    if abs(length - 1.0) > _NORM_TOLERANCE:
        return f"the quaternion ({q.x:g}, {q.y:g}, {q.z:g}, {q.w:g}) has length {length:g}, 1 is expected"
    return ""
