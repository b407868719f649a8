# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Starts child processes again that have died, but not for ever."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from mtl_perception.running.supervision import Supervisor

DELAY_S = 2.0
"""Seconds from a death to the next start, as with Nav2."""
LONG_LIFE_S = 20.0
"""Who has lived for so long has not died of what it was started with."""
SHORT_LIVES = 3
"""After so many short lives in a row a child is given up: a wrong parameter stays wrong."""


class Respawner:
    """Watches some of a supervisor's children; `poll` it from the thread that starts them."""

    def __init__(
        self, supervisor: Supervisor, names: Collection[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`names` are the children to start again; `clock` gives seconds."""
        self._supervisor, self._clock = supervisor, clock
        self._since = dict.fromkeys(names, clock())
        self._short_lives = dict.fromkeys(names, 0)
        self._due: dict[str, float] = {}

    def poll(self) -> None:
        """Start again whose time has come; never blocks.

        Raises:
            OSError: a program cannot be started.
        """
        now = self._clock()
        for name in {end.name for end in self._supervisor.ended()}:
            if not self.takes_care_of(name):
                continue
            if name not in self._due:
                short = now - self._since[name] < LONG_LIFE_S
                self._short_lives[name] = self._short_lives[name] + 1 if short else 0
                self._due[name] = now + DELAY_S
            elif now >= self._due[name]:
                del self._due[name]
                self._since[name] = now
                self._supervisor.restart(name)

    def takes_care_of(self, name: str) -> bool:
        """Whether a child is started again when it dies, or has died."""
        return self._short_lives.get(name, SHORT_LIVES) < SHORT_LIVES
