# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where the robot was at a stamp: from odometry, a pose topic or TF, interpolated, and never "the latest"."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from rclpy.node import Node

from mtl_perception.core.transforms import Transform
from mtl_perception.messages.poses import StampedTransform, read_odometry, read_pose_stamped
from mtl_perception.ros import qos
from mtl_perception.ros.diagnostics import DISCOVERY_S, TopicMonitor
from mtl_perception.ros.losses import Losses
from mtl_perception.ros.notices import Notices
from mtl_perception.ros.pose_history import NoPoseError, PoseHistory
from mtl_perception.ros.transforms import Transforms

PoseSourceName = Literal["odom", "pose", "tf", "none"]


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
