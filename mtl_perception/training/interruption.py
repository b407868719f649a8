# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and SIGTERM in the middle of a step: the step is made, the state is saved, then the process ends."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

TERMINATED = 128 + signal.SIGTERM
"""Exit code of a process that SIGTERM ended, as shells report it."""


class Interruption:
    """While it is entered, a first SIGINT or SIGTERM is only noted; a second one kills.

    Attributes:
        asked: the signal's number, None until there was one.
        waiting: set while nothing is being changed; a signal then takes effect at once.
    """

    def __init__(self) -> None:
        """Note nothing yet."""
        self.asked: int | None = None
        self.waiting = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        """Take over the signals; in another thread than the main one Python delivers none."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def end(self) -> None:
        """Raise what the noted signal stands for.

        Raises:
            KeyboardInterrupt: for SIGINT.
            SystemExit: for SIGTERM, or where another process was asked to stop, with `TERMINATED`.
        """
        if self.asked == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(TERMINATED)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.asked = number
        for each in self._before:
            signal.signal(each, signal.SIG_DFL)
        if self.waiting:
            self.waiting = False
            self.end()


def ignore_signals(_: int) -> None:
    """Let a loader's worker leave signals to its parent, which ends it: a terminal sends them to both."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
