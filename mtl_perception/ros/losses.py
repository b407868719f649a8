# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Counts the messages that get lost between publisher and subscription, of which no middleware tells.

With best effort, and with a queue that is shorter than what comes while the machine is busy, DDS lets messages go
without a word: its event "message lost" does not cover those that newer ones have displaced. But it numbers the
messages of each publisher, and a gap in the numbers is a loss.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from inspect import Parameter, Signature
from typing import Any

_SHOWS_S = 1.0  # diagnostics warn of a loss for so long
_MAX_PUBLISHERS = 100  # whose numbers are remembered


class Losses:
    """What one subscription has lost.

    Attributes:
        count: so many messages so far; 0 for ever where the middleware does not number messages, or where rclpy, as in
            Jazzy, does not tell whose they are.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self.count = 0
        self._newest: dict[bytes, int] = {}  # per publisher, the number of its newest message
        self._newest_at_s = float("-inf")
        self._shown_from = 0  # the count before the losses that are shown

    def watching(self, callback: Callable[[Any], object]) -> Callable[..., None]:
        """Return a callback to subscribe with, which notes what is missing and then calls `callback`."""
        return _Watching(self, callback)

    def note(self, info: Mapping[str, Any]) -> None:
        """Note the arrival of a message with rclpy's information on it."""
        number, source = info.get("publication_sequence_number"), info.get("publisher_gid")
        if number is None or source is None:
            return
        publisher = source["data"]
        newest = self._newest.pop(publisher, number - 1)
        self._newest[publisher] = max(number, newest)
        if len(self._newest) > _MAX_PUBLISHERS:
            del self._newest[next(iter(self._newest))]
        if number > newest + 1:
            now = time.monotonic()
            if now - self._newest_at_s > _SHOWS_S:
                self._shown_from = self.count
            self._newest_at_s = now
            self.count += number - newest - 1

    @property
    def recent(self) -> int:
        """How many were lost just now, without a pause of a second; 0 when that is more than a second ago."""
        shows = time.monotonic() - self._newest_at_s < _SHOWS_S
        return self.count - self._shown_from if shows else 0


class _Watching:
    """A callback with message information, for every executor of rclpy.

    EventsExecutor hands message and information over as one argument, a pair, and others as two.
    """

    # From the number of arguments, rclpy finds out whether a callback wants the information.
    __signature__ = Signature([Parameter(name, Parameter.POSITIONAL_ONLY) for name in ("message", "info")])

    def __init__(self, losses: Losses, callback: Callable[[Any], object]) -> None:
        self._losses = losses
        self._callback = callback

    def __call__(self, *arguments: Any) -> None:
        message, info = arguments[0] if len(arguments) == 1 else arguments
        self._losses.note(info)
        self._callback(message)
