# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where the robot was at a stamp: from odometry, a pose topic or TF, interpolated, and never "the latest"."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from geometry_msgs.msg import PoseStamped, TransformStamped
from nav_msgs.msg import Odometry
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time
from tf2_ros import Buffer, ExtrapolationException, TransformException

from mtl_perception.core.transforms import Transform, interpolate
from mtl_perception.messages.poses import StampedTransform, read_odometry, read_pose_stamped, read_transform
from mtl_perception.messages.stamps import stamp_ns_from
from mtl_perception.messages.texts import one_line
from mtl_perception.ros import qos
from mtl_perception.ros.diagnostics import DISCOVERY_S, TopicMonitor
from mtl_perception.ros.losses import Losses
from mtl_perception.ros.notices import Notices

_JUMP_BACK_NS = 1_000_000_000  # a pose so much older than the newest is one of a time that was set back,
_OLD_IN_A_ROW = 3  # if so many come in a row

PoseSourceName = Literal["odom", "pose", "tf", "none"]

_OTHER_CLOCK_NS = 10_000_000_000  # so far apart, images and poses are hardly stamped by one clock
_JUMP_M, _JUMP_M_PER_S = 1.0, 100.0  # farther and faster than both, nothing that carries cameras drives
_ALIKE = 1e-6  # metres, and of a rotation matrix's entries


class NoPoseError(LookupError):
    """There is no pose or transform for a stamp; the text says why."""


class NotYetError(NoPoseError):
    """There is no pose or transform for a stamp yet, but it may still arrive."""


class PoseSource(Protocol):
    """Tells where the base frame was."""

    monitors: Sequence[TopicMonitor]  # of the topics that it listens to by itself
    notices: Notices  # what was wrong with what it has heard

    @property
    def world_frame(self) -> str:
        """The frame that poses are in; "" as long as that is not known."""

    def world_from_base(self, stamp_ns: int, *, wait: bool) -> Transform:
        """Return the pose of the base frame at a stamp.

        With `wait`, a stamp beyond the newest pose raises `NotYetError`; without, it is extrapolated within bounds.

        Raises:
            NotYetError: the pose may still arrive.
            NoPoseError: it will not.
        """

    def problem(self) -> str:
        """Return in one line which transform is absent, or "" when none is."""

    def jump_back(self, clock_ns: int) -> None:
        """Forget the poses of the time before the clock jumped back to `clock_ns`."""

    def close(self) -> None:
        """Stop listening."""


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
        if behind_ns <= _JUMP_BACK_NS:
            self._behind = 0
            if behind_ns > 0:
                self._notices.note("out of order")
            return
        self._behind += 1
        self._notices.note("back in time", f"a pose's stamp is {behind_ns * 1e-9:.3f} s before that of an earlier one")
        if self._behind >= _OLD_IN_A_ROW:
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


class TransformBuffer(Buffer):
    """A tf2 buffer that begins anew when a recording does.

    tf2 refuses what is older than its cache reaches back, and learns of a time that was set back from the node's clock
    only. Without a `/clock`, it would refuse all transforms of a recording that starts again. Here some of one frame in
    a row that are more than a second older than its newest one clear the buffer, as a clock that jumps back does.
    Static transforms stay.
    """

    def __init__(self, cache_time: Duration) -> None:
        """Remember transforms for `cache_time`."""
        super().__init__(cache_time)
        self._newest_ns: dict[str, int] = {}  # per child frame
        self._old_in_a_row: Counter[str] = Counter()

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Store a transform."""
        child, stamp_ns = transform.child_frame_id, stamp_ns_from(transform.header.stamp)
        newest_ns = self._newest_ns.get(child, stamp_ns)
        self._old_in_a_row[child] = self._old_in_a_row[child] + 1 if stamp_ns < newest_ns - _JUMP_BACK_NS else 0
        if self._old_in_a_row[child] >= _OLD_IN_A_ROW:
            self.clear()
            newest_ns = stamp_ns
        self._newest_ns[child] = max(newest_ns, stamp_ns)
        super().set_transform(transform, authority)

    def clear(self) -> None:
        """Forget all but static transforms."""
        self._newest_ns.clear()
        self._old_in_a_row.clear()
        super().clear()


class Transforms:
    """Looks transforms up in a tf2 buffer, as matrices and with this package's errors."""

    def __init__(self, buffer: Buffer) -> None:
        """Look up in `buffer`."""
        self._buffer = buffer

    def target_from_source(self, target: str, source: str, stamp_ns: int) -> Transform:
        """Return the transform at a stamp.

        Raises:
            NotYetError: it may still arrive.
            NoPoseError: the stamp is older than what is known.
        """
        try:
            message = self._buffer.lookup_transform(target, source, Time(nanoseconds=stamp_ns))
            return read_transform(message).target_from_source
        except ExtrapolationException as error:
            text = one_line(f"no transform '{target}' <- '{source}' at the stamp: {error}")
            if "past" in str(error):
                raise NoPoseError(text) from error
            raise NotYetError(text) from error
        except TransformException as error:
            raise NotYetError(one_line(f"no transform '{target}' <- '{source}': {error}")) from error
        except ValueError as error:
            raise NoPoseError(one_line(str(error))) from error

    def problem(self, target: str, source: str) -> str:
        """Return in one line why there is no transform at any stamp, or "" when there is one."""
        try:
            self.target_from_source(target, source, 0)  # 0: the newest
        except NoPoseError as error:
            return str(error)
        return ""


class TopicPoses:
    """Poses from nav_msgs/Odometry or geometry_msgs/PoseStamped."""

    def __init__(
        self,
        node: Node,
        kind: Literal["odom", "pose"],
        topic: str,
        base_frame: str,
        transforms: Transforms,
        *,
        max_gap_s: float,
        max_extrapolation_s: float,
        lossless: bool,
    ) -> None:
        """Listen to `topic`; what is wrong with its messages is in `notices`. For the bounds see `PoseHistory`."""
        self._node = node
        self._kind = kind
        self._base_frame = base_frame
        self._transforms = transforms
        self.notices = Notices()
        self._history = PoseHistory(max_gap_s=max_gap_s, max_extrapolation_s=max_extrapolation_s, notices=self.notices)
        self._world_frame = ""
        self._body_frame = ""
        losses = Losses()
        self._subscription = node.create_subscription(
            Odometry if kind == "odom" else PoseStamped,
            topic,
            losses.watching(self._receive),
            qos.sensor_input(100, lossless=lossless),
            qos_overriding_options=qos.overridable(),
        )
        self._monitor = TopicMonitor(node, self._subscription, paced=lossless, losses=losses)
        self.monitors: Sequence[TopicMonitor] = (self._monitor,)
        self._topic = f"topic '{self._monitor.topic}'"

    @property
    def world_frame(self) -> str:
        """The frame that the messages' poses are in."""
        return self._world_frame

    def world_from_base(self, stamp_ns: int, *, wait: bool) -> Transform:
        """See `PoseSource`."""
        try:
            world_from_body = self._history.at(stamp_ns, wait=wait)
        except NoPoseError as error:
            raise type(error)(f"{self._topic}: {error}") from error
        body_frame = self._body_frame
        if body_frame == self._base_frame:
            return world_from_body
        try:
            return world_from_body @ self._transforms.target_from_source(body_frame, self._base_frame, stamp_ns)
        except NoPoseError as error:
            raise type(error)(f"{self._topic} has poses of '{body_frame}' (child_frame_id): {error}") from error

    def problem(self) -> str:
        """See `PoseSource`: poses may be those of another frame than the base."""
        if not self._body_frame or self._body_frame == self._base_frame:
            return ""
        return self._transforms.problem(self._body_frame, self._base_frame)

    def jump_back(self, clock_ns: int) -> None:
        """See `PoseSource`; a player may send poses up to a second ahead of its clock."""
        self._history.forget_after(clock_ns + 1_000_000_000)

    def close(self) -> None:
        """See `PoseSource`."""
        self._node.destroy_subscription(self._subscription)

    def _receive(self, message: Any) -> None:
        self._monitor.arrived()
        try:
            pose = self._read(message)
        except ValueError as error:
            self.notices.note("unusable", str(error))
            return
        if not pose.target_frame:
            self.notices.note("no frame", f"{self._topic}: header.frame_id is empty, so the pose is in no frame")
            return
        frames = pose.target_frame, pose.source_frame or self._base_frame
        if frames != (self._world_frame, self._body_frame):
            self._note_frames(*frames)
        self._history.insert(pose.stamp_ns, pose.target_from_source)

    def _note_frames(self, world_frame: str, body_frame: str) -> None:
        """Begin anew with poses in or of another frame: between them and those before lies no motion."""
        if self._world_frame:
            self.notices.note(
                "frame changes",
                f"{self._topic} was the pose of '{self._body_frame}' in '{self._world_frame}' and now is that of "
                f"'{body_frame}' in '{world_frame}'",
            )
        self._history.clear()
        self._world_frame, self._body_frame = world_frame, body_frame

    def _read(self, message: Any) -> StampedTransform:
        if self._kind == "odom":
            return read_odometry(message, self._topic)
        return read_pose_stamped(message, self._base_frame, self._topic)


class TfPoses:
    """Poses from TF."""

    monitors: Sequence[TopicMonitor] = ()

    def __init__(
        self,
        transforms: Transforms,
        world_frame: str,
        base_frame: str,
        gap: Callable[[str, str, int], str] | None = None,
    ) -> None:
        """Take the pose of `base_frame` in `world_frame`.

        `gap` tells for two frames and a stamp why what tf2 interpolates there is nothing to go by, or "".
        """
        self._transforms = transforms
        self._gap = gap
        self._base_frame = base_frame
        self.world_frame = world_frame
        self.notices = Notices()
        self._since = time.monotonic()

    def world_from_base(self, stamp_ns: int, *, wait: bool) -> Transform:
        """See `PoseSource`; tf2 never extrapolates, but interpolates whatever the distance."""
        gap = self._gap(self.world_frame, self._base_frame, stamp_ns) if self._gap is not None else ""
        if gap:
            raise NoPoseError(gap)
        return self._transforms.target_from_source(self.world_frame, self._base_frame, stamp_ns)

    def problem(self) -> str:
        """See `PoseSource`; complains only after a moment, in which TF can be found."""
        if time.monotonic() - self._since < DISCOVERY_S:
            return ""
        return self._transforms.problem(self.world_frame, self._base_frame)

    def jump_back(self, clock_ns: int) -> None:
        """See `PoseSource`; whoever owns the tf2 buffer clears it."""

    def close(self) -> None:
        """See `PoseSource`; nothing is listened to."""


def _clock_hint(distance_ns: int) -> str:
    return "; do images and poses have one clock?" if distance_ns > _OTHER_CLOCK_NS else ""
