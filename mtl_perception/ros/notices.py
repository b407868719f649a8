# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What goes wrong at a moment, kept until diagnostics, which come once a second, have told of it."""

from __future__ import annotations

import threading
from collections import Counter


class Notices:
    """Notes of what has happened: each is told once, and counted for good. For any thread.

    Memory: one text for every reason, and reasons are few.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._untold: dict[str, str] = {}  # per reason, the newest text

    def note(self, reason: str, text: str = "") -> None:
        """Count something under `reason`; the text, if there is one, is to be told."""
        with self._lock:
            self._counts[reason] += 1
            if text:
                self._untold[reason] = text

    def take(self) -> list[str]:
        """Return what has been noted since this was asked before: the newest text of each reason."""
        with self._lock:
            texts, self._untold = list(self._untold.values()), {}
        return texts

    @property
    def counts(self) -> dict[str, int]:
        """How often each has happened, by reason."""
        with self._lock:
            return dict(sorted(self._counts.items()))
