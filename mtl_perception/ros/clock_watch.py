# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Tells which nodes have the time of a player.

A publisher knows that somebody subscribes before that one knows of the publisher, on a busy machine by seconds; what is
sent in between is lost, however reliable. So a player that may lose nothing lets the nodes say what reaches them.
"""

from __future__ import annotations

from collections.abc import Sequence

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node

CLOCK_STATUS = "clock"
STAMP_KEY = "stamp_ns"
"""In the status `<node>: clock` of /diagnostics: the time that the node has from /clock; none without use_sim_time."""
_DEPTH = 100


class ClockWatch:
    """Reads on /diagnostics what time nodes have; the node must be spun by another thread than the one that waits."""

    def __init__(self, node: Node, names: Sequence[str]) -> None:
        """Listen to the nodes of these names, full ones or relative to the namespace of `node`."""
        namespace = node.get_namespace().rstrip("/")
        full = [name if name.startswith("/") else f"{namespace}/{name}" for name in filter(None, names)]
        self._names = {f"{name.lstrip('/')}: {CLOCK_STATUS}": name for name in full}
        self._stamps: dict[str, str | None] = {}
        if full:
            node.create_subscription(DiagnosticArray, "/diagnostics", self._receive, _DEPTH)

    def late(self, stamp_ns: int) -> list[str]:
        """Return the nodes that have not said that it is `stamp_ns`, nor that they do without /clock."""
        there = (str(stamp_ns), None)
        return [name for status, name in self._names.items() if self._stamps.get(status, "") not in there]

    def _receive(self, array: DiagnosticArray) -> None:
        for status in array.status:
            if status.name in self._names:
                values = {entry.key: entry.value for entry in status.values}
                self._stamps[status.name] = values.get(STAMP_KEY)
