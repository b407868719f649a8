# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Saving the map every so often, on a thread of its own."""

from __future__ import annotations

import time
from collections.abc import Callable

from mtl_perception.ros.diagnostics import Level, Status
from mtl_perception.ros.jobs import Jobs

_RETRY_S = 0.8  # so that users see within two seconds that a disk has room again
_RETRY_TIMES = 10  # but trying takes a tenth of the time at most


class Autosave:
    """Saves a map whenever a period is over and it has changed. What fails is soon tried again.

    An empty map is not saved: it would take the place of one that may be worth something.
    """

    def __init__(
        self,
        save: Callable[[], str],
        version: Callable[[], int],
        period_s: Callable[[], float],
        on_failure: Callable[[str], None],
    ) -> None:
        """Start the thread.

        Args:
            save: saves the map, and returns where; called on the thread.
            version: another number whenever the map has changed; 0 while it is empty, or as it was at the start.
            period_s: as it is now; 0 means never.
            on_failure: told why the map could not be saved, once a reason; called on the thread.
        """
        self._save, self._version, self._period_s = save, version, period_s
        self._on_failure = on_failure
        self._saved_version = 0
        self._last_s = time.monotonic()
        self._retry_s = _RETRY_S
        self._is_under_way = False
        self._text, self._failure = "nothing was saved yet", ""
        # one that `poll` has asked for, and one for which `finish` waits
        self._jobs = Jobs("map saver", waiting=2, on_lost=self._fail)

    def poll(self) -> None:
        """Begin to save if it is time to; never blocks."""
        period = self._period_s()
        wait = min(period, self._retry_s) if self._failure else period
        if period > 0 and not self._is_under_way and time.monotonic() - self._last_s >= wait:
            self._last_s = time.monotonic()
            if self._has_changed():
                self._is_under_way = True
                self._jobs.submit(self._do)

    def finish(self) -> None:
        """Save what has changed since, if saving is on, and wait until that is done."""
        if self._period_s() > 0:
            self._jobs.ask(lambda: self._do() if self._has_changed() else None).result()

    def stop(self) -> bool:
        """End the thread; False when it has not ended in time."""
        return self._jobs.stop()

    def status(self) -> Status | None:
        """Return what diagnostics show; None while saving is off."""
        if self._period_s() <= 0:
            return None
        return Status("autosave", Level.ERROR if self._failure else Level.OK, self._failure or self._text)

    def _has_changed(self) -> bool:
        return self._version() not in (0, self._saved_version)

    def _do(self) -> None:
        version, began_s = self._version(), time.monotonic()
        try:
            where = self._save()
        except Exception as error:  # whatever it was, the next period tries again, and on_failure makes it visible
            self._retry_s = max(_RETRY_S, _RETRY_TIMES * (time.monotonic() - began_s))
            self._last_s = time.monotonic()
            self._fail(str(error) or type(error).__name__)
        else:
            self._saved_version, self._failure = version, ""
            self._text = f"saved at {where}"
        finally:
            self._is_under_way = False

    def _fail(self, reason: str) -> None:
        self._is_under_way = False
        before, self._failure = self._failure, f"the map cannot be saved: {reason}"
        if self._failure != before:  # not once a second
            self._on_failure(self._failure)
