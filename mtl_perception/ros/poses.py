# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where the robot was at a stamp: from odometry, a pose topic or TF, interpolated, and never "the latest"."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.time import Time
from tf2_ros import Buffer, ExtrapolationException, TransformException

from mtl_perception.core.transforms import Transform, interpolate
from mtl_perception.messages.poses import StampedTransform, read_odometry, read_pose_stamped, read_transform
from mtl_perception.messages.texts import one_line
from mtl_perception.ros import qos
from mtl_perception.ros.diagnostics import DISCOVERY_S, TopicMonitor
from mtl_perception.ros.losses import Losses

PoseSourceName = Literal["odom", "pose", "tf", "none"]


class NoPoseError(LookupError):
    """There is no pose or transform for a stamp; the text says why."""


class NotYetError(NoPoseError):
    """There is no pose or transform for a stamp yet, but it may still arrive."""


class PoseSource(Protocol):
    """Tells where the base frame was."""

    monitors: Sequence[TopicMonitor]  # of the topics that it listens to by itself

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
    """The newest poses of one frame in another, sorted by stamp, interpolated between the two neighbours."""

    def __init__(self, *, size: int = 5000, max_gap_s: float = 1.0, max_extrapolation_s: float = 0.0) -> None:
        """Make an empty history of at most `size` poses.

        Args:
            size: older poses are forgotten.
            max_gap_s: neighbours further apart than this are not interpolated between.
            max_extrapolation_s: how far beyond the newest pose its motion is taken to go on.
        """
        self._size = size
        self._max_gap_ns = round(max_gap_s * 1e9)
        self._max_extrapolation_ns = round(max_extrapolation_s * 1e9)
        self._stamps: list[int] = []
        self._poses: list[Transform] = []
        self._lock = threading.Lock()

    @property
    def newest_ns(self) -> int | None:
        """The newest stamp."""
        with self._lock:
            return self._stamps[-1] if self._stamps else None

    def insert(self, stamp_ns: int, pose: Transform) -> None:
        """Add a pose; one of the same stamp is replaced, and the oldest goes when the history is full."""
        with self._lock:
            at = bisect_left(self._stamps, stamp_ns)
            if at < len(self._stamps) and self._stamps[at] == stamp_ns:
                self._poses[at] = pose
                return
            self._stamps.insert(at, stamp_ns)
            self._poses.insert(at, pose)
            if len(self._stamps) > self._size:
                del self._stamps[0], self._poses[0]

    def forget_after(self, stamp_ns: int) -> None:
        """Forget all poses newer than a stamp."""
        with self._lock:
            at = bisect_left(self._stamps, stamp_ns + 1)
            del self._stamps[at:], self._poses[at:]

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
                behind = (self._stamps[0] - stamp_ns) * 1e-9
                raise NoPoseError(f"the stamp is {behind:.3f} s before the oldest pose")
            start, end = self._stamps[at - 1], self._stamps[at]
            if end - start > self._max_gap_ns:
                raise NoPoseError(
                    f"the poses around the stamp are {(end - start) * 1e-9:.3f} s apart, more than pose_max_gap "
                    f"({self._max_gap_ns * 1e-9:g} s)"
                )
            return interpolate(self._poses[at - 1], self._poses[at], (stamp_ns - start) / (end - start))

    def _beyond(self, stamp_ns: int, wait: bool) -> Transform:
        ahead_ns = stamp_ns - self._stamps[-1]
        said = f"the stamp is {ahead_ns * 1e-9:.3f} s after the newest pose"
        if wait:
            raise NotYetError(said)
        if ahead_ns > self._max_extrapolation_ns:
            raise NoPoseError(f"{said}, more than pose_max_extrapolation ({self._max_extrapolation_ns * 1e-9:g} s)")
        if len(self._stamps) < 2 or self._stamps[-1] - self._stamps[-2] > self._max_gap_ns:
            raise NoPoseError(f"{said}, and the motion before is not known")
        start, end = self._stamps[-2], self._stamps[-1]
        return interpolate(self._poses[-2], self._poses[-1], (stamp_ns - start) / (end - start))


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
        history: PoseHistory,
        *,
        lossless: bool,
        on_error: Callable[[str], None],
    ) -> None:
        """Listen to `topic`; messages that cannot be used are told to `on_error`."""
        self._node = node
        self._kind = kind
        self._base_frame = base_frame
        self._transforms = transforms
        self._history = history
        self._on_error = on_error
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
        if self._body_frame == self._base_frame:
            return world_from_body
        return world_from_body @ self._transforms.target_from_source(self._body_frame, self._base_frame, stamp_ns)

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
            self._on_error(str(error))
            return
        if not pose.target_frame:
            self._on_error(f"{self._topic}: header.frame_id is empty, so the pose is in no frame")
            return
        self._world_frame = pose.target_frame
        self._body_frame = pose.source_frame or self._base_frame
        self._history.insert(pose.stamp_ns, pose.target_from_source)

    def _read(self, message: Any) -> StampedTransform:
        if self._kind == "odom":
            return read_odometry(message, self._topic)
        return read_pose_stamped(message, self._base_frame, self._topic)


class TfPoses:
    """Poses from TF."""

    monitors: Sequence[TopicMonitor] = ()

    def __init__(self, transforms: Transforms, world_frame: str, base_frame: str) -> None:
        """Take the pose of `base_frame` in `world_frame`."""
        self._transforms = transforms
        self._base_frame = base_frame
        self.world_frame = world_frame
        self._since = time.monotonic()

    def world_from_base(self, stamp_ns: int, *, wait: bool) -> Transform:
        """See `PoseSource`; tf2 never extrapolates."""
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
