# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which predicted frames have got all that belongs to them, so that they can be judged."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mtl_perception.core import Prediction
from mtl_perception.messages.stamps import NANOSECONDS
from mtl_perception.ros.evaluation_topics import SWEEP_TRUTH, TRUTH, parts_of, truths_of
from mtl_perception.ros.message_store import MessageStore

MAX_WAITING = 50
"""So many frames wait at most for their truth; then the oldest is judged with what has come."""

_LONGEST_WINDOW_NS = NANOSECONDS // 2  # what is further apart shows another scene
_FOLLOWS_WITHIN = 3  # periods
_STAMPS = 1000  # that the period is taken from


@dataclass
class Waiting:
    """A frame that waits.

    Attributes:
        prediction: what perception/frame carried.
        previous_ns: the stamp of the prediction before, or None.
        since_s: when it came, by the steady clock.
        is_predicted: whether all of its prediction has come.
    """

    prediction: Prediction
    previous_ns: int | None
    since_s: float
    is_predicted: bool = False


class FrameQueue:
    """Frames in the order of their predictions.

    A frame is ready when all parts of its prediction have come and each topic with truth has come to the frame's stamp
    or beyond it: a topic's messages come in order, so there is nothing more to wait for.

    Attributes:
        incomplete: by topic, how many frames were given up waiting for it.
    """

    def __init__(
        self, store: MessageStore, is_published: Callable[[str], bool], info_topics: dict[str, str], timeout_s: float
    ) -> None:
        """Look for what has come in `store`.

        Args:
            store: where messages are.
            is_published: whether a topic has a publisher: only then it is waited for.
            info_topics: of each camera's calibration, the reference camera's first.
            timeout_s: how long a frame waits.
        """
        self._store = store
        self._is_published = is_published
        self._info_topics = info_topics
        self.timeout_s = timeout_s
        self._waiting: deque[Waiting] = deque()
        self._last_ns: int | None = None
        self._reference_ns: list[int] = []
        self.incomplete: Counter[str] = Counter()

    def __len__(self) -> int:
        """Return how many frames wait."""
        return len(self._waiting)

    @property
    def window_ns(self) -> int:
        """How far from a frame, in time, what belongs to it may be: half a period, and no more than half a second."""
        return min(self._period_ns() // 2, _LONGEST_WINDOW_NS)

    def add(self, prediction: Prediction, now_s: float) -> None:
        """Let a predicted frame wait."""
        self._waiting.append(Waiting(prediction, self._last_ns, now_s))
        self._last_ns = prediction.stamp_ns

    def add_reference(self, stamp_ns: int) -> None:
        """Take notice of an image of the reference camera, predicted or not."""
        if stamp_ns not in self._reference_ns[-2:]:
            insort(self._reference_ns, stamp_ns)
            del self._reference_ns[:-_STAMPS]

    def previous_ns(self, stamp_ns: int) -> int | None:
        """Return the stamp of the reference image before, if the recording goes on from there (see BagRecording)."""
        at = bisect_left(self._reference_ns, stamp_ns)
        if at == 0 or stamp_ns - self._reference_ns[at - 1] > _FOLLOWS_WITHIN * self._period_ns():
            return None
        return self._reference_ns[at - 1]

    def newly_predicted(self, now_s: float) -> list[Waiting]:
        """Return the frames of whose prediction all has come, or as much as will come, since the last call."""
        found = []
        for waiting in self._waiting:
            if not waiting.is_predicted and (self._is_late(waiting, now_s) or not self._missing_parts(waiting)):
                waiting.is_predicted = True
                found.append(waiting)
        return found

    def pop(self, now_s: float, *, at_once: bool = False) -> Waiting | None:
        """Return the oldest frame if it is ready (or `at_once`, whatever is missing), or None."""
        if not self._waiting:
            return None
        oldest = self._waiting[0]
        lacking = [*self._missing_parts(oldest), *self._missing_truth(oldest)]
        if lacking and not (at_once or self._is_late(oldest, now_s) or len(self._waiting) > MAX_WAITING):
            return None
        if not at_once:
            self.incomplete.update(lacking)
        return self._waiting.popleft()

    def clear(self) -> None:
        """Forget everything: time begins anew."""
        self._waiting.clear()
        self._reference_ns.clear()
        self._last_ns = None

    def _missing_parts(self, waiting: Waiting) -> list[str]:
        return [topic for topic, stamp in parts_of(waiting.prediction) if self._store.get(topic, stamp) is None]

    def _missing_truth(self, waiting: Waiting) -> list[str]:
        prediction = waiting.prediction
        wanted = [*truths_of(prediction)]
        wanted += [(self._info_topics[name], camera.stamp_ns) for name, camera in prediction.cameras.items()]
        for name in SWEEP_TRUTH:
            topic = f"{TRUTH}/{name}"
            exact = self._store.get(topic, prediction.stamp_ns) is not None
            wanted.append((topic, prediction.stamp_ns + (0 if exact else self.window_ns)))
        return [t for t, stamp in wanted if not self._store.has_reached(t, stamp) and self._is_published(t)]

    def _is_late(self, waiting: Waiting, now_s: float) -> bool:
        return now_s - waiting.since_s > self.timeout_s

    def _period_ns(self) -> int:
        periods = [after - before for before, after in pairwise(self._reference_ns)]
        return int(np.median(periods)) if periods else _LONGEST_WINDOW_NS
