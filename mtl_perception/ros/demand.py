# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What of a frame is wanted: the topics that somebody watches and whose time has come, and the tasks behind them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mtl_perception.network.config import SCENE_TASKS
from mtl_perception.ros.rate_limit import RateLimit

CONTINUOUS_TASKS = frozenset({"ego_motion", "steering", *SCENE_TASKS})
"""Tasks that need every frame: motions add up, and what the driver does is told from the last second."""


@dataclass(frozen=True)
class Wanted:
    """What is to be done with a frame.

    Attributes:
        topics: that are to be published, by their names without the camera.
        tasks: that are to be computed for that.
        next_tasks: that the next frame is going to be asked for, and that compare it with this one.
        why_not: why nothing at all is wanted, or "".
    """

    topics: frozenset[str]
    tasks: tuple[str, ...]
    next_tasks: tuple[str, ...] = ()
    why_not: str = ""


class Demand:
    """Decides frame by frame, by their stamps.

    A topic that is watched is due when its greatest rate allows it. On demand, a task is computed only for a topic that
    is due. A task that compares with the frame before is not computed right after one that was left out for a rate:
    then the frame is only looked at, and the topic comes with the next one.
    """

    def __init__(
        self, tasks: Sequence[str], tasks_of: Mapping[str, Collection[str]], comparing: Collection[str]
    ) -> None:
        """Begin with the next frame.

        Args:
            tasks: those that there are.
            tasks_of: per topic, those behind it.
            comparing: those that compare a frame with the one before, which the network must have looked at for that.
        """
        self._tasks = tuple(tasks)
        self._comparing = frozenset(comparing) - CONTINUOUS_TASKS
        self._tasks_of = {topic: frozenset(behind) & frozenset(tasks) for topic, behind in tasks_of.items()}
        self._limits = {topic: RateLimit() for topic in tasks_of}
        self._left_out: frozenset[str] = frozenset()  # comparing tasks that the last frame knows nothing for

    def of_frame(
        self, stamp_ns: int, watched: Iterable[str], max_rates: Mapping[str, float], asked: Collection[str] | None
    ) -> Wanted:
        """Return what is wanted of a frame.

        Args:
            stamp_ns: of the frame.
            watched: topics that somebody watches.
            max_rates: Hz per topic; 0, or no entry: every frame.
            asked: tasks that are to be computed whoever watches what; None: on demand.
        """
        watched = frozenset(watched)
        due = frozenset(topic for topic in watched if self._limits[topic].is_due(stamp_ns, max_rates.get(topic, 0.0)))
        if asked is not None:
            self._left_out = frozenset()
            tasks = self._in_order(asked)
            return Wanted(due, tasks, why_not="" if tasks else "no task that the network can do is asked for")
        lacking = self._behind(due) & self._left_out
        due = frozenset(topic for topic in due if not self._tasks_of[topic] & lacking)
        behind = self._behind(watched)
        wanted = self._behind(due) | (behind & CONTINUOUS_TASKS)
        self._left_out = (behind & self._comparing) - wanted - lacking
        why_not = "no result is due (max_rate)" if behind else "nobody subscribes to a result"
        return Wanted(
            due, self._in_order(wanted), self._in_order(lacking), why_not="" if wanted or lacking else why_not
        )

    def note_sent(self, stamp_ns: int, topics: Iterable[str], max_rates: Mapping[str, float]) -> None:
        """Note what of a frame has been published."""
        for topic in topics:
            self._limits[topic].take(stamp_ns, max_rates.get(topic, 0.0))

    def _behind(self, topics: Iterable[str]) -> frozenset[str]:
        return frozenset().union(*(self._tasks_of[topic] for topic in topics))

    def _in_order(self, tasks: Collection[str]) -> tuple[str, ...]:
        return tuple(task for task in self._tasks if task in tasks)
