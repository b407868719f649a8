# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Corrected trajectories, e.g. of a SLAM that has closed a loop: the map moves with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nav_msgs.msg import Path

from mtl_perception.core.transforms import Transform
from mtl_perception.messages.trajectories import read_trajectory
from mtl_perception.ros import qos
from mtl_perception.ros.diagnostics import Level, Status
from mtl_perception.ros.lifecycle import ManagedNode
from mtl_perception.ros.worker import Worker

TOPIC = "mapping/corrected_trajectory"


class TrajectoryCorrections:
    """Listens to `mapping/corrected_trajectory` and has the map moved, on the worker that the map belongs to."""

    def __init__(
        self,
        node: ManagedNode,
        worker: Worker[Any],
        correct: Callable[[Sequence[tuple[int, Transform]]], None],
        frame: Callable[[], str],
    ) -> None:
        """Begin to listen.

        Args:
            node: has the subscription.
            worker: calls `correct`; frames that come meanwhile wait.
            correct: moves the map; a ValueError or OSError says why it could not.
            frame: the map's frame, in which the poses must be.
        """
        self._node, self._worker, self._correct, self._frame = node, worker, correct, frame
        self._done, self._refused, self._reason = 0, 0, ""
        self._subscription = node.create_subscription(
            Path, TOPIC, self._receive, qos.output(), qos_overriding_options=qos.overridable()
        )

    def close(self) -> None:
        """Listen no more."""
        self._node.destroy_subscription(self._subscription)

    def status(self) -> Status | None:
        """Return what diagnostics show; nothing as long as no trajectory has come."""
        if not self._done + self._refused:
            return None
        level = Level.WARN if self._reason else Level.OK
        counts = {"applied": self._done, "refused": self._refused}
        return Status("trajectory corrections", level, self._reason or "the map follows", counts)

    def _receive(self, message: Path) -> None:
        self._worker.call(lambda: self._apply(message), keep_items=True)

    def _apply(self, message: Path) -> None:
        try:
            self._correct(read_trajectory(message, self._frame(), TOPIC))
        except (ValueError, OSError) as error:
            self._refused += 1
            self._reason = f"{TOPIC} was not applied: {error}"
            self._node.get_logger().error(self._reason)
            return
        self._done += 1
        self._reason = ""
        self._node.get_logger().info(f"the map has moved with a trajectory of {len(message.poses)} poses")
