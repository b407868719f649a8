# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The best and the worst frames of a bag, task by task, kept as pictures while it is replayed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.core import LabelSpace
from mtl_perception.drawing.images import Image
from mtl_perception.evaluation.above_views import AboveViews
from mtl_perception.evaluation.camera_views import CameraViews, Comparison
from mtl_perception.evaluation.judged import JudgedFrame
from mtl_perception.evaluation.result import Picture
from mtl_perception.evaluation.score import Score, ScoreOptions

APART_NS = 1_000_000_000
"""Frames nearer to each other in time show the same; only one of them is kept."""
MOST_KEPT_BYTES = 256 * 2**20
"""Of images with what is true of them; beyond, frames are drawn at once."""


class Gallery:
    """Keeps the best and worst frames by each task's key metric, at least a second apart.

    Of a rig's cameras the one that is worst off in that frame is shown. Frames are drawn at the end, since of many that
    are the best so far few remain so; before, when all that are kept need more than `MOST_KEPT_BYTES`.
    """

    def __init__(self, scores: Sequence[Score], labels: LabelSpace, per_task: int = 3) -> None:
        """Keep at most `per_task` best and as many worst frames of each task."""
        options = scores[0].options if scores else ScoreOptions()
        self._cameras, self._above = CameraViews(labels, options), AboveViews(labels)
        drawn = {*self._cameras.tasks, *self._above.tasks}
        self._shelves = {
            score.task: {
                "worst": _Shelf(per_task, -1 if score.better[score.key] == "higher" else 1),
                "best": _Shelf(per_task, 1 if score.better[score.key] == "higher" else -1),
            }
            for score in scores
            if score.task in drawn
        }

    def consider(self, judged: JudgedFrame, values: Mapping[str, float], stamp_ns: int | None = None) -> None:
        """Keep the frame where it is among the best or worst.

        Args:
            judged: the frame.
            values: per task its key metric on this frame; tasks that are not scored here are missing or NaN.
            stamp_ns: what tells it from others, at least a second apart; None: the prediction's stamp.
        """
        stamp_ns = judged.prediction.stamp_ns if stamp_ns is None else stamp_ns
        kept: list[_Kept] = []
        for task, shelves in self._shelves.items():
            value = values.get(task, math.nan)
            wanting = [shelf for shelf in shelves.values() if math.isfinite(value) and shelf.wants(value, stamp_ns)]
            if wanting:
                kept.append(_Kept(task, value, stamp_ns, judged))
                for shelf in wanting:
                    shelf.put(kept[-1])
        if kept and self._kept_bytes() > MOST_KEPT_BYTES:
            for entry in kept:
                entry.draw(self._drawn)

    def pictures(self) -> tuple[Picture, ...]:
        """Return the kept frames: per task the worst ones, the very worst first, then the best ones."""
        found = []
        for task, shelves in self._shelves.items():
            shown: set[int] = set()
            for kind, shelf in shelves.items():
                # Of few frames some are among the worst and the best.
                entries = [entry for entry in shelf.entries if entry.stamp_ns not in shown]
                shown.update(entry.stamp_ns for entry in entries)
                for entry in entries:
                    drawn = entry.draw(self._drawn)
                    if drawn is not None:
                        camera, image = drawn
                        found.append(Picture(task, kind, camera, entry.stamp_ns, entry.value, _png(image)))
        return tuple(found)

    def _kept_bytes(self) -> int:
        entries = [entry for shelves in self._shelves.values() for shelf in shelves.values() for entry in shelf.entries]
        frames = {id(entry.judged): entry.judged for entry in entries if entry.judged is not None}
        return sum(_bytes(judged) for judged in frames.values())

    def _drawn(self, task: str, judged: JudgedFrame) -> tuple[str, Image] | None:
        if task in self._above.tasks:
            image = self._above.draw(task, judged)
            return None if image is None else ("", image)
        worst: tuple[str, Comparison] | None = None
        for name, camera in judged.cameras.items():
            comparison = self._cameras.compare(task, camera, judged.truth.dataset)
            if comparison is not None and (worst is None or comparison.wrong > worst[1].wrong):
                worst = name, comparison
        return None if worst is None else (worst[0], worst[1].draw())


_Drawn = tuple[str, Image] | None


@dataclass(eq=False)
class _Kept:
    """A frame that is among the best or worst of a task: as it is, until it has been drawn."""

    task: str
    value: float
    stamp_ns: int
    judged: JudgedFrame | None
    drawn: _Drawn = None

    def draw(self, draw: Callable[[str, JudgedFrame], _Drawn]) -> _Drawn:
        if self.judged is not None:
            self.drawn, self.judged = draw(self.task, self.judged), None
        return self.drawn


class _Shelf:
    """A few frames with the greatest `sign` * value, the greatest first, no two of them near to each other."""

    def __init__(self, places: int, sign: int) -> None:
        self._places, self._sign = places, sign
        self.entries: list[_Kept] = []

    def wants(self, value: float, stamp_ns: int) -> bool:
        rank = self._sign * value
        near = [entry for entry in self.entries if abs(entry.stamp_ns - stamp_ns) < APART_NS]
        if near:
            return all(rank > self._rank(entry) for entry in near)
        return len(self.entries) < self._places or (self._places > 0 and rank > self._rank(self.entries[-1]))

    def put(self, kept: _Kept) -> None:
        others = [entry for entry in self.entries if abs(entry.stamp_ns - kept.stamp_ns) >= APART_NS]
        self.entries = sorted([*others, kept], key=lambda entry: (-self._rank(entry), entry.stamp_ns))[: self._places]

    def _rank(self, entry: _Kept) -> float:
        return self._sign * entry.value


def _bytes(judged: JudgedFrame) -> int:
    """Return the size of a frame's images."""
    parts = [part for camera in judged.cameras.values() for part in (camera.prediction, camera.truth)]
    return sum(value.nbytes for part in parts for value in vars(part).values() if isinstance(value, np.ndarray))


def _png(image: NDArray[np.uint8]) -> bytes:
    _, encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 3])
    return encoded.tobytes()
