# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a run did, as the file `summary.json` that programs read."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

PERCENTILES = (50, 95, 99)


@dataclass(frozen=True)
class TopicCount:
    """How many messages of a topic arrived, and how many a second of wall time between the first and the last."""

    type: str
    count: int
    rate_hz: float


@dataclass(frozen=True)
class NetworkFacts:
    """What the network is, and which tasks it leaves out and why."""

    preset: str = ""
    checkpoint: str = ""
    tasks_published: tuple[str, ...] = ()
    tasks_left_out: Mapping[str, str] = field(default_factory=dict)


class FrameLedger:
    """Keeps account of frames: every node on a frame's way reports once what became of it."""

    def __init__(self) -> None:
        """Start with no frame."""
        self._reasons: dict[int, dict[str, str]] = {}
        self._ages_s: dict[str, list[float]] = {}

    def report(
        self, node: str, stamp_ns: int, used: bool, reason: str, stages: Sequence[str], ages_s: Sequence[float]
    ) -> None:
        """Take down what a node reports of the frame with this stamp; a stage's age is in seconds."""
        reasons = self._reasons.setdefault(stamp_ns, {})
        reasons[node] = "" if used else reason or "no reason given"
        for stage, age in zip(stages, ages_s, strict=True):
            self._ages_s.setdefault(f"{node}/{stage}", []).append(age)

    def reported(self, node: str, used_only: bool = False) -> int:
        """Return how many frames this node has reported on."""
        return sum(node in nodes and not (used_only and nodes[node]) for nodes in self._reasons.values())

    def frames(self, unanswered: int = 0) -> dict[str, Any]:
        """Return frames in, used and dropped with reasons; a frame is used when no node dropped it.

        Args:
            unanswered: frames that were sent but that no node reported on.
        """
        dropped: Counter[str] = Counter()
        for nodes in self._reasons.values():
            why = next((f"{node}: {reason}" for node, reason in nodes.items() if reason), None)
            if why is not None:
                dropped[why] += 1
        if unanswered:
            dropped["no node reported on it"] += unanswered
        total = len(self._reasons) + unanswered
        return {"in": total, "used": total - dropped.total(), "dropped": dict(sorted(dropped.items()))}

    def stamp_age_ms(self) -> dict[str, dict[str, float]]:
        """Return per stage how old the frames' stamps were when it ended: percentiles in milliseconds."""
        return {stage: _percentiles_ms(ages) for stage, ages in sorted(self._ages_s.items())}


def summary(
    *,
    frames: Mapping[str, Any],
    topics: Mapping[str, TopicCount],
    stamp_age_ms: Mapping[str, Mapping[str, float]],
    map_facts: Mapping[str, Any],
    network: NetworkFacts,
    pictures: Iterable[Path],
    folder: Path,
    seconds: float,
    measured: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the content of `summary.json`.

    Args:
        frames: in, used, dropped (see FrameLedger.frames).
        topics: by name.
        stamp_age_ms: see FrameLedger.stamp_age_ms.
        map_facts: blocks, vertices, objects, places, rooms, and what was measured of the map.
        network: what the network is.
        pictures: files; given relative to `folder`.
        folder: where the summary will be.
        seconds: that the run took, wall time.
        measured: further keys, where the bag has ground truth.
    """
    counts = dict.fromkeys(("blocks", "vertices", "objects", "places", "rooms"), 0)
    return {
        "frames": dict(frames),
        "topics": {name: asdict(topics[name]) for name in sorted(topics)},
        "stamp_age_ms": dict(stamp_age_ms),
        "map": {**counts, **map_facts},
        "network": {
            "preset": network.preset,
            "checkpoint": network.checkpoint,
            "tasks_published": list(network.tasks_published),
            "tasks_left_out": dict(network.tasks_left_out),
        },
        "pictures": [os.path.relpath(path, folder) for path in pictures],
        "seconds": round(seconds, 3),
        **measured,
    }


def write_summary(content: Mapping[str, Any], folder: Path) -> Path:
    """Write `summary.json` into the folder; it appears whole or not at all. Returns its path.

    Raises:
        OSError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "summary.json"
    temporary = folder / ".summary.json.part"
    temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    os.replace(temporary, path)
    return path


def _percentiles_ms(ages_s: Sequence[float]) -> dict[str, float]:
    values = np.percentile(np.asarray(ages_s) * 1000.0, PERCENTILES)
    return {f"p{percent}": round(float(value), 3) for percent, value in zip(PERCENTILES, values, strict=True)}
