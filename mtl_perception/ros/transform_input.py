# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Transforms from /tf and /tf_static into a tf2 buffer, and what is wrong with them, which tf2 only logs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from tf2_msgs.msg import TFMessage
from tf2_ros import Buffer, TransformListener

from mtl_perception.messages.stamps import stamp_ns_from
from mtl_perception.ros.diagnostics import Level, Status, TopicMonitor
from mtl_perception.ros.notices import Notices
from mtl_perception.ros.poses import is_jump

_NORM_TOLERANCE = 0.01  # of a quaternion's length


@dataclass(frozen=True)
class _Last:
    """What was heard last of a frame."""

    parent: str
    is_static: bool
    stamp_ns: int
    position: tuple[float, float, float]


class TransformInput(TransformListener):
    """Feeds a buffer as tf2's listener does, and looks at what it feeds.

    tf2 ignores transforms that make no sense, takes a frame with two parents for one that moves to and fro between
    them, and finds a loop when something is looked up across it. All three are told here by the frames' names.
    Memory: one small record for every frame.
    """

    def __init__(self, buffer: Buffer, node: Node) -> None:
        """Begin to listen."""
        self.notices = Notices()
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
        doubts = [*self._unusable.values(), *filter(None, [self.notices.take()])]
        level = Level.ERROR if problems else Level.WARN if doubts else Level.OK
        return Status(
            "transforms", level, "; ".join([*problems, *doubts]) or f"{len(self._last)} frames", self.notices.counts
        )

    def _look(self, data: TFMessage, is_static: bool) -> None:
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
            now = _Last(parent, is_static, stamp_ns_from(transform.header.stamp), (position.x, position.y, position.z))
            self._compare(child, self._last.get(child), now)
            self._last[child] = now

    def _compare(self, child: str, last: _Last | None, now: _Last) -> None:
        if last is None:
            return
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
        seen: set[str] = set()
        for start in list(self._last):
            way: list[str] = []
            frame = start
            while frame in self._last and frame not in seen:
                seen.add(frame)
                way.append(frame)
                frame = self._last[frame].parent
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
