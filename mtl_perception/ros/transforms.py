# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Transforms of tf2 as matrices, and a tf2 buffer for recordings that start again."""

from __future__ import annotations

from collections import Counter

from geometry_msgs.msg import TransformStamped
from rclpy.duration import Duration
from rclpy.time import Time
from tf2_ros import Buffer, ExtrapolationException, TransformException

from mtl_perception.core.transforms import Transform
from mtl_perception.messages.poses import read_transform
from mtl_perception.messages.stamps import stamp_ns_from
from mtl_perception.messages.texts import one_line
from mtl_perception.ros.pose_history import JUMP_BACK_NS, OLD_IN_A_ROW, NoPoseError, NotYetError


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
        self._old_in_a_row[child] = self._old_in_a_row[child] + 1 if stamp_ns < newest_ns - JUMP_BACK_NS else 0
        if self._old_in_a_row[child] >= OLD_IN_A_ROW:
            self.clear()
            newest_ns = stamp_ns
        self._newest_ns[child] = max(newest_ns, stamp_ns)
        super().set_transform(transform, authority)

    def clear(self) -> None:
        """Forget all but static transforms."""
        self._newest_ns.clear()
        self._old_in_a_row.clear()
        super().clear()
