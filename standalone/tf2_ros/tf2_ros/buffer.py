# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The buffer that nodes use: the core, and waiting for transforms that are still to come."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from geometry_msgs.msg import TransformStamped
from rclpy.clock import Clock, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.task import Future
from rclpy.time import Time

from tf2_ros._core import BufferCore
from tf2_ros._exceptions import TransformException

_NO_WAIT = Duration()


class Buffer(BufferCore):
    """Remembers transforms for `cache_time` (10 s by default) and answers lookups, also by waiting.

    With a node, a jump back of the node's clock (a bag that starts again) clears all but the static transforms. The
    real one offers the service tf2_frames then too; this one does not.
    """

    def __init__(self, cache_time: Duration | None = None, node: Node | None = None) -> None:
        super().__init__(cache_time)
        self._new_data_callbacks: list[Callable[[], None]] = []
        self._callbacks_lock = threading.RLock()
        self.clock = Clock() if node is None else node.get_clock()
        threshold = JumpThreshold(min_forward=None, min_backward=Duration(seconds=-1), on_clock_change=True)
        self.jump_handle = self.clock.create_jump_callback(threshold, post_callback=self.time_jump_callback)

    def time_jump_callback(self, time_jump: TimeJump) -> None:
        """Forget what belongs to a time that has not come yet."""
        get_logger("tf2_buffer").warning("Detected jump back in time. Clearing tf buffer.")
        self.clear()

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Store a transform, see `BufferCore.set_transform`, and serve those who wait for it."""
        super().set_transform(transform, authority)
        self._call_new_data_callbacks()

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        """Store a static transform, see `BufferCore.set_transform`, and serve those who wait for it."""
        super().set_transform_static(transform, authority)
        self._call_new_data_callbacks()

    def lookup_transform(
        self, target_frame: str, source_frame: str, time: Time, timeout: Duration = _NO_WAIT
    ) -> TransformStamped:
        """Return target_from_source at `time` (0: the latest), waiting up to `timeout` of real time for it.

        Waiting needs another thread that feeds the buffer.

        Raises:
            TransformException: one of its kinds, see `BufferCore.lookup_transform_core`.
        """
        self.can_transform(target_frame, source_frame, time, timeout)
        return self.lookup_transform_core(target_frame, source_frame, time)

    def lookup_transform_full(
        self,
        target_frame: str,
        target_time: Time,
        source_frame: str,
        source_time: Time,
        fixed_frame: str,
        timeout: Duration = _NO_WAIT,
    ) -> TransformStamped:
        """Return target at `target_time` from source at `source_time`, where `fixed_frame` stands still.

        Raises:
            TransformException: one of its kinds, see `BufferCore.lookup_transform_core`.
        """
        self.can_transform_full(target_frame, target_time, source_frame, source_time, fixed_frame, timeout)
        return self.lookup_transform_full_core(target_frame, target_time, source_frame, source_time, fixed_frame)

    def can_transform(
        self,
        target_frame: str,
        source_frame: str,
        time: Time,
        timeout: Duration = _NO_WAIT,
        return_debug_tuple: bool = False,
    ) -> bool | tuple[bool, str]:
        """Return whether the transform is known, waiting up to `timeout`; with the reason why not if asked for."""
        return self._wait(
            lambda: self.can_transform_core(target_frame, source_frame, time), timeout, return_debug_tuple
        )

    def can_transform_full(
        self,
        target_frame: str,
        target_time: Time,
        source_frame: str,
        source_time: Time,
        fixed_frame: str,
        timeout: Duration = _NO_WAIT,
        return_debug_tuple: bool = False,
    ) -> bool | tuple[bool, str]:
        """Return whether `lookup_transform_full` has an answer, waiting up to `timeout`."""
        return self._wait(
            lambda: self.can_transform_full_core(target_frame, target_time, source_frame, source_time, fixed_frame),
            timeout,
            return_debug_tuple,
        )

    async def lookup_transform_async(self, target_frame: str, source_frame: str, time: Time) -> TransformStamped:
        """Return target_from_source at `time` as soon as it is known."""
        await self.wait_for_transform_async(target_frame, source_frame, time)
        return self.lookup_transform_core(target_frame, source_frame, time)

    def wait_for_transform_async(self, target_frame: str, source_frame: str, time: Time) -> Future[Any]:
        """Return a future that gets the transform as soon as it is known."""
        future: Future[Any] = Future()

        def serve() -> None:
            if future.done():
                return
            try:
                transform = self.lookup_transform_core(target_frame, source_frame, time)
            except TransformException:
                return  # not yet
            future.set_result(transform)

        with self._callbacks_lock:
            serve()
            if not future.done():
                self._new_data_callbacks.append(serve)
                future.add_done_callback(lambda _: self._remove_callback(serve))
        return future

    def _wait(
        self, ask: Callable[[], tuple[bool, str]], timeout: Duration, return_debug_tuple: bool
    ) -> bool | tuple[bool, str]:
        with self._changed:
            self._changed.wait_for(lambda: ask()[0], timeout.nanoseconds / 1e9)
            answer = ask()
        return answer if return_debug_tuple else answer[0]

    def _call_new_data_callbacks(self) -> None:
        with self._callbacks_lock:
            for callback in list(self._new_data_callbacks):
                callback()

    def _remove_callback(self, callback: Callable[[], None]) -> None:
        with self._callbacks_lock:
            self._new_data_callbacks.remove(callback)
