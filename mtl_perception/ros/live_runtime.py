# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How old frames are when the nodes are done with them, and how many there are a second."""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from typing import Any

import numpy as np

PERCENTILES = (50, 95, 99)
MOST_AGES = 100_000
"""Of each stage; of more the newest count."""


class LiveRuntime:
    """Gathers what nodes report with each frame (mtl_perception_msgs/Progress)."""

    def __init__(self) -> None:
        """Begin without a report."""
        self._ages_s: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=MOST_AGES))
        self._used: Counter[str] = Counter()
        self._first_s: dict[str, float] = {}
        self._last_s: dict[str, float] = {}

    def note(self, progress: Any) -> None:
        """Take a report; frames that were not used say nothing."""
        if not progress.used:
            return
        node, now_s = str(progress.node), time.monotonic()
        self._used[node] += 1
        self._first_s.setdefault(node, now_s)
        self._last_s[node] = now_s
        for stage, age_s in zip(progress.stages, progress.stamp_age_s, strict=False):
            self._ages_s[f"{node}/{stage}"].append(age_s)

    def told(self) -> dict[str, dict[str, object]]:
        """Return `stamp_age_ms` (per node and stage, percentiles of the age at its end) and `frames_per_second`."""
        ages: dict[str, object] = {}
        for stage, values in self._ages_s.items():
            milliseconds = np.percentile(1e3 * np.array(values), PERCENTILES)
            ages[stage] = {f"p{p}": round(float(v), 3) for p, v in zip(PERCENTILES, milliseconds, strict=True)}
        rates: dict[str, object] = {}
        for node, frames in self._used.items():
            seconds = self._last_s[node] - self._first_s[node]
            if seconds > 0:
                rates[node] = (frames - 1) / seconds
        return {"stamp_age_ms": ages, "frames_per_second": rates}
